import { SetupError } from '../util/errors.ts'
import {
  decideRetry,
  hostOf,
  NetworkError,
  RetryableStatus,
  type Http,
  type HttpResponse,
  type HttpRequest,
} from '../util/http.ts'
import { field, interceptionOf, parseJson, reasonIn } from '../util/reason.ts'
import { excerpt } from '../util/redact.ts'
import type { RetryDecision } from '../util/retry.ts'
import { encodeClientCredentials } from './credential.ts'
import { isId, isLifetime, isToken } from './values.ts'

export interface IssuedToken {
  readonly token: string
  /** ms since the epoch, counted from the receipt by this machine's clock */
  readonly expiresAt: number
}

interface MintedKey {
  readonly id: string
  readonly apiKey: string
}

/** The responses whose meaning depends on the caller. */
export type WorkspaceAnswer =
  | { readonly kind: 'accepted' }
  | { readonly kind: 'bad-credential'; readonly said: string }
  | { readonly kind: 'forbidden'; readonly said: string }
  | { readonly kind: 'not-found'; readonly said: string }

/** What is known about a key after the request for it. */
export type MintAnswer =
  | ({ readonly kind: 'minted' } & MintedKey)
  /** It was certainly not created. */
  | { readonly kind: 'refused'; readonly error: SetupError }
  /** It may have been created, but its id is unknown. */
  | { readonly kind: 'unknown'; readonly error: SetupError }

/** The few calls of the Blaxel API that a session needs. Each throws SetupError for what its caller can't act on. */
export interface BlaxelApi {
  /** Base URL of the API. */
  readonly url: string
  issueToken(clientId: string, clientSecret: string, source: string): Promise<IssuedToken>
  workspace(name: string, token: string): Promise<WorkspaceAnswer>
  /** @throws the signal's reason when it fires; whether the key was made is not known then */
  mintKey(serviceAccount: string, name: string, lifetime: string, apiKey: string): Promise<MintAnswer>
  /** The ids of the keys with a name. */
  keysNamed(serviceAccount: string, name: string, apiKey: string): Promise<string[]>
  /** Also fine where the key is gone already. */
  deleteKey(serviceAccount: string, id: string, apiKey: string): Promise<void>
}

const REQUEST_TIMEOUT_MS = 15_000
const MAX_JITTER_MS = 1_000
/** The version that `bl` sends. Without one, the API responds as its earliest version does. */
const API_VERSION = '2026-04-28'

/**
 * @param url base URL of the API
 * @param deadline ms since the epoch; no attempt is started later
 */
