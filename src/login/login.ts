import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as pause } from 'node:timers/promises'
import { hashSecret } from '../blaxel/credential.ts'
import { SetupError } from '../util/errors.ts'
import { removeFile } from '../util/fs.ts'
import { findLogin, hasSameMeaning, workspacesIn } from './config-document.ts'
import { configPath, configText, readConfig, replaceConfig } from './config-file.ts'
import { withStore, type LoginDeps } from './database.ts'
import { assertWritable } from './directory.ts'
import {
  baseOf,
  isLive,
  knownLogin,
  render,
  settled,
  withChange,
  type ConfigContent,
  type KnownLogin,
  type Login,
  type LoginStore,
  type RemovedLogin,
} from './store.ts'
import { loginWarnings } from './warnings.ts'

export interface NewLogin extends Omit<Login, 'expiresAt' | 'dropsAt'> {
  /** When the token expires, in ms since the epoch; undefined where it does not. */
  readonly expiresAt: number | undefined
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
  return changeLogins(directory, deps, ({ logins: before, kept }, now) => {
    const { entry, endpoint } = login
    const others = [...before.filter(({ id }) => id !== login.id).map(knownLogin), ...kept]
    const live = others.filter((other) => isLive(other, now))
    const elsewhere = live.find((other) => other.workspace === entry.name && other.endpoint !== endpoint)
    if (elsewhere) {
      const where = elsewhere.job === login.job ? 'An earlier step' : 'Another job on this machine'
      throw new SetupError(
        `${where} is logged in to workspace '${entry.name}' at ${elsewhere.endpoint}, not at ${endpoint}.`,
        "Run one after the other, give each runner its own HOME, or set 'login: false'.",
      )
    }
    // By this machine's clock a token may look expired that the API accepts.
    const expiresAt = login.expiresAt !== undefined && login.expiresAt > now ? login.expiresAt : undefined
    const added = { ...login, expiresAt: expiresAt ?? now + DAY_MS, dropsAt: (expiresAt ?? now) + DAY_MS }
    return {
      logins: [...remaining(before, login.id, now), added],
      beforeChange: (base) => {
        deps.beforeChange(findLogin(base.text ?? '', entry.name)?.apiKey === entry.apiKey)
      },
      result: loginWarnings(knownLogin(added), live, directory),
    }
  })
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
  if (![configPath(directory), databasePath(directory)].some((path) => existsSync(path))) return { isTokenInUse: false }
  return changeLogins(directory, deps, ({ logins: before, kept }, now) => {
    const logins = remaining(before, login.id, now)
    const others = [...logins.map(knownLogin), ...kept]
    const isTokenInUse = others.some((other) => isLive(other, now) && mayUse(other, login))
    const isKnown = before.some(({ id }) => id === login.id)
    return { logins, removed: login.wasThere || isKnown ? [] : [login], result: { isTokenInUse } }
  })
}

function mayUse({ workspace, tokenHash, job }: KnownLogin, login: AddedLogin): boolean {
  return (workspace === login.workspace && job !== login.job) || tokenHash === login.tokenHash
}

/** The logins without one, and without those that nobody will remove any more, since their job was killed. */
function remaining(logins: readonly Login[], id: string, now: number): Login[] {
  return logins.filter((login) => login.id !== id && (login.isKept || login.dropsAt > now))
}

interface Change<T> {
  /** Those that are to be live. */
  readonly logins: readonly Login[]
  /** Are not to stay though the database may not know them. */
  readonly removed?: readonly RemovedLogin[]
  readonly beforeChange?: (base: ConfigContent) => void
  readonly result: T
}

/**
 * Brings the config to what the base and the live logins give, and takes up what others have changed in it. What is
 * about to be written is stored first, so that a process which is killed leaves a config that is known.
 */
async function changeLogins<T>(
  directory: string,
  deps: LoginDeps,
  change: (before: LoginStore, now: number) => Change<T>,
): Promise<T> {
  return withStore(databasePath(directory), deps, async (before, intend) => {
    const [path, temporary] = [configPath(directory), join(directory, 'config.yaml.setup-bl')]
    const givesUpAt = Date.now() + SETTLING_MS
    // While the store is locked nobody writes it, so it is what a process that was killed has left.
    removeFile(temporary)
    deps.signal.throwIfAborted()
    let seen = await readConfig(path)
    // Somebody may have logged out of a kept login.
    const { text = '' } = before.base ?? seen.content
    const kept = before.kept.filter((login) => isIn(text, login))
    const { logins, removed = [], beforeChange, result } = change({ ...before, kept }, Date.now())
    let known = before
    for (;;) {
      const now = Date.now()
      const base = baseOf(known, seen.content, removed, now)
      beforeChange?.(base)
      const next = withChange({ ...before, kept }, base, logins, now)
      const target = render(next.base, next.logins, now)
      // A new login can't be there; after the last one, every byte counts.
      const mayBeRewritten = next.logins.length > 0 && next.logins.length < before.logins.length
      if (isThere(target, seen.content, mayBeRewritten)) return [settled(next), result]
      intend(next)
      const theirs = await replaceConfig(path, temporary, seen, target)
      if (!theirs) return [settled(next), result]
      if (now > givesUpAt) {
        throw new SetupError(`${path} keeps changing.`, 'Run the job again when nothing else writes it.')
      }
      seen = theirs
      known = { ...before, base, logins: [...before.logins, ...logins] }
      await pause(LOOK_AGAIN_MS)
    }
  })
}

function isIn(text: string, { workspace, tokenHash }: KnownLogin): boolean {
  const own = findLogin(text, workspace)
  return own !== undefined && hashSecret(own.apiKey) === tokenHash
}

function isThere(target: ConfigContent, current: ConfigContent, mayBeRewritten: boolean): boolean {
  if (target.mode !== current.mode) return false
  return target.text === current.text || (mayBeRewritten && hasSameMeaning(target.text ?? '', current.text ?? ''))
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
  const entry = directory === undefined ? undefined : findLogin(await configText(directory), workspace)
  if (directory === undefined || !entry || entry.apiKey === token) return undefined
  return `bl uses the login to workspace '${workspace}' in ${configPath(directory)} instead of this session: it belongs to an earlier step, another job or the machine itself. Log it out, or remove 'login: false'.`
}

/** The workspaces that `bl` has a login for; none where the config can't be read. */
export async function machineWorkspaces(directory: string | undefined): Promise<string[]> {
  return directory === undefined ? [] : workspacesIn(await configText(directory))
}

function databasePath(directory: string): string {
  return join(directory, 'setup-bl.db')
}
