/**
 * The steps of a release, for release.yml. Each works on the checkout that it is run in.
 *
 *   npm run release -- check      [--tag vX.Y.Z]   tag, versions, changelog and dist/ agree; sets the output `prerelease`
 *   npm run release -- notes      [--tag vX.Y.Z]   prints what the changelog says about the version
 *   npm run release -- move-major [--tag vX.Y.Z]   moves the tag vX to the release
 *   npm run release -- sbom                        prints an SBOM (SPDX, one line) of the packages in dist/
 *
 * Without a tag it is a dry run of the version in package.json: it says what would happen, and changes nothing.
 * Only `check` needs the packages that npm ci installs.
 */
import { execFileSync } from 'node:child_process'
import { appendFileSync, cpSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { majorMove, parseTag, problemsOf, sectionOf, type Tag } from './release/plan.ts'
import { licensedPackages, shippedSbom, type Sbom } from './release/sbom.ts'

const REMOTE = 'origin'
/** npm is a script there, which only a shell can start. */
const isWindows = process.platform === 'win32'
const root = process.cwd()
const { values, positionals } = parseArgs({ options: { tag: { type: 'string' } }, allowPositionals: true })
const dryRun = values.tag === undefined || values.tag === ''
const tag = dryRun ? `v${String(versionIn('package.json'))}` : String(values.tag)
const commands: Readonly<Record<string, () => void>> = { check, notes, 'move-major': moveMajor, sbom }

try {
  const command = commands[positionals.join(' ')]
  if (!command) throw new Error(`which of ${Object.keys(commands).join(', ')}?`)
  command()
} catch (error) {
  console.error(`release: ${(error as Error).message}`)
  process.exitCode = 1
}

function check(): void {
  const problems = problemsOf({
    tag,
    dryRun,
    head: git('rev-parse', 'HEAD'),
    tags: remoteTags(),
    versions: { 'package.json': versionIn('package.json'), 'package-lock.json': versionIn('package-lock.json') },
    changelog: changelog(),
    stale: staleFiles(),
  })
  for (const problem of problems) console.error(problem)
  if (problems.length > 0) throw new Error(`${tag} can't be released`)
  setOutput('prerelease', String(parseTag(tag)?.prerelease))
  console.log(`${tag} can be released${dryRun ? ': set the tag' : ''}`)
}

function notes(): void {
  const section = sectionOf(changelog(), tag.slice(1))
  if (!section) throw new Error(`CHANGELOG.md has no section for ${tag}`)
  console.log(section.notes)
}

function moveMajor(): void {
  const head = git('rev-parse', 'HEAD')
  const tags = remoteTags()
  if (!dryRun && tags.get(tag)?.commit !== head) throw new Error(`${tag} of ${REMOTE} is not what is checked out`)
  const move = majorMove(tag, head, tags)
  if (move.kind === 'stay') {
    console.log(`The tag of the major version stays: ${move.because}`)
    return
  }
  const { major, from, to } = move
  const way = `${major} from ${from ?? 'nowhere'} to ${to} (${tag})`
  if (dryRun) {
    console.log(`Would move ${way}`)
    return
  }
  // The lease: whoever has moved the tag since it was read wins. An empty one stands for a tag that is not there.
  const ref = `refs/tags/${major}`
  git('push', '--quiet', `--force-with-lease=${ref}:${from ?? ''}`, REMOTE, `${to}:${ref}`)
  console.log(`Moved ${way}`)
}

/** The remote's own tags, since those of a checkout may be old. */
function remoteTags(): Map<string, Tag> {
  const tags = new Map<string, Tag>()
  for (const line of git('ls-remote', '--tags', REMOTE).split('\n')) {
    const [, hash, name, peeled] = /^([0-9a-f]+)\trefs\/tags\/(.+?)(\^\{\})?$/.exec(line) ?? []
    if (hash === undefined || name === undefined) continue
    // An annotated tag has a second line, with the commit.
    const object = peeled === undefined ? hash : (tags.get(name)?.object ?? hash)
    tags.set(name, { object, commit: hash })
  }
  return tags
}

/** `npm sbom --omit dev` also omits what a development package needs too, so what ships is chosen here. */
function sbom(): void {
  const args = ['sbom', '--sbom-format', 'spdx', '--package-lock-only']
  const everything = execFileSync('npm', args, {
    cwd: root,
    encoding: 'utf8',
    maxBuffer: 100_000_000,
    shell: isWindows,
  })
  const licenses = ['setup', 'cleanup'].map((step) => readFileSync(join(root, 'dist', step, 'licenses.txt'), 'utf8'))
  const lock = JSON.parse(readFileSync(join(root, 'package-lock.json'), 'utf8')) as Parameters<typeof shippedSbom>[2]
  const shipped = shippedSbom(JSON.parse(everything) as Sbom, licenses.flatMap(licensedPackages), lock)
  console.log(JSON.stringify(shipped))
}

/** Builds dist/ anew, names the files that differ, are missing or left over, and puts back what was there. */
function staleFiles(): string[] {
  const dist = join(root, 'dist')
  const scratch = mkdtempSync(join(tmpdir(), 'release-'))
  const shipped = filesOf(dist)
  cpSync(dist, scratch, { recursive: true })
  try {
    rmSync(dist, { recursive: true })
    execFileSync('npm', ['run', '--silent', 'build'], { cwd: root, stdio: 'inherit', shell: isWindows })
    const built = filesOf(dist)
    const names = new Set([...built.keys(), ...shipped.keys()])
    return [...names].filter((name) => built.get(name) !== shipped.get(name)).sort()
  } finally {
    rmSync(dist, { recursive: true, force: true })
    cpSync(scratch, dist, { recursive: true })
    rmSync(scratch, { recursive: true })
  }
}

function filesOf(directory: string): Map<string, string> {
  const files = readdirSync(directory, { recursive: true, withFileTypes: true }).filter((entry) => entry.isFile())
  const paths = files.map((file) => join(file.parentPath, file.name))
  return new Map(paths.map((path) => [path.slice(directory.length + 1), readFileSync(path, 'base64')]))
}

function versionIn(file: string): string | undefined {
  return (JSON.parse(readFileSync(join(root, file), 'utf8')) as { readonly version?: string }).version
}

function changelog(): string {
  return readFileSync(join(root, 'CHANGELOG.md'), 'utf8')
}

function setOutput(name: string, value: string): void {
  if (process.env.GITHUB_OUTPUT) appendFileSync(process.env.GITHUB_OUTPUT, `${name}=${value}\n`)
}

function git(...args: readonly string[]): string {
  // What git complains of is part of the error's message.
  return execFileSync('git', args, { cwd: root, encoding: 'utf8', stdio: ['ignore', 'pipe', 'pipe'] }).trim()
}
