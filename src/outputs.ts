import { dirname } from 'node:path'
import { DEFAULT_API_URL, type Endpoint } from './blaxel/endpoint.ts'
import { machineWorkspaces } from './login/login.ts'
import type { Session } from './blaxel/session.ts'
import type { Installation } from './install/install.ts'
import type { Access, SessionAccess } from './inputs.ts'
import { blaxelDirectory, type Machine } from './runner/runner-env.ts'
import type { Runner } from './runner/runner.ts'

export interface OutputDeps {
  readonly runner: Runner
  readonly machine: Machine
  /** The job's environment as the step found it, to see which variables must be overridden. */
  readonly ambient: Readonly<Record<string, string | undefined>>
}

/** Says in the log which API is used and what named it, unless it is the default one. */
export function announceEndpoint({ url, source, isForeign }: Endpoint, runner: Runner): void {
  if (url === DEFAULT_API_URL) return
  runner.info(`Using the Blaxel API at ${url}, set by ${source}`)
  if (!isForeign) return
  runner.warning(`The credential is sent to ${new URL(url).host}, which is not a Blaxel host, because of ${source}.`)
}

/** Says in the log what was opened, and how long it lasts. */
export function announceSession({ workspace, login: loggedIn }: SessionAccess, session: Session, runner: Runner): void {
  const what = loggedIn ? `Logged in to workspace ${workspace}` : `Opened a session for workspace ${workspace}`
  const until = session.expiresAt === undefined ? '' : ` that expires ${rfc3339(session.expiresAt)}`
  runner.info(`${what} with ${TOKEN_NAME[session.type]}${until}`)
  if (session.isShortLived) return
  runner.notice(
    'The session token is the API key itself, which does not expire. It is in the environment and config of this job until the job ends. For a short-lived token, use client-id and client-secret, or add service-account.',
  )
}

const TOKEN_NAME: Readonly<Record<Session['type'], string>> = {
  oauth: 'an OAuth token',
  'service-account-key': 'a service account key',
  'api-key': 'an API key',
}

/** Puts `bl` on PATH, and says where it came from. */
export function setCliOutputs(installation: Installation, { runner }: OutputDeps): void {
  runner.addPath(dirname(installation.path))
  runner.setOutput('version', installation.version)
  runner.setOutput('path', installation.path)
  runner.setOutput('cache-hit', String(installation.cacheHit))
  runner.setOutput('verified-by', installation.verifiedBy)
}

/** Gives the session to later steps, as outputs and environment. */
export function setSessionOutputs(access: SessionAccess, session: Session, deps: OutputDeps): void {
  const { runner } = deps
  runner.setOutput('workspace', access.workspace)
  runner.setOutput('authenticated', 'true')
  runner.setOutput('token', session.token)
  runner.setOutput('token-type', session.type)
  runner.setOutput('token-expires-at', session.expiresAt === undefined ? '' : rfc3339(session.expiresAt))
  if (!access.exportEnv) return
  const variables: [string, string][] = [
    ['BL_WORKSPACE', access.workspace],
    ['BL_API_KEY', session.token],
    ...(session.isShortLived ? [['BL_TOKEN', session.token] satisfies [string, string]] : []),
    ...endpointVariables(access.endpoint, deps.ambient),
  ]
  for (const [name, value] of variables) runner.exportVariable(name, value)
  runner.info(`Exported ${enumerate(variables.map(([name]) => name))} to later steps`)
}

/** The API as resolved, where later steps would otherwise assume another one. */
function endpointVariables(endpoint: Endpoint, ambient: OutputDeps['ambient']): [string, string][] {
  const isDefault = endpoint.url === DEFAULT_API_URL
  const url =
    isDefault && (ambient.BL_API_URL ?? '') === '' ? [] : [['BL_API_URL', endpoint.url] satisfies [string, string]]
  // Without BL_ENV=prod an entry of another environment in the config would send requests elsewhere.
  const name = endpoint.environment ?? (isDefault ? 'prod' : undefined)
  const environment =
    name === undefined || (name === 'prod' && (ambient.BL_ENV ?? '') === '')
      ? []
      : [['BL_ENV', name] satisfies [string, string]]
  return [...url, ...environment]
}

/** Says that there is no session, and why. */
export async function setNoSessionOutputs(access: Access, { runner, machine }: OutputDeps): Promise<void> {
  runner.setOutput('workspace', '')
  runner.setOutput('authenticated', 'false')
  runner.setOutput('token', '')
  runner.setOutput('token-type', '')
  runner.setOutput('token-expires-at', '')
  if (access.kind !== 'session' && access.notice !== undefined) runner.notice(access.notice)
  if (access.kind !== 'skipped') return
  const workspaces = await machineWorkspaces(blaxelDirectory(machine))
  if (workspaces.length === 0) return
  runner.warning(
    `This machine has its own login to ${enumerate(workspaces)}, which bl uses in this job: a pull request from a fork can use that login. Log the machine out, or keep such jobs off this runner.`,
  )
}

function enumerate(names: readonly string[]): string {
  return names.length < 2 ? names.join('') : `${names.slice(0, -1).join(', ')} and ${names.at(-1) ?? ''}`
}

/** A time as outputs and messages have it, in RFC 3339 and whole seconds. @param ms since the epoch */
export function rfc3339(ms: number): string {
  return new Date(ms).toISOString().replace(/\.\d+Z$/, 'Z')
}
