import { getInput } from '@actions/core'
import { createHttp } from './util/http.ts'
import { messageOf } from './util/errors.ts'
import { cleanEnvironment } from './runner/clean-environment.ts'
import { readRevocationKey } from './credentials.ts'
import { proxyPasswords } from './runner/runner-env.ts'
import { createRunner, savedState, type Runner } from './runner/runner.ts'
import { beginStep, endStep } from './runner/step.ts'
import { post } from './cleanup.ts'

const runner = createRunner()
// Nothing that happens here may fail a job that has worked.
beginStep((error) => {
  runner.warning(`setup-bl could not clean up: ${messageOf(error)}`)
  return 0
})
// A cancelled job still runs this step, and the runner's signals must not stop it half-way.
for (const signal of ['SIGINT', 'SIGTERM'] as const) process.on(signal, () => undefined)
await cleanup(runner)
endStep(0)

async function cleanup(runner: Runner): Promise<void> {
  try {
    for (const password of proxyPasswords(process.env)) runner.redact(password)
    const apiKey = readRevocationKey({ get: getInput, hide: runner.hide })
    const saved = savedState()
    cleanEnvironment(process.env)
    const http = createHttp('setup-bl', runner.debug)
    await post(saved, apiKey, { runner, http, signal: new AbortController().signal })
  } catch (error) {
    runner.warning(`setup-bl could not clean up: ${messageOf(error)}`)
  }
}
