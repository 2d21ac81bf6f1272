import { lstatSync, renameSync, rmSync, writeFileSync, type BigIntStats } from 'node:fs'
import { setTimeout as pause } from 'node:timers/promises'
import { codeOf, SetupError } from './errors.ts'

/** Virus scanners and indexers hold fresh files on Windows for a moment. */
const WINDOWS_BUSY_MS = 2_000

/** Renames; on Windows again for 2 s while somebody holds one of the files. */
export async function renamePatiently(from: string, to: string): Promise<void> {
  const givesUpAt = Date.now() + WINDOWS_BUSY_MS
  for (;;) {
    try {
      renameSync(from, to)
      return
    } catch (error) {
      const held = process.platform === 'win32' && ['EPERM', 'EACCES', 'EBUSY'].includes(codeOf(error))
      if (!held || Date.now() > givesUpAt) throw error
      await pause(50)
    }
  }
}

/** Writes a private file in one step: a reader sees the old text or the new one. */
export async function writePrivately(path: string, temporary: string, text: string): Promise<void> {
  try {
    rmSync(temporary, { force: true })
    writeFileSync(temporary, text, { flag: 'wx', mode: 0o600 })
    await renamePatiently(temporary, path)
  } finally {
    rmSync(temporary, { force: true })
  }
}

/** Removes a file or directory of ours. What can't be removed now is for the post step, which says so. */
export function discard(path: string): void {
  try {
    rmSync(path, { recursive: true, force: true, maxRetries: 5 })
  } catch {
    // somebody holds a file in it
  }
}

/** What stands at a path, without following a link; undefined where nothing does. */
export function statIfThere(path: string): BigIntStats | undefined {
  return lstatSync(path, { bigint: true, throwIfNoEntry: false })
}

/**
 * A file that holds logins must be a regular one of our own user.
 * @param what it is, for the message
 * @throws SetupError otherwise
 */
export function refuseStrangeFile(path: string, stats: BigIntStats, what: string): void {
  const refuse = (fault: string): never => {
    throw new SetupError(
      `${path} ${fault}, and was left as it is; it is ${what}.`,
      "Make it a regular file of the runner's user, or set 'login: false'.",
    )
  }
  if (stats.isSymbolicLink()) refuse('is a symbolic link')
  if (!stats.isFile()) refuse('is not a regular file')
  if (process.geteuid && stats.uid !== BigInt(process.geteuid())) refuse('belongs to another user')
}
