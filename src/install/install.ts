import { chmodSync, copyFileSync, statSync, symlinkSync } from 'node:fs'
import { join } from 'node:path'
import { text } from 'node:stream/consumers'
import { checkVersion, type CliDeps } from '../blaxel/cli.ts'
import { concurrently } from '../util/concurrently.ts'
import { SetupError } from '../util/errors.ts'
import { makeDirectories } from '../util/fs.ts'
import type { Http } from '../util/http.ts'
import { extract } from './archive.ts'
import {
  assertChecksum,
  findChecksum,
  pinnedChecksum,
  type ChecksumInput,
  type ExpectedChecksum,
  type VerifiedBy,
} from './checksum.ts'
import { download, type Download } from './download.ts'
import knownChecksums from './known-checksums.json' with { type: 'json' }
import type { Platform } from './platform.ts'
import { releaseUrls, resolveVersion, stableReleaseBefore, type ReleaseSource } from './release.ts'
import {
  cacheEntry,
  isProgram,
  lookUp,
  publish,
  removeAbandonedStaging,
  removeReplacedPrograms,
  type CacheEntry,
  type CacheRecord,
} from './tool-cache.ts'
import type { VersionSpec } from './version.ts'

/** What to install, from the inputs. */
export interface InstallRequest {
  readonly version: VersionSpec
  readonly checksum: ChecksumInput | undefined
  readonly source: ReleaseSource
}

export interface InstallDeps extends CliDeps {
  readonly http: Http
  readonly platform: Platform
  readonly toolCache: string
  /** A directory in the tool cache, created here and removed by the caller. */
  readonly staging: string
  readonly info: (line: string) => void
  readonly debug: (line: string) => void
  readonly warn: (line: string) => void
}

export interface Installation {
  readonly version: string
  /** Absolute path of the `bl` executable. */
  readonly path: string
  readonly cacheHit: boolean
  readonly verifiedBy: VerifiedBy
}

/** A release lacks its archive or its checksum, as every release does in its first minutes. */
class MissingFileError extends SetupError {}

const MAX_ARCHIVE_BYTES = 200_000_000
const MAX_TEXT_BYTES = 1_000_000

/**
 * Makes a version of the CLI available in the tool cache: one that is there, or one that is downloaded, verified, run
 * once and then published. Nothing unverified is ever run.
 * @throws SetupError; the tool cache is unchanged then
 */
export async function install(request: InstallRequest, deps: InstallDeps, signal: AbortSignal): Promise<Installation> {
  const { archive } = deps.platform
  const releaseDeps = { http: deps.http, source: request.source, archive }
  const release = await resolveVersion(request.version, releaseDeps, signal)
  if (release.warning !== undefined) deps.warn(release.warning)
  try {
    return await installVersion(release.version, request, deps, signal)
  } catch (error) {
    if (!(error instanceof MissingFileError) || request.version.kind !== 'latest' || request.source.kind === 'mirror')
      throw error
    // A tag is pushed minutes before its files are there.
    const reason = `The latest release, ${release.version}, has no ${archive} or no checksum for it yet`
    const previous = await stableReleaseBefore(release.version, reason, releaseDeps, signal)
    if (previous.warning !== undefined) deps.warn(previous.warning)
    return installVersion(previous.version, request, deps, signal)
  }
}

async function installVersion(
  version: string,
  request: InstallRequest,
  deps: InstallDeps,
  signal: AbortSignal,
): Promise<Installation> {
  const { source } = request
  const mirror = source.kind === 'mirror' ? source.url : undefined
  const entry = cacheEntry(deps.toolCache, version, deps.platform, mirror)
  const pinned = pinnedChecksum(request.checksum, knownChecksums, version, deps.platform.archive)
  const cached = lookUp(entry, pinned?.sha256)
  if (cached.kind === 'unusable') deps.debug(`The cached bl ${version} ${cached.why}: replacing it`)
  const isHit = cached.kind === 'hit'
  const { verifiedBy } = isHit ? cached.record : await fetchVersion(entry, pinned, source, deps, signal)
  await removeReplacedPrograms(entry)
  if (source.kind === 'mirror' && verifiedBy === 'release-checksums') {
    deps.warn(
      `bl ${version} was verified only with the mirror's own checksums file, which is not an independent source: set the input checksum to the archive's SHA-256.`,
    )
  }
  return { version, path: entry.command, cacheHit: isHit, verifiedBy }
}

