/**
 * What values that come from outside (the API's answers, the login store, the saved state) must look like before they are
 * masked, stored, put into a URL or written into the CLI's config, which escapes nothing.
 */

/** A session token: 8 to 8,192 printable ASCII characters without blanks, quotes or backslash. */
export function isToken(value: unknown): value is string {
  return typeof value === 'string' && /^[!#-&(-[\]-~]{8,8192}$/.test(value)
}

/** An id of the API's: nothing in it can leave its place in a path. */
export function isId(value: unknown): value is string {
  return typeof value === 'string' && /^[A-Za-z0-9][A-Za-z0-9._:@-]{0,255}$/.test(value)
}

/** `bl` writes a workspace's name unquoted, where YAML would read these words as something else than text. */
const YAML_WORDS = new Set(['null', 'true', 'false', 'yes', 'no', 'on', 'off', 'y', 'n'])

/** The name of a workspace: letters, digits, `-` and `_`, at most 63, beginning with a letter or digit. */
export function isWorkspaceName(value: unknown): value is string {
  return (
    typeof value === 'string' && /^[A-Za-z0-9][A-Za-z0-9_-]{0,62}$/.test(value) && !YAML_WORDS.has(value.toLowerCase())
  )
}

/** The name of an environment of the API's, as `bl` stores it in an entry. */
export function isEnvironmentName(value: unknown): value is string {
  return typeof value === 'string' && /^[a-z]{1,32}$/.test(value)
}

/** How long something lives, in seconds: finite and positive. */
export function isLifetime(value: unknown): value is number {
  return typeof value === 'number' && Number.isFinite(value) && value > 0 && value < 1e10
}
