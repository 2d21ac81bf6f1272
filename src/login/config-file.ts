import {
  closeSync,
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
import { codeOf, isSystemError, SetupError } from '../util/errors.ts'
import { isHeldOnWindows, removeFile, removePatiently, renamePatiently, statIfThere } from '../util/fs.ts'
import { faultOf } from './config-document.ts'
import { assertRegularFile, giveToOwnerOfParent, quietly, reasonOf, refusal } from './directory.ts'
import { ABSENT, type ConfigContent } from './store.ts'

/** What was read, and how to tell whether it is still so. */
export interface ConfigSnapshot {
  readonly content: ConfigContent
  readonly stats: BigIntStats | undefined
}

/** `bl` truncates and then writes: an empty or invalid file gets this long after its last change to become whole. */
const SETTLING_MS = 2_000
const LOOK_AGAIN_MS = 20
const MAX_BYTES = 4_000_000

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
    const { content, stats, error } = readOnce(path)
    const isWhole = error === undefined && content.text !== ''
    const isOld = stats !== undefined && Number(stats.mtimeMs) < Date.now() - SETTLING_MS
    if (isWhole || isOld || Date.now() > givesUpAt) {
      if (error) throw error
      return { content, stats }
    }
    await pause(LOOK_AGAIN_MS)
  }
}

/** The config as it is; empty where it can't be used. @param directory `~/.blaxel` */
export async function configText(directory: string): Promise<string> {
  try {
    return (await readConfig(configPath(directory))).content.text ?? ''
  } catch {
    return ''
  }
}

/** @returns with an error where that may pass */
function readOnce(path: string): ConfigSnapshot & { readonly error?: SetupError } {
  try {
    const stats = statIfThere(path)
    if (stats === undefined) return { content: ABSENT, stats }
    assertReplaceable(path, stats)
    const bytes = readFileSync(path)
    const text = bytes.toString('utf8')
    const snapshot = { content: { text, mode: modeOf(stats) }, stats }
    if (!Buffer.from(text).equals(bytes)) return { ...snapshot, error: refusal(path, 'is not UTF-8', FIX) }
    const fault = faultOf(text)
    if (!fault) return snapshot
    const why = `${fault.message}, so no login can be added to it`
    return { ...snapshot, error: refusal(`${path}, line ${fault.line}:`, why, FIX) }
  } catch (error) {
    if (error instanceof SetupError) throw error
    const unreadable = refusal(path, `can't be read (${reasonOf(error)})`, "Give the runner's user access to it", error)
    if (codeOf(error) !== 'ENOENT' && !isHeldOnWindows(error)) throw unreadable
    return { content: ABSENT, stats: undefined, error: unreadable }
  }
}

const FIX = 'Fix or remove that file, which was not modified'

function assertReplaceable(path: string, stats: BigIntStats): void {
  assertRegularFile(path, stats)
  if (stats.size > MAX_BYTES) throw refusal(path, 'is larger than 4 MB', 'Reduce its size')
  // Whoever took the permission away does not want it changed; bl could not write it either.
  if ((stats.mode & 0o200n) === 0n) throw refusal(path, 'is read-only', 'Make it writable')
}

/** Windows has no such modes. */
function modeOf(stats: BigIntStats): number {
  return process.platform === 'win32' ? 0o600 : Number(stats.mode & 0o777n)
}

function isSame(a: BigIntStats | undefined, b: BigIntStats | undefined): boolean {
  return a?.ino === b?.ino && a?.size === b?.size && a?.mtimeNs === b?.mtimeNs
}

function notReplaced(path: string, error: unknown): SetupError {
  const isOwner = isSystemError(error) && String(error.syscall).endsWith('chown')
  const what = isOwner ? "can't be replaced with the same owner and group" : "can't be written"
  const remedy = "Free some space there and give the runner's user write access"
  return refusal(path, `${what} (${reasonOf(error)}), and was not modified`, remedy, error)
}

/**
 * Replaces what was read by writing beside it and renaming: a reader sees the old file or the new one.
 * @param temporary path of the file beside it; it is gone afterwards
 * @returns undefined once it is replaced; otherwise what somebody else has written meanwhile, in the config or, having
 * opened it before, in the file that it was
 * @throws SetupError where it can't be written; the config is as it was then
 */
export async function replaceConfig(
  path: string,
  temporary: string,
  was: ConfigSnapshot,
  { text, mode }: ConfigContent,
): Promise<ConfigSnapshot | undefined> {
  // On Windows an open file can't be replaced.
  const old = was.stats === undefined || process.platform === 'win32' ? undefined : openIfThere(path)
  try {
    if (text !== undefined) writeBeside(temporary, text, mode, was.stats)
    if (!isSame(was.stats, statIfThere(path))) return await readConfig(path)
    if (text === undefined) await removePatiently(path)
    else await renamePatiently(temporary, path)
    const written = old === undefined ? undefined : await overtaken(was.content.text, old)
    if (written === undefined) return undefined
    return { content: { ...was.content, text: written }, stats: statIfThere(path) }
  } catch (error) {
    if (error instanceof SetupError) throw error
    throw notReplaced(path, error)
  } finally {
    if (old !== undefined) closeSync(old)
    removeFile(temporary)
  }
}

function openIfThere(path: string): number | undefined {
  try {
    return openSync(path, 'r')
  } catch {
    return undefined
  }
}

/** Readable for its owner alone until it is whole. */
function writeBeside(temporary: string, text: string, mode: number, was: BigIntStats | undefined): void {
  const file = openSync(temporary, 'wx', 0o600)
  try {
    const { uid, gid } = fstatSync(file, { bigint: true })
    if (!was) giveToOwnerOfParent(temporary)
    else if (uid !== was.uid || gid !== was.gid) fchownSync(file, Number(was.uid), Number(was.gid))
    writeFileSync(file, text)
    quietly(() => {
      fchmodSync(file, mode)
    })
  } finally {
    closeSync(file)
  }
}

/** What was written into the file that was replaced, by a process that had opened it before. */
async function overtaken(was: string | undefined, old: number): Promise<string | undefined> {
  const givesUpAt = Date.now() + SETTLING_MS
  // Not by its time: two writes may share one tick of the file system's clock.
  for (let text = readOpen(old); text !== was; text = readOpen(old)) {
    if (text !== '' && faultOf(text) === undefined) return text
    if (Date.now() > givesUpAt) break
    await pause(LOOK_AGAIN_MS)
  }
  return undefined
}

function readOpen(file: number): string {
  const buffer = Buffer.alloc(Math.min(fstatSync(file).size, MAX_BYTES))
  return buffer.toString('utf8', 0, readSync(file, buffer, { position: 0 }))
}
