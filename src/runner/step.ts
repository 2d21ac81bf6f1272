import { writeSync } from 'node:fs'
import { Writable } from 'node:stream'
import { codeOf } from '../util/errors.ts'

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
  replaceStream('stderr', () => undefined)
  replaceStream('stdout', writeNow)
}

/** The real streams are not even opened, which takes as long as reading the inputs. */
function replaceStream(name: 'stdout' | 'stderr', print: (chunk: Buffer) => void): void {
  const write = (chunk: Buffer, _encoding: BufferEncoding, done: () => void) => {
    print(chunk)
    done()
  }
  Object.defineProperty(process, name, { value: new Writable({ write }) })
}

/** Whole and at once, so that no exit can cut it off. */
function writeNow(chunk: Buffer): void {
  let written = 0
  while (written < chunk.length) {
    try {
      written += writeSync(1, chunk, written)
    } catch (error) {
      // Whoever reads a pipe may be slower than we write; when nobody reads any more, there is nobody to tell.
      if (codeOf(error) !== 'EAGAIN') return
    }
  }
}

/** Ends the process: a proxy that never answers would keep it alive. What was printed is written already. */
export function endStep(code: number): void {
  process.exit(code)
}
