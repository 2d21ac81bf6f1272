import { closeSync, linkSync, lstatSync, mkdirSync, openSync, rmSync, statSync } from 'node:fs'
import { dirname } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { pathToFileURL } from 'node:url'
import { sleep } from '../util/deadline.ts'
import { codeOf, messageOf, SetupError } from '../util/errors.ts'
import { refuseStrangeFile } from '../util/fs.ts'

/** A lock that this process holds. */
export interface HeldLock {
  /** The lock's directory was not there and was made for it. */
  readonly madeDirectory: boolean
  /** Takes the lock's file away and does something more right then; whoever waits for it makes a new one. */
  removeFile(andThen: () => void): void
  release(): void
}

const DEADLINE_MS = 120_000
const SQLITE_BUSY = 5
const SQLITE_CANTOPEN = 14
const WHAT = 'the lock by which jobs on this machine take turns'

/**
 * Waits for a lock that all processes on this machine share, across containers too. It is SQLite's lock on a file that
 * is made once and never written: the kernel frees it when its holder is killed, and a file without changes has no
 * journal that could outlive it. What the jobs remember lies elsewhere.
 * @param path of the lock's file; its directory is made where it is missing
 * @param id of this use, for the name of a temporary file
 * @throws SetupError where the file is not a lock of ours, or others hold it for 2 minutes; or the signal's reason
 */
export async function holdLock(path: string, id: string, signal: AbortSignal): Promise<HeldLock> {
  const givesUpAt = Date.now() + DEADLINE_MS
  let madeDirectory = false
  const makeDirectory = () => {
    if (mkdirSync(dirname(path), { recursive: true, mode: 0o700 }) !== undefined) madeDirectory = true
  }
  for (;;) {
    const lock = openLock(path, id, makeDirectory)
    if (lock) {
      const held = await waitFor(lock, path, givesUpAt, signal)
      if (held) return { ...held, madeDirectory }
    }
    // Somebody has removed the file meanwhile.
    if (Date.now() > givesUpAt) throw heldTooLong(path)
  }
}

interface OpenLock {
  readonly db: DatabaseSync
  readonly inode: bigint
}

/** Opens the file that is there, or makes it. Undefined where it vanished in between. */
function openLock(path: string, id: string, makeDirectory: () => void): OpenLock | undefined {
  try {
    const inode = inodeOf(path) ?? createLock(path, `${path}.${id}`, makeDirectory)
    if (inode === undefined) return undefined
    // mode=rw: a plain open would make an empty file, which is no lock.
    const db = new DatabaseSync(new URL(`${pathToFileURL(path).href}?mode=rw`), { timeout: 0 })
    if (inodeOf(path) === inode) return { db, inode }
    db.close()
    return undefined
  } catch (error) {
    if (sqliteCode(error) === SQLITE_CANTOPEN && inodeOf(path) === undefined) return undefined
    throw asLockError(error, path)
  }
}

async function waitFor(
  { db, inode }: OpenLock,
  path: string,
  givesUpAt: number,
  signal: AbortSignal,
): Promise<Omit<HeldLock, 'madeDirectory'> | undefined> {
  try {
    while (inodeOf(path) === inode) {
      if (tryLock(db)) {
        // It may have been removed by the one who held it before us.
        if (inodeOf(path) === inode) return heldLock(db, path)
        break
      }
      if (Date.now() > givesUpAt) throw heldTooLong(path)
      await sleep(2 + Math.random() * 23, signal)
    }
    db.close()
    return undefined
  } catch (error) {
    db.close()
    signal.throwIfAborted()
    throw asLockError(error, path)
  }
}

function heldLock(db: DatabaseSync, path: string): Omit<HeldLock, 'madeDirectory'> {
  let onRelease: (() => void) | undefined
  return {
    // Windows removes no open file: there it goes on release, unless somebody else has it open by then.
    removeFile: (andThen) => {
      if (removeQuietly(path)) andThen()
      else onRelease = andThen
    },
    release: () => {
      db.close()
      if (onRelease && removeQuietly(path)) onRelease()
    },
  }
}

function tryLock(db: DatabaseSync): boolean {
  try {
    db.exec('BEGIN EXCLUSIVE')
    return true
  } catch (error) {
    if (sqliteCode(error) === SQLITE_BUSY) return false
    throw error
  }
}

/** Made whole beside its place and linked there: nobody sees half a file, and of two makers one wins. */
function createLock(path: string, temporary: string, makeDirectory: () => void): bigint | undefined {
  try {
    makeDirectory()
    rmSync(temporary, { force: true })
    closeSync(openSync(temporary, 'wx', 0o600))
    const db = new DatabaseSync(temporary)
    // Nobody sees the file until it is whole: a journal on disk would protect nothing, and cost three more syncs.
    db.exec('PRAGMA journal_mode = MEMORY; PRAGMA user_version = 1')
    db.close()
    linkSync(temporary, path)
  } catch (error) {
    // The last one out has removed the directory under our hands, or another maker was first.
    const isRace = ['ENOENT', 'EEXIST'].includes(codeOf(error)) || sqliteCode(error) === SQLITE_CANTOPEN
    if (!isRace || isBlocked(dirname(path))) throw sqliteCode(error) === undefined ? error : notMade(path, error)
  } finally {
    removeQuietly(temporary)
  }
  return inodeOf(path)
}

/** Something else stands where the directory belongs, such as a link to nowhere. */
function isBlocked(directory: string): boolean {
  const there = lstatSync(directory, { throwIfNoEntry: false })
  return there?.isDirectory() === false && !statSync(directory, { throwIfNoEntry: false })?.isDirectory()
}

function inodeOf(path: string): bigint | undefined {
  const stats = lstatSync(path, { bigint: true, throwIfNoEntry: false })
  if (stats === undefined) return undefined
  refuseStrangeFile(path, stats, WHAT)
  if (stats.size === 0n) throw notALock(path)
  return stats.ino
}

function removeQuietly(path: string): boolean {
  try {
    rmSync(path, { force: true })
    return true
  } catch {
    return false
  }
}

function sqliteCode(error: unknown): number | undefined {
  const code = error instanceof Error && 'errcode' in error ? error.errcode : undefined
  return typeof code === 'number' ? code & 0xff : undefined
}

function heldTooLong(path: string): SetupError {
  return new SetupError(
    `Other jobs have held ${path} for ${DEADLINE_MS / 1000} s; it is ${WHAT}.`,
    'Look for a stopped process that has it open (fuser), and run the job again.',
  )
}

function notMade(path: string, cause: unknown): SetupError {
  return new SetupError(
    `${path} can't be made (${messageOf(cause)}); it is ${WHAT}.`,
    "Make room on the runner's disk, or set 'login: false'.",
    { cause },
  )
}

function notALock(path: string, cause?: unknown): SetupError {
  return new SetupError(
    `${path} is damaged, and was left as it is; it is ${WHAT}.`,
    'Remove it when no other job runs on this machine.',
    { cause },
  )
}

function asLockError(error: unknown, path: string): unknown {
  return sqliteCode(error) === undefined ? error : notALock(path, error)
}
