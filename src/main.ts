import { SetupError } from './util/errors.ts'
import { run } from './util/process.ts'
import { beginVersion } from './install/head-start.ts'
import { childEnvironment } from './runner/runner-env.ts'

const cancel = new AbortController()
for (const signal of ['SIGINT', 'SIGTERM'] as const) {
  process.on(signal, () => {
    cancel.abort(new SetupError(`The step was cancelled (${signal}).`, 'What it had begun is undone by the post step.'))
  })
}
const { env, platform: os, arch } = process
const headStart = beginVersion({ run, env, childEnv: childEnvironment(env, os), os, arch })
// All the rest loads while `bl version` runs.
const { mainStep } = await import('./main-step.ts')
await mainStep(headStart, cancel.signal)
