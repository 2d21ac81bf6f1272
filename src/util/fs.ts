import {
  lstatSync,
  mkdirSync,
  realpathSync,
  renameSync,
  statSync,
  unlinkSync,
  writeFileSync,
  type BigIntStats,
} from 'node:fs'
import { rm } from 'node:fs/promises'
import { dirname, isAbsolute, relative, sep } from 'node:path'
import { setTimeout as pause } from 'node:timers/promises'
import { codeOf, withPath } from './errors.ts'

/** Virus scanners and indexers on Windows keep new files open for a moment. */
const WINDOWS_BUSY_MS = 2_000

/** Renames a file. On Windows it tries for 2 s while another process has one of the two open. */
export async function renamePatiently(from: string, to: string): Promise<void> {
  await whileBusy(() => {
    renameSync(from, to)
  })
}

/** Removes a file if it exists. On Windows it tries for 2 s while another process has it open. */
export async function removePatiently(path: string): Promise<void> {
  await whileBusy(() => {
    removeFile(path)
  })
}

/**
 * Moves a directory to a place where none is yet.
 * @returns false if a directory is there already
 */
export async function moveDirectory(from: string, to: string): Promise<boolean> {
  return whileBusy(() => {
    try {
      renameSync(from, to)
      return true
    } catch (error) {
      // Windows reports EPERM for this too, which is no reason to wait.
      if (isDirectory(to)) return false
      throw error
    }
  })
}

async function whileBusy<T>(work: () => T): Promise<T> {
  const deadline = Date.now() + WINDOWS_BUSY_MS
  for (;;) {
    try {
      return work()
    } catch (error) {
      if (!isHeldOnWindows(error) || Date.now() > deadline) throw error
      await pause(50)
    }
  }
}

/** Whether a file can't be used because another process has it open, which only Windows enforces. */
export function isHeldOnWindows(error: unknown): boolean {
  return process.platform === 'win32' && ['EPERM', 'EACCES', 'EBUSY'].includes(codeOf(error))
}

/** Whether a path leads to a directory, links followed. */
export function isDirectory(path: string): boolean {
  return statSync(path, { throwIfNoEntry: false })?.isDirectory() === true
}

/** Whether a path is in a directory, links followed; what does not exist holds nothing. */
export function isInside(path: string, directory: string): boolean {
  try {
    const way = relative(realpathSync(directory), realpathSync(path))
    return way !== '..' && !way.startsWith(`..${sep}`) && !isAbsolute(way)
  } catch {
    return false
  }
}

/** Makes a directory and its parents, one by one: Node's recursive mkdir reports a read-only file system as ENOENT. */
export function makeDirectories(path: string): void {
  if (isDirectory(path)) return
  if (dirname(path) !== path) makeDirectories(dirname(path))
  try {
    mkdirSync(path)
  } catch (error) {
    if (!isDirectory(path)) throw error
  }
}

/** Writes a file; an error names its path. */
export function writeFile(path: string, data: string): void {
  try {
    writeFileSync(path, data)
  } catch (error) {
    throw withPath(error, path)
  }
}

/** Removes a file if it exists. */
export function removeFile(path: string): void {
  try {
    unlinkSync(path)
  } catch (error) {
    if (codeOf(error) !== 'ENOENT') throw error
  }
}

/**
 * Removes a file or a directory with all it holds; fine if it is gone already. Not with rmSync, which on Windows does
 * nothing for paths that are not ASCII before Node 24.13.1, and crashes for some of them in later versions.
 */
export async function remove(path: string): Promise<void> {
  await rm(path, { recursive: true, force: true, maxRetries: 5 })
}

/** Removes what can be removed. The post step removes the rest, or says why it can't. */
export async function discard(path: string): Promise<void> {
  try {
    await remove(path)
  } catch {
    // Another process has a file in it open.
  }
}

/** What stands at a path, without following a link; undefined if nothing does. */
export function statIfThere(path: string): BigIntStats | undefined {
  return lstatSync(path, { bigint: true, throwIfNoEntry: false })
}
