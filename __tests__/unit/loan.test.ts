import { describe, expect, test } from '@jest/globals'
import { createLender } from '../../src/install/loan.ts'

const STAGED = '/tools/bl/.setup-bl-0/entry/bl'
const INSTALLED = '/tools/bl/9.9.2/x64/bl'

/** Whether a promise has settled by the time that all that can go on has gone on. */
async function hasSettled(promise: Promise<unknown>): Promise<boolean> {
  let settled = false
  void promise.then(() => (settled = true))
  await new Promise((done) => setImmediate(done))
  return settled
}

describe('a program that is offered', () => {
  test('may be moved at once where nobody waits for it', async () => {
    const lender = createLender()
    lender.offer(STAGED)
    expect(await hasSettled(lender.returned())).toBe(true)
    const borrowed = lender.borrow()
    expect(await hasSettled(borrowed)).toBe(false)
    lender.settle(INSTALLED)
    expect((await borrowed).file).toBe(INSTALLED)
  })

  test('stays where it is until who waited for it gives it back', async () => {
    const lender = createLender()
    const borrowed = lender.borrow()
    lender.offer(STAGED)
    const { file, giveBack } = await borrowed
    expect([file, await hasSettled(lender.returned())]).toEqual([STAGED, false])
    giveBack()
    giveBack()
    expect(await hasSettled(lender.returned())).toBe(true)
  })
})

describe('a program that is where it belongs', () => {
  test('is lent to whoever comes before or after', async () => {
    const lender = createLender()
    const before = lender.borrow()
    lender.settle(INSTALLED)
    const loans = [await before, await lender.borrow()]
    expect(loans.map(({ file }) => file)).toEqual([INSTALLED, INSTALLED])
    for (const { giveBack } of loans) giveBack()
  })

  test('is known from then on, and not before', async () => {
    const lender = createLender()
    void lender.borrow()
    lender.offer(STAGED)
    expect(await hasSettled(lender.settled)).toBe(false)
    lender.settle(INSTALLED)
    expect(await lender.settled).toBe(INSTALLED)
  })
})
