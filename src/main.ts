import './check-node.ts'
import { randomBytes } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { getInput } from '@actions/core'
import { readInputs } from './inputs.ts'
import { platformFor } from './install/platform.ts'
import { readCheckoutFile } from './runner/checkout.ts'
import { cleanEnvironment } from './runner/clean-environment.ts'
import { runOrigin } from './runner/event.ts'
import { exitWith, guardProcess } from './runner/process-guard.ts'
import { laterStepWarnings, proxyPasswords, readProxySettings, routeTo } from './runner/proxy.ts'
import { readMachine } from './runner/runner-env.ts'
import { createRunner } from './runner/runner.ts'
import { removeDirectories, setup } from './setup.ts'
import { explainSystemError, SetupError } from './util/errors.ts'
import { createHttp } from './util/http.ts'
import { run } from './util/process.ts'

/** After a cancel the runner waits 7.5 s before it asks again. What isn't done by then is left to the post step. */
const CANCEL_GRACE_MS = 5_000

const runner = createRunner()
const fail = (error: unknown) => {
  runner.fail(explainSystemError(error))
  return 1
}
guardProcess(fail)
const cancel = new AbortController()
for (const signal of ['SIGINT', 'SIGTERM', 'SIGBREAK'] as const) {
  process.on(signal, () => {
    cancel.abort(new SetupError(`The step was cancelled (${signal}).`, 'The post step undoes what it had started.'))
  })
}
cancel.signal.addEventListener('abort', () => {
  setTimeout(() => {
    exitWith(fail(cancel.signal.reason))
  }, CANCEL_GRACE_MS)
})
exitWith(await main())

/** Reads what the runner and the user have set, runs the main step and returns the exit code. */
async function main(): Promise<number> {
  const invocation = randomBytes(16).toString('hex')
  try {
    const env = { ...process.env }
    for (const password of proxyPasswords(env, process.platform)) runner.redact(password)
    const machine = readMachine(env, process.platform)
    const inputs = readInputs({
      get: getInput,
      env,
      hide: runner.hide,
      redact: runner.redact,
      runOrigin: () => runOrigin(env.GITHUB_EVENT_NAME ?? '', env.GITHUB_ACTOR ?? '', readEvent(env.GITHUB_EVENT_PATH)),
      readCheckoutFile: (path) => readCheckoutFile(machine.checkout, path),
      isSelfHosted: machine.isSelfHosted,
    })
    const proxies = readProxySettings(env, process.platform)
    for (const warning of laterStepWarnings(env, process.platform)) runner.warning(warning)
    for (const warning of cleanEnvironment(process.env)) runner.warning(warning)
    const platform = platformFor(process.platform, process.arch)
    const http = createHttp({ userAgent: 'setup-bl', routeTo: (url) => routeTo(url, proxies), log: runner })
    try {
      await setup(inputs, { runner, machine, platform, http, run, invocation, ambient: env, signal: cancel.signal })
    } finally {
      await removeDirectories(machine, invocation)
    }
    return 0
  } catch (error) {
    return fail(error)
  }
}

/** Only to make a message more precise, so what can't be read doesn't matter. */
function readEvent(path: string | undefined): unknown {
  try {
    return JSON.parse(readFileSync(path ?? '', 'utf8'))
  } catch {
    return undefined
  }
}
