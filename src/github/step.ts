import { Writable } from 'node:stream'

/**
 * Sees to it that nothing is printed past the runner's redaction: not by an error that nobody caught, nor by the
 * runtime's own warnings and debug output.
 * @param report prints an error that nobody caught and gives the exit code to end with
 */
export function beginStep(report: (error: unknown) => number): void {
  const crash = (error: unknown) => {
    endStep(report(error))
  }
  process.on('uncaughtException', crash)
  process.on('unhandledRejection', crash)
  // Node 24 warns that node:sqlite is experimental; such warnings go to stderr.
  process.removeAllListeners('warning')
  // The real one is not even opened, which takes as long as reading the inputs.
  const nowhere = new Writable({
    write: (_chunk, _encoding, done) => {
      done()
    },
  })
  Object.defineProperty(process, 'stderr', { value: nowhere })
}

/** Ends the process: a proxy that never answers would keep it alive. What was printed is flushed first. */
export function endStep(code: number): void {
  process.stdout.write('', () => process.exit(code))
}
