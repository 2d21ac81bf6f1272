import { lstatSync, readdirSync, renameSync, rmdirSync, unlinkSync, type BigIntStats } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as pause } from 'node:timers/promises'
import { codeOf } from './errors.ts'

/** Virus scanners and indexers hold fresh files on Windows for a moment. */
const WINDOWS_BUSY_MS = 2_000

/** Whether a file can't be used because another process has it open, which only Windows enforces. */
export function isHeldOnWindows(error: unknown): boolean {
  return process.platform === 'win32' && ['EPERM', 'EACCES', 'EBUSY'].includes(codeOf(error))
}

/** Renames; on Windows again for 2 s while somebody holds one of the files. */
export async function renamePatiently(from: string, to: string): Promise<void> {
  await patiently(() => {
    renameSync(from, to)
  })
}

/** Removes a file where it exists; on Windows again for 2 s while somebody holds it. */
export async function removePatiently(path: string): Promise<void> {
  await patiently(() => {
    removeFile(path)
  })
}

async function patiently(work: () => void): Promise<void> {
  const givesUpAt = Date.now() + WINDOWS_BUSY_MS
  for (;;) {
    try {
      work()
      return
    } catch (error) {
      if (!isHeldOnWindows(error) || Date.now() > givesUpAt) throw error
      await pause(50)
    }
  }
}

/** Removes a file where it exists. */
export function removeFile(path: string): void {
  try {
    unlinkSync(path)
  } catch (error) {
    if (codeOf(error) !== 'ENOENT') throw error
  }
}

const TREE_ATTEMPTS = 6

/**
 * Removes a file, or a directory and everything in it; again for 1.5 s while somebody uses something in it. `rmSync` is
 * of no use here: on Windows it leaves some paths outside ASCII in place, and ends the process for others.
 */
export function removeTree(path: string): void {
  for (let attempt = 1; ; attempt += 1) {
    try {
      removeTreeOnce(path)
      return
    } catch (error) {
      const isBusy = ['EBUSY', 'ENOTEMPTY'].includes(codeOf(error)) || isHeldOnWindows(error)
      if (!isBusy || attempt === TREE_ATTEMPTS) throw error
      Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, attempt * 100)
    }
  }
}

function removeTreeOnce(path: string): void {
  if (lstatSync(path, { throwIfNoEntry: false })?.isDirectory() !== true) {
    removeFile(path)
    return
  }
  for (const name of readdirSync(path)) removeTreeOnce(join(path, name))
  rmdirSync(path)
}

/** Removes a file or directory of ours. What can't be removed now is for the post step, which says so. */
export function discard(path: string): void {
  try {
    removeTree(path)
  } catch {
    // somebody holds a file in it
  }
}

/** What stands at a path, without following a link; undefined where nothing does. */
export function statIfThere(path: string): BigIntStats | undefined {
  return lstatSync(path, { bigint: true, throwIfNoEntry: false })
}
