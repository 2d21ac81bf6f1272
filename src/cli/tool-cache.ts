import { createHash } from 'node:crypto'
import { existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import type { VerifiedBy } from './checksum.ts'
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
  return mirror === undefined
    ? TOOL
    : `${TOOL}-mirror-${createHash('sha256').update(mirror).digest('hex').slice(0, 12)}`
}

/** A staging directory's path: inside the tool cache, so that publishing is a rename on one file system. */
export function stagingDirectory(toolCache: string, name: string): string {
  return join(toolCache, TOOL, name)
}

/** The record of a whole entry; undefined where there is none, or one that this action did not write. */
export function readRecord(entry: CacheEntry): CacheRecord | undefined {
  return existsSync(entry.marker) ? parseRecord(entry) : undefined
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