export function createApi(url: string, http: Http, deadline: number, signal: AbortSignal): BlaxelApi {
  const { host } = new URL(url)
  const options = { timeoutMs: REQUEST_TIMEOUT_MS, maxJitterMs: MAX_JITTER_MS, deadline }

  const send = async (
    request: HttpRequest,
    decide: (error: unknown) => RetryDecision = decideRetry,
  ): Promise<HttpResponse> => {
    try {
      const response = await http.send(request, { ...options, decide }, signal)
      const interception = interceptionOf(response, host)
      if (interception === undefined || isRedirect(response)) return response
      throw new NetworkError('intercepted', interception)
    } catch (error) {
      throw error instanceof NetworkError ? unreachable(error) : error
    }
  }
  const keysUrl = (serviceAccount: string) => `${url}/service_accounts/${encodeURIComponent(serviceAccount)}/api_keys`

  return {
    url,
    issueToken: async (clientId, clientSecret, source) => {
      const response = await send({
        method: 'POST',
        url: `${url}/oauth/token`,
        headers: { ...JSON_HEADERS, authorization: `Basic ${encodeClientCredentials(clientId, clientSecret)}` },
        body: JSON.stringify({ grant_type: 'client_credentials' }),
      })
      return issuedToken(response, url, source)
    },
    workspace: async (name, token) => {
      const headers = { ...bearer(token), 'x-blaxel-workspace': name }
      return workspaceAnswer(
        await send({ method: 'GET', url: `${url}/workspaces/${encodeURIComponent(name)}`, headers }),
        name,
        host,
      )
    },
    mintKey: async (serviceAccount, name, lifetime, apiKey) => {
      const request: HttpRequest = {
        method: 'POST',
        url: keysUrl(serviceAccount),
        headers: { ...JSON_HEADERS, ...bearer(apiKey) },
        body: JSON.stringify({ name, expires_in: lifetime }),
      }
      try {
        return mintAnswer(await send(request, decideMintRetry), serviceAccount, host)
      } catch (error) {
        signal.throwIfAborted()
        if (!(error instanceof SetupError && error.cause instanceof NetworkError)) throw error
        return { kind: error.cause.nothingSent ? 'refused' : 'unknown', error }
      }
    },
    keysNamed: async (serviceAccount, name, apiKey) => {
      const response = await send({ method: 'GET', url: keysUrl(serviceAccount), headers: bearer(apiKey) })
      if (response.status !== 200) throw unexpected(response, host, 'the request for the list of keys')
      const list = keyList(parsed(response))
      if (!list) throw unexpected(response, host, 'the request for the list of keys')
      const ids = list.keys
        .filter((key) => field(key, 'name') === name)
        .map((key) => field(key, 'id'))
        .filter(isId)
      if (ids.length === 0 && !list.isWhole) throw unexpected(response, host, 'the request for the list of keys')
      return ids
    },
    deleteKey: async (serviceAccount, id, apiKey) => {
      if (!isId(id)) throw new Error('not an id of a key')
      const response = await send({
        method: 'DELETE',
        url: `${keysUrl(serviceAccount)}/${encodeURIComponent(id)}`,
        headers: bearer(apiKey),
      })
      if (response.status !== 404 && (response.status < 200 || response.status > 299))
        throw unexpected(response, host, 'the request to delete a key')
    },
  }
}

const COMMON_HEADERS = { accept: 'application/json', 'blaxel-version': API_VERSION }
const CHECK_RESPONDER =
  'Check the URL of the API (api-url or BL_API_URL), and that no proxy or firewall responds instead of it.'
const JSON_HEADERS = { ...COMMON_HEADERS, 'content-type': 'application/json' }

function bearer(token: string): Record<string, string> {
  return { ...COMMON_HEADERS, authorization: `Bearer ${token}` }
}

/**
 * The keys in a list, in either form: documented as an array, while other lists of this API version come as
 * `{"data": […], "meta": {"hasMore": …}}`. Undefined for anything else.
 */
function keyList(body: unknown): { readonly keys: unknown[]; readonly isWhole: boolean } | undefined {
  if (Array.isArray(body)) return { keys: body, isWhole: true }
  const data = field(body, 'data')
  return Array.isArray(data) ? { keys: data, isWhole: field(field(body, 'meta'), 'hasMore') !== true } : undefined
}

/** Minting is not repeatable: only a request that was rate limited, or of which no byte was sent, is sent again. */
function decideMintRetry(error: unknown): RetryDecision {
  if (error instanceof RetryableStatus && error.response.status !== 429) return { kind: 'fail' }
  if (error instanceof NetworkError && !error.nothingSent) return { kind: 'fail' }
  return decideRetry(error)
}

function issuedToken(response: HttpResponse, url: string, source: string): IssuedToken {
  const receivedAt = Date.now()
  const { host } = new URL(url)
  if (response.status === 400 || response.status === 401 || response.status === 403) {
    throw new SetupError(
      `The Blaxel API rejected ${source} (${response.status}: ${saidBy(response)}).`,
      'Check that the client ID and the client secret belong together and that the service account still exists.',
    )
  }
  if (response.status === 404) {
    throw new SetupError(
      `There is no Blaxel API at ${url} (404: ${saidBy(response)}).`,
      'Set api-url or BL_API_URL to the base URL of the API with its path, such as https://api.blaxel.ai/v0.',
    )
  }
  if (response.status !== 200) throw failed(response, host)
  const body = parsed(response)
  const token = field(body, 'access_token')
  const lifetime = field(body, 'expires_in')
  if (!isToken(token) || !isLifetime(lifetime)) throw unexpected(response, host, 'the request for a token')
  return { token, expiresAt: receivedAt + lifetime * 1000 }
}

