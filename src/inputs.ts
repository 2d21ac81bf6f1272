import { SetupError } from './util/errors.ts'
import { excerpt } from './util/redact.ts'
import { parseBaseUrl } from './util/url.ts'
import { decodeClientCredentials, parseLifetime, type Credential, type Lifetime } from './blaxel/credential.ts'
import { resolveEndpoint, type Endpoint } from './blaxel/endpoint.ts'
import { isWorkspaceName } from './blaxel/values.ts'
import { parseChecksumInput } from './install/checksum.ts'
import type { InstallRequest } from './install/install.ts'
import type { ReleaseSource } from './install/release.ts'
import { parseVersionFile } from './install/version-file.ts'
import { ignoresLoginErrors, parseVersionSpec, type VersionSpec } from './install/version.ts'
import type { CheckoutFile } from './runner/checkout.ts'
import { withheldSecretsRemedy, type RunOrigin } from './runner/event.ts'
import {
  credentialFromEnvironment,
  credentialFromInputs,
  hasSecretInput,
  secretFault,
  workspaceOfOtherKey,
} from './credentials.ts'

/** What the user wants, checked. */
export interface Inputs {
  readonly install: InstallRequest
  readonly access: Access
  readonly warnings: readonly string[]
}

export type Access =
  | { readonly kind: 'install-only'; readonly notice: string | undefined }
  /** A workspace without a credential, where that was allowed. */
  | { readonly kind: 'skipped'; readonly notice: string }
  | SessionAccess

export interface SessionAccess {
  readonly kind: 'session'
  readonly workspace: string
  readonly credential: Credential
  readonly endpoint: Endpoint
  readonly login: boolean
  readonly exportEnv: boolean
  readonly logout: boolean
}

/** Where the inputs come from. */
export interface InputSource {
  /** An input by its name in action.yml, trimmed; empty if it is not given. */
  readonly get: (name: string) => string
  readonly env: Readonly<Record<string, string | undefined>>
  readonly hide: (secret: string) => void
  readonly redact: (secret: string) => void
  readonly runOrigin: () => RunOrigin
  /** Reads a file of the checkout, which untrusted code may have put there. */
  readonly readCheckoutFile: (path: string) => CheckoutFile
  readonly isSelfHosted: boolean
}

/**
 * Reads every input and every variable that stands in for one. The secrets are hidden before anything else happens.
 * @throws SetupError naming the input, what is wrong with it and what to do, without its value where that is secret
 */
export function readInputs(source: InputSource): Inputs {
  hideSecrets(source)
  assertInputsArrived(source.env)
  refuseDeploy(source.get('deploy'))
  const options = readOptions(source)
  const { version, warnings } = readVersion(source)
  const checksum = parseChecksumInput(source.get('checksum'))
  const install = { version, checksum, source: readReleaseSource(source) }
  const access = readAccess(source, options)
  return { install, access, warnings: [...warnings, ...environmentWarnings(source.env)] }
}

/**
 * The runner passes each input, given or not, as a variable such as INPUT_API-KEY. Some shells (dash, for one) drop
 * variables with a hyphen in their name. Without them the step would do something else than the workflow says.
 */
function assertInputsArrived(env: InputSource['env']): void {
  const hasHyphen = (name: string) => /^INPUT_.*-/i.test(name)
  if (env.INPUT_LOGIN === undefined || Object.keys(env).some(hasHyphen)) return
  throw new SetupError(
    'All inputs with a hyphen in their name (client-id, api-key and others) were lost before the step started: a shell such as dash drops them.',
    "Change the runner's wrapper script or container hook to start steps directly or with bash.",
  )
}

interface Options {
  readonly login: boolean
  readonly exportEnv: boolean
  readonly logout: boolean
  readonly onMissing: 'fail' | 'skip'
  readonly lifetime: Lifetime
}

/** An empty input means its default in action.yml: a composite action often passes on ''. */
function readOptions({ get }: InputSource): Options {
  return {
    login: readBoolean('login', get('login') || 'true'),
    exportEnv: readBoolean('export-env', get('export-env') || 'true'),
    logout: readBoolean('logout', get('logout') || 'true'),
    onMissing: readOnMissing(get('on-missing-credentials') || 'fail'),
    lifetime: readLifetime(get('token-lifetime') || '2h'),
  }
}

