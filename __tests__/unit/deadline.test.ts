import { afterEach, beforeEach, describe, expect, jest, test } from '@jest/globals'
import { getEventListeners } from 'node:events'
import { sleep, unlessAborted, withDeadline } from '../../src/util/deadline.ts'
import { rejectionOf } from './property.ts'

beforeEach(() => {
  jest.useFakeTimers()
})
afterEach(() => {
  jest.useRealTimers()
})

const never = () => new Promise<never>(() => undefined)
const idle = () => new AbortController().signal
const listeners = (signal: AbortSignal) => getEventListeners(signal, 'abort').length

describe('work under a deadline', () => {
  const late = new Error('late')

  test('gives its result, and leaves neither a timer nor a listener behind', async () => {
    const parent = idle()
    expect(
      await withDeadline(
        parent,
        1000,
        () => late,
        () => Promise.resolve('done'),
      ),
    ).toBe('done')
    expect(jest.getTimerCount()).toBe(0)
    expect(listeners(parent)).toBe(0)
  })

  test('that fails in time fails with its own error, and leaves nothing behind', async () => {
    const parent = idle()
    const own = new Error('own')
    expect(
      await rejectionOf(
        withDeadline(
          parent,
          1000,
          () => late,
          () => Promise.reject(own),
        ),
      ),
    ).toBe(own)
    expect(jest.getTimerCount()).toBe(0)
    expect(listeners(parent)).toBe(0)
  })

  test.each(['that listens', 'that does not listen'])(
    '%s is given up when the time is up, not before',
    async (which) => {
      let given: AbortSignal | undefined
      let settled = false
      const pending = rejectionOf(
        withDeadline(
          idle(),
          1000,
          () => late,
          (signal) => {
            given = signal
            return which === 'that listens' ? sleep(60_000, signal) : never()
          },
        ),
      ).finally(() => (settled = true))
      await jest.advanceTimersByTimeAsync(999)
      expect([settled, given?.aborted]).toEqual([false, false])
      await jest.advanceTimersByTimeAsync(1)
      expect(settled).toBe(true)
      expect(await pending).toBe(late)
      expect(given?.reason).toBe(late)
    },
  )

  test('makes the error of its end only where the time is up', async () => {
    const expired = jest.fn(() => late)
    await withDeadline(idle(), 1000, expired, () => Promise.resolve())
    await jest.advanceTimersByTimeAsync(5000)
    expect(expired).not.toHaveBeenCalled()
  })

  test("ends with the parent's reason when that is aborted first", async () => {
    const parent = new AbortController()
    const reason = new Error('cancelled')
    let given: AbortSignal | undefined
    const pending = rejectionOf(
      withDeadline(
        parent.signal,
        1000,
        () => late,
        (signal) => {
          given = signal
          return never()
        },
      ),
    )
    parent.abort(reason)
    expect(await pending).toBe(reason)
    expect(given?.reason).toBe(reason)
    expect(jest.getTimerCount()).toBe(0)
  })

  test('is not begun where the parent is aborted already', async () => {
    const work = jest.fn(never)
    const reason = new Error('cancelled')
    expect(await rejectionOf(withDeadline(AbortSignal.abort(reason), 1000, () => late, work))).toBe(reason)
    expect(work).not.toHaveBeenCalled()
  })
})

describe('a promise unless aborted', () => {
  test('is the promise, with no listener left', async () => {
    const signal = idle()
    expect(await unlessAborted(Promise.resolve(1), signal)).toBe(1)
    const error = new Error('own')
    expect(await rejectionOf(unlessAborted(Promise.reject(error), signal))).toBe(error)
    expect(listeners(signal)).toBe(0)
  })

  test('is the reason at once where the signal has fired or fires', async () => {
    const reason = new Error('cancelled')
    expect(await rejectionOf(unlessAborted(never(), AbortSignal.abort(reason)))).toBe(reason)
    const cancel = new AbortController()
    const pending = rejectionOf(unlessAborted(never(), cancel.signal))
    cancel.abort(reason)
    expect(await pending).toBe(reason)
  })
})

describe('sleep', () => {
  test('takes its time', async () => {
    let awake = false
    const pending = sleep(1000, idle()).then(() => (awake = true))
    await jest.advanceTimersByTimeAsync(999)
    expect(awake).toBe(false)
    await jest.advanceTimersByTimeAsync(1)
    expect(awake).toBe(true)
    await pending
  })

  test("ends with the signal's reason and without a timer when that fires", async () => {
    const cancel = new AbortController()
    const reason = new Error('cancelled')
    const pending = rejectionOf(sleep(1000, cancel.signal))
    cancel.abort(reason)
    expect(await pending).toBe(reason)
    expect(jest.getTimerCount()).toBe(0)
  })
})
