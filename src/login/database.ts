import { closeSync, lstatSync, openSync } from 'node:fs'
import { dirname } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { sleep } from '../util/deadline.ts'
import { codeOf, messageOf, SetupError } from '../util/errors.ts'
import { removeFile } from '../util/fs.ts'
import { ensureDirectory, giveToOwnerOfParent, quietly, unusable } from './directory.ts'
import { EMPTY_STORE, parseStore, type LoginStore } from './store.ts'

/** The login store while this process alone may use it. */
export interface Database {
  readonly read: () => LoginStore
  /** Stores what is about to happen; the lock stays. */
  readonly commitIntent: (store: LoginStore) => void
  /** Stores what has happened. To be called last: it gives the lock back. */
  readonly commit: (store: LoginStore) => void
  /** Stores what was there before an intent that was not carried out, as far as that is possible. */
  readonly restore: (store: LoginStore) => void
}

export interface DatabaseDeps {
  /** Names a temporary file. */
  readonly id: string
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
 * @throws SetupError where the database can't be used or others use it for 2 minutes; the signal's reason
 */
export async function withDatabase<T>(
  path: string,
  deps: DatabaseDeps,
  work: (database: Database) => Promise<T>,
): Promise<T> {
  ensureFile(path)
  const connection = open(path)
  try {
    await lock(connection, path, deps)
    return await work(databaseOf(connection, path))
  } finally {
    connection.close()
  }
}

/** Private from its first byte. Once a process holds the lock, opening and closing the file here would end it. */
function ensureFile(path: string): void {
  if (Buffer.byteLength(path) > LONGEST_PATH) {
    throw new SetupError(`${path} is longer than ${LONGEST_PATH} bytes.`, "Use a shorter HOME, or set 'login: false'.")
  }
  ensureDirectory(dirname(path))
  try {
    const file = openSync(path, 'wx', 0o600)
    giveToOwnerOfParent(path, file)
    closeSync(file)
  } catch (error) {
    if (codeOf(error) !== 'EEXIST') throw unusable(path, error)
  }
  const stats = lstatSync(path, { throwIfNoEntry: false })
  const fault = stats?.isSymbolicLink() ? 'is a symbolic link' : 'is not a regular file'
  if (!stats?.isFile()) throw new SetupError(`${path} ${fault}.`, "Remove it, or set 'login: false'.")
}

function open(path: string): DatabaseSync {
  return inWords(path, () => {
    const connection = new DatabaseSync(path, { timeout: 0 })
    // What is deleted is overwritten: tokens.
    connection.exec('PRAGMA secure_delete = ON')
    return connection
  })
}

/** A time-out of SQLite's own would block the process, which could not hear that it is cancelled. */
async function lock(connection: DatabaseSync, path: string, { id, info, signal }: DatabaseDeps): Promise<void> {
  const began = Date.now()
  let isFirst = true
  let hasSaid = false
  while (!inWords(path, () => tryLock(connection))) {
    if (isFirst) assertLocksWork(path, `${path}.${id}`)
    isFirst = false
    const waited = Date.now() - began
    if (waited > DEADLINE_MS) throw lockedTooLong(path)
    if (waited > SAY_AFTER_MS && !hasSaid) {
      info(`Waiting for another job on this machine, which is using ${path} …`)
      hasSaid = true
    }
    await sleep(2 + Math.random() * 23, signal)
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
function assertLocksWork(path: string, probe: string): void {
  let works = true
  try {
    closeSync(openSync(probe, 'wx', 0o600))
    const connection = new DatabaseSync(probe, { timeout: 0 })
    works = tryLock(connection)
    connection.close()
  } catch {
    // it is the real database whose fault counts
  } finally {
    quietly(() => {
      removeFile(probe)
    })
  }
  if (works) return
  throw new SetupError(
    `${dirname(path)} is on a file system without file locks, so jobs can't share its logins.`,
    "Put HOME on a local disk, or set 'login: false'.",
  )
}

function databaseOf(connection: DatabaseSync, path: string): Database {
  let inTransaction = true
  let hasIntent = false
  const write = (store: LoginStore, lockingMode: 'EXCLUSIVE' | 'NORMAL') => {
    inWords(path, () => {
      if (!inTransaction) connection.exec('BEGIN')
      inTransaction = true
      // In exclusive mode a commit keeps the lock; only a commit in normal mode removes the journal.
      connection.exec(`PRAGMA locking_mode = ${lockingMode}`)
      connection.exec(
        `CREATE TABLE IF NOT EXISTS store (id INTEGER PRIMARY KEY CHECK (id = 1), value TEXT NOT NULL) STRICT;
         PRAGMA user_version = ${VERSION}`,
      )
      connection.prepare('INSERT OR REPLACE INTO store (id, value) VALUES (1, ?)').run(JSON.stringify(store))
      connection.exec('COMMIT')
      inTransaction = false
    })
  }
  return {
    read: () => inWords(path, () => read(connection, path)),
    commitIntent: (store) => {
      write(store, 'EXCLUSIVE')
      hasIntent = true
    },
    commit: (store) => {
      hasIntent = false
      write(store, 'NORMAL')
    },
    restore: (store) => {
      quietly(() => {
        if (inTransaction) connection.exec('ROLLBACK')
        inTransaction = false
        if (hasIntent) write(store, 'NORMAL')
      })
    },
  }
}

function read(connection: DatabaseSync, path: string): LoginStore {
  const version = connection.prepare('PRAGMA user_version').get()?.user_version
  if (version === 0 && connection.prepare('SELECT 1 FROM sqlite_master').get() === undefined) return EMPTY_STORE
  if (version !== 0 && version !== VERSION) throw notOurs(path, `is of version ${String(version)}`)
  const value = connection.prepare('SELECT value FROM store').get()?.value
  if (value === undefined) return EMPTY_STORE
  const store = typeof value === 'string' ? parseStore(value) : undefined
  if (!store) throw notOurs(path, 'is damaged')
  return store
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

function inWords<T>(path: string, work: () => T): T {
  try {
    return work()
  } catch (error) {
    const code = primaryCode(error)
    if (code === undefined) throw error
    if (DAMAGED.includes(code)) throw notOurs(path, 'is damaged', error)
    const [why, remedy] = FAULTS[code] ?? [messageOf(error), 'Check the disk of the runner']
    throw new SetupError(`${path} can't be used: ${why}.`, `${remedy}, or set 'login: false'.`, { cause: error })
  }
}

function notOurs(path: string, fault: string, cause?: unknown): SetupError {
  return new SetupError(
    `${path} ${fault}; it is setup-bl's record of the logins on this machine, and nothing was changed.`,
    `When no other job runs here, check config.yaml beside it, and delete it and ${path}-journal.`,
    { cause },
  )
}

function lockedTooLong(path: string): SetupError {
  return new SetupError(
    `Another process has locked ${path} for ${DEADLINE_MS / 1000} s.`,
    'Find the process that has it open (fuser), end it, and run the job again.',
  )
}
