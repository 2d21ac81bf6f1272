import { copyFileSync, mkdirSync, symlinkSync } from 'node:fs'
import { basename, dirname, join } from 'node:path'
import { unlessAborted } from '../util/deadline.ts'
import { SetupError } from '../util/errors.ts'
import { together } from '../util/concurrently.ts'
import { beginUnpacking, type Unpacking } from './archive.ts'
import type { Http } from '../util/http.ts'
import { checkVersion, isProgram, versionTimeout, type BlEdges } from '../blaxel/cli.ts'
import { findChecksum, type ExpectedChecksum, type VerifiedBy } from './checksum.ts'
import { download, type Sink } from './download.ts'
import type { Platform } from './platform.ts'
import { publish, writeRecord } from './publish.ts'
import { MissingFile, releaseUrls, type ReleaseSource } from './release.ts'
import type { CacheEntry, CacheRecord } from './tool-cache.ts'

export interface FetchEdges extends BlEdges {
  readonly http: Http
  readonly debug: (line: string) => void
  readonly source: ReleaseSource
  readonly platform: Platform
  /** A directory inside the tool cache, made here; who gives it removes it, when nothing runs there any more. */
  readonly staging: string
  /** Hears of the verified program. */
  readonly offer: (file: string) => void
  /** Settles when nobody runs it there any more. */
  readonly returned: () => Promise<void>
}

const LARGEST_ARCHIVE = 200_000_000
const LARGEST_TEXT = 1_000_000

/**
 * Downloads, verifies and unpacks a release in staging, runs it once, and publishes it in one rename.
 * @param pinned the sum that decides, where one is known without asking the release
 * @param unusable what was found in the entry's place and turned down
 * @throws SetupError, with the tool cache as it was
 */
export async function fetchInto(
  entry: CacheEntry,
  version: string,
  pinned: ExpectedChecksum | undefined,
  unusable: CacheRecord | undefined,
  edges: FetchEdges,
  signal: AbortSignal,
): Promise<CacheRecord> {
  const staged = join(edges.staging, 'entry')
  // One by one: an error names the path that was asked for, and so the one to which access is missing.
  for (const each of [dirname(edges.staging), edges.staging, staged]) mkdirSync(each, { recursive: true })
  const record = await fetchProgram(join(staged, edges.platform.program), version, pinned, edges, signal)
  makeCommand(staged, edges.platform)
  const file = join(staged, edges.platform.command)
  // What is no program would be handed to a shell.
  if (isProgram(file)) edges.offer(file)
  await refuseUnusable(file, version, edges, signal)
  writeRecord(staged, record)
  await unlessAborted(edges.returned(), signal)
  await publish(staged, entry, record, unusable)
  return record
}

/**
 * Downloads the archive, unpacks its program while it arrives, and compares its sum with the one source that decides.
 * Only when that agrees does it matter what was unpacked.
 */
async function fetchProgram(
  target: string,
  version: string,
  pinned: ExpectedChecksum | undefined,
  edges: FetchEdges,
  signal: AbortSignal,
): Promise<CacheRecord> {
  const { archive, program } = edges.platform
  const url = releaseUrls(edges.source).file(version, archive)
  const tries: Unpacking[] = []
  const begin = () => {
    const unpacking = beginUnpacking({ archive: join(edges.staging, archive), program, target }, signal)
    tries.push(unpacking)
    return unpacking
  }
  try {
    const [downloaded, source] = await together(
      signal,
      (both) => download({ url, begin, largest: LARGEST_ARCHIVE }, edges, both),
      (both) =>
        pinned ? Promise.resolve<ChecksumSource>({ kind: 'sum', ...pinned }) : askRelease(version, edges, both),
    )
    if (downloaded.kind === 'not-found') throw noArchive(version, url, edges.platform, source)
    if (source.kind !== 'sum') throw noChecksum(version, edges, source)
    const { sha256, sink } = downloaded
    if (sha256 !== source.sha256) throw mismatch(version, archive, sha256, source)
    await sink.finish()
    return { version, archive, sha256, verifiedBy: source.by }
  } catch (error) {
    for (const unpacking of tries) await unpacking.discard()
    throw error
  }
}

