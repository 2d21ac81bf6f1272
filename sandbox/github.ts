import { createHash } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { tarGz, zip, type Entry } from './archive.ts'
import { packageCli, type CliFaults } from './cli/package.ts'
import type { Handler, RecordedRequest, Reply } from './wire.ts'

const REPOSITORY = '/blaxel-ai/toolkit'
const PRERELEASE = /preview|alpha|beta|rc|dev|pre|snapshot|nightly|canary|experimental|unstable/
const PLATFORMS = [
  'Darwin_arm64.tar.gz',
  'Darwin_x86_64.tar.gz',
  'Linux_arm64.tar.gz',
  'Linux_i386.tar.gz',
  'Linux_x86_64.tar.gz',
  'Windows_arm64.zip',
  'Windows_i386.zip',
  'Windows_x86_64.zip',
]

/** What a test can say about a release. */
export interface ReleaseOptions {
  /** Without the v. */
  readonly version: string
  readonly faults?: CliFaults
  /** Own bytes of a file, or null: it is not there (404). */
  readonly assets?: Readonly<Record<string, Buffer | null>>
  /** Own text of the checksums file, or null: it is not there. */
  readonly checksums?: string | null
  readonly draft?: boolean
  readonly prerelease?: boolean
}

/** What one run of the stand-in CLI saw. */
export interface CliInvocation {
  readonly version: string
  /** Without node and the program. */
  readonly argv: readonly string[]
  readonly env: Readonly<Record<string, string>>
  readonly cwd: string
  readonly cwdEntries: readonly string[]
  /** Standard input is the null device or an ended file: nothing can ever come from it. */
  readonly stdinClosed: boolean
  readonly pid: number
  /** The sleeping child of the fault loginSpawnsChild. */
  readonly childPid?: number
  readonly at: number
}

/** Releases of the CLI, as github.com, its asset host and its REST API show them. */
export interface GitHubStandIn {
  /** Publishes a release, or replaces one. */
  publish(release: ReleaseOptions): void
  /** The tag that /releases/latest redirects to. */
  latest: string | undefined
  /** The bytes of an asset; without a file, of the archive for this machine. */
  archive(version: string, file?: string): Buffer
  sha256(version: string, file?: string): string
  /** The name of the archive for this machine. */
  readonly platformFile: string
  /** The runs of the stand-in CLI so far. */
  invocations(): CliInvocation[]
}

/** The stand-in and what it answers for each of its hosts. */
export interface GitHub {
  readonly standIn: GitHubStandIn
  readonly hosts: Readonly<Record<string, Handler>>
}

interface Setting {
  /** Where runs of the stand-in CLI are written down. */
  readonly dumpFile: string
  /** A real CLI for this machine's archives. */
  readonly cli?: string
}

/** A GitHub without a release. */
export function createGitHub(setting: Setting): GitHub {
  const releases = new Map<string, Release>()

  function release(version: string): Release {
    const found = releases.get(version)
    if (found === undefined) throw new Error(`the sandbox has no release ${version}`)
    return found
  }

  const standIn: GitHubStandIn = {
    latest: undefined,
    platformFile: platformFile(),
    publish(options) {
      releases.delete(options.version)
      releases.set(options.version, createRelease(options, setting))
      if (!PRERELEASE.test(options.version)) standIn.latest = `v${options.version}`
    },
    archive(version, file = standIn.platformFile) {
      const bytes = release(version).asset(file)
      if (bytes === undefined) throw new Error(`the sandbox's release ${version} has no ${file}`)
      return bytes
    },
    sha256: (version, file) => sha256(standIn.archive(version, file)),
    invocations: () => readInvocations(setting.dumpFile),
  }
  return {
    standIn,
    hosts: {
      'github.com': (request) => site(request, releases, standIn.latest),
      'release-assets.githubusercontent.com': (request) => assetHost(request, releases),
      'api.github.com': (request) => api(request, releases, standIn.latest),
    },
  }
}

interface Release {
  readonly version: string
  readonly draft: boolean
  readonly prerelease: boolean
  readonly files: readonly string[]
  readonly asset: (file: string) => Buffer | undefined
}

