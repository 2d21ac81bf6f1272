import { createHash } from 'node:crypto'
import {
  closeSync,
  constants,
  fchmodSync,
  fstatSync,
  linkSync,
  openSync,
  readFileSync,
  readSync,
  rmSync,
  writeFileSync,
  type BigIntStats,
} from 'node:fs'
import { setTimeout as pause } from 'node:timers/promises'
import { codeOf, messageOf, SetupError } from '../util/errors.ts'
import { refuseStrangeFile, renamePatiently, statIfThere } from '../util/fs.ts'
import { parseLayout } from './config-layout.ts'
import { ConfigTextError } from './config-text-error.ts'

/** What stands at the place of config.yaml. */
export type ConfigContent =
  { readonly kind: 'absent' } | { readonly kind: 'present'; readonly text: string; readonly mode: number }

/** What was read, and how to tell whether it is still so. */
export interface ConfigSnapshot {
  readonly content: ConfigContent
  readonly stats: BigIntStats | undefined
}

/** `bl` truncates and then writes: an empty or invalid file gets this long after its last change to become whole. */
const SETTLING_MS = 2_000
const LOOK_AGAIN_MS = 20
const LARGEST_BYTES = 4_000_000
const WHAT = "the CLI's config"
/** Of what was looked at before: no link, and nothing that would be waited for. Windows knows neither, which counts as 0. */
const READ = constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK

/**
 * Reads the config once it is whole and of a form in which logins can be replaced.
 * @param known fingerprints of texts that need no check, since they are ours
 * @throws SetupError naming file and line for anything that must not be written: links, directories, somebody else's
 * files, invalid YAML. An empty file that stays empty is fine.
 */
