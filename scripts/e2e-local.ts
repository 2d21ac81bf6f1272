/**
 * Runs workflows with the shipped action under act, a runner that others have written, against the sandbox: those in
 * scripts/e2e/workflows, and the examples of README.md and docs/recipes.md. All share one machine: one HOME, in which
 * somebody is logged in already, and one tool cache.
 *
 *   npm run e2e:local
 *
 * Needs Go, once, to build act; where that can't be had it says so and does nothing.
 * Exit code 0: all went as it should, or nothing could be run; 1: a workflow did not.
 */
import { styleText } from 'node:util'
import { openSandbox } from '../sandbox/sandbox.ts'
import { ACT_VERSION, findAct } from './e2e/act.ts'
import { attempt } from './e2e/attempt.ts'
import { jobsOf } from './e2e/recipes.ts'
import { openStage } from './e2e/stage.ts'
import { NOT_RUN, readTrials } from './e2e/trials.ts'

process.exitCode = await main()

async function main(): Promise<number> {
  const act = findAct()
  if (act.kind === 'none') {
    console.log(`e2e:local: no workflow was run, because ${act.why}`)
    return 0
  }
  const sandbox = await openSandbox()
  try {
    const stage = openStage(act.path, sandbox)
    console.log(`Workflows under act ${ACT_VERSION}, on one machine:`)
    const totals = { passed: 0, failed: 0, jobs: 0, steps: 0 }
    for (const trial of readTrials(sandbox)) {
      const { faults, steps, log } = await attempt(trial, stage)
      const passed = faults.length === 0
      const jobs = jobsOf(trial.workflow)
      console.log(`${passed ? styleText('green', '✓') : styleText('red', '✗')} ${trial.title}: ${counted(jobs, steps)}`)
      if (!passed) console.log([...faults, log].join('\n').replace(/^/gm, '    '))
      totals[passed ? 'passed' : 'failed'] += 1
      totals.jobs += jobs
      totals.steps += steps
    }
    for (const [name, why] of Object.entries(NOT_RUN))
      console.log(`– ${name}: only parsed and checked, because it ${why}`)
    const { passed, failed, jobs, steps } = totals
    console.log(`${passed + failed} workflows: ${counted(jobs, steps)}\n${passed} passed, ${failed} failed`)
    return failed === 0 ? 0 : 1
  } finally {
    await sandbox.close()
  }
}

function counted(jobs: number, steps: number): string {
  return `${jobs} job${jobs === 1 ? '' : 's'}, ${steps} steps`
}
