import type { Agent, IncomingMessage } from 'node:http'
import { addAbortSignal } from 'node:stream'
import { HttpClient } from '@actions/http-client'
import type { RequestHandler } from '@actions/http-client/lib/interfaces'
import { unlessAborted, withDeadline } from './deadline.ts'
import { codeOf, messageOf } from './errors.ts'
import { bareHost, createAgents, ProxyError, type Proxy } from './proxy-agent.ts'
import { reasonIn } from './reason.ts'
import { excerpt } from './redact.ts'
import { reportRetry, retry, retryAfterMs, type Retry, type RetryDecision, type RetryLog } from './retry.ts'

export interface HttpRequest {
  readonly method: 'GET' | 'POST' | 'DELETE'
  readonly url: string
  readonly headers?: Readonly<Record<string, string>>
  readonly body?: string
}

export interface HttpResponse {
  readonly status: number
  readonly headers: IncomingMessage['headers']
  readonly text: string
}

export interface RequestOptions {
  /** For one attempt, in ms. */
  readonly timeoutMs: number
  /** ms since the epoch; no attempt is started later. */
  readonly deadline: number
  /** See RetryOptions. */
  readonly maxJitterMs: number
  /** By default all failures but certificate and proxy errors are retried. */
  readonly decide?: (error: unknown) => RetryDecision
  /** A longer body is an error; 1 MB by default. */
  readonly maxBytes?: number
}

/** Sends requests, each by the route that it was given. Follows no redirect. */
export interface Http {
  /** One attempt; resolves when the headers are there, with the body still to be read. @throws NetworkError */
  open(request: HttpRequest, signal: AbortSignal): Promise<IncomingMessage>
  /**
   * The whole response after as many attempts as needed and allowed, whatever its status: the caller knows what it
   * means.
   * @throws NetworkError if no attempt got a response
   */
  send(request: HttpRequest, options: RequestOptions, signal: AbortSignal): Promise<HttpResponse>
}

/** `intercepted`: something on the way answered, and not the host. */
type Fault = 'unreachable' | 'certificate' | 'proxy' | 'intercepted' | 'broken' | 'timeout' | 'too-large'

/** No usable response. `nothingSent` is true only if the server certainly saw no byte of the request. */
export class NetworkError extends Error {
  override readonly name = 'NetworkError'
  readonly fault: Fault
  readonly nothingSent: boolean

  constructor(fault: Fault, message: string, nothingSent = false, options?: ErrorOptions) {
    super(message, options)
    this.fault = fault
    this.nothingSent = nothingSent
  }
}

/** A response with a status that is worth another attempt. */
export class RetryableStatus extends Error {
  override readonly name = 'RetryableStatus'
  readonly response: HttpResponse

  constructor(response: HttpResponse, host: string) {
    const reason = reasonIn(response)
    super(`${host} answered ${response.status}${reason === undefined ? '' : ` (${reason})`}.`)
    this.response = response
  }
}

const MAX_TEXT_BYTES = 1_000_000
const UNREACHABLE = new Set(['ECONNREFUSED', 'ENOTFOUND', 'EAI_AGAIN', 'EHOSTUNREACH', 'ENETUNREACH', 'EADDRNOTAVAIL'])

/** How a request gets to its host. */
export type Route =
  | { readonly kind: 'direct' }
  | { readonly kind: 'proxy'; readonly proxy: Proxy }
  /** It would need a proxy that can't be used. */
  | { readonly kind: 'refused'; readonly error: NetworkError }

export interface HttpOptions {
  readonly userAgent: string
  readonly routeTo: (url: URL) => Route
  readonly log: RetryLog
}

/** Creates the one HTTP client of this process. */
export function createHttp({ userAgent, routeTo, log }: HttpOptions): Http {
  const agentFor = createAgents()

  // A client for each request, with the agent of its route: by its own reading of the environment, HttpClient goes past
  // a proxy that it can't parse.
  const clientFor = (url: URL) => {
    const route = routeTo(url)
    if (route.kind === 'refused') throw route.error
    const agent = agentFor(url, route.kind === 'proxy' ? route.proxy : undefined)
    return new HttpClient(userAgent, [withAgent(agent)], { allowRedirects: false, allowRetries: false })
  }

  const open: Http['open'] = async (request, signal) => {
    const client = clientFor(new URL(request.url))
    const pending = client.request(request.method, request.url, request.body ?? null, { ...request.headers })
    // The client takes no signal: a response that arrives after the abort is thrown away.
    pending.then(
      ({ message }) => signal.aborted && message.destroy(),
      () => undefined,
    )
    try {
      return (await unlessAborted(pending, signal)).message
    } catch (error) {
      signal.throwIfAborted()
      throw asNetworkError(error, hostOf(request.url))
    }
  }

  const sendOnce = (request: HttpRequest, options: RequestOptions, parent: AbortSignal): Promise<HttpResponse> => {
    const { timeoutMs, maxBytes = MAX_TEXT_BYTES } = options
    const host = hostOf(request.url)
    const expired = () => new NetworkError('timeout', `${host} did not answer within ${timeoutMs / 1000} s.`)
    return withDeadline(parent, timeoutMs, expired, async (signal) => {
      const message = await open(request, signal)
      const text = await readText(message, host, maxBytes, signal)
      const response = { status: message.statusCode ?? 0, headers: message.headers, text }
      if (isRetryable(response)) throw new RetryableStatus(response, host)
      return response
    })
  }

  const send: Http['send'] = async (request, options, signal) => {
    const { deadline, maxJitterMs, decide = decideRetry } = options
    const onRetry = (failure: Retry) => {
      reportRetry(`${request.method} ${request.url}`, failure, log)
    }
    try {
      return await retry({ decide, maxJitterMs, deadline, signal, onRetry }, () => sendOnce(request, options, signal))
    } catch (error) {
      if (error instanceof RetryableStatus) return error.response
      throw error
    }
  }

  return { open, send }
}

