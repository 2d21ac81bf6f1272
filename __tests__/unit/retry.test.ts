import { afterEach, beforeEach, describe, expect, jest, test } from '@jest/globals'
import fc from 'fast-check'
import { retry, retryAfterMs, type RetryOptions, type RetryDecision } from '../../src/util/retry.ts'
import { holds, holdsAsync, rejectionOf } from './property.ts'

const START = Date.UTC(2030, 0, 1)
const HOUR = 3_600_000

beforeEach(() => {
  jest.useFakeTimers({ now: START })
})
afterEach(() => {
  jest.restoreAllMocks()
  jest.useRealTimers()
})

/** A failure that says itself what it means. */
class Failure extends Error {
  readonly decision: RetryDecision

  constructor(decision: RetryDecision) {
    super(decision.kind)
    this.decision = decision
  }
}

const again = () => new Failure({ kind: 'retry' })
const busy = (ms: number) => new Failure({ kind: 'wait', ms })
const final = () => new Failure({ kind: 'fail' })

interface Course {
  readonly outcome: { readonly value: unknown } | { readonly error: unknown }
  readonly attempts: number
  readonly pauses: readonly number[]
  /** By the (faked) clock. */
  readonly tookMs: number
}

/** Runs tries that go as the list says, the last one for ever, with time that passes by itself. */
async function course(tries: readonly (Failure | string)[], options: Partial<RetryOptions> = {}): Promise<Course> {
  const pauses: number[] = []
  let attempts = 0
  const began = Date.now()
  const attempt = async () => {
    await Promise.resolve()
    const next = tries[Math.min(attempts, tries.length - 1)]
    attempts += 1
    if (next instanceof Failure) throw next
    return next
  }
  const pending = retry(
    {
      decide: (error) => (error as Failure).decision,
      maxJitterMs: 0,
      deadline: began + HOUR,
      signal: new AbortController().signal,
      onRetry: ({ pauseMs }) => pauses.push(pauseMs),
      ...options,
    },
    attempt,
  ).then(
    (value) => ({ value }),
    (error: unknown) => ({ error }),
  )
  await jest.runAllTimersAsync()
  return { outcome: await pending, attempts, pauses, tookMs: Date.now() - began }
}

describe('tries', () => {
  const last = again()
  test.each<[string, (Failure | string)[], number, Course['outcome']]>([
    ['a success is the only one', ['done'], 1, { value: 'done' }],
    ['a final failure is the only one', [final(), 'done'], 1, { error: expect.any(Failure) }],
    ['a success after three failures counts', [again(), again(), again(), 'done'], 4, { value: 'done' }],
    ['the fourth failure is the end, and is what is thrown', [again(), again(), again(), last], 4, { error: last }],
    ['busy answers do not count', [...Array.from({ length: 9 }, () => busy(1)), 'done'], 10, { value: 'done' }],
    [
      'busy answers between failures do not count',
      [again(), busy(1), again(), busy(1), again(), 'done'],
      6,
      { value: 'done' },
    ],
  ])('%s', async (_, tries, attempts, outcome) => {
    expect(await course(tries)).toMatchObject({ attempts, outcome })
  })

  test('go on exactly as far as decisions and count allow', async () => {
    const step = fc.oneof(
      { weight: 4, arbitrary: fc.constant('again') },
      { weight: 4, arbitrary: fc.constant('busy') },
      fc.constantFrom('final', 'done'),
    )
    await holdsAsync(
      fc.asyncProperty(fc.array(step, { maxLength: 12 }), async (steps) => {
        const tries = [...steps, 'done'].map((name) =>
          name === 'again' ? again() : name === 'busy' ? busy(5) : name === 'final' ? final() : name,
        )
        const fourthFailure = tries.map(String).flatMap((text, at) => (text.includes('retry') ? [at] : []))[3]
        const end = tries.findIndex((one) => !(one instanceof Failure) || one.decision.kind === 'fail')
        const lastAt = Math.min(end, fourthFailure ?? end)
        const { attempts, outcome, pauses } = await course(tries)
        expect(attempts).toBe(lastAt + 1)
        expect(pauses).toHaveLength(lastAt)
        const lastTry = tries[lastAt]
        expect(outcome).toEqual(lastTry instanceof Failure ? { error: lastTry } : { value: lastTry })
      }),
    )
  })
})

