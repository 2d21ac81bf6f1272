import {
  closeSync,
  constants,
  fchmodSync,
  fchownSync,
  fstatSync,
  openSync,
  readFileSync,
  readSync,
  writeFileSync,
  type BigIntStats,
} from 'node:fs'
import { join } from 'node:path'
import { setTimeout as pause } from 'node:timers/promises'
import { codeOf, SetupError } from '../util/errors.ts'
import { isHeldOnWindows, removeFile, removePatiently, renamePatiently, statIfThere } from '../util/fs.ts'
import { faultOf } from './config-document.ts'
import { giveToOwnerOfParent, quietly, reasonOf } from './directory.ts'
import type { ConfigContent } from './store.ts'

/** What was read, and how to tell whether it is still so. */
export interface ConfigSnapshot {
  readonly content: ConfigContent
  readonly stats: BigIntStats | undefined
}

/** `bl` truncates and then writes: an empty or invalid file gets this long after its last change to become whole. */
const SETTLING_MS = 2_000
const LOOK_AGAIN_MS = 20
const MAX_BYTES = 4_000_000
/** Of what was looked at before: no link, and nothing that would be waited for. Windows knows neither, which counts as 0. */
const READ = constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK

/** The CLI's config. @param directory `~/.blaxel` */
export function configPath(directory: string): string {
  return join(directory, 'config.yaml')
}

/**
 * Reads the config once it is whole. An empty file that stays empty is fine.
 * @throws SetupError naming file and line for anything that must not be written: links, directories, invalid YAML, what
 * is not UTF-8, too large or read-only
 */
export async function readConfig(path: string): Promise<ConfigSnapshot> {
  const givesUpAt = Date.now() + SETTLING_MS
  for (;;) {
    const seen = readOnce(path)
    if (seen.kind === 'whole') return seen.snapshot
    if (seen.changedAt < Date.now() - SETTLING_MS || Date.now() > givesUpAt) {
      if (seen.kind === 'invalid') throw seen.error
      return seen.snapshot
    }
    await pause(LOOK_AGAIN_MS)
  }
}

type Seen =
  | { readonly kind: 'whole'; readonly snapshot: ConfigSnapshot }
  /** When it was changed last, in ms since the epoch. */
  | ({ readonly changedAt: number } & (
      | { readonly kind: 'empty'; readonly snapshot: ConfigSnapshot }
      | { readonly kind: 'invalid'; readonly error: SetupError }
    ))

function readOnce(path: string): Seen {
  const invalid = (error: SetupError, changedAt: number): Seen => ({ kind: 'invalid', error, changedAt })
  try {
    const stats = statIfThere(path)
    if (stats === undefined) return { kind: 'whole', snapshot: { content: { kind: 'absent' }, stats } }
    assertReplaceable(path, stats)
    const bytes = readFile(path)
    if (!isSame(stats, statIfThere(path))) return invalid(keepsChanging(path), Date.now())
    const changedAt = Number(stats.mtimeMs)
    const text = bytes.toString('utf8')
    if (!Buffer.from(text).equals(bytes)) return invalid(refusal(path, 'is not UTF-8', FIX), changedAt)
    const snapshot: ConfigSnapshot = { content: { kind: 'present', text, mode: modeOf(stats) }, stats }
    if (text === '') return { kind: 'empty', snapshot, changedAt }
    const fault = faultOf(text)
    if (!fault) return { kind: 'whole', snapshot }
    const what = `${path}, line ${fault.line}: ${fault.message}, so no login can be added to it.`
    return invalid(new SetupError(what, `${FIX}, or set 'login: false'.`), changedAt)
  } catch (error) {
    if (error instanceof SetupError) throw error
    const unreadable = refusal(path, `can't be read (${reasonOf(error)})`, "Give the runner's user access to it", error)
    if (codeOf(error) === 'ENOENT' || isHeldOnWindows(error)) return invalid(unreadable, Date.now())
    throw unreadable
  }
}

const FIX = 'Fix or remove that file, which was not modified'

function refusal(path: string, fault: string, remedy: string, cause?: unknown): SetupError {
  return new SetupError(`${path} ${fault}.`, `${remedy}, or set 'login: false'.`, { cause })
}

/** The error for a config that others never leave alone. */
export function keepsChanging(path: string): SetupError {
  return new SetupError(`${path} keeps changing.`, 'Run the job again when nothing else writes it.')
}

