import { createHash, randomUUID } from 'node:crypto'
import { existsSync, statSync } from 'node:fs'
import { mkdir, readFile, rm, unlink, writeFile } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { codeOf } from '../base/errors.ts'
import { renamePatiently } from '../base/files.ts'
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
const RECORD = 'setup-bl.json'
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
export async function readRecord(entry: CacheEntry): Promise<CacheRecord | undefined> {
  return existsSync(entry.marker) ? parseRecord(entry) : undefined
}

async function parseRecord(entry: CacheEntry): Promise<CacheRecord | undefined> {
  try {
    const value: unknown = JSON.parse(await readFile(join(entry.directory, RECORD), 'utf8'))
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

/** Writes the record into a staged entry. */
export async function writeRecord(directory: string, record: CacheRecord): Promise<void> {
  await writeFile(join(directory, RECORD), `${JSON.stringify(record)}\n`)
}

/**
 * Moves a staged directory to its place, `.complete` last. An entry of the same archive that another job has put there
 * meanwhile stays; anything else that stands there is replaced file by file, so that a job that uses it never finds it
 * gone.
 * @param unusable what was found there before and turned down
 */
export async function publish(
  staged: string,
  entry: CacheEntry,
  record: CacheRecord,
  unusable: CacheRecord | undefined,
): Promise<void> {
  await mkdir(dirname(entry.directory), { recursive: true })
  // A file or a link to nowhere is nobody's entry. Not by `rm`: it empties a directory that another job puts there while
  // it looks (Node 24, even without `recursive`).
  if (!isDirectory(entry.directory)) await unlink(entry.directory).catch(() => undefined)
  try {
    await renamePatiently(staged, entry.directory)
  } catch (error) {
    const isTaken = ['ENOTEMPTY', 'EEXIST', 'EPERM', 'EACCES', 'ENOTDIR'].includes(codeOf(error))
    if (!isTaken || !existsSync(entry.directory)) throw error
    const winner = await parseRecord(entry)
    const isSame = winner?.sha256 === record.sha256 && winner.version === record.version
    if (!isSame || unusable !== undefined) await replaceFiles(staged, entry)
  }
  await writeFile(entry.marker, '')
}

function isDirectory(path: string): boolean {
  return statSync(path, { throwIfNoEntry: false })?.isDirectory() === true
}

async function replaceFiles(staged: string, entry: CacheEntry): Promise<void> {
  // Without its record the entry is nobody's hit while its files change.
  await rm(join(entry.directory, RECORD), { force: true })
  for (const path of [entry.program, entry.command, join(entry.directory, RECORD)]) {
    await replaceFile(join(staged, path.slice(entry.directory.length + 1)), path)
  }
}

async function replaceFile(from: string, to: string): Promise<void> {
  try {
    await renamePatiently(from, to)
  } catch (error) {
    if (!['EISDIR', 'EPERM', 'EACCES', 'EBUSY'].includes(codeOf(error))) throw error
    // A directory, or on Windows a running program, can be moved away but not be replaced.
    const aside = `${to}.${randomUUID()}.old`
    await renamePatiently(to, aside)
    await renamePatiently(from, to)
    await rm(aside, { recursive: true, force: true }).catch(() => undefined)
  }
}