/** Downloads, verifies and unpacks a release in the staging directory, runs it once, and publishes it. */
async function fetchVersion(
  entry: CacheEntry,
  pinned: ExpectedChecksum | undefined,
  source: ReleaseSource,
  deps: InstallDeps,
  signal: AbortSignal,
): Promise<CacheRecord> {
  const { version, platform } = entry
  const staged = join(deps.staging, 'entry')
  makeDirectories(staged)
  await removeAbandonedStaging(deps.toolCache)
  const program = join(staged, platform.program)
  const urls = releaseUrls(source)
  const [archive, expected] = await concurrently(
    signal,
    (both) => fetchArchive(urls.file(version, platform.archive), program, deps, both),
    async (both) => pinned ?? (await fetchChecksum(urls.checksums(version), platform.archive, deps, both)),
  )
  if (archive.kind === 'not-found') throw noArchive(version, urls.file(version, platform.archive), platform)
  if (!expected) throw noChecksum(version, urls.checksums(version), platform)
  assertChecksum(platform.archive, version, archive.sha256, expected)
  if (archive.result.status === 'rejected') throw archive.result.reason
  makeExecutable(program)
  makeCommand(staged, platform)
  await assertRuns(join(staged, platform.command), entry, deps, signal)
  const { sha256 } = archive
  const record = { version, archive: platform.archive, sha256, verifiedBy: expected.by, size: statSync(program).size }
  await publish(staged, entry, record)
  return record
}

function fetchArchive(url: string, program: string, deps: InstallDeps, signal: AbortSignal): Promise<Download<void>> {
  const { format, program: member, archive } = deps.platform
  const extraction = { format, member, target: program, temporary: join(deps.staging, archive) }
  const receive = (body: AsyncIterable<Buffer>) => extract(body, extraction, signal)
  return download({ url, maxBytes: MAX_ARCHIVE_BYTES, receive }, deps, signal)
}

/** Gets the checksum from the release's own checksums file; undefined if it has none. */
async function fetchChecksum(
  url: string,
  archive: string,
  deps: InstallDeps,
  signal: AbortSignal,
): Promise<ExpectedChecksum | undefined> {
  const file = await download({ url, maxBytes: MAX_TEXT_BYTES, receive: text }, deps, signal)
  if (file.kind === 'not-found') return undefined
  if (file.result.status === 'rejected') throw file.result.reason
  const sha256 = findChecksum(file.result.value, archive)
  return sha256 === undefined ? undefined : { sha256, by: 'release-checksums' }
}

function noArchive(version: string, url: string, { name }: Platform): SetupError {
  return new MissingFileError(
    `Release ${version} of the Blaxel CLI, or its archive for ${name}, does not exist: ${url} answered 404.`,
    'Set the input version to one listed at https://github.com/blaxel-ai/toolkit/releases. A release that was tagged a minute ago may not have its files yet.',
  )
}

function noChecksum(version: string, url: string, { archive }: Platform): SetupError {
  return new MissingFileError(
    `There is no checksum for bl ${version}: ${url} does not exist, or does not list exactly one for ${archive}.`,
    "setup-bl does not install what it can't verify. Set the input checksum to the archive's SHA-256, or use another version.",
  )
}

/** For every user of a shared tool cache, whatever the umask. Some network file systems refuse it and allow execution anyway. */
function makeExecutable(program: string): void {
  try {
    chmodSync(program, 0o755)
  } catch {
    // `bl version` shows whether it can be executed.
  }
}

/** The archive contains `blaxel` only; users type `bl`. */
function makeCommand(directory: string, { program, command }: Platform): void {
  const [from, to] = [join(directory, program), join(directory, command)]
  try {
    // Windows runs a program by its extension, and links need a privilege there.
    if (process.platform === 'win32') copyFileSync(from, to)
    else symlinkSync(program, to)
  } catch {
    // Some network file systems have no symbolic links.
    copyFileSync(from, to)
  }
}

async function assertRuns(file: string, entry: CacheEntry, deps: InstallDeps, signal: AbortSignal): Promise<void> {
  const { version, platform } = entry
  const check = isProgram(file, platform)
    ? await checkVersion(file, version, deps, signal)
    : ({ kind: 'unusable', why: 'it is not a program' } as const)
  switch (check.kind) {
    case 'as-expected':
      return
    case 'timed-out':
      throw new SetupError(
        `'bl version' of bl ${version} did not answer within 10 s.`,
        'The runner is overloaded: run the job again.',
      )
    case 'unusable':
      throw new SetupError(
        `The downloaded bl ${version} does not run on this runner: ${check.why}.`,
        'Nothing was installed. Check that the runner allows programs in its tool cache to run, or use another version.',
      )
  }
}