export async function readConfig(path: string, known: readonly string[] = []): Promise<ConfigSnapshot> {
  const givesUpAt = Date.now() + SETTLING_MS
  for (;;) {
    const seen = readOnce(path, known)
    if (seen.kind === 'whole') return seen.snapshot
    if (seen.changedAt < Date.now() - SETTLING_MS || Date.now() > givesUpAt) {
      if (seen.kind === 'unfit') throw seen.error
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
      | { readonly kind: 'unfit'; readonly error: SetupError }
    ))

function readOnce(path: string, known: readonly string[]): Seen {
  const stats = look(path)
  if (stats === undefined) return { kind: 'whole', snapshot: { content: { kind: 'absent' }, stats } }
  refuseUnfit(path, stats)
  const bytes = readBytes(path)
  const after = look(path)
  if (bytes === undefined || !after || !isSame(stats, after)) {
    const error = new SetupError(`${path} keeps changing.`, 'Run the job again when nothing else writes it.')
    return { kind: 'unfit', error, changedAt: Date.now() }
  }
  const changedAt = Number(stats.mtimeMs)
  const text = bytes.toString('utf8')
  if (!Buffer.from(text).equals(bytes)) {
    const error = new SetupError(`${path} is not UTF-8.`, 'Mend or remove it; it was left as it is.')
    return { kind: 'unfit', error, changedAt }
  }
  const content: ConfigContent = { kind: 'present', text, mode: modeOf(stats) }
  const snapshot = { content, stats }
  if (text === '') return { kind: 'empty', snapshot, changedAt }
  const error = known.includes(fingerprint(content)) ? undefined : unfitness(path, text)
  return error ? { kind: 'unfit', error, changedAt } : { kind: 'whole', snapshot }
}

function unfitness(path: string, text: string): SetupError | undefined {
  try {
    parseLayout(text)
    return undefined
  } catch (error) {
    if (!(error instanceof ConfigTextError)) throw error
    return new SetupError(
      `${path}, line ${error.line}: ${error.message}, so a login can't be added to it.`,
      "Mend or remove that file; it was left as it is. With 'login: false' setup-bl does not touch it.",
      { cause: error },
    )
  }
}

function refuseUnfit(path: string, stats: BigIntStats): void {
  refuseStrangeFile(path, stats, WHAT)
  const refuse = (fault: string, remedy: string): never => {
    throw new SetupError(`${path} ${fault}, so no login is written to it.`, `${remedy}, or set 'login: false'.`)
  }
  if (stats.size > LARGEST_BYTES) refuse('is larger than 4 MB', 'Clear it up')
  // Whoever took the permission away does not want it changed; bl could not write it either.
  if (process.platform !== 'win32' && (modeOf(stats) & 0o200) === 0) refuse('is read-only', 'Make it writable')
}

function modeOf(stats: BigIntStats): number {
  return Number(stats.mode & 0o777n)
}

function look(path: string): BigIntStats | undefined {
  try {
    return statIfThere(path)
  } catch (error) {
    throw unreadable(path, error)
  }
}

function readBytes(path: string): Buffer | undefined {
  try {
    const file = openSync(path, READ)
    try {
      return readFileSync(file)
    } finally {
      closeSync(file)
    }
  } catch (error) {
    if (codeOf(error) === 'ENOENT') return undefined
    throw unreadable(path, error)
  }
}

function unreadable(path: string, error: unknown): SetupError {
  return new SetupError(
    `${path} can't be read (${codeOf(error) || messageOf(error)}).`,
    "Give the runner's user access to it, or set 'login: false'.",
    { cause: error },
  )
}

function isSame(a: BigIntStats, b: BigIntStats): boolean {
  return a.ino === b.ino && a.dev === b.dev && a.size === b.size && a.mtimeNs === b.mtimeNs
}

export type Replacement =
  | { readonly kind: 'replaced' }
  /** Somebody changed the file before it could be replaced: read it again. */
  | { readonly kind: 'changed' }
  /** Somebody wrote into the old file while it was being replaced; this is what they wrote. */
  | { readonly kind: 'overtaken'; readonly content: ConfigContent }

/**
 * Puts new content in the place of what was read, by writing beside and renaming: a reader sees the old file or the new
 * one. A writer that had the old file open is not lost: its text is returned.
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
    if (content.kind === 'present') writeBeside(temporary, content)
    if (!isStill(was, statIfThere(path))) return { kind: 'changed' }
    const isPut = content.kind === 'absent' ? remove(path) : await put(temporary, path, was)
    return isPut ? await overtaken(path, was, old) : { kind: 'changed' }
  } catch (error) {
    if (error instanceof SetupError) throw error
    throw new SetupError(
      `${path} can't be written (${codeOf(error) || messageOf(error)}).`,
      "Give the runner's user room and write access there, or set 'login: false'. The file is as it was.",
      { cause: error },
    )
  } finally {
    if (old !== undefined) closeSync(old)
    rmSync(temporary, { force: true })
  }
}

function isStill(was: ConfigSnapshot, now: BigIntStats | undefined): boolean {
  return was.stats === undefined || now === undefined ? was.stats === now : isSame(was.stats, now)
}

function remove(path: string): boolean {
  rmSync(path, { force: true })
  return true
}

/** Where there was no file, a link fails if somebody has made one by now, while a rename would replace it. */
async function put(temporary: string, path: string, was: ConfigSnapshot): Promise<boolean> {
  if (was.stats === undefined) {
    try {
      linkSync(temporary, path)
      return true
    } catch (error) {
      if (codeOf(error) === 'EEXIST') return false
      // Some file systems know no hard links.
    }
  }
  await renamePatiently(temporary, path)
  return true
}

function openIfThere(path: string): number | undefined {
  try {
    return openSync(path, READ)
  } catch {
    return undefined
  }
}

function writeBeside(temporary: string, { text, mode }: ConfigContent & { kind: 'present' }): void {
  rmSync(temporary, { force: true })
  const file = openSync(temporary, 'wx', 0o600)
  try {
    writeFileSync(file, text)
    fchmodSync(file, mode)
  } finally {
    closeSync(file)
  }
}

async function overtaken(path: string, was: ConfigSnapshot, old: number | undefined): Promise<Replacement> {
  if (was.content.kind === 'absent' || old === undefined) return { kind: 'replaced' }
  // Not by its time: two writes may share one tick of the file system's clock.
  if (textOf(old) === was.content.text) return { kind: 'replaced' }
  const givesUpAt = Date.now() + SETTLING_MS
  for (;;) {
    await pause(LOOK_AGAIN_MS)
    const text = textOf(old)
    if (text !== '' && unfitness(path, text) === undefined) {
      return { kind: 'overtaken', content: { kind: 'present', text, mode: was.content.mode } }
    }
    if (Date.now() > givesUpAt) return { kind: 'replaced' }
  }
}

function textOf(file: number): string {
  const buffer = Buffer.alloc(Math.min(fstatSync(file).size, LARGEST_BYTES))
  return buffer.toString('utf8', 0, readSync(file, buffer, { position: 0 }))
}

/** Tells texts apart without keeping them. */
export function fingerprint(content: ConfigContent): string {
  return content.kind === 'absent' ? 'absent' : createHash('sha256').update(content.text).digest('hex')
}
