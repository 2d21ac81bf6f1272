import { closeSync, mkdtempSync, openSync, readFileSync, readSync } from 'node:fs'
import { join } from 'node:path'
import { SetupError, messageOf } from '../base/errors.ts'
import { discard } from '../base/files.ts'
import type { Command, Outcome, Run } from '../base/process.ts'
import { excerpt } from '../base/redact.ts'
import type { LoginEntry } from '../blaxel/config-text.ts'

/** What a call of `bl` needs from the outside. */
export interface BlEdges {
  readonly run: Run
  /** The only variables a child gets, besides its private HOME and what a call adds. */
  readonly childEnv: Readonly<Record<string, string>>
  /** A directory of this use's own, in which every call gets a fresh HOME. */
  readonly scratch: string
}

export type VersionCheck =
  | { readonly kind: 'as-expected' }
  | { readonly kind: 'timed-out' }
  | { readonly kind: 'unusable'; readonly why: string }

/** The error for a program that may be good: it is neither published nor evicted for being slow. */
export function versionTimeout(version: string): SetupError {
  return new SetupError(
    `'bl version' of bl ${version} did not answer within 10 s.`,
    'The runner is overloaded: run the job again.',
  )
}

export interface LoginRequest {
  readonly workspace: string
  readonly token: string
  /** Base URL of the API, and the environment's name where there is one. */
  readonly apiUrl: string
  readonly environment: string | undefined
}

const VERSION_TIMEOUT_MS = 10_000
const LOGIN_TIMEOUT_MS = 60_000
const MAGIC = ['7f454c46', 'cffaedfe', 'cefaedfe', 'cafebabe', '4d5a', '2321']
/** Without it `bl` asks api.github.com for a newer version, without a time-out. */
const QUIET = '--skip-version-warning'

/** Runs `bl version` and compares what it says. @throws only where the signal fires */
export async function checkVersion(
  file: string,
  version: string,
  edges: BlEdges,
  signal: AbortSignal,
): Promise<VersionCheck> {
  if (!isProgram(file)) return { kind: 'unusable', why: 'it is no program' }
  const outcome = await inPrivateHome(edges, (home) =>
    edges.run(versionCommand(file, edges.childEnv, home, home), signal),
  )
  return judgeVersion(outcome, version)
}

/** How `bl version` is run. @param home its HOME, which it only reads */
export function versionCommand(file: string, childEnv: BlEdges['childEnv'], home: string, cwd: string): Command {
  const env = { ...childEnv, ...homeVariables(home) }
  return { file, args: ['version', QUIET], env, cwd, timeoutMs: VERSION_TIMEOUT_MS }
}

/** What the end of `bl version` says of the program. */
export function judgeVersion(outcome: Outcome, version: string): VersionCheck {
  if (outcome.kind === 'timed-out') return { kind: 'timed-out' }
  if (outcome.kind !== 'exited' || outcome.code !== 0) return { kind: 'unusable', why: describe(outcome) }
  if (!mentionsVersion(outcome.stdout, version)) {
    return { kind: 'unusable', why: `it says '${excerpt(outcome.stdout)}' instead of ${version}` }
  }
  return { kind: 'as-expected' }
}

/**
 * Runs `bl login` with the session token, never with a long-lived secret, and returns the entry it has written.
 * Versions before 0.1.95 exit 0 whatever the API says, so the exit code alone proves nothing.
 * @throws SetupError where it fails, does not end within 60 s, or writes another entry than the one asked for
 */
