import { SetupError } from './util/errors.ts'
import { excerpt } from './util/redact.ts'
import { decodeClientCredentials, parseJwt, type Credential, type Lifetime } from './blaxel/credential.ts'
import { isId, isToken } from './blaxel/values.ts'
import { withheldSecretsRemedy, type RunOrigin } from './runner/event.ts'

type Get = (name: string) => string
type Environment = Readonly<Record<string, string | undefined>>

const SHORTEST_SECRET = 8

/**
 * The credential in the inputs; undefined if there is none.
 * @param runOrigin where the run comes from, for the message about half a pair
 * @throws SetupError naming the input, for half a pair, two kinds at once, and secrets that can't be one
 */
export function credentialFromInputs(get: Get, lifetime: Lifetime, runOrigin: () => RunOrigin): Credential | undefined {
  const apiKey = apiKeyInput(get)
  const clientId = get('client-id')
  const clientSecret = get('client-secret')
  const serviceAccount = get('service-account')
  if ((clientId === '') !== (clientSecret === '')) {
    throw halfPair(clientId === '' ? 'client-secret' : 'client-id', runOrigin())
  }
  if (clientId !== '' && apiKey.value !== '') {
    throw new SetupError(
      `Two kinds of credential are given: ${apiKey.name} and client-id with client-secret.`,
      'Remove one of them.',
    )
  }
  if (serviceAccount !== '') return serviceAccountCredential(serviceAccount, apiKey, lifetime, runOrigin)
  if (clientId !== '') return clientCredential(clientId, clientSecret, 'client-id and client-secret')
  return apiKey.value === '' ? undefined : keyCredential(apiKey.value, apiKey.name)
}

/** Whether any secret is among the inputs. In runs that get no secrets, IDs may still be there: they are variables. */
export function hasSecretInput(get: Get): boolean {
  return ['client-secret', 'api-key', 'apikey'].some((name) => get(name) !== '')
}

interface NamedSecret {
  readonly name: string
  readonly value: string
}

function apiKeyInput(get: Get): NamedSecret {
  const [current, old] = [get('api-key'), get('apikey')]
  if (current !== '' && old !== '' && current !== old) {
    throw new SetupError('The inputs api-key and apikey differ.', 'Remove apikey: it is the old name of api-key.')
  }
  const name = current !== '' || old === '' ? 'api-key' : 'apikey'
  const value = current || old
  if (value !== '') assertKey(value, `The input ${name}`)
  return { name, value }
}

function halfPair(given: 'client-id' | 'client-secret', origin: RunOrigin): SetupError {
  const missing = given === 'client-id' ? 'client-secret' : 'client-id'
  return new SetupError(
    `The input ${given} is given without ${missing}.`,
    withheldSecretsRemedy(origin, given === 'client-id') ??
      `Set both. If ${missing} is set, the secret or variable it refers to is empty: check its name and the job's environment.`,
  )
}

function serviceAccountCredential(
  serviceAccount: string,
  apiKey: NamedSecret,
  lifetime: Lifetime,
  runOrigin: () => RunOrigin,
): Credential {
  if (apiKey.value === '') {
    throw new SetupError(
      'The input service-account is given without api-key.',
      withheldSecretsRemedy(runOrigin(), true) ??
        "Set api-key to an API key that may create keys for it. If it is set, the secret it refers to is empty: check its name and the job's environment.",
    )
  }
  if (parseJwt(apiKey.value)) {
    throw new SetupError(
      'The input service-account is given, but api-key is a JWT, which is short-lived already.',
      'Remove service-account, or set api-key to an API key.',
    )
  }
  if (!isId(serviceAccount)) {
    throw new SetupError(
      `The input service-account is '${excerpt(serviceAccount)}', which is not a valid client ID.`,
      "Set it to the service account's client ID.",
    )
  }
  return { kind: 'service-account', source: apiKey.name, apiKey: apiKey.value, serviceAccount, lifetime }
}

