import { randomUUID } from 'node:crypto'
import { closeSync, lstatSync, mkdirSync, openSync } from 'node:fs'
import { dirname } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { sleep, withDeadline } from '../util/deadline.ts'
import { messageOf, SetupError } from '../util/errors.ts'
import { removeFile } from '../util/fs.ts'
import { assertRegularFile, createIfMissing, quietly, refusal } from './directory.ts'
import { parseStore, type LoginStore } from './store.ts'

export interface LoginDeps {
  /** Tells of a wait. */
  readonly info: (text: string) => void
  readonly signal: AbortSignal
}

const DEADLINE_MS = 120_000
const SAY_AFTER_MS = 1_000
const VERSION = 1
/** SQLite takes no longer ones, with room for `-journal`. */
const LONGEST_PATH = 504

/**
 * Works with the login store while no other process does. Its lock is a lock of the operating system, which ends with
 * its process however that ends.
 * @param path of the database, which is created where it is missing
 * @param work gets the store and a function that stores what is about to happen; returns what has happened and a result
 * @throws SetupError where the database can't be used or others use it for 2 minutes; the signal's reason
 */
export async function withStore<T>(
  path: string,
  deps: LoginDeps,
  work: (store: LoginStore, intend: (next: LoginStore) => void) => Promise<readonly [LoginStore, T]>,
): Promise<T> {
  ensureFile(path)
  try {
    // A time-out of SQLite's own would block the process, which could not hear that it is cancelled.
    const connection = new DatabaseSync(path, { timeout: 0 })
    try {
      // What is deleted is overwritten: tokens.
      connection.exec('PRAGMA secure_delete = ON')
      await lock(connection, path, deps)
      const before = read(connection, path)
      let after = before
      try {
        const [next, result] = await work(before, (intent) => {
          write(connection, intent, 'EXCLUSIVE')
          connection.exec('BEGIN')
        })
        after = next
        return result
      } finally {
        const finish = () => {
          write(connection, after, 'NORMAL')
        }
        // Nothing to store, as where a disk without room let nothing be added: this only removes a killed job's journal.
        if (JSON.stringify(after) === JSON.stringify(before)) quietly(finish)
        else finish()
      }
    } finally {
      connection.close()
    }
  } catch (error) {
    throw inWords(path, error)
  }
}

/** Private from its first byte. Once a process holds the lock, opening and closing the file here would end it. */
function ensureFile(path: string): void {
  if (Buffer.byteLength(path) > LONGEST_PATH) {
    throw refusal(path, `is longer than ${LONGEST_PATH} bytes`, 'Use a shorter HOME')
  }
  const directory = dirname(path)
  createIfMissing(directory, () => {
    // Not recursive: that would create a HOME, and never ends below /proc.
    mkdirSync(directory, { mode: 0o700 })
  })
  createIfMissing(path, () => {
    closeSync(openSync(path, 'wx', 0o600))
  })
  assertRegularFile(path, lstatSync(path))
}

async function lock(connection: DatabaseSync, path: string, { info, signal }: LoginDeps): Promise<void> {
  if (tryLock(connection)) return
  if (!hasLocks(`${path}.${randomUUID()}`)) {
    const fault = "is on a file system without file locks, so jobs can't share its logins"
    throw refusal(dirname(path), fault, 'Put HOME on a local disk')
  }
  const expired = () =>
    new SetupError(
      `Another process has locked ${path} for ${DEADLINE_MS / 1000} s.`,
      'Find the process that has it open (fuser), end it, and run the job again.',
    )
  const notice = setTimeout(() => {
    info(`Waiting for another job on this machine, which is using ${path} …`)
  }, SAY_AFTER_MS)
  try {
    await withDeadline(signal, DEADLINE_MS, expired, async (deadline) => {
      do {
        await sleep(2 + Math.random() * 23, deadline)
      } while (!tryLock(connection))
    })
  } finally {
    clearTimeout(notice)
  }
}

/** Nothing may be read before it: of two readers that want to write, neither could. */
function tryLock(connection: DatabaseSync): boolean {
  try {
    connection.exec('BEGIN EXCLUSIVE')
    return true
  } catch (error) {
    if (primaryCode(error) === BUSY) return false
    throw error
  }
}

/** SQLite reports a file system without locks as a database that is locked: one that nobody else knows tells which. */
function hasLocks(probe: string): boolean {
  try {
    const connection = new DatabaseSync(probe, { timeout: 0 })
    const hasLocked = tryLock(connection)
    connection.close()
    return hasLocked
  } catch {
    return true // it is the real database whose fault counts
  } finally {
    quietly(() => {
      removeFile(probe)
    })
  }
}

function read(connection: DatabaseSync, path: string): LoginStore {
  const version = connection.prepare('PRAGMA user_version').get()?.user_version
  if (version === 0) {
    connection.exec(
      `CREATE TABLE store (id INTEGER PRIMARY KEY CHECK (id = 1), value TEXT NOT NULL) STRICT;
       PRAGMA user_version = ${VERSION}`,
    )
  } else if (version !== VERSION) throw notOurs(path, `is of version ${String(version)}`)
  const value = connection.prepare('SELECT value FROM store').get()?.value
  const store = value === undefined ? { logins: [], kept: [], removed: [] } : parseStore(String(value))
  if (!store) throw notOurs(path, 'is damaged')
  return store
}

/** In exclusive mode a commit keeps the lock; only a commit in normal mode removes the journal. */
function write(connection: DatabaseSync, store: LoginStore, lockingMode: 'EXCLUSIVE' | 'NORMAL'): void {
  connection.exec(`PRAGMA locking_mode = ${lockingMode}`)
  connection.prepare('INSERT OR REPLACE INTO store (id, value) VALUES (1, ?)').run(JSON.stringify(store))
  connection.exec('COMMIT')
}

const BUSY = 5
const DAMAGED = [1, 11, 26]
/** What SQLite's result codes (https://sqlite.org/rescode.html) mean, and what to do. */
const FAULTS: Readonly<Record<number, readonly [string, string]>> = {
  8: ['it or its directory is read-only', 'Make both writable'],
  13: ['the disk is full', 'Free some space'],
  14: ["it can't be opened", "Give the runner's user access to it and its directory"],
}

/** SQLite's result code without its details. */
function primaryCode(error: unknown): number | undefined {
  const code = error instanceof Error && 'errcode' in error ? error.errcode : undefined
  return typeof code === 'number' ? code & 0xff : undefined
}

/** An error of SQLite's in our words; any other as it is. */
function inWords(path: string, error: unknown): unknown {
  const code = primaryCode(error)
  if (code === undefined) return error
  if (DAMAGED.includes(code)) return notOurs(path, 'is damaged', error)
  const [why, remedy] = FAULTS[code] ?? [messageOf(error), 'Check the disk of the runner']
  return refusal(path, `can't be used: ${why}`, remedy, error)
}

function notOurs(path: string, fault: string, cause?: unknown): SetupError {
  const remedy = `When no other job runs here, check config.yaml beside it, then delete ${path} and ${path}-journal`
  const what = "setup-bl's record of the logins on this machine, and nothing was changed"
  return refusal(path, `${fault}; it is ${what}`, remedy, cause)
}
