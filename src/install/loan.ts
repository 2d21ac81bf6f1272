/** A program that may be run, and stays where it is until it is given back. */
interface Loan {
  readonly file: string
  readonly giveBack: () => void
}

/** Brings together who installs the program and who needs it, so that it can be run before it is published. */
export interface Lender {
  /** Offers a program whose sum is right but which is still to be checked and moved. */
  readonly offer: (file: string) => void
  /** Settles when what was offered may be moved: at once where nobody had waited for it. */
  readonly returned: () => Promise<void>
  /** Says that it has been checked, and where it is for good. */
  readonly settle: (file: string) => void
  /** The first program that there is from now on. */
  readonly borrow: () => Promise<Loan>
  /** Where it is for good. */
  readonly settled: Promise<string>
}

/** A lender for one program and one borrower. */
export function createLender(): Lender {
  const lent = Promise.withResolvers<Loan>()
  const settled = Promise.withResolvers<string>()
  let isAwaited = false
  let returned = Promise.resolve()
  return {
    offer: (file) => {
      if (!isAwaited) return
      returned = new Promise((giveBack) => {
        lent.resolve({ file, giveBack })
      })
    },
    returned: () => returned,
    settle: (file) => {
      settled.resolve(file)
      lent.resolve({ file, giveBack: () => undefined })
    },
    borrow: () => {
      isAwaited = true
      return lent.promise
    },
    settled: settled.promise,
  }
}