describe('pauses', () => {
  test('after failures are random up to a bound that doubles', async () => {
    const always = (value: number) => jest.spyOn(Math, 'random').mockReturnValue(value)
    always(0)
    expect((await course([again()])).pauses).toEqual([0, 0, 0])
    always(0.5)
    expect((await course([again()])).pauses).toEqual([500, 1000, 2000])
    always(1)
    expect((await course([again()])).pauses).toEqual([1000, 2000, 4000])
  })

  test('after busy answers are what was asked, at most 60 s, and a spread that doubles', async () => {
    jest.spyOn(Math, 'random').mockReturnValue(0.5)
    const { pauses, tookMs } = await course([busy(0), busy(2000), busy(9_999_000), 'done'], { maxJitterMs: 100 })
    expect(pauses).toEqual([50, 2100, 60_200])
    expect(tookMs).toBe(50 + 2100 + 60_200)
  })

  test('that would end at the deadline or later are not begun, and the last failure is thrown', async () => {
    const last = busy(1001)
    const { outcome, attempts, tookMs } = await course([busy(999), last], { deadline: START + 2000 })
    expect({ outcome, attempts, tookMs }).toEqual({ outcome: { error: last }, attempts: 2, tookMs: 999 })
    expect(await course([busy(1000), 'done'], { deadline: Date.now() + 1001 })).toMatchObject({ attempts: 2 })
  })

  test('never lead beyond the deadline', async () => {
    const failure = fc.oneof(
      fc.nat({ max: 100_000 }).map((ms) => busy(ms)),
      fc.constant(0).map(() => again()),
    )
    await holdsAsync(
      fc.asyncProperty(fc.array(failure, { minLength: 1 }), fc.nat({ max: 120_000 }), async (tries, leftMs) => {
        const { tookMs, pauses, outcome } = await course([...tries, 'done'], {
          deadline: Date.now() + leftMs,
          maxJitterMs: 1000,
        })
        expect(tookMs).toBeLessThanOrEqual(leftMs)
        for (const pause of pauses) expect(pause).toBeGreaterThanOrEqual(0)
        if ('value' in outcome) expect(pauses).toHaveLength(tries.length)
      }),
    )
  })
})

describe('the signal', () => {
  test('ends a pause at once, with its reason', async () => {
    const cancel = new AbortController()
    const reason = new Error('cancelled')
    const pending = rejectionOf(
      retry(
        {
          decide: () => ({ kind: 'wait', ms: 50_000 }),
          maxJitterMs: 0,
          deadline: Date.now() + HOUR,
          signal: cancel.signal,
          onRetry: () => undefined,
        },
        () => Promise.reject(new Error('busy')),
      ),
    )
    await jest.advanceTimersByTimeAsync(1000)
    cancel.abort(reason)
    expect(await pending).toBe(reason)
    expect(jest.getTimerCount()).toBe(0)
  })

  test('that fires during a try makes its reason the error, whatever the decision', async () => {
    const reason = new Error('cancelled')
    const cancel = new AbortController()
    const decide = jest.fn<RetryOptions['decide']>()
    const options = {
      decide,
      maxJitterMs: 0,
      deadline: Date.now() + HOUR,
      signal: cancel.signal,
      onRetry: () => undefined,
    }
    const error = await rejectionOf(
      retry(options, () => {
        cancel.abort(reason)
        return Promise.reject(new Error('torn off'))
      }),
    )
    expect(error).toBe(reason)
    expect(decide).not.toHaveBeenCalled()
  })
})

describe('a Retry-After header', () => {
  test.each<[string, string | undefined, number]>([
    ['that is absent', undefined, 0],
    ['that is empty', '', 0],
    ['of seconds', '120', 120_000],
    ['of no seconds', '0', 0],
    ['of seconds with blanks around', ' 7 ', 7000],
    ['of a date to come', 'Tue, 01 Jan 2030 00:01:30 GMT', 90_000],
    ['of a date that is past', 'Mon, 31 Dec 2029 23:59:00 GMT', 0],
    ['that makes no sense', 'soon', 0],
    ['of seconds with a unit', '120 s', 0],
  ])('%s', (_, header, ms) => {
    expect(retryAfterMs(header, START)).toBe(ms)
  })

  test('is never a negative number, nor none, whatever it says', () => {
    holds(
      fc.property(fc.oneof(fc.string(), fc.stringMatching(/^[-+]?\d*\.?\d*$/)), (header) => {
        expect(retryAfterMs(header, START)).toBeGreaterThanOrEqual(0)
      }),
    )
  })
})
