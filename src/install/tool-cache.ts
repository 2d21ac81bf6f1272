import { find } from '@actions/tool-cache'
import { createHash, randomUUID } from 'node:crypto'
import {
  accessSync,
  closeSync,
  constants,
  openSync,
  readdirSync,
  readFileSync,
  readSync,
  renameSync,
  statSync,
} from 'node:fs'
import { rm } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { codeOf } from '../util/errors.ts'
import {
  discard,
  isDirectory,
  makeDirectories,
  moveDirectory,
  remove,
  removeFile,
  renamePatiently,
  writeFile,
} from '../util/fs.ts'
import type { VerifiedBy } from './checksum.ts'
import type { Platform } from './platform.ts'

/** What is stored beside a cached program: the archive that it came from, and how that was verified. */
export interface CacheRecord {
  readonly version: string
  readonly archive: string
  readonly sha256: string
  readonly verifiedBy: VerifiedBy
  /** Size of the program in bytes. Records of older versions don't have it. */
  readonly size?: number
}

/** A place in the tool cache, in @actions/tool-cache's layout. */
export interface CacheEntry {
  readonly tool: string
  readonly version: string
  readonly platform: Platform
  /** `<tool cache>/<tool>/<version>/<arch>` */
  readonly directory: string
  /** Path of the `bl` executable. */
  readonly command: string
}

export type Lookup =
  | { readonly kind: 'hit'; readonly record: CacheRecord }
  /** `why` is the end of a sentence that starts with "The cached bl". */
  | { readonly kind: 'unusable'; readonly why: string }
  | { readonly kind: 'missing' }

const RECORD = 'setup-bl.json'
/** No installation takes a day. */
const ABANDONED_MS = 86_400_000
/** How a file is called that was moved away while its program was running. */
const OLD = '.old'

/** @param mirror base URL of the mirror that the archives come from: its archives needn't be those of github.com */
export function cacheEntry(
  toolCache: string,
  version: string,
  platform: Platform,
  mirror: string | undefined,
): CacheEntry {
  const tool =
    mirror === undefined ? 'bl' : `bl-mirror-${createHash('sha256').update(mirror).digest('hex').slice(0, 12)}`
  const directory = join(toolCache, tool, version, platform.arch)
  return { tool, version, platform, directory, command: join(directory, platform.command) }
}

/** Path of a staging directory: inside the tool cache, so that publishing is a rename on one file system. */
export function stagingDirectory(toolCache: string, name: string): string {
  return join(toolCache, 'bl', name)
}

/** Removes the staging directories of jobs whose runner died, so that no post step removed them. */
export async function removeAbandonedStaging(toolCache: string): Promise<void> {
  const parent = join(toolCache, 'bl')
  for (const name of readdirSync(parent).filter((each) => each.startsWith('.setup-bl-'))) {
    const stats = statSync(join(parent, name), { throwIfNoEntry: false })
    if (stats && stats.mtimeMs < Date.now() - ABANDONED_MS) await discard(join(parent, name))
  }
}

/**
 * Looks an entry up. Its program is not run: it must be an executable of the recorded size, from the wanted archive.
 * @param pinned SHA-256 of the archive, if it is known without asking the release
 */
export function lookUp(entry: CacheEntry, pinned: string | undefined): Lookup {
  if (find(entry.tool, entry.version, entry.platform.arch) === '') return { kind: 'missing' }
  const record = readRecord(entry)
  if (!record) return { kind: 'unusable', why: 'has no valid record' }
  const { version, archive, sha256 } = record
  if (version !== entry.version || archive !== entry.platform.archive) {
    return { kind: 'unusable', why: 'is another version or for another platform' }
  }
  if (pinned !== undefined && sha256 !== pinned)
    return { kind: 'unusable', why: 'came from an archive with another checksum' }
  if (!isIntact(entry, record)) return { kind: 'unusable', why: 'is damaged' }
  return { kind: 'hit', record }
}

/** Whether `bl` leads to an executable file of the recorded size that starts as a program does. */
function isIntact({ command, platform }: CacheEntry, { size }: CacheRecord): boolean {
  try {
    const stats = statSync(command)
    accessSync(command, constants.X_OK)
    return (size === undefined ? stats.size > 0 : stats.size === size) && isProgram(command, platform)
  } catch {
    return false
  }
}

/** Whether a file starts as an executable of this platform does. */
export function isProgram(path: string, { magic }: Platform): boolean {
  const file = openSync(path, 'r')
  try {
    const buffer = Buffer.alloc(4)
    const start = buffer.toString('hex', 0, readSync(file, buffer))
    return magic.some((each) => start.startsWith(each))
  } finally {
    closeSync(file)
  }
}

function readRecord({ directory }: CacheEntry): CacheRecord | undefined {
  try {
    const value: unknown = JSON.parse(readFileSync(join(directory, RECORD), 'utf8'))
    return isRecord(value) ? value : undefined
  } catch {
    return undefined
  }
}

function isRecord(value: unknown): value is CacheRecord {
  if (typeof value !== 'object' || value === null) return false
  const { version, archive, sha256, verifiedBy, size } = value as Record<string, unknown>
  return (
    typeof version === 'string' &&
    typeof archive === 'string' &&
    typeof sha256 === 'string' &&
    (verifiedBy === 'checksum-input' || verifiedBy === 'known-checksums' || verifiedBy === 'release-checksums') &&
    (size === undefined || typeof size === 'number')
  )
}

/**
 * Moves a complete directory to its place in the tool cache, `.complete` last. An intact entry from the same archive,
 * which another job has just published, stays. Anything else is replaced file by file, so that a job that is using it
 * never finds it gone.
 * @throws an error of the operating system that names the path
 */
export async function publish(staged: string, entry: CacheEntry, record: CacheRecord): Promise<void> {
  writeFile(join(staged, RECORD), `${JSON.stringify(record)}\n`)
  makeDirectories(dirname(entry.directory))
  // Not with `rm`, which would empty a directory that another job has just put there.
  if (!isDirectory(entry.directory)) removeFile(entry.directory)
  const isMoved = await moveDirectory(staged, entry.directory)
  if (!isMoved && lookUp(entry, record.sha256).kind !== 'hit') await replaceFiles(staged, entry)
  writeFile(marker(entry.directory), '')
}

/** Makes the next job download the program again. @param directory of the entry */
export async function dropEntry(directory: string): Promise<void> {
  await discard(marker(directory))
}

/** Deletes what was replaced. A program that is still running, which Windows doesn't delete, is left to a later job. */
export async function removeReplacedPrograms({ directory }: CacheEntry): Promise<void> {
  for (const name of readdirSync(directory)) {
    if (name.endsWith(OLD)) await rm(join(directory, name), { recursive: true }).catch(() => undefined)
  }
}

function marker(directory: string): string {
  return `${directory}.complete`
}

async function replaceFiles(staged: string, entry: CacheEntry): Promise<void> {
  // Without its record the entry is not a hit while its files change.
  await remove(join(entry.directory, RECORD))
  for (const name of [entry.platform.program, entry.platform.command, RECORD]) {
    await replaceFile(join(staged, name), join(entry.directory, name))
  }
}

async function replaceFile(from: string, to: string): Promise<void> {
  try {
    renameSync(from, to)
  } catch (error) {
    if (!['EISDIR', 'EPERM', 'EACCES', 'EBUSY'].includes(codeOf(error))) throw error
    // A directory, or a running program on Windows, can be moved away but not be replaced.
    await renamePatiently(to, `${to}.${randomUUID()}${OLD}`)
    await renamePatiently(from, to)
  }
}
