import { createMachine } from './machine.ts'
import { openSandbox, type Answer } from './sandbox.ts'

/** The server of the archives. */
const SERVER = 'release-assets.githubusercontent.com'
const VERSION = '9.9.2'

export interface HerdOptions {
  readonly jobs: number
  /** How many requests a second the server takes; the others get 429 and `Retry-After: 1`. */
  readonly perSecond: number
  /** Shares of requests that go wrong besides. */
  readonly faults: { readonly reset: number; readonly stall: number; readonly truncate: number }
}

export interface HerdResult {
  readonly succeeded: number
  /** What the others said. */
  readonly errors: readonly string[]
  readonly requests: number
  readonly turnedAway: number
  readonly seconds: number
}

/** Runs many cold jobs at once that all want one archive from a server that can't serve them all. */
export async function runHerd(options: HerdOptions): Promise<HerdResult> {
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
      turnedAway: asked.filter(({ status }) => status === 429).length,
      seconds: (Date.now() - began) / 1000,
    }
  } finally {
    await sandbox.close()
  }
}

/** What goes wrong, by the number of the request; for as many requests as a good herd makes. */
function plannedFaults({ jobs, faults }: HerdOptions): (Answer | undefined)[] {
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
