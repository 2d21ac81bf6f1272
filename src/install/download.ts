import { createHash, type Hash } from 'node:crypto'
import type { IncomingMessage } from 'node:http'
import { addAbortSignal } from 'node:stream'
import { withDeadline } from '../util/deadline.ts'
import { SetupError } from '../util/errors.ts'
import {
  asNetworkError,
  decideRetry,
  hostOf,
  isRetryable,
  NetworkError,
  readText,
  RetryableStatus,
  type Http,
  type HttpResponse,
} from '../util/http.ts'
import { interceptionOf, isStorageError, reasonIn } from '../util/reason.ts'
import { reportRetry, retry, type Retry, type RetryLog } from '../util/retry.ts'
import { isTrustworthyUrl } from '../util/url.ts'

export type Download<T> =
  | { readonly kind: 'not-found' }
  /** `result` says how reading went; the checksum, which covers the whole body, should be checked first. */
  | { readonly kind: 'downloaded'; readonly sha256: string; readonly result: PromiseSettledResult<T> }

export interface DownloadRequest<T> {
  readonly url: string
  readonly maxBytes: number
  /** Reads the body; called once for each attempt. It may stop early: the rest is read after it, for the checksum. */
  readonly receive: (body: AsyncIterable<Buffer>) => Promise<T>
}

export interface DownloadDeps extends RetryLog {
  readonly http: Http
}

/** Jitter for a server that is rate limiting: a release is downloaded by many jobs at once. */
export const RELEASE_MAX_JITTER_MS = 10_000

const DEADLINE_MS = 600_000
/** Of 200 jobs on a network that loses a quarter of all downloads, all succeed: 0.25 ^ 8 each fails. */
const MAX_ATTEMPTS = 8
const MAX_SILENCE_MS = 15_000
const MAX_REDIRECTS = 5
const MAX_REASON_BYTES = 1_000_000
const CHECK_THE_WAY = 'Check what answers on the way: a proxy, or the mirror.'

/**
 * Streams a URL, and computes its SHA-256 (hex) on the way. Sends no credential, so it follows redirects, over https
 * only.
 * @throws SetupError if it does not succeed within 10 minutes, is larger than allowed, or is redirected to plain http
 */
export async function download<T>(
  request: DownloadRequest<T>,
  { http, info, debug }: DownloadDeps,
  parent: AbortSignal,
): Promise<Download<T>> {
  const { url } = request
  const expired = () => new SetupError(`The download of ${url} took more than 10 minutes.`, 'Run the job again.')
  const onRetry = (failure: Retry) => {
    reportRetry(url, failure, { info, debug })
  }
  const deadline = Date.now() + DEADLINE_MS
  const options = { decide: decideRetry, maxAttempts: MAX_ATTEMPTS, maxJitterMs: RELEASE_MAX_JITTER_MS, deadline }
  try {
    return await withDeadline(parent, DEADLINE_MS, expired, (signal) =>
      retry({ ...options, signal, onRetry }, () => downloadOnce(request, http, signal)),
    )
  } catch (error) {
    if (error instanceof NetworkError) throw unreachable(error)
    if (!(error instanceof RetryableStatus)) throw error
    throw new SetupError(`${url} could not be downloaded: ${error.message}`, 'Run the job again later.', {
      cause: error,
    })
  }
}

async function downloadOnce<T>(request: DownloadRequest<T>, http: Http, signal: AbortSignal): Promise<Download<T>> {
  const { message, url } = await openFollowingRedirects(request.url, http, signal)
  const host = hostOf(url)
  try {
    if (message.statusCode === 404) return { kind: 'not-found' }
    if (message.statusCode === 200)
      return { kind: 'downloaded', ...(await receiveBody(message, host, request, signal)) }
    const response = await readResponse(message, url, signal)
    const interception = isStorageError(response.text) ? undefined : interceptionOf(response, host)
    if (interception !== undefined) throw new NetworkError('intercepted', interception)
    const reason = reasonIn(response)
    throw new SetupError(
      `${request.url} could not be downloaded: ${host} answered ${response.status}${reason === undefined ? '' : ` (${reason})`}.`,
      `${CHECK_THE_WAY} Then run the job again.`,
    )
  } finally {
    message.destroy()
  }
}

