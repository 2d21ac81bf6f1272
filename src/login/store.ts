import { hashSecret } from '../blaxel/credential.ts'
import { isEnvironmentName, isId, isToken, isWorkspaceName } from '../blaxel/values.ts'
import { faultOf, reconcile, withLogins, withoutLogins, type LoginEntry } from './config-document.ts'

/** What stands at the path of config.yaml: nothing, where it has no text. */
export interface ConfigContent {
  readonly text?: string
  readonly mode: number
}

/** A config that is created is private. */
export const ABSENT: ConfigContent = { mode: 0o600 }

/** The login of one invocation of the action. */
export interface Login {
  /** The invocation's id. */
  readonly id: string
  /** RUNNER_TEMP, which identifies the job. */
  readonly job: string
  /** Base URL of the API that the login is for. */
  readonly endpoint: string
  /** SHA-256 of the credential that opened the session, in hex. */
  readonly credential: string
  readonly entry: LoginEntry
  /** When the token expires, in ms since the epoch. */
  readonly expiresAt: number
  /** Until when it stays in the config where its job was killed, in ms since the epoch. */
  readonly dropsAt: number
  /** `logout: false`: it outlives its job. */
  readonly isKept: boolean
  /** Its job's `bl` uses the workspace of the config's context, whatever that is. */
  readonly followsContext: boolean
}

/** A login that was removed, without its token. */
export interface RemovedLogin {
  readonly workspace: string
  /** SHA-256 of the session token, in hex. */
  readonly tokenHash: string
}

/** What other jobs must know about a login, without its token. */
export interface KnownLogin
  extends RemovedLogin, Pick<Login, 'job' | 'endpoint' | 'credential' | 'expiresAt' | 'followsContext'> {}

/** What the jobs on a machine remember together. */
export interface LoginStore {
  /** The config without our logins, while there are any. */
  readonly base?: ConfigContent
  /** Oldest first. */
  readonly logins: readonly Login[]
  /** Logins that became part of the config, because `logout` is false and no other login was left. */
  readonly kept: readonly KnownLogin[]
  /** Logins that a process which has read the config before may still write back; `until` in ms since the epoch. */
  readonly removed: readonly (RemovedLogin & { readonly until: number })[]
}

const MINUTE_MS = 60_000

/** Whether its token is still valid. @param now in ms since the epoch */
export function isLive({ expiresAt }: Pick<Login, 'expiresAt'>, now: number): boolean {
  return expiresAt > now
}

/**
 * The config while logins are live: for each workspace the newest one that has not expired, and the newest of all as the
 * context. An expired one still hides the machine's own login, which may allow more.
 * @param base the config without our logins
 */
export function render(base: ConfigContent, logins: readonly Login[], now: number): ConfigContent {
  const preferred = (among: readonly Login[]) => among.findLast((login) => isLive(login, now)) ?? among.at(-1)
  const newest = preferred(logins)
  if (!newest) return base
  const byWorkspace = Map.groupBy(logins, ({ entry }) => entry.name)
  const entries = [...byWorkspace.values()].flatMap((among) => preferred(among)?.entry ?? [])
  return { text: withLogins(base.text, entries, newest.entry.name), mode: privateMode(base) }
}

/** A config with a token in it is nothing for users outside the file's group. */
function privateMode({ mode }: ConfigContent): number {
  return mode & 0o770
}

/**
 * The config without our logins, with whatever somebody else has changed in it.
 * @param current the config as it is
 * @param also logins that are ours though the store may not know them, as where it was lost
 */
export function baseOf(
  { base, logins, removed }: LoginStore,
  current: ConfigContent,
  also: readonly RemovedLogin[],
  now: number,
): ConfigContent {
  const gone = [...removed, ...also]
  const isOurs = (name: string, apiKey: string) =>
    logins.some(({ entry }) => entry.name === name && entry.apiKey === apiKey) || isAmong(gone, name, apiKey)
  if (current.text === undefined) return ABSENT
  if (!base) return gone.length > 0 ? content(withoutLogins(current.text, isOurs), current.mode) : current
  const isLost = (name: string, apiKey: string) => isAmong(also, name, apiKey)
  const original = base.text && also.length > 0 ? withoutLogins(base.text, isLost) : base.text
  const workspaces = logins.map(({ entry }) => entry.name)
  const isUnchanged = current.text === render(base, logins, now).text
  const text = isUnchanged ? original : reconcile(current.text, original, { isOurs, workspaces })
  return content(text, current.mode === privateMode(base) ? base.mode : current.mode)
}