function createRelease(options: ReleaseOptions, setting: Setting): Release {
  const { version } = options
  const archives = PLATFORMS.map((platform) => `blaxel_${platform}`)
  const sums = `blaxel_${version}_checksums.txt`
  const own = options.assets ?? {}
  const made = new Map<string, Buffer>()

  function make(file: string): Buffer | undefined {
    if (archives.includes(file)) return buildArchive(file, options, setting)
    if (file !== sums || options.checksums === null) return undefined
    return Buffer.from(options.checksums ?? archives.map(sumLine).join(''))
  }
  function sumLine(file: string): string {
    const bytes = asset(file)
    return bytes === undefined ? '' : `${sha256(bytes)}  ${file}\n`
  }
  function asset(file: string): Buffer | undefined {
    const given = own[file]
    if (given !== undefined) return given ?? undefined
    const bytes = made.get(file) ?? make(file)
    if (bytes !== undefined) made.set(file, bytes)
    return bytes
  }
  const absent = (file: string) => own[file] === null || (file === sums && options.checksums === null)
  return {
    version,
    draft: options.draft ?? false,
    prerelease: options.prerelease ?? false,
    files: [...new Set([...archives, sums, ...Object.keys(own)])].filter((file) => !absent(file)),
    asset,
  }
}

function buildArchive(file: string, { version, faults }: ReleaseOptions, { dumpFile, cli }: Setting): Buffer {
  const windows = file.endsWith('.zip')
  const program =
    cli !== undefined && file === platformFile() ? readFileSync(cli) : packageCli({ version, dumpFile, faults })
  const entries: Entry[] = [
    { name: 'LICENSE', content: Buffer.from('A stand-in. Nothing of it is licensed to anybody.\n') },
    { name: 'README.md', content: Buffer.from(`# ${file}\n\nA stand-in for blaxel ${version}.\n`) },
    { name: windows ? 'blaxel.exe' : 'blaxel', content: program, mode: 0o755 },
  ]
  return windows ? zip(entries) : tarGz(entries)
}

function platformFile(): string {
  const system = { linux: 'Linux', darwin: 'Darwin', win32: 'Windows' }[process.platform as string]
  const processor = { x64: 'x86_64', arm64: 'arm64', ia32: 'i386' }[process.arch as string]
  if (system === undefined || processor === undefined) throw new Error('the CLI is not released for this machine')
  return `blaxel_${system}_${processor}.${system === 'Windows' ? 'zip' : 'tar.gz'}`
}

function site({ path }: RecordedRequest, releases: ReadonlyMap<string, Release>, latest: string | undefined): Reply {
  const base = `https://github.com${REPOSITORY}/releases`
  const { pathname } = new URL(path, base)
  if (pathname === `${REPOSITORY}/releases/latest`) {
    return redirect(latest === undefined ? base : `${base}/tag/${latest}`)
  }
  const page = /^\/blaxel-ai\/toolkit\/releases\/tag\/v([^/]+)$/.exec(pathname)
  if (page !== null) return releases.has(page[1] ?? '') ? html(200, `Release v${page[1]}`) : html(404, 'Not Found')
  const download = /^\/blaxel-ai\/toolkit\/releases\/download\/v([^/]+)\/([^/]+)$/.exec(pathname)
  const [, version = '', file = ''] = download ?? []
  if (releases.get(version)?.asset(file) === undefined) return html(404, 'Not Found')
  return redirect(signedUrl(version, file))
}

/** Looks like the real one: an opaque path, and a signature that a log should not show. */
function signedUrl(version: string, file: string): string {
  const url = new URL('https://release-assets.githubusercontent.com')
  url.pathname = `/github-production-release-asset/912345678/${assetId(version, file)}`
  url.search = new URLSearchParams({
    sp: 'r',
    sv: '2018-11-09',
    sr: 'b',
    rscd: `attachment; filename=${file}`,
    rsct: 'application/octet-stream',
    sig: createHash('sha256').update(url.pathname).digest('base64'),
    'response-content-disposition': `attachment; filename=${file}`,
    'response-content-type': 'application/octet-stream',
  }).toString()
  return url.href
}