/** @returns the response, and the URL that it is from */
async function openFollowingRedirects(
  first: string,
  http: Http,
  signal: AbortSignal,
): Promise<{ readonly message: IncomingMessage; readonly url: string }> {
  let url = first
  for (let redirects = 0; redirects <= MAX_REDIRECTS; redirects += 1) {
    const message = await openWithin(url, http, signal)
    const { statusCode: status = 0, headers } = message
    const isRedirect = status >= 300 && status < 400 && headers.location !== undefined
    if (!isRedirect && !isRetryable({ status, headers })) return { message, url }
    if (!isRedirect) throw new RetryableStatus(await readResponse(message, url, signal), hostOf(url))
    message.destroy()
    url = redirectTarget(first, url, headers.location ?? '')
  }
  throw new SetupError(`${first} redirects more than ${MAX_REDIRECTS} times.`, CHECK_THE_WAY)
}

function redirectTarget(first: string, from: string, location: string): string {
  const target = URL.canParse(location, from) ? new URL(location, from) : undefined
  if (target && isTrustworthyUrl(target)) return target.href
  throw new SetupError(`${first} redirects to an address that is not https.`, CHECK_THE_WAY)
}

/** A response that is no file. Its text is empty if that can't be read soon. */
async function readResponse(message: IncomingMessage, url: string, parent: AbortSignal): Promise<HttpResponse> {
  const { statusCode: status = 0, headers } = message
  try {
    const text = await withDeadline(
      parent,
      MAX_SILENCE_MS,
      () => silent(hostOf(url)),
      (signal) => readText(message, hostOf(url), MAX_REASON_BYTES, signal),
    )
    return { status, headers, text }
  } catch {
    parent.throwIfAborted()
    return { status, headers, text: '' }
  } finally {
    message.destroy()
  }
}

function openWithin(url: string, http: Http, parent: AbortSignal): Promise<IncomingMessage> {
  return withDeadline(
    parent,
    MAX_SILENCE_MS,
    () => silent(hostOf(url)),
    (signal) => http.open({ method: 'GET', url }, signal),
  )
}

async function receiveBody<T>(
  message: IncomingMessage,
  host: string,
  request: DownloadRequest<T>,
  signal: AbortSignal,
): Promise<{ sha256: string; result: PromiseSettledResult<T> }> {
  const hash = createHash('sha256')
  addAbortSignal(signal, message)
  const chunks = readBody(message, host, request, hash)
  // Without `return`, by which a receiver that stops early would end the download.
  const body = { [Symbol.asyncIterator]: () => ({ next: () => chunks.next() }) }
  const [result] = await Promise.allSettled([request.receive(body)])
  while (!message.errored && (await chunks.next()).done !== true) continue
  signal.throwIfAborted()
  const { errored } = message
  if (errored) throw errored instanceof SetupError ? errored : asNetworkError(errored, host)
  return { sha256: hash.digest('hex'), result }
}

async function* readBody(
  message: IncomingMessage,
  host: string,
  { url, maxBytes }: Pick<DownloadRequest<unknown>, 'url' | 'maxBytes'>,
  hash: Hash,
): AsyncGenerator<Buffer, void, void> {
  let bytes = 0
  const silence = setTimeout(() => message.destroy(silent(host)), MAX_SILENCE_MS)
  try {
    for await (const chunk of message as AsyncIterable<Buffer>) {
      silence.refresh()
      if (bytes === 0) assertNoWebPage(message, chunk, host)
      bytes += chunk.length
      if (bytes > maxBytes) message.destroy(tooLarge(url, maxBytes))
      hash.update(chunk)
      yield chunk
    }
  } finally {
    clearTimeout(silence)
  }
}

function assertNoWebPage(message: IncomingMessage, start: Buffer, host: string): void {
  // By its bytes alone: mirrors give archives all kinds of content types.
  const text = start.toString()
  if (!text.trimStart().startsWith('<')) return
  const { statusCode: status = 0, headers } = message
  const interception = interceptionOf({ status, headers, text }, host)
  if (interception !== undefined) message.destroy(new NetworkError('intercepted', interception))
}

function silent(host: string): NetworkError {
  return new NetworkError('timeout', `${host} sent nothing for ${MAX_SILENCE_MS / 1000} s.`)
}

function tooLarge(url: string, maxBytes: number): SetupError {
  return new SetupError(
    `${url} is larger than ${maxBytes / 1_000_000} MB, which no release of the Blaxel CLI is. Nothing was installed.`,
    CHECK_THE_WAY,
  )
}

/** The error if a server of releases can't be reached. */
export function unreachable(error: NetworkError): SetupError {
  const remedy =
    error.fault === 'proxy' || error.fault === 'certificate'
      ? 'Nothing was installed.'
      : "Check the runner's network and proxy: it must reach github.com and release-assets.githubusercontent.com, or the host of mirror-url."
  return new SetupError(error.message, remedy, { cause: error })
}
