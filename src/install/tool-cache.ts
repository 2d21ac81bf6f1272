import { existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import type { ExpectedChecksum, VerifiedBy } from './checksum.ts'
import type { Platform } from './platform.ts'

/** What stands beside a cached program: which archive it came from and who vouched for it. */
export interface CacheRecord {
  readonly version: string
  readonly archive: string
  readonly sha256: string
  readonly verifiedBy: VerifiedBy
}

/** One place in the tool cache, in the layout that @actions/tool-cache's `find('bl', version, arch)` reads. */
export interface CacheEntry {
  /** `<tool cache>/bl/<version>/<arch>` */
  readonly directory: string
  /** An empty file beside the directory says that it is whole. */
  readonly marker: string
  readonly program: string
  readonly command: string
}

const TOOL = 'bl'
/** Name of the record in an entry's directory. */
export const RECORD = 'setup-bl.json'

/** @param mirror address of the mirror that the archives come from: what it says of itself is not what GitHub has */
export function cacheEntry(
  toolCache: string,
  version: string,
  platform: Platform,
  mirror: string | undefined,
): CacheEntry {
  const directory = join(toolCache, toolName(mirror), version, platform.arch)
  return {
    directory,
    marker: `${directory}.complete`,
    program: join(directory, platform.program),
    command: join(directory, platform.command),
  }
}

function toolName(mirror: string | undefined): string {
  if (mirror === undefined) return TOOL
  // Not imported: it takes as long to load as all that a head start needs, and only a mirror needs it.
  const { createHash } = process.getBuiltinModule('node:crypto')
  return `${TOOL}-mirror-${createHash('sha256').update(mirror).digest('hex').slice(0, 12)}`
}

/** A staging directory's path: inside the tool cache, so that publishing is a rename on one file system. */
export function stagingDirectory(toolCache: string, name: string): string {
  return join(toolCache, TOOL, name)
}

/** The record of a whole entry; undefined where there is none, or one that this action did not write. */
export function readRecord(entry: CacheEntry): CacheRecord | undefined {
  return existsSync(entry.marker) ? parseRecord(entry) : undefined
}

/** Whether an entry came from the archive that is wanted. @param pinned the sum that decides, where one is known */
export function isFromArchive(
  record: CacheRecord,
  version: string,
  { archive }: Platform,
  pinned: ExpectedChecksum | undefined,
): boolean {
  return (
    record.version === version &&
    record.archive === archive &&
    (pinned === undefined || record.sha256 === pinned.sha256)
  )
}

/** The record in an entry's directory, whether the entry is whole or not. */
export function parseRecord(entry: CacheEntry): CacheRecord | undefined {
  try {
    const value: unknown = JSON.parse(readFileSync(join(entry.directory, RECORD), 'utf8'))
    return isRecord(value) ? value : undefined
  } catch {
    return undefined
  }
}

function isRecord(value: unknown): value is CacheRecord {
  if (typeof value !== 'object' || value === null) return false
  const { version, archive, sha256, verifiedBy } = value as Record<string, unknown>
  return (
    typeof version === 'string' &&
    typeof archive === 'string' &&
    typeof sha256 === 'string' &&
    (verifiedBy === 'checksum-input' || verifiedBy === 'known-checksums' || verifiedBy === 'release-checksums')
  )
}
