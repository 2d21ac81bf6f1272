/**
 * An error meant for the person who reads the log: what failed, and what to change.
 * Neither sentence may hold a secret; text that came from outside goes through `excerpt` first.
 */
export class SetupError extends Error {
  override readonly name = 'SetupError'

  constructor(what: string, remedy: string, options?: ErrorOptions) {
    super(`${what} ${remedy}`, options)
  }
}

const CAUSES: Readonly<Record<string, string>> = {
  ENOSPC: 'The disk is full: make room on the runner.',
  EDQUOT: "The runner's user has used up its quota: make room.",
  EROFS: 'It lies on a read-only file system: RUNNER_TEMP, RUNNER_TOOL_CACHE and HOME must be writable.',
  EACCES: "Give the runner's user write access to it.",
  EPERM: "Give the runner's user write access to it.",
  ENOENT: 'It is not there: check RUNNER_TEMP, RUNNER_TOOL_CACHE and HOME.',
}

/** An error of the operating system in words, with a remedy; any other error as it is. */
export function explained(error: unknown): unknown {
  if (!(error instanceof Error) || error instanceof SetupError || !('syscall' in error)) return error
  const path = 'path' in error && typeof error.path === 'string' ? error.path : 'a file'
  const code = codeOf(error)
  const remedy = CAUSES[code] ?? 'Check the disk of the runner.'
  return new SetupError(`${path} can't be used (${String(error.syscall)}: ${code}).`, remedy, { cause: error })
}

/** The text of anything thrown. */
export function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error)
}

/** The system's code of an error (`ENOENT`, `ECONNRESET`, …), or an empty string. */
export function codeOf(error: unknown): string {
  const code = error instanceof Error && 'code' in error ? error.code : undefined
  return typeof code === 'string' ? code : ''
}
