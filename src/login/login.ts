import { readdirSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as pause } from 'node:timers/promises'
import { hashSecret } from '../blaxel/credential.ts'
import { SetupError } from '../util/errors.ts'
import { removeFile, statIfThere } from '../util/fs.ts'
import { findLogin, hasSameMeaning, workspacesIn, type LoginEntry } from './config-document.ts'
import { configPath, keepsChanging, readConfig, replaceConfig } from './config-file.ts'
import { withDatabase, type Database } from './database.ts'
import { assertWritable, quietly } from './directory.ts'
import {
  baseOf,
  fingerprint,
  holds,
  isAbandoned,
  isLive,
  render,
  withChange,
  withoutRemoved,
  type ConfigContent,
  type Login,
  type LoginStore,
  type RemovedLogin,
} from './store.ts'
import { loginWarnings } from './warnings.ts'

export interface NewLogin extends Omit<Login, 'expiresAt' | 'dropsAt'> {
  /** When the token expires, in ms since the epoch; undefined where it does not. */
  readonly expiresAt: number | undefined
}

export interface LoginDeps {
  /** Tells of a wait. */
  readonly info: (text: string) => void
  readonly signal: AbortSignal
}

export interface AddLoginDeps extends LoginDeps {
  /** Called before anything is changed. @param wasThere the machine itself is logged in with the very same token */
  readonly beforeChange: (wasThere: boolean) => void
}

/** How long a login without an expiry counts where its job was killed, and an expired one stays in the config. */
const DAY_MS = 86_400_000
/** How long the change of a config goes on that others keep changing too. */
const SETTLING_MS = 10_000
const LOOK_AGAIN_MS = 20

/**
 * Checks what can be known without a request: whether a login can be added to the config.
 * @param directory `~/.blaxel`
 * @throws SetupError naming the path, the reason and the remedy
 */
export async function assertLoginPossible(directory: string): Promise<void> {
  await readConfig(configPath(directory))
  assertWritable(directory)
}

/**
 * Adds a login to the config, where `bl` uses it until it is removed or a newer one is added.
 * @param directory `~/.blaxel`
 * @returns warnings about other logins on this machine
 * @throws SetupError where the config or the database can't be used, or another job is logged in to the same workspace
 * at another API; the signal's reason. The config is as it was then.
 */
export async function addLogin(directory: string, login: NewLogin, deps: AddLoginDeps): Promise<string[]> {
  return withDatabase(databasePath(directory), { ...deps, id: login.id }, async (database) => {
    const now = Date.now()
    const before = database.read()
    const others = before.logins.filter((other) => other.id !== login.id && isLive(other, now))
    assertSameEndpoint(others, login)
    const added = { ...login, ...expiryOf(login.expiresAt, now) }
    await changeConfig(directory, login.id, database, before, {
      logins: [...remaining(before, login.id, now), added],
      removed: [],
      beforeChange: (base) => {
        const kept = before.logins.some(({ isKept, entry }) => isKept && isSameLogin(entry, login.entry))
        deps.beforeChange(kept || holds(base, login.entry))
      },
      signal: deps.signal,
    })
    return loginWarnings(added, others, directory)
  })
}

/** By this machine's clock a token may look expired that the API accepts. */
function expiryOf(expiresAt: number | undefined, now: number): Pick<Login, 'expiresAt' | 'dropsAt'> {
  const isKnown = expiresAt !== undefined && expiresAt > now
  return isKnown ? { expiresAt, dropsAt: expiresAt + DAY_MS } : { expiresAt: now + DAY_MS, dropsAt: now + DAY_MS }
}

function assertSameEndpoint(others: readonly Login[], { entry, endpoint }: NewLogin): void {
  const other = others.find((each) => each.entry.name === entry.name && each.endpoint !== endpoint)
  if (!other) return
  throw new SetupError(
    `Another job on this machine is logged in to workspace '${entry.name}' at ${other.endpoint}, not at ${endpoint}.`,
    "Run one after the other, give each runner its own HOME, or set 'login: false'.",
  )
}

/** What the post step knows of a login, by which it is recognised even where the database was lost. */
export interface AddedLogin extends RemovedLogin {
  readonly id: string
  readonly job: string
  /** The machine itself was logged in with the very same token. */
  readonly wasThere: boolean
}

export interface LoginRemoval {
  /** Another job on this machine may still use the login's token. */
  readonly isTokenInUse: boolean
}

/**
 * Removes a login from the config. With the last one, everything is put back as it was before the first.
 * @param directory `~/.blaxel`
 * @throws SetupError where the config or the database can't be used; both are as they were then
 */
export async function removeLogin(directory: string, login: AddedLogin, deps: LoginDeps): Promise<LoginRemoval> {
  const paths = [configPath(directory), databasePath(directory)]
  if (paths.every((path) => statIfThere(path) === undefined)) return { isTokenInUse: false }
  return withDatabase(databasePath(directory), { ...deps, id: login.id }, async (database) => {
    const now = Date.now()
    const before = database.read()
    const logins = remaining(before, login.id, now)
    const isKnown = before.logins.some(({ id }) => id === login.id)
    const removed = login.wasThere || isKnown ? [] : [login]
    await changeConfig(directory, login.id, database, before, { logins, removed, signal: deps.signal })
    return { isTokenInUse: logins.some((other) => isLive(other, now) && mayUse(other, login)) }
  })
}

