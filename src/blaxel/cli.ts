import { closeSync, mkdtempSync, openSync, readSync } from 'node:fs'
import { join } from 'node:path'
import { SetupError, messageOf } from '../util/errors.ts'
import { discard } from '../util/fs.ts'
import type { Command, Outcome, Run } from '../util/process.ts'
import { excerpt } from '../util/redact.ts'

/** What a call of `bl` needs from the outside. */
export interface BlEdges {
  readonly run: Run
  /** The only variables a child gets, besides its private HOME and what a call adds. */
  readonly childEnv: Readonly<Record<string, string>>
  /** A directory of this use's own, in which every call gets a fresh HOME. */
  readonly scratch: string
}

export type VersionCheck =
  | { readonly kind: 'as-expected' }
  | { readonly kind: 'timed-out' }
  | { readonly kind: 'unusable'; readonly why: string }

/** The error for a program that may be good: it is neither published nor evicted for being slow. */
export function versionTimeout(version: string): SetupError {
  return new SetupError(
    `'bl version' of bl ${version} did not answer within 10 s.`,
    'The runner is overloaded: run the job again.',
  )
}

const VERSION_TIMEOUT_MS = 10_000
const MAGIC = ['7f454c46', 'cffaedfe', 'cefaedfe', 'cafebabe', '4d5a', '2321']
/** Without it `bl` asks api.github.com for a newer version, without a time-out. */
export const QUIET = '--skip-version-warning'

/** Runs `bl version` and compares what it says. @throws only where the signal fires */
export async function checkVersion(
  file: string,
  version: string,
  edges: BlEdges,
  signal: AbortSignal,
): Promise<VersionCheck> {
  if (!isProgram(file)) return { kind: 'unusable', why: 'it is no program' }
  const outcome = await inPrivateHome(edges, (home) =>
    edges.run(versionCommand(file, edges.childEnv, home, home), signal),
  )
  return judgeVersion(outcome, version)
}

/** How `bl version` is run. @param home its HOME, which it only reads */
export function versionCommand(file: string, childEnv: BlEdges['childEnv'], home: string, cwd: string): Command {
  const env = { ...childEnv, ...homeVariables(home) }
  return { file, args: ['version', QUIET], env, cwd, timeoutMs: VERSION_TIMEOUT_MS }
}

/** What the end of `bl version` says of the program. */
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

/**
 * Whether a file begins as a program does: ELF, Mach-O, PE, or a script with its interpreter. Anything else would be
 * handed to /bin/sh by the C library (execvp(3), ENOEXEC).
 */
export function isProgram(file: string): boolean {
  try {
    const opened = openSync(file, 'r')
    try {
      const buffer = Buffer.alloc(4)
      const start = buffer.toString('hex', 0, readSync(opened, buffer))
      return MAGIC.some((magic) => start.startsWith(magic))
    } finally {
      closeSync(opened)
    }
  } catch {
    return false
  }
}

/** The end of a process in words, as part of a sentence. */
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

export function homeVariables(home: string): Record<string, string> {
  return { HOME: home, USERPROFILE: home }
}

/**
 * `bl` loads `./.env`, rewrites `~/.blaxel/config.yaml` without a lock and keeps a cache there: it gets an empty
 * directory of its own for both, which is removed at once since a login leaves the token in it.
 */
export async function inPrivateHome<T>(edges: BlEdges, work: (home: string) => Promise<T>): Promise<T> {
  const home = mkdtempSync(join(edges.scratch, 'home-'))
  try {
    return await work(home)
  } finally {
    discard(home)
  }
}
