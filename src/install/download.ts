import { createHash } from 'node:crypto'
import type { IncomingMessage } from 'node:http'
import { addAbortSignal } from 'node:stream'
import { withDeadline } from '../util/deadline.ts'
import { messageOf, SetupError } from '../util/errors.ts'
import {
  asNetworkError,
  hostOf,
  isRetryableStatus,
  judgeRequest,
  NetworkError,
  RetryableStatus,
  type Http,
} from '../util/http.ts'
import { retry } from '../util/retry.ts'
import { isTrustworthyUrl } from '../util/url.ts'
import { RELEASE_BUSY_SPREAD_MS, unreachable } from './release.ts'

/** Where the bytes go, piece by piece. */
export interface Sink {
  readonly write: (piece: Buffer) => Promise<void>
  /** They were not whole: the next try begins anew. */
  readonly discard: () => Promise<void>
}

export type Download<S extends Sink> =
  { readonly kind: 'downloaded'; readonly sha256: string; readonly sink: S } | { readonly kind: 'not-found' }

export interface Wanted<S extends Sink> {
  readonly url: string
  /** Makes the sink of a try. */
  readonly begin: () => S
  /** More bytes than this are refused. */
  readonly largest: number
}

export interface DownloadEdges {
  readonly http: Http
  readonly debug: (line: string) => void
}

const DEADLINE_MS = 600_000
/** Of 200 jobs on a network that loses a quarter of all downloads, none is lost: 0.25 ^ 8 each. */
const TRIES = 8
const SILENCE_MS = 15_000
const LONGEST_CHAIN = 5
/** TLS comes in pieces of 16 kB, each of which would be hashed and handed on by itself; more than this takes memory alone. */
const PIECE_BYTES = 131_072

/**
 * Hands on what a URL gives, hashing it on the way: memory does not grow with its size. No credential is sent, so
 * redirects are followed, over https alone.
 * @throws SetupError where it can't be had within 10 minutes, is too large, or the server keeps silent
 */
export async function download<S extends Sink>(
  wanted: Wanted<S>,
  edges: DownloadEdges,
  parent: AbortSignal,
): Promise<Download<S>> {
  const { url } = wanted
  const expired = () =>
    new SetupError(`The download of ${url} was not done after 10 minutes, all tries together.`, 'Run the job again.')
  const endsAt = Date.now() + DEADLINE_MS
  const onRetry = (error: unknown, pauseMs: number) => {
    edges.debug(`${messageOf(error)} Next try of ${url} in ${Math.round(pauseMs)} ms`)
  }
  try {
    return await withDeadline(parent, DEADLINE_MS, expired, (signal) =>
      retry({ judge: judgeRequest, busySpreadMs: RELEASE_BUSY_SPREAD_MS, endsAt, tries: TRIES, signal, onRetry }, () =>
        downloadOnce(wanted, edges.http, signal),
      ),
    )
  } catch (error) {
    if (error instanceof NetworkError) throw unreachable(error)
    if (error instanceof RetryableStatus) {
      throw new SetupError(
        `${url} could not be downloaded in 8 tries or 10 minutes: ${error.message}`,
        'Run the job again later.',
        {
          cause: error,
        },
      )
    }
    throw error
  }
}

async function downloadOnce<S extends Sink>(wanted: Wanted<S>, http: Http, signal: AbortSignal): Promise<Download<S>> {
  const message = await openFollowing(wanted.url, http, signal)
  try {
    if (message.statusCode === 404) return { kind: 'not-found' }
    if (message.statusCode !== 200) {
      throw new SetupError(
        `${wanted.url} could not be downloaded: the answer was ${message.statusCode ?? 0}.`,
        'Check what answers on the way: a proxy, or the mirror. Then run the job again.',
      )
    }
    const sink = wanted.begin()
    try {
      return { kind: 'downloaded', sha256: await drain(message, sink, wanted, signal), sink }
    } catch (error) {
      await sink.discard()
      throw error
    }
  } finally {
    message.destroy()
  }
}

async function openFollowing(first: string, http: Http, signal: AbortSignal): Promise<IncomingMessage> {
  let url = first
  for (let hop = 0; hop <= LONGEST_CHAIN; hop += 1) {
    const message = await openWithin(url, http, signal)
    const status = message.statusCode ?? 0
    const location = message.headers.location
    if (status < 300 || status >= 400 || location === undefined) {
      if (isRetryableStatus(status)) {
        message.destroy()
        throw new RetryableStatus({ status, headers: message.headers, text: '' }, hostOf(url))
      }
      return message
    }
    message.destroy()
    const next = URL.canParse(location, url) ? new URL(location, url) : undefined
    if (!next || !isTrustworthyUrl(next)) {
      throw new SetupError(
        `${first} redirects to an address that is not https.`,
        'Check what answers on the way: a proxy, or the mirror.',
      )
    }
    url = next.href
  }
  throw new SetupError(
    `${first} redirects more than ${LONGEST_CHAIN} times.`,
    'Check what answers on the way: a proxy, or the mirror.',
  )
}

function openWithin(url: string, http: Http, parent: AbortSignal): Promise<IncomingMessage> {
  const silent = () => new NetworkError('timeout', `${hostOf(url)} sent no byte for ${SILENCE_MS / 1000} s.`)
  return withDeadline(parent, SILENCE_MS, silent, (signal) => http.open({ method: 'GET', url }, signal))
}

/** Hands all of a body on. @returns its SHA-256 in hex */
async function drain(
  message: IncomingMessage,
  sink: Sink,
  wanted: Pick<Wanted<Sink>, 'url' | 'largest'>,
  signal: AbortSignal,
): Promise<string> {
  const host = hostOf(wanted.url)
  const hash = createHash('sha256')
  let bytes = 0
  let waiting: Buffer[] = []
  let waitingBytes = 0
  const flush = async () => {
    const piece = Buffer.concat(waiting, waitingBytes)
    waiting = []
    waitingBytes = 0
    hash.update(piece)
    await sink.write(piece)
  }
  const silence = setTimeout(
    () => message.destroy(new NetworkError('timeout', `${host} sent no byte for ${SILENCE_MS / 1000} s.`)),
    SILENCE_MS,
  )
  addAbortSignal(signal, message)
  try {
    for await (const chunk of message as AsyncIterable<Buffer>) {
      silence.refresh()
      bytes += chunk.length
      if (bytes > wanted.largest) {
        throw new SetupError(
          `${wanted.url} is larger than ${wanted.largest / 1_000_000} MB, which no release of the Blaxel CLI is.`,
          'It was not installed. Check what answers on the way: a proxy, or the mirror.',
        )
      }
      waiting.push(chunk)
      waitingBytes += chunk.length
      if (waitingBytes >= PIECE_BYTES) await flush()
    }
    await flush()
    return hash.digest('hex')
  } catch (error) {
    signal.throwIfAborted()
    throw asDownloadError(error, host)
  } finally {
    clearTimeout(silence)
  }
}

/** A full disk is the machine's fault, not the connection's: it is not worth another try. */
function asDownloadError(error: unknown, host: string): Error {
  if (error instanceof NetworkError || error instanceof SetupError) return error
  if (error instanceof Error && 'syscall' in error && error.syscall === 'write') return error
  return asNetworkError(error, host)
}
