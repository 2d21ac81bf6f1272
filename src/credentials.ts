import { SetupError } from './util/errors.ts'
import { excerpt } from './util/redact.ts'
import { decodeClientCredentials, parseJwt, type Credential, type Lifetime } from './blaxel/credential.ts'
import { isId, isToken } from './blaxel/values.ts'

type Get = (name: string) => string

const SHORTEST_SECRET = 8

/**
 * The credential in the inputs; undefined where there is none.
 * @throws SetupError naming the input, for half a pair, two kinds at once, and secrets that can't be one
 */
export function credentialFromInputs(get: Get, lifetime: Lifetime): Credential | undefined {
  const apiKey = apiKeyInput(get)
  const clientId = get('client-id')
  const clientSecret = get('client-secret')
  const serviceAccount = get('service-account')
  if ((clientId === '') !== (clientSecret === '')) throw halfPair(clientId === '' ? 'client-secret' : 'client-id')
  if (clientId !== '' && apiKey.value !== '') {
    throw new SetupError(
      `Two kinds of credential are given: ${apiKey.name} and client-id with client-secret.`,
      'Keep one of them.',
    )
  }
  if (serviceAccount !== '') return serviceAccountCredential(serviceAccount, apiKey, lifetime)
  if (clientId !== '') return clientCredential(clientId, clientSecret, 'client-id and client-secret')
  return apiKey.value === '' ? undefined : keyCredential(apiKey.value, apiKey.name)
}

/** Whether the inputs name an account without any secret: runs of forks and of Dependabot see variables, but no secrets. */
export function lacksSecret(get: Get): boolean {
  const isGiven = (name: string) => get(name) !== ''
  return ['client-id', 'service-account'].some(isGiven) && !['client-secret', 'api-key', 'apikey'].some(isGiven)
}

interface NamedSecret {
  readonly name: string
  readonly value: string
}

function apiKeyInput(get: Get): NamedSecret {
  const [current, old] = [get('api-key'), get('apikey')]
  if (current !== '' && old !== '' && current !== old) {
    throw new SetupError('The inputs api-key and apikey differ.', 'Keep api-key alone: apikey is its old name.')
  }
  const name = current !== '' || old === '' ? 'api-key' : 'apikey'
  const value = current || old
  if (value !== '') refuseBadKey(value, `The input ${name}`)
  return { name, value }
}

function halfPair(given: 'client-id' | 'client-secret'): SetupError {
  const missing = given === 'client-id' ? 'client-secret' : 'client-id'
  return new SetupError(
    `The input ${given} is given without ${missing}.`,
    `Give both. Where ${missing} is set, the secret or variable that it names is empty: check its name and environment.`,
  )
}

function serviceAccountCredential(serviceAccount: string, apiKey: NamedSecret, lifetime: Lifetime): Credential {
  if (apiKey.value === '') {
    throw new SetupError(
      'The input service-account is given without api-key.',
      'Give the API key that may mint keys for it as api-key.',
    )
  }
  if (parseJwt(apiKey.value)) {
    throw new SetupError(
      'The input service-account is given, but api-key is a JWT, which is short-lived as it is.',
      'Leave service-account out, or give an API key.',
    )
  }
  if (!isId(serviceAccount)) {
    throw new SetupError(
      `The input service-account is '${excerpt(serviceAccount)}'.`,
      "Set it to the service account's client ID.",
    )
  }
  return { kind: 'service-account', source: apiKey.name, apiKey: apiKey.value, serviceAccount, lifetime }
}

function clientCredential(clientId: string, clientSecret: string, source: string): Credential {
  refuseBadSecret(
    clientSecret,
    source === 'BL_CLIENT_CREDENTIALS' ? `The secret in ${source}` : 'The input client-secret',
  )
  if (!/^[!-9;-~]{1,256}$/.test(clientId)) {
    throw new SetupError(
      `The client ID in ${source} holds a blank, a colon or another character that no ID has.`,
      'Check that it was pasted whole.',
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
 * The credential in the environment, BL_CLIENT_CREDENTIALS before BL_API_KEY as in the CLI; undefined where there is none.
 * @throws SetupError naming the variable, for what can't be a credential
 */
export function credentialFromEnvironment(env: Readonly<Record<string, string | undefined>>): Credential | undefined {
  const pair = (env.BL_CLIENT_CREDENTIALS ?? '').trim()
  if (pair !== '') {
    const decoded = decodeClientCredentials(pair)
    if (decoded) return clientCredential(decoded.clientId, decoded.clientSecret, 'BL_CLIENT_CREDENTIALS')
    throw new SetupError(
      'BL_CLIENT_CREDENTIALS in the environment is not the base64 of id:secret.',
      'Give the inputs client-id and client-secret instead, and remove the variable.',
    )
  }
  const key = (env.BL_API_KEY ?? '').trim()
  if (key === '') return undefined
  refuseBadKey(key, 'BL_API_KEY in the environment')
  if (key !== (env.BL_TOKEN ?? '').trim()) return keyCredential(key, 'BL_API_KEY')
  const jwt = parseJwt(key)
  return {
    kind: 'earlier-session',
    source: 'BL_API_KEY',
    token: key,
    expiresAt: jwt?.expiresAt,
    isJwt: jwt !== undefined,
  }
}

/** A key may stand in the CLI's config, which escapes nothing. */
function refuseBadKey(value: string, source: string): void {
  refuseBadSecret(value, source)
  if (isToken(value)) return
  throw new SetupError(
    `${source} holds a quote or a backslash, or is longer than 8,192 characters, which no Blaxel key is.`,
    'Check that the secret was pasted whole, alone and without quotes around it.',
  )
}

function refuseBadSecret(value: string, source: string): void {
  const fault = secretFault(value)
  if (fault !== undefined)
    throw new SetupError(`${source} ${fault}.`, 'Check that the secret was pasted whole, alone and on one line.')
}

/** What is wrong with a secret. Short ones are refused since masking them would garble the log and drop job outputs. */
export function secretFault(value: string): string | undefined {
  if (/[\r\n]/.test(value)) return 'holds a line break'
  if (!/^[!-~]*$/.test(value)) return 'holds a blank, a control character or a letter outside ASCII'
  return value.length < SHORTEST_SECRET ? `is shorter than ${SHORTEST_SECRET} characters` : undefined
}

/** The secret with which the post step may revoke a key: from the inputs alone, for the environment is others' to change. */
export function readRevocationKey(source: {
  readonly get: Get
  readonly hide: (secret: string) => void
}): string | undefined {
  const key = source.get('api-key') || source.get('apikey')
  if (secretFault(key) !== undefined) return undefined
  source.hide(key)
  return key
}