function withAgent(agent: Agent): RequestHandler {
  return {
    prepareRequest: (options) => {
      Object.assign(options, { agent, host: bareHost(String(options.host)) })
    },
    canHandleAuthentication: () => false,
    handleAuthentication: () => Promise.reject(new Error('not used')),
  }
}

/** Whether the same request may be sent again: after 408, 425, 5xx, and where the server is rate limiting. */
export function isRetryable(response: Pick<HttpResponse, 'status' | 'headers'>): boolean {
  const { status } = response
  return status === 408 || status === 425 || status >= 500 || isRateLimited(response)
}

/** 429, or GitHub's 403 with a Retry-After (docs.github.com, "Rate limits for the REST API"). */
function isRateLimited({ status, headers }: Pick<HttpResponse, 'status' | 'headers'>): boolean {
  return status === 429 || (status === 403 && headers['retry-after'] !== undefined)
}

/** The retry decision for a request that may be repeated. */
export function decideRetry(error: unknown): RetryDecision {
  if (error instanceof RetryableStatus) {
    const { response } = error
    return isRateLimited(response)
      ? { kind: 'wait', ms: retryAfterMs(response.headers['retry-after'], Date.now()) }
      : { kind: 'retry' }
  }
  if (!(error instanceof NetworkError)) return { kind: 'fail' }
  switch (error.fault) {
    case 'certificate':
    case 'proxy':
    case 'intercepted':
    case 'too-large':
      return { kind: 'fail' }
    case 'unreachable':
    case 'broken':
    case 'timeout':
      return { kind: 'retry' }
  }
}

/** The host of a URL, with its port if it has one. */
export function hostOf(url: string): string {
  return new URL(url).host
}

/** Reads a body as text. @throws NetworkError if it is larger than allowed, or the connection breaks */
export async function readText(
  message: IncomingMessage,
  host: string,
  maxBytes: number,
  signal: AbortSignal,
): Promise<string> {
  const chunks: Buffer[] = []
  let length = 0
  addAbortSignal(signal, message)
  try {
    for await (const chunk of message as AsyncIterable<Buffer>) {
      length += chunk.length
      if (length > maxBytes)
        throw new NetworkError('too-large', `${host} sent a response larger than ${maxBytes / 1_000_000} MB.`)
      chunks.push(chunk)
    }
    return Buffer.concat(chunks).toString('utf8')
  } catch (error) {
    signal.throwIfAborted()
    throw asNetworkError(error, host)
  } finally {
    message.destroy()
  }
}

/** Says what went wrong on the way to a host. */
export function asNetworkError(error: unknown, host: string): NetworkError {
  if (error instanceof NetworkError) return error
  if (error instanceof ProxyError) return asProxyFault(error, host)
  const cause = { cause: error }
  const code = codeOf(error)
  if (isCertificateCode(code)) {
    const remedy = "Where a proxy opens TLS, name its CA's PEM file in NODE_EXTRA_CA_CERTS and SSL_CERT_FILE."
    return new NetworkError('certificate', certificateFault(`The certificate of ${host}`, code, remedy), true, cause)
  }
  if (UNREACHABLE.has(code)) {
    return new NetworkError('unreachable', `No connection to ${host} (${code}).`, true, cause)
  }
  const why = excerpt(code || messageOf(error))
  return new NetworkError('broken', `The connection to ${host} broke (${why}).`, false, cause)
}

function asProxyFault(error: ProxyError, host: string): NetworkError {
  const { variable, url } = error.proxy
  const fault = (kind: Fault, message: string) => new NetworkError(kind, message, true, { cause: error })
  if (error.status !== undefined) {
    const remedy =
      error.status === 407
        ? `It wants authentication: put user and password into ${variable}.`
        : 'Allow the host there, or name it in no_proxy.'
    return fault('proxy', `The proxy refused to connect to ${host} (${error.status}). ${remedy}`)
  }
  const code = codeOf(error.cause)
  const proxy = `the proxy ${url.host} (${variable})`
  if (isCertificateCode(code)) {
    const remedy = "Name its CA's PEM file in NODE_EXTRA_CA_CERTS and SSL_CERT_FILE."
    return fault('certificate', certificateFault(`The certificate of ${proxy}`, code, remedy))
  }
  if (UNREACHABLE.has(code)) return fault('unreachable', `No connection to ${proxy}: ${code}.`)
  const why = excerpt(code || messageOf(error.cause))
  return fault('unreachable', `No connection through ${proxy}: ${why}. Check its scheme, host and port.`)
}

function certificateFault(certificate: string, code: string, remedy: string): string {
  if (code !== 'CERT_NOT_YET_VALID' && code !== 'CERT_HAS_EXPIRED')
    return `${certificate} is not trusted (${code}). ${remedy}`
  const now = new Date().toISOString()
  return `${certificate} is not valid at this time (${code}). Check the runner's clock first: it says ${now}.`
}

function isCertificateCode(code: string): boolean {
  return /CERT|SELF_SIGNED|UNABLE_TO_VERIFY|ALTNAME/.test(code)
}
