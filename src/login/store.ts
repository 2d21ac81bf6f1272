import { createHash } from 'node:crypto'
import { hashSecret } from '../blaxel/credential.ts'
import { isEnvironmentName, isId, isToken, isWorkspaceName } from '../blaxel/values.ts'
import { faultOf, findLogin, reconcile, withLogins, withoutLogins, type LoginEntry } from './config-document.ts'

/** What stands at the path of config.yaml. */
export type ConfigContent =
  { readonly kind: 'absent' } | { readonly kind: 'present'; readonly text: string; readonly mode: number }

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

/** What the jobs on a machine remember together. */
export interface LoginStore {
  /** The config without our logins; undefined while no login is live. */
  readonly base: ConfigContent | undefined
  /** Fingerprints of what the config may be while nobody else has changed it. */
  readonly expected: readonly string[]
  /** Oldest first. */
  readonly logins: readonly Login[]
  /** Logins that a process which has read the config before may still write back; `until` in ms since the epoch. */
  readonly removed: readonly (RemovedLogin & { readonly until: number })[]
}

export const EMPTY_STORE: LoginStore = { base: undefined, expected: [], logins: [], removed: [] }

const REMEMBER_REMOVED_MS = 60_000

/** Whether its token is still valid. @param now in ms since the epoch */
export function isLive({ expiresAt }: Login, now: number): boolean {
  return expiresAt > now
}

/** The logins that nobody will remove any more, since their job was killed. */
export function isAbandoned({ dropsAt, isKept }: Login, now: number): boolean {
  return !isKept && dropsAt <= now
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
  const names = [...new Set(logins.map(({ entry }) => entry.name))]
  const entries = names.flatMap((name) => preferred(logins.filter(({ entry }) => entry.name === name))?.entry ?? [])
  const text = withLogins(base.kind === 'present' ? base.text : undefined, entries, newest.entry.name)
  return { kind: 'present', text, mode: liveMode(base) }
}

/** A config with a token in it is nothing for users outside the file's group. */
function liveMode(base: ConfigContent): number {
  return base.kind === 'present' ? base.mode & 0o770 : 0o600
}

/**
 * The config without our logins, with whatever somebody else has changed in it.
 * @param current the config as it is
 * @param also a login that is ours though the store may not know it
 */
export function baseOf(store: LoginStore, current: ConfigContent, also: readonly RemovedLogin[]): ConfigContent {
  const { base, expected, logins } = store
  const known = fingerprint(current)
  if (base && (expected.includes(known) || fingerprint(base) === known)) return base
  if (current.kind === 'absent' || expected.includes(known)) return current
  const removed = [...store.removed, ...also]
  const ours = {
    isOurs: (name: string, apiKey: string) =>
      logins.some(({ entry }) => entry.name === name && entry.apiKey === apiKey) || isRemoved(removed, name, apiKey),
    workspaces: [...new Set(logins.map(({ entry }) => entry.name))],
  }
  if (!base) return contentOf(withoutLogins(current.text, ours.isOurs), current.mode)
  if (base.kind === 'absent') return contentOf(reconcile(current.text, undefined, ours), current.mode)
  const mode = current.mode === liveMode(base) ? base.mode : current.mode
  return contentOf(reconcile(current.text, base.text, ours), mode)
}

/** A base without one login, which became part of it where the store was lost. */
export function withoutRemoved(base: ConfigContent, removed: readonly RemovedLogin[]): ConfigContent {
  if (base.kind === 'absent' || removed.length === 0) return base
  const isOurs = (name: string, apiKey: string) => isRemoved(removed, name, apiKey)
  return contentOf(withoutLogins(base.text, isOurs), base.mode)
}

function isRemoved(removed: readonly RemovedLogin[], name: string, apiKey: string): boolean {
  return removed.some(({ workspace, tokenHash }) => workspace === name && tokenHash === hashSecret(apiKey))
}

