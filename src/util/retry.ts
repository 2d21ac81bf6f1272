import { sleep } from './deadline.ts'

/** What a failed try means for the next one. */
export type Verdict =
  | { readonly kind: 'final' }
  | { readonly kind: 'again' }
  /** The server is busy and asks for a pause; `ms` is what it asked for. */
  | { readonly kind: 'busy'; readonly ms: number }

export interface RetryPolicy {
  readonly judge: (error: unknown) => Verdict
  /** Widest pause after the first `busy` answer, in ms; it doubles with each further one. */
  readonly busySpreadMs: number
  /** When the time for all tries is up (ms since the epoch). A pause that would end later is not begun. */
  readonly endsAt: number
  /** How many failures end it; 4 by default. */
  readonly tries?: number
  readonly signal: AbortSignal
  readonly onRetry: (error: unknown, pauseMs: number) => void
}

const TRIES = 4
const FIRST_PAUSE_MS = 500
const LONGEST_PAUSE_MS = 8_000
const LONGEST_ASKED_PAUSE_MS = 60_000

/**
 * Tries several times with full jitter; `busy` answers do not count as tries and are bounded by the deadline alone.
 * Pauses widen so that many jobs turned away at once do not come back at once.
 * @throws the last error
 */
export async function retry<T>(policy: RetryPolicy, attempt: () => Promise<T>): Promise<T> {
  let failures = 0
  let refusals = 0
  for (;;) {
    try {
      return await attempt()
    } catch (error) {
      policy.signal.throwIfAborted()
      const verdict = policy.judge(error)
      let pauseMs: number
      switch (verdict.kind) {
        case 'final':
          throw error
        case 'again':
          failures += 1
          if (failures >= (policy.tries ?? TRIES)) throw error
          pauseMs = Math.random() * Math.min(LONGEST_PAUSE_MS, FIRST_PAUSE_MS * 2 ** failures)
          break
        case 'busy':
          pauseMs = Math.min(LONGEST_ASKED_PAUSE_MS, verdict.ms) + Math.random() * policy.busySpreadMs * 2 ** refusals
          refusals += 1
          break
      }
      if (Date.now() + pauseMs >= policy.endsAt) throw error
      policy.onRetry(error, pauseMs)
      await sleep(pauseMs, policy.signal)
    }
  }
}

/**
 * A `Retry-After` header in ms: seconds, or an HTTP date (RFC 9110, 10.2.3). Zero where it is absent or neither.
 * @param now ms since the epoch
 */
export function retryAfterMs(header: string | undefined, now: number): number {
  if (header === undefined) return 0
  if (/^\d+$/.test(header.trim())) return Number(header) * 1000
  const date = Date.parse(header)
  return Number.isNaN(date) ? 0 : Math.max(0, date - now)
}
