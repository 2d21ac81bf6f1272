import { randomBytes } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { getInput } from '@actions/core'
import { explained } from './util/errors.ts'
import { createHttp } from './util/http.ts'
import { run } from './util/process.ts'
import type { HeadStart } from './install/head-start.ts'
import { platformFor } from './install/platform.ts'
import { beginStep, endStep } from './runner/step.ts'
import { readCheckoutFile } from './runner/checkout.ts'
import { cleanEnvironment } from './runner/clean-environment.ts'
import { runOrigin } from './runner/event.ts'
import { readInputs } from './inputs.ts'
import { proxyPasswords, readMachine } from './runner/runner-env.ts'
import { createRunner, type Runner } from './runner/runner.ts'
import { discardDirectories, main } from './setup.ts'

/** After a cancel the runner waits 7.5 s before it asks again: what is left then is for the post step. */
const CANCEL_GRACE_MS = 5_000

/**
 * Reads what the runner and the user have given, runs the main step and ends the process with its result.
 * @param headStart a `bl version` that runs already
 * @param signal fires with an error that says so when the step is cancelled
 */
export async function mainStep(headStart: HeadStart | undefined, signal: AbortSignal): Promise<void> {
  const runner = createRunner()
  beginStep((error) => {
    runner.fail(error)
    return 1
  })
  const giveUpLater = () => {
    setTimeout(() => {
      headStart?.stop()
      runner.fail(signal.reason)
      endStep(1)
    }, CANCEL_GRACE_MS)
  }
  if (signal.aborted) giveUpLater()
  else signal.addEventListener('abort', giveUpLater)
  const code = await attempt(runner, headStart, signal)
  headStart?.stop()
  endStep(code)
}

async function attempt(runner: Runner, headStart: HeadStart | undefined, signal: AbortSignal): Promise<number> {
  const use = randomBytes(16).toString('hex')
  try {
    const ambient = { ...process.env }
    for (const password of proxyPasswords(ambient)) runner.redact(password)
    const machine = readMachine(ambient, process.platform)
    const inputs = readInputs({
      get: getInput,
      env: ambient,
      hide: runner.hide,
      redact: runner.redact,
      runOrigin: () =>
        runOrigin(ambient.GITHUB_EVENT_NAME ?? '', ambient.GITHUB_ACTOR ?? '', readEvent(ambient.GITHUB_EVENT_PATH)),
      readCheckoutFile: (path) => readCheckoutFile(machine.checkout, path),
      isSelfHosted: machine.isSelfHosted,
    })
    for (const warning of cleanEnvironment(process.env)) runner.warning(warning)
    const platform = platformFor(process.platform, process.arch)
    const http = createHttp('setup-bl', runner.debug)
    try {
      await main(inputs, { runner, machine, platform, http, run, headStart, use, ambient, signal })
    } finally {
      discardDirectories(machine, use)
    }
    return 0
  } catch (error) {
    runner.fail(explained(error))
    return 1
  }
}

function readEvent(path: string | undefined): unknown {
  try {
    return JSON.parse(readFileSync(path ?? '', 'utf8'))
  } catch {
    return undefined // it only makes a message more precise
  }
}
