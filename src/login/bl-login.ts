import { join } from 'node:path'
import { describe, homeVariables, inPrivateHome, QUIET, type CliDeps } from '../blaxel/cli.ts'
import { SetupError } from '../util/errors.ts'
import type { Outcome } from '../util/process.ts'
import { configText } from './config-file.ts'
import { findLogin, type LoginEntry } from './config-document.ts'

export interface LoginRequest {
  readonly workspace: string
  readonly token: string
  /** Base URL of the API, and the environment's name where there is one. */
  readonly apiUrl: string
  readonly environment: string | undefined
}

/** The program can't be started, or crashes. */
export class UnusableProgramError extends SetupError {}

const LOGIN_TIMEOUT_MS = 60_000
const CRASHES = ['SIGSEGV', 'SIGBUS', 'SIGILL', 'SIGTRAP', 'SIGABRT']

/**
 * Runs `bl login` with the session token, never with a long-lived secret, and returns the entry it has written.
 * Versions before 0.1.95 exit 0 whatever the API says, so the exit code alone proves nothing.
 * @throws SetupError where it fails, does not end within 60 s, or writes another entry than the one asked for
 */
export async function login(
  file: string,
  request: LoginRequest,
  deps: CliDeps,
  signal: AbortSignal,
): Promise<LoginEntry> {
  return inPrivateHome(deps.scratch, async (home) => {
    const env = {
      ...deps.childEnv,
      ...homeVariables(home),
      BL_API_KEY: request.token,
      BL_API_URL: request.apiUrl,
      ...(request.environment === undefined ? {} : { BL_ENV: request.environment }),
    }
    const args = ['login', request.workspace, QUIET]
    const outcome = await deps.run({ file, args, env, cwd: home, timeoutMs: LOGIN_TIMEOUT_MS }, signal)
    if (isUnusable(outcome)) {
      throw new UnusableProgramError(
        `${file} does not run: ${describe(outcome)}.`,
        'It was removed from the tool cache: run the job again to download it again.',
      )
    }
    if (outcome.kind === 'timed-out') {
      throw new SetupError(
        `'bl login ${request.workspace}' did not end within ${LOGIN_TIMEOUT_MS / 1000} s and was killed.`,
        'The Blaxel API answered setup-bl, so look at what differs for bl: its proxy variables and its version.',
      )
    }
    if (outcome.kind !== 'exited' || outcome.code !== 0) throw loginFailed(request, outcome)
    const entry = findLogin(await configText(join(home, '.blaxel')), request.workspace)
    if (entry?.apiKey === request.token) return entry
    throw new SetupError(
      `'bl login ${request.workspace}' reported success but did not store the login it was given.`,
      'Set the input version to another version of the CLI: 0.1.95 or newer, or latest.',
    )
  })
}

/** A damaged program can end up in a shell (execvp(3), ENOEXEC), which exits with 126 or 127. */
function isUnusable(outcome: Outcome): boolean {
  // macOS kills a program whose signature is wrong, as that of a damaged one is.
  const crashes = process.platform === 'darwin' ? [...CRASHES, 'SIGKILL'] : CRASHES
  if (outcome.kind === 'killed') return crashes.includes(outcome.signal)
  return outcome.kind === 'not-started' || (outcome.kind === 'exited' && [126, 127].includes(outcome.code))
}

/** The API took the credential a moment ago, so `bl` itself could not reach it: it says "permission denied" for that too. */
function loginFailed(request: LoginRequest, outcome: Outcome): SetupError {
  return new SetupError(
    `The Blaxel API accepts the credential, but 'bl login ${request.workspace}' failed: ${describe(outcome)}.`,
    "bl could probably not reach the API: install the system's CA certificates (package ca-certificates), or set " +
      'SSL_CERT_FILE and https_proxy for it.',
  )
}
