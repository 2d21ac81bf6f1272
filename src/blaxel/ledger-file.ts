import { randomInt } from 'node:crypto'
import { closeSync, linkSync, lstatSync, mkdirSync, openSync, rmSync, type BigIntStats } from 'node:fs'
import { dirname } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { sleep } from '../base/deadline.ts'
import { codeOf, messageOf, SetupError } from '../base/errors.ts'
import { excerpt } from '../base/redact.ts'
import type { ConfigContent } from './config-file.ts'
import type { Login, LoginEntry } from './config-text.ts'
import { isEnvironmentName, isId, isToken, isWorkspaceName } from './values.ts'

/** One live use of the action on this machine. */
export interface Use extends Login {
  readonly id: string
  /** Base URL of the API that the login is for. */
  readonly origin: string
  /** SHA-256 of the credential that opened the session, in hex. */
  readonly credential: string
}

/** The ledger's rows, as they are while its lock is held. */
export interface Ledger {
  /** Oldest first. */
  uses(): Use[]
  addUse(use: Use): void
  keepOnly(ids: readonly string[]): void
  /** The config without any login of ours; undefined before it was first looked at. */
  base(): ConfigContent | undefined
  /** Fingerprint of what we wrote last. */
  written(): string | undefined
  rememberBase(base: ConfigContent, written: string): void
  /** Whether the directory around it did not exist before. */
  madeDirectory(): boolean
  /** Takes the file away, when no use is left. */
  removeFile(): void
}

/** The ledger on disk. Its lock is the kernel's: it is freed when its holder is killed, and holds across containers. */
export interface LedgerFile {
  /** Runs work while nobody else can; its changes are kept only where it succeeds. @throws SetupError, or what the work throws */
  exclusively<T>(work: (ledger: Ledger) => Promise<T> | T, signal: AbortSignal): Promise<T>
  close(): void
}

const SCHEMA_VERSION = 1
const LOCK_DEADLINE_MS = 60_000
const SQLITE_BUSY = 5

const SCHEMA = `
  CREATE TABLE config (
    only INTEGER PRIMARY KEY CHECK (only = 1),
    base TEXT, mode INTEGER, known INTEGER NOT NULL, written TEXT, made_directory INTEGER NOT NULL
  ) STRICT;
  CREATE TABLE uses (
    number INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, origin TEXT NOT NULL, entry TEXT NOT NULL,
    credential TEXT NOT NULL, not_after INTEGER NOT NULL
  ) STRICT;
  INSERT INTO config VALUES (1, NULL, NULL, 0, NULL, 0);
  PRAGMA user_version = ${SCHEMA_VERSION};
`

/**
 * Opens the ledger, and makes it, with its directory, where there is none.
 * @param path where it lies
 * @param id of this use, for the name of a temporary file
 * @throws SetupError where the file is a link, somebody else's, damaged, or of another version; it is left as it is
 */
