import type { IncomingMessage } from 'node:http'
import { addAbortSignal } from 'node:stream'
import type { HttpClient } from '@actions/http-client'
import { unlessAborted, withDeadline } from './deadline.ts'
import { codeOf, messageOf } from './errors.ts'
import { excerpt } from './redact.ts'
import { retry, retryAfterMs, type Verdict } from './retry.ts'

export interface HttpRequest {
  readonly method: 'GET' | 'POST' | 'DELETE'
  readonly url: string
  readonly headers?: Readonly<Record<string, string>>
  readonly body?: string
}

export interface HttpAnswer {
  readonly status: number
  readonly headers: IncomingMessage['headers']
  readonly text: string
}

/** How long and how patiently an answer is waited for. */
export interface Patience {
  /** For one try, in ms. */
  readonly timeoutMs: number
  /** When no further try is begun, in ms since the epoch. */
  readonly endsAt: number
  /** Widest pause that is added to what a busy server asks for, in ms. */
  readonly busySpreadMs: number
  /** Judges failed tries; by default all but certificate and proxy errors are worth another. */
  readonly judge?: (error: unknown) => Verdict
  /** More bytes than this are refused; 1 MB by default. */
  readonly largest?: number
}

/** Sends requests, through the proxy that the environment names. Follows no redirect. */
export interface Http {
  /** One try; resolves with the headers, the body still to be read. @throws NetworkError */
  open(request: HttpRequest, signal: AbortSignal): Promise<IncomingMessage>
  /**
   * The whole answer, after as many tries as the retry rule allows: whatever its status, so that the
   * caller can say what it means.
   * @throws NetworkError where no try got an answer
   */
  ask(request: HttpRequest, patience: Patience, signal: AbortSignal): Promise<HttpAnswer>
}

type Fault = 'unreachable' | 'certificate' | 'proxy' | 'broken' | 'timeout' | 'too-large'

/** No usable answer came. `nothingSent` is true only where it is certain that the server saw no byte of the request. */
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

/** An answer came, with a status that is worth another try. */
export class RetryableStatus extends Error {
  override readonly name = 'RetryableStatus'
  readonly answer: HttpAnswer

  constructor(answer: HttpAnswer, host: string) {
    super(`${host} answered ${answer.status}.`)
    this.answer = answer
  }
}

const LARGEST_TEXT = 1_000_000
const UNREACHABLE = new Set(['ECONNREFUSED', 'ENOTFOUND', 'EAI_AGAIN', 'EHOSTUNREACH', 'ENETUNREACH', 'EADDRNOTAVAIL'])

/**
 * Makes the one client of this process.
 * @param userAgent says who asks
 * @param debug hears of every further try
 */
