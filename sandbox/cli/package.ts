import { readFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { join } from 'node:path'

/** Ways in which a release of the stand-in CLI can misbehave. */
export interface CliFaults {
  /** What `version` prints in the place of the usual. */
  readonly versionPrints?: string
  readonly versionExit?: number
  readonly versionSleepMs?: number
  /** The file is no program at all. */
  readonly versionBroken?: boolean
  readonly loginSleepMs?: number
  /** `login` does what it does, then exits with this. */
  readonly loginExit?: number
  readonly loginWritesNothing?: boolean
  /** Stores the entry and exits 0, whatever the API says. */
  readonly loginAlwaysSucceeds?: boolean
  /** Text for both standard output and standard error, before anything else. */
  readonly loginPrints?: string
  readonly loginIgnoresSigterm?: boolean
  /** Leaves a child behind that sleeps for a minute and keeps the pipes open; its pid is in the invocation. */
  readonly loginSpawnsChild?: boolean
  /** The whole text that `login` leaves in config.yaml. */
  readonly loginEntry?: string
}

interface Packaging {
  readonly version: string
  /** Where each run writes down what it saw. */
  readonly dumpFile: string
  readonly faults?: CliFaults | undefined
}

/** The bytes of the stand-in CLI, as one file that runs by itself. */
export function packageCli({ version, dumpFile, faults = {} }: Packaging): Buffer {
  // Starts like a program for this machine and ends there, so no shell takes it for a script.
  if (faults.versionBroken === true) return Buffer.from('\x7fELF\x02\x01\x01'.padEnd(64, '\0'), 'latin1')
  const baked = { version, dumpFile, faults, yaml: createRequire(import.meta.url).resolve('yaml') }
  const source = readFileSync(join(import.meta.dirname, 'blaxel.js'), 'utf8')
  return Buffer.from(`#!${process.execPath}\nconst BAKED = ${JSON.stringify(baked)}\n${source}`)
}