export function openLedger(path: string, id: string): LedgerFile {
  let open: { readonly db: DatabaseSync; readonly inode: bigint } | undefined
  let madeDirectory = false
  let removeOnClose = false

  const close = () => {
    open?.db.close()
    open = undefined
    if (removeOnClose) removeQuietly(path)
  }

  // Nothing was changed in the transaction that calls this, so there is no journal that could outlive the file.
  // Windows removes no open file: there it goes when it is closed, unless another job has opened it by then.
  const removeFile = () => {
    removeOnClose = !removeQuietly(path)
  }

  /** Opens what is there now; a file that is removed or replaced meanwhile is noticed under the lock. */
  const reopen = (): { readonly db: DatabaseSync; readonly inode: bigint } => {
    close()
    for (;;) {
      const before = statLedger(path)
      if (before === undefined) {
        madeDirectory = mkdirSync(dirname(path), { recursive: true, mode: 0o700 }) !== undefined || madeDirectory
        createLedger(path, `${path}.${id}`)
        continue
      }
      const db = new DatabaseSync(path, { timeout: 0 })
      if (statLedger(path)?.ino === before.ino) return (open = { db, inode: before.ino })
      db.close()
    }
  }

  const lock = async (signal: AbortSignal): Promise<DatabaseSync> => {
    const givesUpAt = Date.now() + LOCK_DEADLINE_MS
    for (;;) {
      const { db, inode } = open ?? reopen()
      if (tryLock(db)) {
        if (statLedger(path)?.ino === inode) return db
        // The last one out has removed this file while we waited for it.
        close()
      } else {
        if (Date.now() > givesUpAt) {
          throw new SetupError(
            `Other jobs have held the lock of ${path} for ${LOCK_DEADLINE_MS / 1000} s.`,
            'Look for a stopped process that has it open (fuser), and run the job again.',
          )
        }
        await sleep(randomInt(2, 25), signal)
      }
    }
  }

  return {
    close,
    exclusively: async (work, signal) => {
      try {
        const db = await lock(signal)
        try {
          checkSchema(db, path)
          if (madeDirectory) db.exec('UPDATE config SET made_directory = 1')
          madeDirectory = false
          const result = await work(rows(db, path, removeFile))
          db.exec('COMMIT')
          return result
        } catch (error) {
          if (db.isTransaction) db.exec('ROLLBACK')
          throw error
        }
      } catch (error) {
        throw asLedgerError(error, path)
      }
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

/** Made whole beside its place and linked there: nobody ever sees half a ledger, and of two makers one wins. */
function createLedger(path: string, temporary: string): void {
  try {
    rmSync(temporary, { force: true })
    closeSync(openSync(temporary, 'wx', 0o600))
    const db = new DatabaseSync(temporary)
    db.exec(SCHEMA)
    db.close()
    linkSync(temporary, path)
  } catch (error) {
    if (codeOf(error) !== 'EEXIST') throw error
  } finally {
    rmSync(temporary, { force: true })
  }
}

function removeQuietly(path: string): boolean {
  try {
    rmSync(path, { force: true })
    return true
  } catch {
    return false
  }
}

function statLedger(path: string): BigIntStats | undefined {
  const stats = lstatSync(path, { bigint: true, throwIfNoEntry: false })
  if (stats === undefined) return undefined
  const owned = !process.geteuid || stats.uid === BigInt(process.geteuid())
  if (!stats.isFile() || !owned) throw strange(path, owned ? 'is not a regular file' : 'belongs to another user')
  return stats
}

function checkSchema(db: DatabaseSync, path: string): void {
  const version = db.prepare('PRAGMA user_version').get()?.user_version
  if (version !== SCHEMA_VERSION)
    throw strange(path, `is of version ${String(version)}, which this setup-bl does not know`)
  const check = db.prepare('PRAGMA quick_check').get()?.quick_check
  if (check !== 'ok') throw strange(path, 'is damaged')
}

function strange(path: string, what: string, cause?: unknown): SetupError {
  return new SetupError(
    `${path} ${what}; it is the ledger in which setup-bl keeps what to undo, and was left as it is.`,
    "When no other job runs on this machine, check the CLI's config.yaml beside it and remove the ledger.",
    { cause },
  )
}

function sqliteCode(error: unknown): number | undefined {
  return error instanceof Error && 'errcode' in error && typeof error.errcode === 'number'
    ? error.errcode & 0xff
    : undefined
}

function asLedgerError(error: unknown, path: string): unknown {
  if (error instanceof SetupError) return error
  const code = sqliteCode(error)
  const isSystem = error instanceof Error && 'syscall' in error
  if (code === undefined && !isSystem) return error
  // SQLITE_CORRUPT, SQLITE_NOTADB, SQLITE_SCHEMA and plain SQLITE_ERROR (a table that is not there)
  if (code !== undefined && [1, 11, 17, 26].includes(code)) return strange(path, 'is damaged', error)
  return new SetupError(
    `${path} can't be written (${excerpt(codeOf(error) === 'ERR_SQLITE_ERROR' ? messageOf(error) : codeOf(error))}).`,
    "Give the runner's user room and write access there, or set 'login: false'.",
    { cause: error },
  )
}

function rows(db: DatabaseSync, path: string, removeFile: () => void): Ledger {
  const config = () => db.prepare('SELECT base, mode, known, written, made_directory FROM config').get() ?? {}
  return {
    uses: () =>
      db
        .prepare('SELECT id, origin, entry, credential, not_after FROM uses ORDER BY number')
        .all()
        .map((row) => checkedUse(row, path)),
    addUse: ({ id, origin, entry, credential, notAfter }) => {
      db.prepare('INSERT INTO uses (id, origin, entry, credential, not_after) VALUES (?, ?, ?, ?, ?)').run(
        id,
        origin,
        JSON.stringify(entry),
        credential,
        Math.ceil(notAfter),
      )
    },
    keepOnly: (ids) => {
      db.prepare('DELETE FROM uses WHERE id NOT IN (SELECT value FROM json_each(?))').run(JSON.stringify(ids))
    },
    base: () => checkedBase(config()),
    written: () => {
      const { written } = config()
      return typeof written === 'string' ? written : undefined
    },
    rememberBase: (base, written) => {
      const [text, mode] = base.kind === 'present' ? [base.text, base.mode] : [null, null]
      db.prepare('UPDATE config SET base = ?, mode = ?, known = 1, written = ?').run(text, mode, written)
    },
    madeDirectory: () => config().made_directory === 1,
    removeFile,
  }
}

function checkedBase({ base, mode, known }: Record<string, unknown>): ConfigContent | undefined {
  if (known !== 1) return undefined
  return typeof base === 'string' && typeof mode === 'number'
    ? { kind: 'present', text: base, mode: mode & 0o777 }
    : { kind: 'absent' }
}

/** What comes out of the file may have been tampered with: it goes into the config only where it has the right form. */
function checkedUse(row: Record<string, unknown>, path: string): Use {
  const { id, origin, credential, not_after: notAfter } = row
  const entry = checkedEntry(row.entry)
  if (
    entry &&
    typeof id === 'string' &&
    typeof origin === 'string' &&
    typeof credential === 'string' &&
    typeof notAfter === 'number'
  ) {
    return { id, origin, entry, credential, notAfter }
  }
  throw strange(path, 'is damaged')
}

function checkedEntry(text: unknown): LoginEntry | undefined {
  let value: unknown
  try {
    value = JSON.parse(String(text))
  } catch {
    return undefined
  }
  return isEntry(value) ? value : undefined
}

function isEntry(value: unknown): value is LoginEntry {
  if (typeof value !== 'object' || value === null) return false
  const { name, id, env, apiKey } = value as Record<string, unknown>
  return (
    isWorkspaceName(name) &&
    isToken(apiKey) &&
    (id === undefined || isId(id)) &&
    (env === undefined || isEnvironmentName(env))
  )
}
