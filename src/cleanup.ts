import { getInput } from '@actions/core'
import { createHttp } from './base/http.ts'
import { messageOf } from './base/errors.ts'
import { cleanEnvironment } from './github/environment.ts'
import { readRevocationKey } from './github/credential-inputs.ts'
import { proxyPasswords } from './github/machine.ts'
import { createRunner, savedState, type Runner } from './github/runner.ts'
import { beginStep, endStep } from './github/step.ts'
import { post } from './post.ts'

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
