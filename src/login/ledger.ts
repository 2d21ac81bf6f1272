import { readFileSync, rmSync } from 'node:fs'
import { SetupError } from '../util/errors.ts'
import { refuseStrangeFile, statIfThere, writePrivately } from '../util/fs.ts'
import { fingerprint, type ConfigContent } from './config-file.ts'
import type { Login, LoginEntry } from './config-text.ts'
import { isEnvironmentName, isId, isToken, isWorkspaceName } from '../blaxel/values.ts'

/** One live use of the action on this machine. */
export interface Use extends Login {
  readonly id: string
  /** Base URL of the API that the login is for. */
  readonly origin: string
  /** SHA-256 of the credential that opened the session, in hex. */
  readonly credential: string
}

/** What the jobs on this machine remember together while any of them is logged in. */
export interface Ledger {
  /** The config without any login of ours. */
  readonly base: ConfigContent
  /** Fingerprints of what is about to be written, and of what stood there before: one of them is what a kill leaves. */
  readonly written: string
  readonly previous: string
  /** The config's directory was not there before the first login. */
  readonly madeDirectory: boolean
  /** Oldest first. */
  readonly uses: readonly Use[]
  /** Logins that were taken out a moment ago: who read the config before may write it with them. */
  readonly gone: readonly GoneLogin[]
}

/** A login that is no longer in the config, without its token. */
export interface GoneLogin {
  readonly workspace: string
  /** SHA-256 of the session token, in hex */
  readonly tokenHash: string
  /** ms since the epoch: how long it is looked for */
  readonly until: number
}

const SCHEMA = 1
const WHAT = 'the ledger in which setup-bl keeps what to undo'

/**
 * Reads the ledger; undefined where there is none. To be called under the lock.
 * @throws SetupError where the file is a link, somebody else's, damaged, or of another version; it is left as it is
 */
export function readLedger(path: string): Ledger | undefined {
  const stats = statIfThere(path)
  if (stats === undefined) return undefined
  refuseStrangeFile(path, stats, WHAT)
  const ledger = parseLedger(readFileSync(path, 'utf8'))
  if (ledger.kind === 'known') return ledger.ledger
  const fault =
    ledger.kind === 'damaged' ? 'is damaged' : `is of version ${ledger.schema}, which this setup-bl does not know`
  throw new SetupError(
    `${path} ${fault}, and was left as it is; it is ${WHAT}.`,
    "When no other job runs on this machine, check the CLI's config.yaml beside it and remove the ledger.",
  )
}

/** Writes the ledger in one step. To be called under the lock. */
export async function writeLedger(path: string, id: string, ledger: Ledger): Promise<void> {
  await writePrivately(
    path,
    `${path}.${id}`,
    `${JSON.stringify({ schema: SCHEMA, baseFingerprint: fingerprint(ledger.base), ...ledger })}\n`,
  )
}

/** Takes the ledger away. To be called under the lock. */
export function removeLedger(path: string): void {
  rmSync(path, { force: true })
}

type Parsed =
  | { readonly kind: 'known'; readonly ledger: Ledger }
  | { readonly kind: 'other-version'; readonly schema: number }
  | { readonly kind: 'damaged' }

/** Reads a ledger's text. What comes out may have been tampered with, so all of it must have the right form. */
export function parseLedger(text: string): Parsed {
  let value: unknown
  try {
    value = JSON.parse(text)
  } catch {
    return { kind: 'damaged' }
  }
  if (!isObject(value)) return { kind: 'damaged' }
  const { schema, base, baseFingerprint, written, previous, madeDirectory, uses, gone } = value
  if (typeof schema === 'number' && schema !== SCHEMA) return { kind: 'other-version', schema }
  const isWhole =
    schema === SCHEMA &&
    isContent(base, baseFingerprint) &&
    typeof written === 'string' &&
    typeof previous === 'string' &&
    typeof madeDirectory === 'boolean' &&
    isListOf(uses, isUse) &&
    isListOf(gone, isGoneLogin)
  if (!isWhole) return { kind: 'damaged' }
  return { kind: 'known', ledger: { base, written, previous, madeDirectory, uses, gone } }
}

function isContent(value: unknown, expected: unknown): value is ConfigContent {
  return (isAbsent(value) || isPresent(value)) && fingerprint(value) === expected
}

function isAbsent(value: unknown): value is ConfigContent & { kind: 'absent' } {
  return isObject(value) && value.kind === 'absent'
}

function isPresent(value: unknown): value is ConfigContent & { kind: 'present' } {
  if (!isObject(value)) return false
  const { kind, text, mode } = value
  return (
    kind === 'present' &&
    typeof text === 'string' &&
    Number.isInteger(mode) &&
    (mode as number) >= 0 &&
    (mode as number) <= 0o777
  )
}

function isUse(value: unknown): value is Use {
  if (!isObject(value)) return false
  const { id, origin, credential, notAfter, entry } = value
  return (
    isId(id) &&
    typeof origin === 'string' &&
    URL.canParse(origin) &&
    typeof credential === 'string' &&
    Number.isFinite(notAfter) &&
    isEntry(entry)
  )
}

function isGoneLogin(value: unknown): value is GoneLogin {
  if (!isObject(value)) return false
  const { workspace, tokenHash, until } = value
  return isWorkspaceName(workspace) && typeof tokenHash === 'string' && Number.isFinite(until)
}

function isEntry(value: unknown): value is LoginEntry {
  if (!isObject(value)) return false
  const { name, id, env, apiKey } = value
  return (
    isWorkspaceName(name) &&
    isToken(apiKey) &&
    (id === undefined || isId(id)) &&
    (env === undefined || isEnvironmentName(env))
  )
}

function isListOf<T>(value: unknown, isOne: (value: unknown) => value is T): value is T[] {
  return Array.isArray(value) && value.every(isOne)
}

function isObject(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}
