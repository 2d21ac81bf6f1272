import { Writable } from 'node:stream'

/**
 * Makes sure that nothing is printed unredacted: neither an uncaught error nor what Node itself writes to stderr, where
 * NODE_DEBUG, which is read when Node starts, prints requests with their credentials.
 * @param report prints an uncaught error and returns the exit code
 */
export function guardProcess(report: (error: unknown) => number): void {
  const crash = (error: unknown) => {
    exitWith(report(error))
  }
  process.on('uncaughtException', crash)
  process.on('unhandledRejection', crash)
  Object.defineProperty(process, 'stderr', {
    value: new Writable({
      write: (_chunk, _encoding, done) => {
        done()
      },
    }),
  })
  // A log that nobody reads any more must not stop the step.
  process.stdout.on('error', () => undefined)
}

/** Ends the process once everything that was printed is written: a proxy that never answers would keep it alive. */
export function exitWith(code: number): void {
  process.stdout.write('', () => process.exit(code))
}