function workspaceAnswer(response: HttpResponse, name: string, host: string): WorkspaceAnswer {
  switch (response.status) {
    case 200: {
      const answered = field(parsed(response), 'name')
      if (answered === name) return { kind: 'accepted' }
      if (typeof answered !== 'string') throw unexpected(response, host, 'the request for the workspace')
      throw new SetupError(
        `${host} returned the workspace '${excerpt(answered)}' instead of '${name}'.`,
        'Check the inputs workspace and api-url.',
      )
    }
    case 401:
      return { kind: 'bad-credential', said: saidBy(response) }
    case 403:
      return { kind: 'forbidden', said: saidBy(response) }
    case 404:
      return { kind: 'not-found', said: saidBy(response) }
    default:
      throw failed(response, host)
  }
}

function mintAnswer(response: HttpResponse, serviceAccount: string, host: string): MintAnswer {
  const said = `${response.status}: ${saidBy(response)}`
  const refused = (what: string, remedy: string): MintAnswer => ({
    kind: 'refused',
    error: new SetupError(what, remedy),
  })
  switch (response.status) {
    case 200:
    case 201: {
      const body = parsed(response)
      const id = field(body, 'id')
      const apiKey = field(body, 'apiKey')
      if (!isId(id) || !isToken(apiKey))
        return { kind: 'unknown', error: unexpected(response, host, 'the request for a key') }
      return { kind: 'minted', id, apiKey }
    }
    case 400:
      return refused(
        `The Blaxel API can't create a key for the service account ${serviceAccount} (${said}).`,
        'Check the inputs service-account and token-lifetime.',
      )
    case 401:
      return refused(`The Blaxel API rejected api-key (${said}).`, 'Check that the secret holds a valid API key.')
    case 403:
      return refused(
        `The api-key is not allowed to create keys for the service account ${serviceAccount} (${said}).`,
        'Give the owner of the key the permission apiKey:write, or use client-id and client-secret of the service account instead.',
      )
    case 404:
      return refused(
        `The Blaxel API found no service account ${serviceAccount} for this api-key (${said}).`,
        "Set the input service-account to the service account's client ID.",
      )
    default:
      return { kind: response.status >= 500 ? 'unknown' : 'refused', error: failed(response, host) }
  }
}

function unreachable(error: NetworkError): SetupError {
  return new SetupError(error.message, remedyFor(error), { cause: error })
}

function remedyFor({ fault }: NetworkError): string {
  if (fault === 'certificate' || fault === 'proxy') return 'No credential was sent.'
  if (fault === 'intercepted')
    return 'Your credential was not rejected. Let the runner reach that host, check api-url, and run the job again.'
  return "Check the runner's network and proxy, and api-url if you set it. Then run the job again."
}

function failed(response: HttpResponse, host: string): SetupError {
  const { status } = response
  if (status >= 500 || status === 408 || status === 425 || status === 429) {
    const why = status === 429 ? 'is rate limiting requests' : 'has an outage'
    return new SetupError(
      `The Blaxel API at ${host} ${why} (${status}: ${saidBy(response)}).`,
      'Your credential was not rejected. Retry later.',
    )
  }
  if (isRedirect(response)) {
    const { location = '' } = response.headers
    const target = URL.canParse(location) ? ` to ${excerpt(hostOf(location))}` : ''
    return new SetupError(
      `${host} redirects API requests (${status}${target}), which are not followed because they carry the credential.`,
      CHECK_RESPONDER,
    )
  }
  return unexpected(response, host, 'a request')
}

function unexpected(response: HttpResponse, host: string, request: string): SetupError {
  const said = response.status >= 200 && response.status < 300 ? '' : `: ${saidBy(response)}`
  return new SetupError(
    `${host} sent an unexpected response to ${request} (${response.status}${said}).`,
    CHECK_RESPONDER,
  )
}

/** What a response says of an error. */
function saidBy(response: HttpResponse): string {
  return reasonIn(response) ?? 'no message'
}

function parsed(response: HttpResponse): unknown {
  return parseJson(response.text)
}

function isRedirect({ status }: HttpResponse): boolean {
  return status >= 300 && status < 400
}