/** The values that YAML 1.2's core schema knows. */
function readBoolean(name: string, value: string): boolean {
  if (['true', 'True', 'TRUE'].includes(value)) return true
  if (['false', 'False', 'FALSE'].includes(value)) return false
  throw new SetupError(`The input ${name} is '${excerpt(value)}'.`, 'Set it to true or false.')
}

function readOnMissing(value: string): 'fail' | 'skip' {
  if (value === 'fail' || value === 'skip') return value
  throw new SetupError(`The input on-missing-credentials is '${excerpt(value)}'.`, 'Set it to fail or skip.')
}

function readLifetime(value: string): Lifetime {
  const lifetime = parseLifetime(value)
  if (lifetime) return lifetime
  throw new SetupError(
    `The input token-lifetime is '${excerpt(value)}'.`,
    'Set it to a whole number of hours, days or weeks, such as 2h, 1d or 1w.',
  )
}

function readVersion({ get, env, readCheckoutFile }: InputSource): { version: VersionSpec; warnings: string[] } {
  const path = get('version-file')
  if (path === '') return { version: parseVersionSpec(get('version')), warnings: [] }
  if (get('version') !== '') {
    throw new SetupError('Both inputs version and version-file are given.', 'Remove one of them.')
  }
  const file = readCheckoutFile(path)
  if (file.kind !== 'text') {
    throw new SetupError(
      `The input version-file names ${excerpt(path)}, which ${file.why}.`,
      'Name a file of the checkout, and run actions/checkout before this step.',
    )
  }
  const version = parseVersionFile(excerpt(path), file.text)
  // There a pull request can choose the version, while the job holds the secrets.
  const risky = env.GITHUB_EVENT_NAME === 'pull_request_target' && ignoresLoginErrors(version)
  const warning = `${excerpt(path)} asks for bl ${version}, which exits 0 when a login is rejected, and on pull_request_target anybody may have changed that file. Set the input version instead.`
  return { version: { kind: 'exact', version }, warnings: risky ? [warning] : [] }
}

function readReleaseSource({ get, env }: InputSource): ReleaseSource {
  const mirror = get('mirror-url')
  if (mirror !== '') {
    const remedy = 'Use the base URL of the mirror, such as https://mirror.example/toolkit.'
    return { kind: 'mirror', url: parseBaseUrl(mirror, 'The input mirror-url', remedy).base }
  }
  const token = get('github-token')
  // A token of another server must not be sent to api.github.com.
  const isForGitHub = token !== '' && (env.GITHUB_SERVER_URL ?? 'https://github.com') === 'https://github.com'
  return { kind: 'github', token: isForGitHub ? token : undefined }
}

function refuseDeploy(value: string): void {
  if (value === '') return
  throw new SetupError(
    'setup-bl does not deploy, so the input deploy is not supported.',
    "Remove it and add a step of your own: '- run: bl apply -R -f PATH'.",
  )
}

function readAccess(source: InputSource, options: Options): Access {
  const { get, env, runOrigin } = source
  const maySkip = options.onMissing === 'skip'
  // Half a credential is a mistake, but not if the other half is a secret that this run does not get.
  const fromInputs =
    maySkip && !hasSecretInput(get) ? undefined : credentialFromInputs(get, options.lifetime, runOrigin)
  const workspace = get('workspace') || (env.BL_WORKSPACE ?? '').trim()
  if (workspace === '') return withoutWorkspace(source, fromInputs, options)
  const credential = fromInputs ?? credentialFromEnvironment(env, workspace)
  // Without a credential, what is left of the workspace's name in a run without variables is of no importance.
  if (!credential && maySkip) return skipped(source, workspace)
  assertWorkspace(workspace, get('workspace') === '' ? 'BL_WORKSPACE in the environment' : 'The input workspace')
  if (!credential) return withoutCredential(source, workspace)
  assertKeyExpires(credential, options, source.isSelfHosted)
  const { login, exportEnv, logout } = options
  return { kind: 'session', workspace, credential, endpoint: readEndpoint(source), login, exportEnv, logout }
}

function readEndpoint({ get, env }: InputSource): Endpoint {
  return resolveEndpoint({
    apiUrl: get('api-url'),
    BL_API_URL: (env.BL_API_URL ?? '').trim(),
    BL_ENV: (env.BL_ENV ?? '').trim(),
  })
}

