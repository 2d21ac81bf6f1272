/**
 * Load test: many jobs download one archive at once from a server that limits requests; then the same with
 * broken connections.
 *
 *   npm run load-test -- [--jobs 200] [--per-second 20]
 */
import { parseArgs } from 'node:util'
import { runLoadTest, type LoadTestOptions } from '../sandbox/load-test.ts'

const { values } = parseArgs({
  options: { jobs: { type: 'string', default: '200' }, 'per-second': { type: 'string', default: '20' } },
})
const size = { jobs: Number(values.jobs), perSecond: Number(values['per-second']) }
await show('a busy server', { ...size, faults: { reset: 0, stall: 0, truncate: 0 } })
await show('and 10 % reset, 10 % stalled, 5 % cut', { ...size, faults: { reset: 0.1, stall: 0.1, truncate: 0.05 } })

async function show(title: string, options: LoadTestOptions): Promise<void> {
  const { succeeded, errors, requests, rateLimitedCount, seconds } = await runLoadTest(options)
  const each = (requests / options.jobs).toFixed(2)
  console.log(
    `${title}: ${succeeded} of ${options.jobs} succeeded, ${each} requests a job (${rateLimitedCount} rate limited), ${seconds.toFixed(0)} s`,
  )
  for (const error of errors) console.log(`  ${error}`)
  if (succeeded < options.jobs) process.exitCode = 1
}
