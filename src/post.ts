import './check-node.ts'
import { getInput } from '@actions/core'
import { cleanup } from './cleanup.ts'
import { readRevocationKey } from './credentials.ts'
import { cleanEnvironment } from './runner/clean-environment.ts'
import { exitWith, guardProcess } from './runner/process-guard.ts'
import { proxyPasswords, readProxySettings, routeTo } from './runner/proxy.ts'
import { createRunner, savedState } from './runner/runner.ts'
import { messageOf } from './util/errors.ts'
import { createHttp } from './util/http.ts'

const runner = createRunner()
/** Nothing that happens here may fail a job that has succeeded. */
const warn = (error: unknown) => {
  runner.warning(`setup-bl could not clean up: ${messageOf(error)}`)
  return 0
}
guardProcess(warn)
// A cancelled job still runs this step, and the runner's signals must not stop it half-way.
for (const signal of ['SIGINT', 'SIGTERM', 'SIGBREAK'] as const) process.on(signal, () => undefined)
exitWith(await post())

/** Reads the saved state, undoes the main step and returns the exit code. */
async function post(): Promise<number> {
  try {
    for (const password of proxyPasswords(process.env, process.platform)) runner.redact(password)
    const apiKey = readRevocationKey({ get: getInput, hide: runner.hide })
    const saved = savedState()
    const proxies = readProxySettings(process.env, process.platform)
    cleanEnvironment(process.env)
    const http = createHttp({ userAgent: 'setup-bl', routeTo: (url) => routeTo(url, proxies), log: runner })
    await cleanup(saved, apiKey, { runner, http, signal: new AbortController().signal })
    return 0
  } catch (error) {
    return warn(error)
  }
}
