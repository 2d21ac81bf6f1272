import { createMachine } from './machine.ts'
import { openSandbox, type Answer } from './sandbox.ts'

/** The server that has the archives. */
const SERVER = 'release-assets.githubusercontent.com'
const VERSION = '9.9.2'

export interface LoadTestOptions {
  readonly jobs: number
  /** How many requests a second the server accepts; the others get 429 and `Retry-After: 1`. */
  readonly perSecond: number
  /** Shares of requests that fail in other ways. */
  readonly faults: { readonly reset: number; readonly stall: number; readonly truncate: number }
}

export interface LoadTestResult {
  readonly succeeded: number
  /** The errors of the other jobs. */
  readonly errors: readonly string[]
  readonly requests: number
  readonly rateLimitedCount: number
  readonly seconds: number
}

/** Runs many jobs concurrently that all download one archive from a server that limits requests. */
export async function runLoadTest(options: LoadTestOptions): Promise<LoadTestResult> {
  const sandbox = await openSandbox()
  try {
    for (const [index, answer] of plannedFaults(options).entries()) {
      if (answer) sandbox.intercept({ host: SERVER, path: /./, after: index, times: 1, answer })
    }
    sandbox.intercept({
      host: SERVER,
      path: /./,
      answer: rateLimited(sandbox.github.archive(VERSION), options.perSecond),
    })
    const began = Date.now()
    const inputs = { version: VERSION, checksum: sandbox.github.sha256(VERSION) }
    const steps = await Promise.all(
      Array.from({ length: options.jobs }, async () => {
        const machine = await createMachine({ root: sandbox.root, env: sandbox.env })
        return machine.job().uses({ with: inputs })
      }),
    )
    const asked = sandbox.requests.filter(({ host }) => host === SERVER)
    return {
      succeeded: steps.filter(({ exitCode }) => exitCode === 0).length,
      errors: steps.flatMap(({ annotations }) => annotations.map(({ message }) => message)),
      requests: asked.length,
      rateLimitedCount: asked.filter(({ status }) => status === 429).length,
      seconds: (Date.now() - began) / 1000,
    }
  } finally {
    await sandbox.close()
  }
}

/** What goes wrong, by the number of the request; for as many requests as the jobs make if all goes well. */
function plannedFaults({ jobs, faults }: LoadTestOptions): (Answer | undefined)[] {
  return Array.from({ length: jobs * 3 }, () => {
    const chance = Math.random()
    if (chance < faults.reset) return { kind: 'reset' }
    if (chance < faults.reset + faults.stall) return { kind: 'stall', bytes: 2_000 }
    if (chance < faults.reset + faults.stall + faults.truncate) return { kind: 'truncate', bytes: 2_000 }
    return undefined
  })
}

function rateLimited(archive: Buffer, perSecond: number): Answer {
  let second = 0
  let taken = 0
  return {
    kind: 'handle',
    handle: () => {
      const now = Math.floor(Date.now() / 1000)
      if (now !== second) [second, taken] = [now, 0]
      taken += 1
      return taken > perSecond ? { status: 429, headers: { 'retry-after': '1' } } : { status: 200, body: archive }
    },
  }
}
