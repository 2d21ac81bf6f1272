import { basename, isAbsolute } from 'node:path'
import { isTrustworthyUrl } from './util/url.ts'
import { isId, isWorkspaceName } from './blaxel/values.ts'

/**
 * What the post step needs to undo the main step. It holds paths, ids and hashes, never a secret: later steps can read
 * it. It is the only thing that the post step trusts, for later steps can also change the environment.
 */
export interface State {
  readonly schema: 1
  /** Identifies this run of the action: random, 32 hex digits. */
  readonly invocation: string
  /** Directories of this invocation only. */
  readonly scratch: string
  readonly staging: string
  readonly login?: LoginState
  readonly key?: KeyState
}

/** A login that may be in the CLI's config. */
export interface LoginState {
  /** `~/.blaxel` */
  readonly directory: string
  readonly workspace: string
  /** SHA-256 of the session token, in hex */
  readonly tokenHash: string
  /** The machine itself was logged in with the very same token. */
  readonly wasThere?: true
}

/** A key that may have been minted. */
export interface KeyState {
  readonly origin: string
  readonly workspace: string
  readonly serviceAccount: string
  readonly name: string
  readonly id?: string
  /** ms since the epoch */
  readonly expiresAt: number
  /** SHA-256 of the API key that minted it, in hex */
  readonly credential: string
}

/** Names of an invocation's directories. */
export const directoryNames = {
  scratch: (invocation: string) => `setup-bl-${invocation}`,
  staging: (invocation: string) => `.setup-bl-${invocation}`,
}

/** Reads a saved state; undefined if it is not exactly what the main step saves. */
export function parseState(text: string): State | undefined {
  let value: unknown
  try {
    value = JSON.parse(text)
  } catch {
    return undefined
  }
  return isState(value) ? value : undefined
}

type Fields = Readonly<Record<string, unknown>>

function isState(value: unknown): value is State {
  if (!isObject(value)) return false
  const { schema, invocation, scratch, staging, login, key } = value
  return (
    schema === 1 &&
    isHex(invocation, 32) &&
    isPathTo(scratch, directoryNames.scratch(invocation)) &&
    isPathTo(staging, directoryNames.staging(invocation)) &&
    (login === undefined || isLogin(login)) &&
    (key === undefined || isKey(key))
  )
}

function isLogin(value: unknown): value is LoginState {
  if (!isObject(value)) return false
  const { directory, workspace, tokenHash, wasThere } = value
  return (
    isPathTo(directory, '.blaxel') &&
    isWorkspaceName(workspace) &&
    isHex(tokenHash, 64) &&
    (wasThere === undefined || wasThere === true)
  )
}

function isKey(value: unknown): value is KeyState {
  if (!isObject(value)) return false
  const { origin, workspace, serviceAccount, name, id, expiresAt, credential } = value
  return (
    typeof origin === 'string' &&
    URL.canParse(origin) &&
    isTrustworthyUrl(new URL(origin)) &&
    isWorkspaceName(workspace) &&
    isId(serviceAccount) &&
    isId(name) &&
    (id === undefined || isId(id)) &&
    isTime(expiresAt) &&
    isHex(credential, 64)
  )
}

/** What a Date can hold (ECMA-262, 21.4.1.1). */
function isTime(value: unknown): value is number {
  return typeof value === 'number' && Math.abs(value) <= 8.64e15
}

function isObject(value: unknown): value is Fields {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

function isHex(value: unknown, length: number): value is string {
  return typeof value === 'string' && value.length === length && /^[0-9a-f]+$/.test(value)
}

function isPathTo(value: unknown, name: string): value is string {
  return typeof value === 'string' && isAbsolute(value) && basename(value) === name
}
