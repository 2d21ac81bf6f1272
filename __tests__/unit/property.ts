import { jest } from '@jest/globals'
import fc, { type IAsyncProperty, type IProperty } from 'fast-check'

const { PROPERTY_RUNS, PROPERTY_SHRINK } = process.env
// Many cases, on a machine that may be busy: no time-out of Jest's shall decide whether a property holds.
jest.setTimeout(PROPERTY_RUNS === undefined ? 300_000 : 24 * 3_600_000)

/**
 * How many cases a property tries: as many as PROPERTY_RUNS says, or so many by default. With PROPERTY_SHRINK=0 a
 * failing one stays as long as it is: for who wants to know only that it fails.
 */
function parameters(byDefault: number) {
  return {
    numRuns: PROPERTY_RUNS === undefined ? byDefault : Number(PROPERTY_RUNS),
    endOnFailure: PROPERTY_SHRINK === '0',
  }
}

/** Holds a property to hundreds of random cases; a failing one is made as small as it goes. */
export function holds<T>(property: IProperty<T>, byDefault = 200): void {
  fc.assert(property, parameters(byDefault))
}

export async function holdsAsync<T>(property: IAsyncProperty<T>, byDefault = 200): Promise<void> {
  await fc.assert(property, parameters(byDefault))
}

/** What a function throws. */
export function thrownBy(work: () => unknown): unknown {
  try {
    work()
  } catch (error) {
    return error
  }
  throw new Error('Nothing was thrown')
}

/** What a promise is rejected with. */
export async function rejectionOf(promise: Promise<unknown>): Promise<unknown> {
  return promise.then(
    () => {
      throw new Error('Nothing was thrown')
    },
    (error: unknown) => error,
  )
}