function withoutWorkspace(source: InputSource, fromInputs: Credential | undefined, { onMissing }: Options): Access {
  if (fromInputs) {
    throw new SetupError(
      `A credential is given (${fromInputs.source}) but no workspace.`,
      'Set the input workspace. If it is set, the variable it refers to is empty: check its name.',
    )
  }
  const { BL_CLIENT_CREDENTIALS = '', BL_API_KEY = '' } = source.env
  if (BL_CLIENT_CREDENTIALS === '' && BL_API_KEY === '') {
    return onMissing === 'skip'
      ? { kind: 'skipped', notice: `No credential is given. ${SKIPPED}` }
      : { kind: 'install-only', notice: undefined }
  }
  return {
    kind: 'install-only',
    notice:
      'bl was installed but not logged in: the environment holds a credential, but no workspace is named. Set the input workspace to log in.',
  }
}

const SKIPPED = "bl was installed but not logged in, because of 'on-missing-credentials: skip'."

function skipped(source: InputSource, workspace: string): Access {
  return { kind: 'skipped', notice: `${missingCredential(source, workspace)} ${SKIPPED}` }
}

function withoutCredential(source: InputSource, workspace: string): Access {
  if (source.get('workspace') === '') {
    return {
      kind: 'install-only',
      notice:
        'bl was installed but not logged in: the environment names a workspace (BL_WORKSPACE), but no credential is given. Set client-id and client-secret, or api-key, to log in.',
    }
  }
  throw new SetupError(
    missingCredential(source, workspace),
    withheldSecretsRemedy(source.runOrigin(), true) ??
      "Set client-id and client-secret, or api-key. If they are set, the secrets they refer to are empty: check their names and the job's environment.",
  )
}

function missingCredential({ env }: InputSource, workspace: string): string {
  const other = workspaceOfOtherKey(env, workspace)
  const because = other === undefined ? '' : `: BL_API_KEY in the environment is for the workspace '${excerpt(other)}'`
  return `No credential is given for the workspace '${excerpt(workspace)}'${because}.`
}

function assertWorkspace(workspace: string, source: string): void {
  if (isWorkspaceName(workspace)) return
  throw new SetupError(
    `${source} is '${excerpt(workspace)}', which is not a valid workspace name.`,
    'Copy the name from the address of the Blaxel console: letters, digits and hyphens.',
  )
}

function assertKeyExpires(credential: Credential, { login, logout }: Options, isSelfHosted: boolean): void {
  if (credential.kind !== 'api-key' || logout || !login || !isSelfHosted) return
  throw new SetupError(
    "With 'logout: false' the API key would stay on this self-hosted runner forever.",
    "Remove logout, set 'login: false', or use a credential that expires: client-id and client-secret.",
  )
}

/** Called before anything is printed. Invalid secrets are not masked: a line of one may be an ordinary word. */
function hideSecrets({ get, env, hide, redact }: InputSource): void {
  // The runner masks its own token already; nothing of ours prints it either.
  redact(get('github-token'))
  const pair = (env.BL_CLIENT_CREDENTIALS ?? '').trim()
  const decoded = decodeClientCredentials(pair)
  const clients = [{ clientId: get('client-id'), clientSecret: get('client-secret') }, ...(decoded ? [decoded] : [])]
  const pairs = clients
    .filter(({ clientSecret }) => secretFault(clientSecret) === undefined)
    .flatMap(({ clientId, clientSecret }) => [
      clientSecret,
      ...(clientId === '' ? [] : [`${clientId}:${clientSecret}`]),
    ])
  const keys = [
    get('api-key'),
    get('apikey'),
    (env.BL_API_KEY ?? '').trim(),
    (env.BL_TOKEN ?? '').trim(),
    decoded ? '' : pair,
  ]
  for (const secret of new Set([...keys, ...pairs])) {
    if (secret !== '' && secretFault(secret) === undefined) hide(secret)
  }
}

/** What in the job's environment will break later `bl` calls, which this action can't prevent. */
function environmentWarnings(env: InputSource['env']): string[] {
  const warnings: string[] = []
  if (env.BL_CLIENT_CREDENTIALS === '') {
    warnings.push(
      'BL_CLIENT_CREDENTIALS is set but empty in this job, which makes later bl calls fail. Remove it from env:.',
    )
  } else if (env.BL_CLIENT_CREDENTIALS !== undefined) {
    warnings.push(
      'BL_CLIENT_CREDENTIALS is set in this job, so every later bl call sends the client secret again. Remove it from env: and set client-id and client-secret in with: of this step.',
    )
  }
  if (env.BL_API_KEY === '') {
    warnings.push(
      'BL_API_KEY is set but empty in this job, so later bl calls may find no credential. Remove it from env:.',
    )
  }
  return warnings
}