function assetId(version: string, file: string): string {
  const hex = sha256(Buffer.from(`${version}/${file}`))
  return [hex.slice(0, 8), hex.slice(8, 12), hex.slice(12, 16), hex.slice(16, 20), hex.slice(20, 32)].join('-')
}

function assetHost({ path }: RecordedRequest, releases: ReadonlyMap<string, Release>): Reply {
  const url = new URL(path, 'https://release-assets.githubusercontent.com')
  const id = url.pathname.split('/').pop()
  if (!url.searchParams.has('sig')) return { status: 403, body: 'unsigned' }
  for (const release of releases.values()) {
    const file = release.files.find((name) => assetId(release.version, name) === id)
    const body = file === undefined ? undefined : release.asset(file)
    if (body !== undefined) return { status: 200, body }
  }
  return { status: 404, body: 'no such asset' }
}

function api(request: RecordedRequest, releases: ReadonlyMap<string, Release>, latest: string | undefined): Reply {
  const url = new URL(request.path, 'https://api.github.com')
  const list = `/repos${REPOSITORY}/releases`
  const { authorization } = request.headers
  // The tokens of github.com's runners begin so; any other is another server's.
  if (authorization !== undefined && !/^(bearer|token) gh[sp]_/i.test(authorization)) {
    return { status: 401, body: { message: 'Bad credentials', status: '401' } }
  }
  if (url.pathname === list) return releasePage(url, [...releases.values()].reverse())
  const tag = url.pathname === `${list}/latest` ? latest : /\/releases\/tags\/([^/]+)$/.exec(url.pathname)?.[1]
  const release = releases.get(tag?.slice(1) ?? '')
  if (!url.pathname.startsWith(list) || release === undefined) {
    return { status: 404, body: { message: 'Not Found', status: '404' } }
  }
  return { status: 200, body: describe(release) }
}

function releasePage(url: URL, newestFirst: readonly Release[]): Reply {
  const size = Math.min(100, Number(url.searchParams.get('per_page') ?? 30))
  const page = Number(url.searchParams.get('page') ?? 1)
  const pages = Math.max(1, Math.ceil(newestFirst.length / size))
  const link = (number: number, relation: string) => {
    const target = new URL(url)
    target.searchParams.set('page', `${number}`)
    return `<${target.href}>; rel="${relation}"`
  }
  const links = [
    ...(page > 1 ? [link(page - 1, 'prev'), link(1, 'first')] : []),
    ...(page < pages ? [link(page + 1, 'next'), link(pages, 'last')] : []),
  ]
  const headers: Record<string, string> = links.length === 0 ? {} : { link: links.join(', ') }
  return { status: 200, headers, body: newestFirst.slice((page - 1) * size, page * size).map(describe) }
}

function describe({ version, draft, prerelease, files, asset }: Release): object {
  return {
    tag_name: `v${version}`,
    name: `v${version}`,
    draft,
    prerelease,
    assets: files.map((name) => {
      const bytes = asset(name) ?? Buffer.alloc(0)
      return {
        name,
        state: 'uploaded',
        size: bytes.length,
        digest: `sha256:${sha256(bytes)}`,
        browser_download_url: `https://github.com${REPOSITORY}/releases/download/v${version}/${name}`,
      }
    }),
  }
}

function readInvocations(dumpFile: string): CliInvocation[] {
  let text: string
  try {
    text = readFileSync(dumpFile, 'utf8')
  } catch {
    return []
  }
  return text.split('\n').flatMap(parsedInvocation)
}

/** None, where the line is still being written or was cut off by a kill. */
function parsedInvocation(line: string): CliInvocation[] {
  try {
    return [JSON.parse(line) as CliInvocation]
  } catch {
    return []
  }
}

function redirect(location: string): Reply {
  return { status: 302, headers: { location, 'content-type': 'text/html; charset=utf-8' } }
}

function html(status: number, title: string): Reply {
  return {
    status,
    headers: { 'content-type': 'text/html; charset=utf-8' },
    body: `<!DOCTYPE html><html><head><title>${title}</title></head><body>${title}</body></html>\n`,
  }
}

function sha256(bytes: Buffer): string {
  return createHash('sha256').update(bytes).digest('hex')
}
