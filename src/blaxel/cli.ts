import { mkdtempSync } from 'node:fs'
import { join } from 'node:path'
import { messageOf } from '../util/errors.ts'
import { discard } from '../util/fs.ts'
import type { Outcome, Run } from '../util/process.ts'
import { excerpt } from '../util/redact.ts'

/** What running `bl` needs. */
export interface CliDeps {
  readonly run: Run
  /** The only variables that a child gets, besides its private HOME and what a call adds. */
  readonly childEnv: Readonly<Record<string, string>>
  /** A private directory, in which every call gets a new HOME. */
  readonly scratch: string
}

export type VersionCheck =
  | { readonly kind: 'as-expected' }
  /** The program may be good: the machine is slow. */
  | { readonly kind: 'timed-out' }
  | { readonly kind: 'unusable'; readonly why: string }

const VERSION_TIMEOUT_MS = 10_000
/** Without it `bl` asks api.github.com for a newer version, without a time-out. */
export const QUIET = '--skip-version-warning'

/** Runs `bl version` and compares its output. @throws the signal's reason */
export async function checkVersion(
  file: string,
  version: string,
  { run, childEnv, scratch }: CliDeps,
  signal: AbortSignal,
): Promise<VersionCheck> {
  const outcome = await inPrivateHome(scratch, (home) => {
    const env = { ...childEnv, ...homeVariables(home) }
    return run({ file, args: ['version', QUIET], env, cwd: home, timeoutMs: VERSION_TIMEOUT_MS }, signal)
  })
  return judgeVersion(outcome, version)
}

/** What the outcome of `bl version` says about the program. */
export function judgeVersion(outcome: Outcome, version: string): VersionCheck {
  if (outcome.kind === 'timed-out') return { kind: 'timed-out' }
  if (outcome.kind !== 'exited' || outcome.code !== 0) return { kind: 'unusable', why: describe(outcome) }
  if (!mentionsVersion(outcome.stdout, version)) {
    return { kind: 'unusable', why: `it says '${excerpt(outcome.stdout)}' instead of ${version}` }
  }
  return { kind: 'as-expected' }
}

/** Whether a program's output names exactly this version: `0.1.10` is not in `Version: 0.1.108`. */
export function mentionsVersion(output: string, version: string): boolean {
  return output.split(/[\s,;()]+/).some((word) => word === version || word === `v${version}`)
}

/** How a process ended, as part of a sentence. */
export function describe(outcome: Outcome): string {
  switch (outcome.kind) {
    case 'exited':
      return `exit code ${outcome.code}, '${excerpt(`${outcome.stderr} ${outcome.stdout}`)}'`
    case 'killed':
      return `it was killed by ${outcome.signal}`
    case 'timed-out':
      return 'it did not end in time'
    case 'not-started':
      return `it could not be started: ${excerpt(messageOf(outcome.error))}`
  }
}

/** The variables by which `bl` finds its HOME, on every system. */
export function homeVariables(home: string): Record<string, string> {
  return { HOME: home, USERPROFILE: home }
}

/**
 * Gives `bl` an empty directory as its HOME and working directory: it reads `./.env`, rewrites `~/.blaxel/config.yaml`
 * without a lock and keeps a cache there. The directory is removed at once, since a login leaves the token in it.
 */
export async function inPrivateHome<T>(scratch: string, work: (home: string) => Promise<T>): Promise<T> {
  const home = mkdtempSync(join(scratch, 'home-'))
  try {
    return await work(home)
  } finally {
    await discard(home)
  }
}