export function createHttp(userAgent: string, debug: (line: string) => void): Http {
  let made: Promise<HttpClient> | undefined
  const client = () => (made ??= makeClient(userAgent))

  const open: Http['open'] = async (request, signal) => {
    const pending = (await client()).request(request.method, request.url, request.body ?? null, { ...request.headers })
    // The client knows no signal: an answer that comes after it fired is thrown away.
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

  const askOnce = (request: HttpRequest, patience: Patience, parent: AbortSignal): Promise<HttpAnswer> => {
    const { timeoutMs, largest = LARGEST_TEXT } = patience
    const host = hostOf(request.url)
    const expired = () => new NetworkError('timeout', `${host} did not answer within ${timeoutMs / 1000} s.`)
    return withDeadline(parent, timeoutMs, expired, async (signal) => {
      const message = await open(request, signal)
      const text = await readText(message, host, largest, signal)
      const answer = { status: message.statusCode ?? 0, headers: message.headers, text }
      if (isRetryableStatus(answer.status)) throw new RetryableStatus(answer, host)
      return answer
    })
  }

  const ask: Http['ask'] = async (request, patience, signal) => {
    const { endsAt, busySpreadMs, judge = judgeRequest } = patience
    const onRetry = (error: unknown, pauseMs: number) => {
      debug(`${messageOf(error)} Next try of ${request.method} ${request.url} in ${Math.round(pauseMs)} ms`)
    }
    try {
      return await retry({ judge, busySpreadMs, endsAt, signal, onRetry }, () => askOnce(request, patience, signal))
    } catch (error) {
      if (error instanceof RetryableStatus) return error.answer
      throw error
    }
  }

  return { open, ask }
}

/** TLS takes long to load, and most uses that only install need no request. */
async function makeClient(userAgent: string): Promise<HttpClient> {
  const { HttpClient } = await import('@actions/http-client')
  return new HttpClient(userAgent, [], { allowRedirects: false, allowRetries: false, keepAlive: true })
}

/** Statuses after which the same request may be sent again: 408, 425, 429 and 5xx. */
export function isRetryableStatus(status: number): boolean {
  return status === 408 || status === 425 || status === 429 || status >= 500
}

/** Judges a failed try of a request that may be repeated. */
export function judgeRequest(error: unknown): Verdict {
  if (error instanceof RetryableStatus) {
    const { status, headers } = error.answer
    return status === 429 ? { kind: 'busy', ms: retryAfterMs(headers['retry-after'], Date.now()) } : { kind: 'again' }
  }
  if (!(error instanceof NetworkError)) return { kind: 'final' }
  switch (error.fault) {
    case 'certificate':
    case 'proxy':
    case 'too-large':
      return { kind: 'final' }
    case 'unreachable':
    case 'broken':
    case 'timeout':
      return { kind: 'again' }
  }
}

/** The host of a URL, with its port where it has one. */
export function hostOf(url: string): string {
  return new URL(url).host
}

async function readText(message: IncomingMessage, host: string, largest: number, signal: AbortSignal): Promise<string> {
  const chunks: Buffer[] = []
  let length = 0
  addAbortSignal(signal, message)
  try {
    for await (const chunk of message as AsyncIterable<Buffer>) {
      length += chunk.length
      if (length > largest)
        throw new NetworkError(
          'too-large',
          `${host} sent more than ${largest / 1_000_000} MB where a short text was due.`,
        )
      chunks.push(chunk)
    }
    return Buffer.concat(chunks).toString('utf8')
  } catch (error) {
    signal.throwIfAborted()
    throw error instanceof NetworkError ? error : asNetworkError(error, host)
  } finally {
    message.destroy()
  }
}

/** Says in words of ours what went wrong on the way to a host. */
export function asNetworkError(error: unknown, host: string): NetworkError {
  const cause = { cause: error }
  const code = codeOf(error)
  const message = messageOf(error)
  // tunnel reports a refused CONNECT as ECONNRESET with the proxy's status in the message.
  const refusal = /statusCode=(\d+)/.exec(message)
  if (refusal) {
    const status = refusal[1] ?? ''
    const remedy =
      status === '407'
        ? 'It wants authentication: put user and password into https_proxy.'
        : 'Allow the host there, or name it in no_proxy.'
    return new NetworkError('proxy', `The proxy refused to connect to ${host} (${status}). ${remedy}`, true, cause)
  }
  if (message.includes('tunneling socket could not be established')) {
    return new NetworkError(
      'unreachable',
      `The proxy on the way to ${host} could not be used. Check https_proxy.`,
      true,
      cause,
    )
  }
  if (isCertificateCode(code)) {
    const remedy = "Where a proxy opens TLS, name its CA's PEM file in NODE_EXTRA_CA_CERTS and SSL_CERT_FILE."
    return new NetworkError(
      'certificate',
      `The certificate of ${host} is not trusted (${code}). ${remedy}`,
      true,
      cause,
    )
  }
  if (UNREACHABLE.has(code)) {
    return new NetworkError('unreachable', `No connection to ${host} (${code}).`, true, cause)
  }
  return new NetworkError('broken', `The connection to ${host} broke (${excerpt(code || message)}).`, false, cause)
}

function isCertificateCode(code: string): boolean {
  return /CERT|SELF_SIGNED|UNABLE_TO_VERIFY|ALTNAME/.test(code)
}
