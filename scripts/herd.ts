/**
 * Many cold jobs at once that want one archive from a server that takes few requests a second; then the same with
 * broken connections.
 *
 *   npm run herd -- [--jobs 200] [--per-second 20]
 */
import { parseArgs } from 'node:util'
import { runHerd, type HerdOptions } from '../sandbox/herd.ts'

const { values } = parseArgs({
  options: { jobs: { type: 'string', default: '200' }, 'per-second': { type: 'string', default: '20' } },
})
const size = { jobs: Number(values.jobs), perSecond: Number(values['per-second']) }
await show('a busy server', { ...size, faults: { reset: 0, stall: 0, truncate: 0 } })
await show('and 10 % reset, 10 % stalled, 5 % cut', { ...size, faults: { reset: 0.1, stall: 0.1, truncate: 0.05 } })

async function show(title: string, options: HerdOptions): Promise<void> {
  const { succeeded, errors, requests, turnedAway, seconds } = await runHerd(options)
  const each = (requests / options.jobs).toFixed(2)
  console.log(
    `${title}: ${succeeded} of ${options.jobs} succeeded, ${each} requests a job (${turnedAway} turned away), ${seconds.toFixed(0)} s`,
  )
  for (const error of errors) console.log(`  ${error}`)
  if (succeeded < options.jobs) process.exitCode = 1
}
