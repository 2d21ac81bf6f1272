import { sleep } from './deadline.ts'
import { messageOf } from './errors.ts'

/** What to do after a failed attempt. */
export type RetryDecision =
  | { readonly kind: 'fail' }
  | { readonly kind: 'retry' }
  /** The server is rate limiting and asks for a pause of so many ms; the attempt doesn't count. */
  | { readonly kind: 'wait'; readonly ms: number }

export interface RetryOptions {
  readonly decide: (error: unknown) => RetryDecision
  /** Failures after which the last error is thrown; 4 by default. */
  readonly maxAttempts?: number
  /** ms since the epoch; a pause that would end later is not started. */
  readonly deadline: number
  /** Jitter added to the first pause that a server asks for, in ms; it doubles with each further one. */
  readonly maxJitterMs: number
  readonly signal: AbortSignal
  readonly onRetry: (retry: Retry) => void
}

/** A failed attempt that another one follows. */
export interface Retry {
  readonly error: unknown
  readonly pauseMs: number
  /** Number of the attempt that follows; the first of all is 1. */
  readonly attempt: number
}

/** The ordinary log, and the one for debugging. */
export interface RetryLog {
  readonly info: (line: string) => void
  readonly debug: (line: string) => void
}

const MAX_ATTEMPTS = 4
const BASE_BACKOFF_MS = 500
const MAX_BACKOFF_MS = 8_000
const MAX_REQUESTED_PAUSE_MS = 60_000
/** A person who reads the log should know why nothing happens. */
const NOTICEABLE_PAUSE_MS = 1_000

/**
 * Repeats a failing operation, with exponential backoff and full jitter. Jobs that a server has turned away at the same
 * moment must not come back at the same moment, so the jitter on the pauses it asks for grows.
 * @throws the last error, or the signal's reason
 */
export async function retry<T>(options: RetryOptions, operation: () => Promise<T>): Promise<T> {
  const { decide, maxAttempts = MAX_ATTEMPTS, deadline, maxJitterMs, signal, onRetry } = options
  let failures = 0
  let waits = 0
  for (;;) {
    try {
      return await operation()
    } catch (error) {
      signal.throwIfAborted()
      const decision = decide(error)
      let pauseMs: number
      switch (decision.kind) {
        case 'fail':
          throw error
        case 'retry':
          failures += 1
          if (failures >= maxAttempts) throw error
          pauseMs = Math.random() * Math.min(MAX_BACKOFF_MS, BASE_BACKOFF_MS * 2 ** failures)
          break
        case 'wait':
          pauseMs = Math.min(MAX_REQUESTED_PAUSE_MS, decision.ms) + Math.random() * maxJitterMs * 2 ** waits
          waits += 1
          break
      }
      if (Date.now() + pauseMs >= deadline) throw error
      onRetry({ error, pauseMs, attempt: failures + waits + 1 })
      await sleep(pauseMs, signal)
    }
  }
}

/** Writes a line for a retry, into the ordinary log if the pause before it is longer than a second. */
export function reportRetry(request: string, { error, pauseMs, attempt }: Retry, log: RetryLog): void {
  const line = `${messageOf(error)} Retrying ${request} in ${(pauseMs / 1000).toFixed(1)} s (attempt ${attempt})`
  if (pauseMs > NOTICEABLE_PAUSE_MS) log.info(line)
  else log.debug(line)
}

/**
 * A `Retry-After` header in ms: seconds, or an HTTP date (RFC 9110, 10.2.3). Zero if it is absent or neither.
 * @param now ms since the epoch
 */
export function retryAfterMs(header: string | undefined, now: number): number {
  if (header === undefined) return 0
  if (/^\d+$/.test(header.trim())) return Number(header) * 1000
  const date = Date.parse(header)
  return Number.isNaN(date) ? 0 : Math.max(0, date - now)
}