function clientCredential(clientId: string, clientSecret: string, source: string): Credential {
  assertSecret(clientSecret, source === 'BL_CLIENT_CREDENTIALS' ? `The secret in ${source}` : 'The input client-secret')
  if (!/^[!-9;-~]{1,256}$/.test(clientId)) {
    throw new SetupError(
      `The client ID in ${source} contains a space, a colon or another invalid character.`,
      'Copy it again from the Blaxel console.',
    )
  }
  return { kind: 'client', source, clientId, clientSecret }
}

function keyCredential(value: string, source: string): Credential {
  const jwt = parseJwt(value)
  return jwt
    ? { kind: 'jwt', source, jwt: value, expiresAt: jwt.expiresAt }
    : { kind: 'api-key', source, apiKey: value }
}

/**
 * The credential in the environment, BL_CLIENT_CREDENTIALS before BL_API_KEY as in the CLI; undefined if there is none
 * for this workspace. An earlier use of the action exports BL_API_KEY together with BL_WORKSPACE, so beside another
 * BL_WORKSPACE the key is not meant for this one.
 * @throws SetupError naming the variable, for what can't be a credential
 */
export function credentialFromEnvironment(env: Environment, workspace: string): Credential | undefined {
  const pair = (env.BL_CLIENT_CREDENTIALS ?? '').trim()
  if (pair !== '') {
    const decoded = decodeClientCredentials(pair)
    if (decoded) return clientCredential(decoded.clientId, decoded.clientSecret, 'BL_CLIENT_CREDENTIALS')
    throw new SetupError(
      'BL_CLIENT_CREDENTIALS in the environment is not the base64 of id:secret.',
      'Remove the variable, and set the inputs client-id and client-secret instead.',
    )
  }
  const key = (env.BL_API_KEY ?? '').trim()
  if (key === '' || workspaceOfOtherKey(env, workspace) !== undefined) return undefined
  assertKey(key, 'BL_API_KEY in the environment')
  const isExported = key === (env.BL_TOKEN ?? '').trim() && workspace === (env.BL_WORKSPACE ?? '').trim()
  if (!isExported) return keyCredential(key, 'BL_API_KEY')
  const jwt = parseJwt(key)
  return {
    kind: 'earlier-session',
    source: 'BL_API_KEY',
    token: key,
    expiresAt: jwt?.expiresAt,
    isJwt: jwt !== undefined,
  }
}

/** The other workspace that BL_API_KEY in the environment is for; undefined if there is no such key. */
export function workspaceOfOtherKey(env: Environment, workspace: string): string | undefined {
  const other = (env.BL_WORKSPACE ?? '').trim()
  return (env.BL_API_KEY ?? '').trim() === '' || other === '' || other === workspace ? undefined : other
}

/** The CLI writes the key to its config without escaping. */
function assertKey(value: string, source: string): void {
  assertSecret(value, source)
  if (isToken(value)) return
  throw new SetupError(
    `${source} contains a quote or a backslash or is longer than 8,192 characters, so it is not a Blaxel key.`,
    'Store the key again: whole, alone and without quotes around it.',
  )
}

function assertSecret(value: string, source: string): void {
  const fault = secretFault(value)
  if (fault !== undefined)
    throw new SetupError(`${source} ${fault}.`, 'Store the secret again: whole, alone and on one line.')
}

/** What is wrong with a secret. Short ones are invalid because masking them would garble the log and drop job outputs. */
export function secretFault(value: string): string | undefined {
  if (/[\r\n]/.test(value)) return 'contains a line break'
  if (!/^[!-~]*$/.test(value)) return 'contains a space, a control character or a non-ASCII character'
  return value.length < SHORTEST_SECRET ? `is shorter than ${SHORTEST_SECRET} characters` : undefined
}

/** The secret with which the post step may revoke a key: only from the inputs, because later steps can change the environment. */
export function readRevocationKey(source: {
  readonly get: Get
  readonly hide: (secret: string) => void
}): string | undefined {
  const key = source.get('api-key') || source.get('apikey')
  if (secretFault(key) !== undefined) return undefined
  source.hide(key)
  return key
}
