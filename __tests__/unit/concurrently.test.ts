import { describe, expect, test } from '@jest/globals'
import fc from 'fast-check'
import { unlessAborted } from '../../src/util/deadline.ts'
import { concurrently } from '../../src/util/concurrently.ts'
import { holdsAsync, rejectionOf } from './property.ts'

const idle = () => new AbortController().signal
const never = () => new Promise<never>(() => undefined)
const turns = async (count: number) => {
  for (let turn = 0; turn < count; turn += 1) await Promise.resolve()
}

describe('two pieces of work', () => {
  test('run at the same time and give both results, in order', async () => {
    const met = Promise.withResolvers<string>()
    const results = await concurrently(
      idle(),
      () => met.promise,
      () => {
        met.resolve('met')
        return Promise.resolve(2)
      },
    )
    expect(results).toEqual(['met', 2])
  })

  test.each(['first', 'second'])('the failure of the %s cancels the other and is thrown', async (which) => {
    const failure = new Error('own')
    let seen: unknown
    const fails = () => Promise.reject(failure)
    const waits = (signal: AbortSignal) =>
      unlessAborted(never(), signal).catch((error: unknown) => {
        seen = signal.reason
        throw error
      })
    const [first, second] = which === 'first' ? [fails, waits] : [waits, fails]
    expect(await rejectionOf(concurrently(idle(), first, second))).toBe(failure)
    expect(seen).toBe(failure)
  })

  test('a failure is thrown only after the other has ended', async () => {
    const other = Promise.withResolvers<string>()
    let settled = false
    const pending = rejectionOf(
      concurrently(
        idle(),
        () => Promise.reject(new Error('own')),
        () => other.promise,
      ),
    ).then(() => (settled = true))
    await turns(50)
    expect(settled).toBe(false)
    other.resolve('done')
    await pending
    expect(settled).toBe(true)
  })

  test("the parent's abort reaches both, and is what is thrown", async () => {
    const parent = new AbortController()
    const reason = new Error('cancelled')
    const waits = (signal: AbortSignal) => unlessAborted(never(), signal)
    const pending = rejectionOf(concurrently(parent.signal, waits, waits))
    parent.abort(reason)
    expect(await pending).toBe(reason)
  })

  test('of two failures the one that came first is thrown', async () => {
    const side = fc.record({ turns: fc.nat({ max: 8 }), fails: fc.boolean() })
    await holdsAsync(
      fc.asyncProperty(side, side, async (one, two) => {
        const order: string[] = []
        const run =
          (name: string, { turns: count, fails }: { turns: number; fails: boolean }) =>
          async () => {
            await turns(count)
            if (!fails) return name
            order.push(name)
            throw new Error(name)
          }
        const outcome = await concurrently(idle(), run('one', one), run('two', two)).then(String, (error: unknown) =>
          error instanceof Error ? `failed: ${error.message}` : '',
        )
        expect(outcome).toBe(order[0] === undefined ? 'one,two' : `failed: ${order[0]}`)
      }),
    )
  })
})
