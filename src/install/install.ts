import { excerpt } from '../util/redact.ts'
import { unlessAborted } from '../util/deadline.ts'
import { checkVersion, judgeVersion, versionTimeout, type VersionCheck } from '../blaxel/cli.ts'
import { pinnedChecksum, type ChecksumInput, type ExpectedChecksum, type VerifiedBy } from './checksum.ts'
import { fetchInto, type FetchEdges } from './fetch.ts'
import type { HeadStart } from './head-start.ts'
import knownChecksums from './known-checksums.json' with { type: 'json' }
import { MissingFile, releaseBefore, resolveVersion, type Resolution } from './release.ts'
import { cacheEntry, isFromArchive, readRecord, type CacheEntry, type CacheRecord } from './tool-cache.ts'
import type { VersionWish } from './version.ts'

export interface InstallEdges extends FetchEdges {
  readonly warn: (line: string) => void
  readonly toolCache: string
  readonly headStart: HeadStart | undefined
}

export interface Installation {
  readonly version: string
  /** Absolute path of the `bl` executable. */
  readonly path: string
  readonly cacheHit: boolean
  readonly verifiedBy: VerifiedBy
}

/**
 * Makes the wished version of the CLI available in the tool cache: from there, or downloaded, verified, run once and
 * published in one rename. Nothing that could not be verified is ever run.
 * @param checksum the user's own sums
 * @throws SetupError, with the tool cache as it was
 */
export async function install(
  wish: VersionWish,
  checksum: ChecksumInput | undefined,
  edges: InstallEdges,
  signal: AbortSignal,
): Promise<Installation> {
  const { archive } = edges.platform
  const releaseEdges = { http: edges.http, source: edges.source, archive }
  const resolution = await resolveVersion(wish, releaseEdges, signal)
  try {
    return await installRelease(resolution, checksum, edges, signal)
  } catch (error) {
    if (!(error instanceof MissingFile) || wish.kind !== 'latest' || edges.source.kind === 'mirror') throw error
    // A tag is pushed minutes before its files are there.
    const why = `${resolution.version}, whose ${archive} or its checksum is not there yet`
    return installRelease(await releaseBefore(resolution.version, why, releaseEdges, signal), checksum, edges, signal)
  }
}

async function installRelease(
  { version, warning }: Resolution,
  checksum: ChecksumInput | undefined,
  edges: InstallEdges,
  signal: AbortSignal,
): Promise<Installation> {
  const mirror = edges.source.kind === 'mirror' ? edges.source.url : undefined
  const entry = cacheEntry(edges.toolCache, version, edges.platform, mirror)
  const pinned = pinnedChecksum(checksum, knownChecksums, version, edges.platform.archive)
  const found = readRecord(entry)
  const isUsable = found !== undefined && (await isUsableRecord(found, entry, version, pinned, edges, signal))
  const record = isUsable ? found : await fetchInto(entry, version, pinned, found, edges, signal)
  if (warning !== undefined) edges.warn(warning)
  if (mirror !== undefined && record.verifiedBy === 'release-checksums') {
    edges.warn(
      `bl ${version} was verified only with the checksums file of the mirror, which so vouches for itself: give the archive's SHA-256 in the input checksum.`,
    )
  }
  return { version, path: entry.command, cacheHit: isUsable, verifiedBy: record.verifiedBy }
}

/** Whether a cached entry is the right archive and its program runs. */
async function isUsableRecord(
  record: CacheRecord,
  entry: CacheEntry,
  version: string,
  pinned: ExpectedChecksum | undefined,
  edges: InstallEdges,
  signal: AbortSignal,
): Promise<boolean> {
  if (!isFromArchive(record, version, edges.platform, pinned)) {
    edges.debug(`The cached bl ${version} came from an archive with SHA-256 ${excerpt(record.sha256)}: replacing it`)
    return false
  }
  const check = await checkCached(entry.command, version, edges, signal)
  switch (check.kind) {
    case 'as-expected':
      return true
    case 'unusable':
      edges.debug(`The cached bl ${version} is not usable (${check.why}): replacing it`)
      return false
    case 'timed-out':
      throw versionTimeout(version)
  }
}

/** By the `bl version` that runs already, where there is one. Only its good end counts: it has no private home. */
async function checkCached(
  file: string,
  version: string,
  edges: InstallEdges,
  signal: AbortSignal,
): Promise<VersionCheck> {
  const { headStart } = edges
  if (headStart?.file !== file) return checkVersion(file, version, edges, signal)
  const check = judgeVersion(await unlessAborted(headStart.outcome, signal), version)
  return check.kind === 'as-expected' ? check : checkVersion(file, version, edges, signal)
}
