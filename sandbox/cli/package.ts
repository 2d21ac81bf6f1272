import { execFileSync } from 'node:child_process'
import { existsSync, readFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { join, resolve } from 'node:path'

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
  if (faults.versionBroken === true) return BROKEN
  const yaml = createRequire(import.meta.url).resolve('yaml')
  const definition = `BAKED = ${JSON.stringify({ version, dumpFile, faults, yaml })}`
  const script = join(import.meta.dirname, 'blaxel.js')
  if (process.platform === 'win32') return launcherOf(script, `globalThis.${definition}`)
  return Buffer.from(`#!${process.execPath}\nconst ${definition}\n${readFileSync(script, 'utf8')}`)
}

const MAGIC: Readonly<Record<string, string>> = { win32: 'MZ', darwin: '\xcf\xfa\xed\xfe' }

/** Starts like a program for this machine and ends there, so no shell takes it for a script. */
const BROKEN = Buffer.from((MAGIC[process.platform] ?? '\x7fELF\x02\x01\x01').padEnd(64, '\0'), 'latin1')

/** Windows can't start a script: a program that starts Node with the script, after a definition. */
function launcherOf(script: string, definition: string): Buffer {
  const preload = `data:text/javascript,${encodeURIComponent(definition)}`
  const words = Buffer.from(JSON.stringify([process.execPath, '--import', preload, script]))
  const length = Buffer.alloc(4)
  length.writeUInt32LE(words.length)
  return Buffer.concat([readFileSync(builtLauncher()), words, length])
}

/** Built by Go once, and kept with what npm has installed. `npm run e2e:windows` builds it beforehand, as Wine has no Go. */
function builtLauncher(): string {
  const file = resolve(import.meta.dirname, `../../node_modules/.cache/launcher-${process.arch}.exe`)
  const options = { cwd: join(import.meta.dirname, 'launcher'), env: { ...process.env, CGO_ENABLED: '0' } }
  if (!existsSync(file)) execFileSync('go', ['build', '-ldflags', '-s -w', '-o', file, '.'], options)
  return file
}