export async function login(
  file: string,
  request: LoginRequest,
  edges: BlEdges,
  signal: AbortSignal,
): Promise<LoginEntry> {
  return inPrivateHome(edges, async (home) => {
    const env = {
      ...edges.childEnv,
      ...homeVariables(home),
      BL_API_KEY: request.token,
      BL_API_URL: request.apiUrl,
      ...(request.environment === undefined ? {} : { BL_ENV: request.environment }),
    }
    const args = ['login', request.workspace, QUIET]
    const running = edges.run({ file, args, env, cwd: home, timeoutMs: LOGIN_TIMEOUT_MS }, signal)
    const [outcome, { findLogin }] = await Promise.all([running, warmReader()])
    if (outcome.kind === 'timed-out') {
      throw new SetupError(
        `'bl login ${request.workspace}' did not end within ${LOGIN_TIMEOUT_MS / 1000} s and was killed.`,
        'The Blaxel API answered setup-bl, so look at what differs for bl: its proxy variables and its version.',
      )
    }
    if (outcome.kind !== 'exited' || outcome.code !== 0) throw loginFailed(request, outcome)
    const entry = findLogin(writtenConfig(home), request.workspace)
    if (entry?.apiKey === request.token) return entry
    throw new SetupError(
      `'bl login ${request.workspace}' reported success but did not store the login it was given.`,
      'Set the input version to another version of the CLI: 0.1.95 or newer, or latest.',
    )
  })
}

/** Whether a program's output names exactly this version: `0.1.10` is not in `Version: 0.1.108`. */
export function mentionsVersion(output: string, version: string): boolean {
  return output.split(/[\s,;()]+/).some((word) => word === version || word === `v${version}`)
}

/** What reads YAML is loaded while bl is busy, and has read a little by then: the first time takes the longest. */
async function warmReader() {
  const reader = await import('../blaxel/config-text.ts')
  reader.findLogin('workspaces:\n  - name: any\n    credentials:\n      apiKey: any\n', 'any')
  return reader
}

/**
 * Whether a file begins as a program does: ELF, Mach-O, PE, or a script with its interpreter. Anything else would be
 * handed to /bin/sh by the C library (execvp(3), ENOEXEC).
 */
export function isProgram(file: string): boolean {
  try {
    const opened = openSync(file, 'r')
    try {
      const buffer = Buffer.alloc(4)
      const start = buffer.toString('hex', 0, readSync(opened, buffer))
      return MAGIC.some((magic) => start.startsWith(magic))
    } finally {
      closeSync(opened)
    }
  } catch {
    return false
  }
}

function writtenConfig(home: string): string {
  try {
    return readFileSync(join(home, '.blaxel', 'config.yaml'), 'utf8')
  } catch {
    return ''
  }
}

/** The API took the credential a moment ago, so `bl` itself could not reach it: it says "permission denied" for that too. */
function loginFailed(request: LoginRequest, outcome: Outcome): SetupError {
  return new SetupError(
    `The Blaxel API takes the credential, but 'bl login ${request.workspace}' failed: ${describe(outcome)}.`,
    "bl could probably not reach the API: install the system's CA certificates (package ca-certificates), or set " +
      'SSL_CERT_FILE and https_proxy for it.',
  )
}

function describe(outcome: Outcome): string {
  switch (outcome.kind) {
    case 'exited':
      return `exit code ${outcome.code}, '${excerpt(`${outcome.stderr} ${outcome.stdout}`)}'`
    case 'killed':
      return `it was killed by ${outcome.signal}`
    case 'timed-out':
      return 'it did not end in time'
    case 'not-started':
      return `it could not be started: ${excerpt(messageOf(outcome.error))}`
  }
}

function homeVariables(home: string): Record<string, string> {
  return { HOME: home, USERPROFILE: home }
}

/**
 * `bl` loads `./.env`, rewrites `~/.blaxel/config.yaml` without a lock and keeps a cache there: it gets an empty
 * directory of its own for both, which is removed at once since a login leaves the token in it.
 */
async function inPrivateHome<T>(edges: BlEdges, work: (home: string) => Promise<T>): Promise<T> {
  const home = mkdtempSync(join(edges.scratch, 'home-'))
  try {
    return await work(home)
  } finally {
    discard(home)
  }
}
