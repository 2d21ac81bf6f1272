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
import { credentialFromEnvironment, credentialFromInputs, lacksSecret, secretFault } from './credentials.ts'
import { missingCredentialRemedy, type RunOrigin } from './runner/event.ts'

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
  /** An input by its name in action.yml, trimmed; empty where it is not given. */
  readonly get: (name: string) => string
  readonly env: Readonly<Record<string, string | undefined>>
  readonly hide: (secret: string) => void
  readonly redact: (secret: string) => void
  readonly runOrigin: () => RunOrigin
  /** Reads a file of the checkout, which a stranger may have put there. */
  readonly readCheckoutFile: (path: string) => CheckoutFile
  readonly isSelfHosted: boolean
}

/**
 * Reads every input and every variable that stands in for one. The secrets are hidden before anything else happens.
 * @throws SetupError naming the input, what is wrong with it and what to do, without its value where that is secret
 */
export function readInputs(source: InputSource): Inputs {
  hideSecrets(source)
  refuseDeploy(source.get('deploy'))
  const options = readOptions(source)
  const { version, warnings } = readVersion(source)
  const checksum = parseChecksumInput(source.get('checksum'))
  const install = { version, checksum, source: readReleaseSource(source) }
  const access = readAccess(source, options)
  return { install, access, warnings: [...warnings, ...environmentWarnings(source.env)] }
}

interface Options {
  readonly login: boolean
  readonly exportEnv: boolean
  readonly logout: boolean
  readonly onMissing: 'fail' | 'skip'
  readonly lifetime: Lifetime
}

function readOptions({ get }: InputSource): Options {
  return {
    login: readBoolean('login', get('login')),
    exportEnv: readBoolean('export-env', get('export-env')),
    logout: readBoolean('logout', get('logout')),
    onMissing: readOnMissing(get('on-missing-credentials')),
    lifetime: readLifetime(get('token-lifetime')),
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
    throw new SetupError('Both inputs version and version-file are given.', 'Keep one of them.')
  }
  const file = readCheckoutFile(path)
  if (file.kind !== 'text') {
    throw new SetupError(
      `The file of the input version-file, ${excerpt(path)}, ${file.why}.`,
      'Name a file of the checkout, and run actions/checkout before this step.',
    )
  }
  const version = parseVersionFile(excerpt(path), file.text)
  // There a stranger's pull request chooses the version, while the job holds the secrets.
  const risky = env.GITHUB_EVENT_NAME === 'pull_request_target' && ignoresLoginErrors(version)
  const warning = `${excerpt(path)} asks for bl ${version}, which takes a refused login for a good one, and on pull_request_target a stranger may have written it: set the input version there.`
  return { version: { kind: 'exact', version }, warnings: risky ? [warning] : [] }
}

function readReleaseSource({ get, env }: InputSource): ReleaseSource {
  const mirror = get('mirror-url')
  if (mirror !== '') {
    const remedy = 'Give the address that stands for https://github.com/blaxel-ai/toolkit.'
    return { kind: 'mirror', url: parseBaseUrl(mirror, 'The input mirror-url', remedy).base }
  }
  const token = get('github-token')
  // A token of another server is good for nothing at api.github.com, and none of its business.
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
  const fromInputs = isSkipped(source, options) ? undefined : credentialFromInputs(source.get, options.lifetime)
  const workspace = source.get('workspace') || (source.env.BL_WORKSPACE ?? '').trim()
  if (workspace === '') return withoutWorkspace(source, fromInputs)
  refuseBadWorkspace(
    workspace,
    source.get('workspace') === '' ? 'BL_WORKSPACE in the environment' : 'The input workspace',
  )
  const credential = fromInputs ?? credentialFromEnvironment(source.env)
  if (!credential) return withoutCredential(source, workspace, options)
  refuseLastingKey(credential, options, source.isSelfHosted)
  const { login, exportEnv, logout } = options
  return { kind: 'session', workspace, credential, endpoint: readEndpoint(source), login, exportEnv, logout }
}

/** Half a credential is a mistake, but not where the other half is a secret that this run does not get. */
function isSkipped({ get }: InputSource, { onMissing }: Options): boolean {
  return onMissing === 'skip' && get('workspace') !== '' && lacksSecret(get)
}

function readEndpoint({ get, env }: InputSource): Endpoint {
  return resolveEndpoint({
    apiUrl: get('api-url'),
    BL_API_URL: (env.BL_API_URL ?? '').trim(),
    BL_ENV: (env.BL_ENV ?? '').trim(),
  })
}

function withoutWorkspace(source: InputSource, fromInputs: Credential | undefined): Access {
  if (fromInputs) {
    throw new SetupError(
      `A credential is given (${fromInputs.source}) but no workspace.`,
      "Set the input workspace to the workspace's name.",
    )
  }
  const half = (source.env.BL_CLIENT_CREDENTIALS ?? '') || (source.env.BL_API_KEY ?? '')
  return {
    kind: 'install-only',
    notice:
      half === ''
        ? undefined
        : 'bl was installed but not logged in: the environment holds a credential, but no workspace is named. Set the input workspace to log in.',
  }
}

function withoutCredential(source: InputSource, workspace: string, { onMissing }: Options): Access {
  if (source.get('workspace') === '') {
    return {
      kind: 'install-only',
      notice:
        'bl was installed but not logged in: the environment names a workspace (BL_WORKSPACE), but no credential is given. Give client-id and client-secret, or api-key, to log in.',
    }
  }
  const remedy = missingCredentialRemedy(source.runOrigin())
  const what = `No credential is given for the workspace '${workspace}'.`
  if (onMissing === 'fail') throw new SetupError(what, remedy)
  return {
    kind: 'skipped',
    notice: `${what} bl was installed but not logged in, as 'on-missing-credentials: skip' says.`,
  }
}

function refuseBadWorkspace(workspace: string, source: string): void {
  if (isWorkspaceName(workspace)) return
  throw new SetupError(
    `${source} is '${excerpt(workspace)}', which is no name of a workspace.`,
    "Use the workspace's name as in the address of the Blaxel console: letters, digits and hyphens.",
  )
}

function refuseLastingKey(credential: Credential, { login, logout }: Options, isSelfHosted: boolean): void {
  if (credential.kind !== 'api-key' || logout || !login || !isSelfHosted) return
  throw new SetupError(
    "With 'logout: false' the API key would stay on this self-hosted runner for good.",
    "Leave logout out, set 'login: false', or use a credential that expires: client-id and client-secret.",
  )
}

/** Before a single word is printed. What is refused later anyway is not masked: a line of it may be an ordinary word. */
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

/** What in the job's environment will trip later calls of `bl`, which this action can't prevent. */
function environmentWarnings(env: InputSource['env']): string[] {
  const warnings: string[] = []
  if (env.BL_CLIENT_CREDENTIALS === '') {
    warnings.push(
      'BL_CLIENT_CREDENTIALS is set but empty in this job, which makes every later call of bl fail: remove it from env:.',
    )
  } else if (env.BL_CLIENT_CREDENTIALS !== undefined) {
    warnings.push(
      'BL_CLIENT_CREDENTIALS stands in the environment of this job, so every later call of bl sends the client secret again: remove it from env: and give client-id and client-secret in with: of this step.',
    )
  }
  if (env.BL_API_KEY === '') {
    warnings.push(
      'BL_API_KEY is set but empty in this job: where it is not exported anew, later calls of bl find no credential. Remove it from env:.',
    )
  }
  return warnings
}