function mayUse({ entry, job }: Login, login: AddedLogin): boolean {
  const isOtherJob = entry.name === login.workspace && job !== login.job
  return isOtherJob || hashSecret(entry.apiKey) === login.tokenHash
}

function remaining({ logins }: LoginStore, id: string, now: number): Login[] {
  return logins.filter((login) => login.id !== id && !isAbandoned(login, now))
}

function isSameLogin(a: LoginEntry, b: LoginEntry): boolean {
  return a.name === b.name && a.apiKey === b.apiKey
}

interface Change {
  /** Those that are to be live. */
  readonly logins: readonly Login[]
  /** Is not to stay though the database does not know it. */
  readonly removed: readonly RemovedLogin[]
  readonly beforeChange?: (base: ConfigContent) => void
  readonly signal: AbortSignal
}

/**
 * Brings the config to what the base and the live logins give, and takes up what others have changed in it. What is
 * about to be written is stored first, so that a process which is killed leaves a config that is known.
 */
async function changeConfig(
  directory: string,
  id: string,
  database: Database,
  before: LoginStore,
  { logins, removed, beforeChange, signal }: Change,
): Promise<void> {
  const path = configPath(directory)
  const temporary = join(directory, `${TEMPORARY}${id}`)
  const givesUpAt = Date.now() + SETTLING_MS
  removeAbandonedFiles(directory)
  let seen = await readConfig(path)
  let base = baseOf(before, seen.content, removed)
  beforeChange?.(base)
  let expected = before.expected
  const attempt = async (): Promise<LoginStore | undefined> => {
    signal.throwIfAborted()
    const next = withChange(before, withoutRemoved(base, removed), logins, Date.now())
    const target = render(next.base, next.logins, Date.now())
    if (isSettled(target, seen.content, next))
      return isSame(logins, before.logins) ? before : settled(next, seen.content)
    expected = [fingerprint(target), fingerprint(seen.content)]
    database.commitIntent({ ...next, expected })
    const outcome = await replaceConfig(path, temporary, seen, target)
    if (outcome.kind === 'replaced') return settled(next, target)
    if (Date.now() > givesUpAt) throw keepsChanging(path)
    await pause(LOOK_AGAIN_MS)
    seen = await readConfig(path)
    const content = outcome.kind === 'overtaken' ? outcome.content : seen.content
    base = baseOf({ ...before, base, expected, logins: [...before.logins, ...logins] }, content, removed)
    return undefined
  }
  try {
    let store = await attempt()
    while (!store) store = await attempt()
    if (store !== before) database.commit(store)
    // Nothing to store, as where a disk without room let nothing be added: this only removes a journal of a killed job.
    else {
      quietly(() => {
        database.commit(before)
      })
    }
  } catch (error) {
    database.restore({ ...before, base, expected })
    throw error
  }
}

function isSame(a: readonly Login[], b: readonly Login[]): boolean {
  return a.length === b.length && a.every((login, index) => login === b[index])
}

function isSettled(target: ConfigContent, current: ConfigContent, { logins }: LoginStore): boolean {
  if (target.kind === 'absent' || current.kind === 'absent') return target.kind === current.kind
  if (target.mode !== current.mode) return false
  return target.text === current.text || (logins.length > 0 && hasSameMeaning(target.text, current.text))
}

/** Without the base where no login is live: from then on, the config is whatever it is. */
function settled(store: LoginStore, config: ConfigContent): LoginStore {
  const { base, ...others } = store
  return { ...others, base: store.logins.length > 0 ? base : undefined, expected: [fingerprint(config)] }
}

/**
 * A warning where `bl` has a login to a workspace that it would use instead of a session's token.
 * @param directory `~/.blaxel`; a config in it that can't be read is none that could be warned of
 */
export async function otherLoginWarning(
  directory: string | undefined,
  workspace: string,
  token: string,
): Promise<string | undefined> {
  if (directory === undefined) return undefined
  const path = configPath(directory)
  const entry = findLogin(await textOf(path), workspace)
  if (!entry || entry.apiKey === token) return undefined
  return `bl uses the login to workspace '${workspace}' in ${path} instead of this session: it belongs to an earlier step, another job or the machine itself. Log it out, or remove 'login: false'.`
}

/** The workspaces that `bl` has a login for; none where the config can't be read. */
export async function machineWorkspaces(directory: string | undefined): Promise<string[]> {
  return directory === undefined ? [] : workspacesIn(await textOf(configPath(directory)))
}

async function textOf(path: string): Promise<string> {
  try {
    const { content } = await readConfig(path)
    return content.kind === 'present' ? content.text : ''
  } catch {
    return ''
  }
}

const TEMPORARY = 'config.yaml.setup-bl-'
const DATABASE = 'setup-bl.db'

function databasePath(directory: string): string {
  return join(directory, DATABASE)
}

/** What a process that was killed has left: while the database is locked, nobody is writing such files. */
function removeAbandonedFiles(directory: string): void {
  for (const name of readdirSync(directory).filter((each) => each.startsWith(TEMPORARY))) {
    removeFile(join(directory, name))
  }
}
