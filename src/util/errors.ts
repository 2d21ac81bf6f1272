/**
 * An error meant for the person who reads the log: what failed, and what to change.
 * Neither sentence may hold a secret; text that came from outside goes through `excerpt` first.
 */
export class SetupError extends Error {
  override readonly name = 'SetupError'
  readonly what: string
  readonly remedy: string

  constructor(what: string, remedy: string, options?: ErrorOptions) {
    super(`${what} ${remedy}`, options)
    this.what = what
    this.remedy = remedy
  }
}

/** What failed, as a sentence for a message that has a remedy of its own. */
export function failureOf(error: unknown): string {
  return error instanceof SetupError ? error.what : messageOf(error)
}

const REMEDIES: Readonly<Record<string, string>> = {
  ENOSPC: 'The disk is full: free some space on the runner.',
  EDQUOT: 'Disk quota exceeded: free some space on the runner.',
  EFBIG: 'A file size limit is set on the runner: raise it (ulimit -f).',
  EROFS: 'The file system is read-only: RUNNER_TEMP, RUNNER_TOOL_CACHE and HOME must be writable.',
  EACCES: "Give the runner's user write access to it.",
  EPERM: "Give the runner's user write access to it.",
  ENOENT: 'It does not exist: check RUNNER_TEMP, RUNNER_TOOL_CACHE and HOME.',
  EEXIST: 'It is not a directory: check RUNNER_TEMP, RUNNER_TOOL_CACHE and HOME.',
  ENOTDIR: 'A part of it is not a directory: check RUNNER_TEMP, RUNNER_TOOL_CACHE and HOME.',
}

/** An error of the operating system as a sentence with a remedy; any other error as it is. */
export function explainSystemError(error: unknown): unknown {
  if (!isSystemError(error)) return error
  const path = 'path' in error && typeof error.path === 'string' ? error.path : 'A file'
  const code = codeOf(error)
  const remedy = REMEDIES[code] ?? "Check the runner's disk."
  return new SetupError(`${path} can't be used (${String(error.syscall)}: ${code}).`, remedy, { cause: error })
}

/** Whether a call of the operating system failed. */
export function isSystemError(error: unknown): error is Error & { syscall: unknown } {
  return error instanceof Error && 'syscall' in error
}

/** Names the path in an error of the operating system that has none: those of `write` and `close` know only a number. */
export function withPath(error: unknown, path: string): unknown {
  if (isSystemError(error) && !('path' in error)) Object.assign(error, { path })
  return error
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
