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
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import type { Use } from '../../src/login/ledger.ts'
import { enter, isLoggedIn, leave, type Entered, type Left, type LeavingUse } from '../../src/login/login-ledger.ts'

/** A home with or without a config of the CLI in it. */
export interface Home {
  readonly path: string
  /** `~/.blaxel` */
  readonly directory: string
  readonly config: string
  readonly ledger: string
  readonly lock: string
  /** Every path, mode and content below the home. */
  everything(): Record<string, string>
  /** The config; undefined where there is none. */
  read(): string | undefined
  write(text: string, mode?: number): void
}

/** Files in memory where the system has them: the product flushes each of its changes, which takes a disk its time. */
const ROOT = existsSync('/dev/shm') ? '/dev/shm' : tmpdir()
const homes: string[] = []

export function makeHome(): Home {
  const path = mkdtempSync(join(ROOT, 'home-'))
  homes.push(path)
  const directory = join(path, '.blaxel')
  const config = join(directory, 'config.yaml')
  return {
    path,
    directory,
    config,
    ledger: join(directory, 'setup-bl.json'),
    lock: join(directory, 'setup-bl.lock'),
    everything: () =>
      Object.fromEntries(
        readdirSync(path, { recursive: true, encoding: 'utf8' })
          .sort()
          .map((name) => {
            const stats = lstatSync(join(path, name))
            const hasText = stats.isFile() && !name.endsWith('.lock')
            const content = hasText ? readFileSync(join(path, name), 'latin1') : ''
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

/** A use of the action, with a token of its own. */
export function makeUse(workspace: string, rest: Partial<Use> = {}): Use {
  const id = `use-${count++}`
  return {
    id,
    origin: 'https://api.blaxel.ai/v0',
    entry: { name: workspace, id: 'ws-9', apiKey: `session-token-of-${id}` },
    credential: sha256('credential'),
    notAfter: Date.now() + HOUR,
    ...rest,
  }
}

/** One job's way through the ledger, as the two steps go it. */
export interface Job {
  readonly use: Use
  enter(options?: { readonly keep?: boolean }): Promise<Entered>
  leave(): Promise<Left>
}

export function makeJob(home: Home, use: Use, signal = new AbortController().signal): Job {
  const { id, entry } = use
  let leaving: LeavingUse = { id, workspace: entry.name, tokenHash: sha256(entry.apiKey), madeDirectory: false }
  return {
    use,
    enter: async ({ keep = false } = {}) => {
      const madeDirectory = statSync(home.directory, { throwIfNoEntry: false }) === undefined
      leaving = { ...leaving, madeDirectory, ...((await isLoggedIn(home.directory, entry)) ? { wasThere: true } : {}) }
      return enter(home.directory, use, { keep, madeDirectory }, signal)
    },
    leave: () => leave(home.directory, leaving, signal),
  }
}
