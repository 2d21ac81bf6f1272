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

/** The text of anything thrown. */
export function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error)
}

/** The system's code of an error (`ENOENT`, `ECONNRESET`, …), or an empty string. */
export function codeOf(error: unknown): string {
  const code = error instanceof Error && 'code' in error ? error.code : undefined
  return typeof code === 'string' ? code : ''
}