function isAmong(logins: readonly RemovedLogin[], name: string, apiKey: string): boolean {
  return logins.some(({ workspace, tokenHash }) => workspace === name && tokenHash === hashSecret(apiKey))
}

function content(text: string | undefined, mode: number): ConfigContent {
  return text === undefined ? ABSENT : { text, mode }
}

/** The store with other logins; those that are gone are remembered for a minute, unless the token is still in use. */
export function withChange(
  store: LoginStore,
  base: ConfigContent,
  logins: readonly Login[],
  now: number,
): Required<LoginStore> {
  const gone = store.logins
    .filter(({ id, entry }) => !logins.some((login) => login.id === id) && !base.text?.includes(entry.apiKey))
    .map(({ entry: { name, apiKey } }) => ({ workspace: name, tokenHash: hashSecret(apiKey), until: now + MINUTE_MS }))
  const inUse = logins.map(({ entry }) => hashSecret(entry.apiKey))
  const removed = [...store.removed, ...gone].filter(
    ({ tokenHash, until }) => until > now && !inUse.includes(tokenHash),
  )
  const kept = store.kept.filter((login) => isLive(login, now))
  // Once nobody else is logged in, a login that is kept is part of the config like any other.
  if (!logins.every(({ isKept }) => isKept)) return { base, logins, kept, removed }
  const own = { ...render(base, logins, now), mode: base.mode }
  return { base: own, logins: [], kept: [...kept, ...logins.map(knownLogin)], removed }
}

/** A login without its token. */
export function knownLogin({ entry, job, endpoint, credential, expiresAt, followsContext }: Login): KnownLogin {
  const tokenHash = hashSecret(entry.apiKey)
  return { workspace: entry.name, tokenHash, job, endpoint, credential, expiresAt, followsContext }
}

/** The store once the config is as it says: where no login is live, the config is from then on whatever it is. */
export function settled({ base, ...others }: Required<LoginStore>): LoginStore {
  return others.logins.length > 0 ? { base, ...others } : others
}

/**
 * Reads a stored value; undefined where it is not exactly what is written. Other steps can change it, so each value must
 * have the form that the API's and the inputs have.
 */
export function parseStore(text: string): LoginStore | undefined {
  try {
    const store = JSON.parse(text) as LoginStore
    const { base, logins, kept, removed } = store
    const isValid = logins.every(isLogin) && kept.every(isKnownLogin) && removed.every(isRemoved)
    return isValid && (!base || isContent(base)) ? store : undefined
  } catch {
    return undefined // neither JSON nor, where a value is of another kind, what is written
  }
}

function isContent({ text = '', mode }: ConfigContent): boolean {
  return faultOf(text) === undefined && Number.isInteger(mode) && mode >= 0 && mode <= 0o777
}

function isLogin(login: Login): boolean {
  const { id, env, apiKey } = login.entry
  return (
    isKnownLogin(knownLogin(login)) &&
    Number.isFinite(login.dropsAt) &&
    typeof login.isKept === 'boolean' &&
    isId(login.id) &&
    (id === undefined || isId(id)) &&
    (env === undefined || isEnvironmentName(env)) &&
    isToken(apiKey)
  )
}

function isKnownLogin(login: KnownLogin): boolean {
  return (
    isRemoved({ ...login, until: login.expiresAt }) &&
    [login.job, login.endpoint, login.credential].every((value) => typeof value === 'string') &&
    typeof login.followsContext === 'boolean' &&
    URL.canParse(login.endpoint)
  )
}

function isRemoved({ workspace, tokenHash, until }: LoginStore['removed'][number]): boolean {
  return isWorkspaceName(workspace) && typeof tokenHash === 'string' && Number.isFinite(until)
}