type ChecksumSource =
  ({ readonly kind: 'sum' } & ExpectedChecksum) | { readonly kind: 'no-file' } | { readonly kind: 'no-line' }

/** Asks the checksums file of the release. */
async function askRelease(version: string, edges: FetchEdges, signal: AbortSignal): Promise<ChecksumSource> {
  const url = releaseUrls(edges.source).checksums(version)
  const downloaded = await download({ url, begin: textSink, largest: LARGEST_TEXT }, edges, signal)
  if (downloaded.kind === 'not-found') return { kind: 'no-file' }
  const sha256 = findChecksum(downloaded.sink.text(), edges.platform.archive)
  return sha256 === undefined ? { kind: 'no-line' } : { kind: 'sum', sha256, by: 'release-checksums' }
}

function textSink(): Sink & { readonly text: () => string } {
  const pieces: Buffer[] = []
  return {
    write: (piece) => {
      pieces.push(piece)
      return Promise.resolve()
    },
    discard: () => Promise.resolve(),
    text: () => Buffer.concat(pieces).toString('utf8'),
  }
}

function noArchive(version: string, url: string, platform: Platform, source: ChecksumSource): SetupError {
  // A checksums file shows that the release is there.
  const what =
    source.kind === 'no-line'
      ? `Release ${version} of the Blaxel CLI has no archive for ${platform.name}`
      : source.kind === 'no-file'
        ? `There is no release ${version} of the Blaxel CLI`
        : `Release ${version} of the Blaxel CLI, or its archive for ${platform.name}, does not exist`
  return new MissingFile(
    `${what}: ${url} answered 404.`,
    'Set the input version to one listed at https://github.com/blaxel-ai/toolkit/releases. The files of a release that was tagged a minute ago may still be on their way.',
  )
}

function noChecksum(version: string, edges: FetchEdges, source: { kind: 'no-file' | 'no-line' }): SetupError {
  const why = source.kind === 'no-file' ? 'does not exist' : `has not exactly one sum for ${edges.platform.archive}`
  return new MissingFile(
    `There is no checksum for bl ${version}: ${releaseUrls(edges.source).checksums(version)} ${why}.`,
    "What can't be verified is not installed. Give the archive's SHA-256 in the input checksum, or use another version.",
  )
}

function mismatch(version: string, archive: string, actual: string, expected: ExpectedChecksum): SetupError {
  return new SetupError(
    `The SHA-256 of ${archive} of bl ${version} is ${actual}, but ${SOURCE[expected.by]} says ${expected.sha256}. Nothing was installed.`,
    MISMATCH_REMEDY[expected.by],
  )
}

const SOURCE: Readonly<Record<VerifiedBy, string>> = {
  'checksum-input': 'the input checksum',
  'known-checksums': "setup-bl's table of known checksums",
  'release-checksums': "the release's checksums file",
}
const MISMATCH_REMEDY: Readonly<Record<VerifiedBy, string>> = {
  'checksum-input': 'Correct the input checksum, or find out who changed the archive.',
  'known-checksums': 'The archive was changed after its release: report it, and use another version.',
  'release-checksums': 'The archive is damaged or was changed: run the job again, or use another version.',
}

/** Archives hold `blaxel` alone; users type `bl`. */
function makeCommand(directory: string, platform: Platform): void {
  const from = join(directory, platform.program)
  const to = join(directory, platform.command)
  // Symlinks need a privilege on Windows.
  if (platform.program.endsWith('.exe')) copyFileSync(from, to)
  else symlinkSync(basename(from), to)
}

async function refuseUnusable(file: string, version: string, edges: FetchEdges, signal: AbortSignal): Promise<void> {
  const check = await checkVersion(file, version, edges, signal)
  switch (check.kind) {
    case 'as-expected':
      return
    case 'timed-out':
      throw versionTimeout(version)
    case 'unusable':
      throw new SetupError(
        `The downloaded bl ${version} does not run on this runner: ${check.why}.`,
        'Nothing was installed. Check that the runner allows programs in its tool cache to run, or use another version.',
      )
  }
}