/** Whether the base itself has this very login, as where the machine is logged in by the same key. */
export function holds(base: ConfigContent, { name, apiKey }: LoginEntry): boolean {
  return base.kind === 'present' && findLogin(base.text, name)?.apiKey === apiKey
}

/** The store with other logins; those that are gone are remembered for a minute, but for those that the base has. */
export function withChange(
  store: LoginStore,
  base: ConfigContent,
  logins: readonly Login[],
  now: number,
): LoginStore & { readonly base: ConfigContent } {
  const gone = store.logins.filter((login) => !logins.some(({ id }) => id === login.id) && !holds(base, login.entry))
  const removed = gone.map(({ entry: { name, apiKey } }) => {
    return { workspace: name, tokenHash: hashSecret(apiKey), until: now + REMEMBER_REMOVED_MS }
  })
  const recent = store.removed.filter(({ until }) => until > now)
  // Once nobody else is logged in, a login that is kept is part of the config like any other.
  const isOver = logins.every(({ isKept }) => isKept)
  return {
    base: isOver ? keptIn(base, logins, now) : base,
    expected: [],
    logins: isOver ? [] : logins,
    removed: [...recent, ...removed],
  }
}

function keptIn(base: ConfigContent, logins: readonly Login[], now: number): ConfigContent {
  const config = render(base, logins, now)
  return base.kind === 'present' && config.kind === 'present' ? { ...config, mode: base.mode } : config
}

function contentOf(text: string | undefined, mode: number): ConfigContent {
  return text === undefined ? { kind: 'absent' } : { kind: 'present', text, mode }
}

/** Tells texts apart without keeping them. */
export function fingerprint(content: ConfigContent): string {
  return content.kind === 'absent' ? 'absent' : createHash('sha256').update(content.text).digest('hex')
}

/**
 * Reads a stored value; undefined where it is not exactly what is written. Other steps can change it, so each value must
 * have the form that the API's and the inputs have.
 */
export function parseStore(text: string): LoginStore | undefined {
  let value: unknown
  try {
    value = JSON.parse(text)
  } catch {
    return undefined
  }
  return isStore(value) ? value : undefined
}

type Check = (value: unknown) => boolean

/** Whether a value is an object whose fields have the form that they should have. */
function fits(checks: Readonly<Record<string, Check>>): Check {
  return (value) =>
    typeof value === 'object' &&
    value !== null &&
    Object.entries(checks).every(([field, check]) => check((value as Readonly<Record<string, unknown>>)[field]))
}

const isText: Check = (value) => typeof value === 'string'
const isFlag: Check = (value) => typeof value === 'boolean'
const isMode: Check = (value) => typeof value === 'number' && Number.isInteger(value) && value >= 0 && value <= 0o777
const isConfig: Check = (value) => typeof value === 'string' && faultOf(value) === undefined
const isUrl: Check = (value) => typeof value === 'string' && URL.canParse(value)
const optional =
  (check: Check): Check =>
  (value) =>
    value === undefined || check(value)
const listOf =
  (check: Check): Check =>
  (value) =>
    Array.isArray(value) && value.every(check)
const isAbsent = fits({ kind: (kind) => kind === 'absent' })
const isPresent = fits({ kind: (kind) => kind === 'present', text: isConfig, mode: isMode })

const isStored = fits({
  base: optional((base) => isAbsent(base) || isPresent(base)),
  expected: listOf(isText),
  logins: listOf(
    fits({
      id: isId,
      job: isText,
      endpoint: isUrl,
      credential: isText,
      entry: fits({ name: isWorkspaceName, id: optional(isId), env: optional(isEnvironmentName), apiKey: isToken }),
      expiresAt: Number.isFinite,
      dropsAt: Number.isFinite,
      isKept: isFlag,
      followsContext: isFlag,
    }),
  ),
  removed: listOf(fits({ workspace: isWorkspaceName, tokenHash: isText, until: Number.isFinite })),
})

function isStore(value: unknown): value is LoginStore {
  return isStored(value)
}