function assertReplaceable(path: string, stats: BigIntStats): void {
  if (stats.isSymbolicLink()) throw refusal(path, 'is a symbolic link', 'Replace it by a regular file')
  if (!stats.isFile()) throw refusal(path, 'is not a regular file', 'Replace it by a regular file')
  if (stats.size > MAX_BYTES) throw refusal(path, 'is larger than 4 MB', 'Reduce its size')
  // Whoever took the permission away does not want it changed; bl could not write it either.
  if ((stats.mode & 0o200n) === 0n) throw refusal(path, 'is read-only', 'Make it writable')
}

/** Windows has no such modes. */
function modeOf(stats: BigIntStats): number {
  return process.platform === 'win32' ? 0o600 : Number(stats.mode & 0o777n)
}

function readFile(path: string): Buffer {
  const file = openSync(path, READ)
  try {
    return readFileSync(file)
  } finally {
    closeSync(file)
  }
}

function isSame(a: BigIntStats | undefined, b: BigIntStats | undefined): boolean {
  if (a === undefined || b === undefined) return a === b
  return a.ino === b.ino && a.dev === b.dev && a.size === b.size && a.mtimeNs === b.mtimeNs
}

export type Replacement =
  | { readonly kind: 'replaced' }
  /** Somebody changed the file before it could be replaced: read it again. */
  | { readonly kind: 'changed' }
  /** Somebody wrote into the old file while it was being replaced; this is what they wrote. */
  | { readonly kind: 'overtaken'; readonly content: ConfigContent }

/**
 * Replaces what was read by writing beside it and renaming: a reader sees the old file or the new one. A process that
 * had the old file open for writing is not lost: its text is returned.
 * @param temporary path of the file beside it; it is gone afterwards
 * @throws SetupError where it can't be written; the config is as it was then
 */
export async function replaceConfig(
  path: string,
  temporary: string,
  was: ConfigSnapshot,
  content: ConfigContent,
): Promise<Replacement> {
  // On Windows an open file can't be replaced.
  const old = was.stats === undefined || process.platform === 'win32' ? undefined : openIfThere(path)
  try {
    if (content.kind === 'present') writeBeside(temporary, content, was.stats)
    if (!isSame(was.stats, statIfThere(path))) return { kind: 'changed' }
    if (content.kind === 'present') await renamePatiently(temporary, path)
    else await removePatiently(path)
    return await overtaken(was, old)
  } catch (error) {
    if (error instanceof SetupError) throw error
    const fault = `can't be replaced with the same owner and group (${reasonOf(error)}), and was not modified`
    throw refusal(path, fault, "Give the runner's user room and write access there", error)
  } finally {
    if (old !== undefined) closeSync(old)
    removeFile(temporary)
  }
}

function openIfThere(path: string): number | undefined {
  try {
    return openSync(path, READ)
  } catch {
    return undefined
  }
}

/** Readable for its owner alone until it is whole. */
function writeBeside(
  temporary: string,
  { text, mode }: ConfigContent & { kind: 'present' },
  was: BigIntStats | undefined,
): void {
  removeFile(temporary)
  const file = openSync(temporary, 'wx', 0o600)
  try {
    if (was) keepOwner(file, was)
    else giveToOwnerOfParent(temporary, file)
    writeFileSync(file, text)
    quietly(() => {
      fchmodSync(file, mode)
    })
  } finally {
    closeSync(file)
  }
}

function keepOwner(file: number, was: BigIntStats): void {
  const [uid, gid] = [Number(was.uid), Number(was.gid)]
  const fresh = fstatSync(file)
  if (fresh.uid !== uid || fresh.gid !== gid) fchownSync(file, uid, gid)
}

/** What was written into the file that was replaced, by a process that had opened it before. */
async function overtaken({ content }: ConfigSnapshot, old: number | undefined): Promise<Replacement> {
  if (content.kind === 'absent' || old === undefined) return { kind: 'replaced' }
  const givesUpAt = Date.now() + SETTLING_MS
  // Not by its time: two writes may share one tick of the file system's clock.
  for (let text = readOpen(old); text !== content.text; text = readOpen(old)) {
    if (text !== '' && faultOf(text) === undefined) return { kind: 'overtaken', content: { ...content, text } }
    if (Date.now() > givesUpAt) break
    await pause(LOOK_AGAIN_MS)
  }
  return { kind: 'replaced' }
}

function readOpen(file: number): string {
  const buffer = Buffer.alloc(Math.min(fstatSync(file).size, MAX_BYTES))
  return buffer.toString('utf8', 0, readSync(file, buffer, { position: 0 }))
}
