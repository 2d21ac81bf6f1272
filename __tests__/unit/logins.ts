import { createHash } from 'node:crypto'
import {
  chmodSync,
  existsSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs'
import { DatabaseSync } from 'node:sqlite'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { addLogin, removeLogin, type AddedLogin, type LoginRemoval, type NewLogin } from '../../src/login/login.ts'
import { parseStore, type LoginStore } from '../../src/login/store.ts'

/** A home with or without a config of the CLI in it. */
export interface Home {
  readonly path: string
  /** `~/.blaxel` */
  readonly directory: string
  readonly config: string
  readonly database: string
  /** Every path, mode and content below the home, but for the database. */
  everything(): Record<string, string>
  /** The config; undefined where there is none. */
  read(): string | undefined
  write(text: string, mode?: number): void
  /** What the database holds. */
  store(): LoginStore
  /** Changes it, as another step could. */
  changeStore(change: (value: string) => string): void
}

/** Files in memory where the system has them: the product flushes each of its changes, which takes a disk its time. */
const ROOT = existsSync('/dev/shm') ? '/dev/shm' : tmpdir()
const homes: string[] = []

export function makeHome(): Home {
  const path = mkdtempSync(join(ROOT, 'home-'))
  homes.push(path)
  const directory = join(path, '.blaxel')
  const config = join(directory, 'config.yaml')
  const database = join(directory, 'setup-bl.db')
  const stored = <T>(work: (connection: DatabaseSync) => T): T => {
    const connection = new DatabaseSync(database)
    try {
      return work(connection)
    } finally {
      connection.close()
    }
  }
  const value = () => stored((connection) => String(connection.prepare('SELECT value FROM store').get()?.value))
  return {
    path,
    directory,
    config,
    database,
    everything: () =>
      Object.fromEntries(
        readdirSync(path, { recursive: true, encoding: 'utf8' })
          .sort()
          .filter((name) => name !== '.blaxel' && name !== join('.blaxel', 'setup-bl.db'))
          .map((name) => {
            const stats = lstatSync(join(path, name))
            const content = stats.isFile() ? readFileSync(join(path, name), 'latin1') : ''
            return [name, `${stats.mode.toString(8)} ${content}`]
          }),
      ),
    read: () => (statSync(config, { throwIfNoEntry: false }) ? readFileSync(config, 'utf8') : undefined),
    write: (text, mode) => {
      mkdirSync(dirname(config), { recursive: true })
      const isNew = !existsSync(config)
      writeFileSync(config, text)
      // Whatever the umask of this machine is.
      if (isNew && mode !== undefined) chmodSync(config, mode)
    },
    store: () => {
      const store = parseStore(value())
      if (!store) throw new Error('the store is damaged')
      return store
    },
    changeStore: (change) => {
      const changed = change(value())
      stored((connection) => connection.prepare('UPDATE store SET value = ?').run(changed))
    },
  }
}

/** Removes every home that was made. */
export function removeHomes(): void {
  for (const path of homes.splice(0)) rmSync(path, { recursive: true, force: true })
}

function sha256(text: string): string {
  return createHash('sha256').update(text).digest('hex')
}

const HOUR = 3_600_000
let count = 0

/** A login of a job of its own, with a token of its own. */
export function makeLogin(workspace: string, rest: Partial<NewLogin> = {}): NewLogin {
  const id = `invocation-${count++}`
  return {
    id,
    job: `/runner/${id}/_temp`,
    endpoint: 'https://api.blaxel.ai/v0',
    entry: { name: workspace, id: 'ws-9', apiKey: `session-token-of-${id}` },
    credential: sha256('credential'),
    expiresAt: Date.now() + HOUR,
    isKept: false,
    followsContext: false,
    ...rest,
  }
}

/** One job's way, as its two steps go it. */
export interface Job {
  readonly login: NewLogin
  /** @returns the warnings */
  add(): Promise<string[]>
  remove(): Promise<LoginRemoval>
  /** What it has said while it waited. */
  readonly said: string[]
}

export function makeJob(home: Home, login: NewLogin, signal = new AbortController().signal): Job {
  const { id, job, entry } = login
  const said: string[] = []
  const deps = { signal, info: (text: string) => said.push(text) }
  let added: AddedLogin = { id, job, workspace: entry.name, tokenHash: sha256(entry.apiKey), wasThere: false }
  const beforeChange = (wasThere: boolean) => {
    added = { ...added, wasThere }
  }
  return {
    login,
    said,
    add: () => addLogin(home.directory, login, { ...deps, beforeChange }),
    remove: () => removeLogin(home.directory, added, deps),
  }
}
