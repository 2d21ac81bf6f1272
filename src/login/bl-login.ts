import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, homeVariables, inPrivateHome, QUIET, type BlEdges } from '../blaxel/cli.ts'
import { SetupError } from '../util/errors.ts'
import type { Outcome } from '../util/process.ts'
import { findLogin, type LoginEntry } from './config-document.ts'

export interface LoginRequest {
  readonly workspace: string
  readonly token: string
  /** Base URL of the API, and the environment's name where there is one. */
  readonly apiUrl: string
  readonly environment: string | undefined
}

const LOGIN_TIMEOUT_MS = 60_000

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
    const outcome = await edges.run({ file, args, env, cwd: home, timeoutMs: LOGIN_TIMEOUT_MS }, signal)
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
