import { lt, rsort, satisfies, valid, validRange } from 'semver'
import { SetupError } from '../util/errors.ts'
import { excerpt } from '../util/redact.ts'

export type VersionSpec =
  | { readonly kind: 'latest' }
  | { readonly kind: 'exact'; readonly version: string }
  | { readonly kind: 'range'; readonly range: string }

/** The first release whose `bl` knows `--skip-version-warning`; without it every call asks api.github.com, without a time-out. */
const OLDEST = '0.1.18'
/** The first release whose `bl login` fails if the API answers 403. */
const FIRST_STRICT = '0.1.95'
const MAX_LENGTH = 64

/**
 * Reads the input `version`: empty or `latest`, an exact version with or without `v`, or a range in npm's notation.
 * @throws SetupError for anything else, and for exact versions before 0.1.18
 */
export function parseVersionSpec(input: string): VersionSpec {
  if (input === '' || input === 'latest') return { kind: 'latest' }
  const version = exactVersion(input)
  if (version !== undefined) {
    if (!isSupported(version)) throw tooOld(`The input version is '${version}'`)
    return { kind: 'exact', version }
  }
  if (validRange(input) !== null) return { kind: 'range', range: input }
  throw new SetupError(
    `The input version is '${excerpt(input)}', which is not a version of the Blaxel CLI.`,
    "Use an exact version such as '0.1.108', a range such as '^0.1.90', or 'latest'.",
  )
}

/** The error for a version before 0.1.18. @param subject names it, as the beginning of a sentence */
export function tooOld(subject: string): SetupError {
  return new SetupError(
    `${subject}, but versions before ${OLDEST} can't run unattended.`,
    `Use ${OLDEST} or newer: older ones have no --skip-version-warning and wait for api.github.com without a time-out.`,
  )
}

/** Whether a version can run unattended. */
export function isSupported(version: string): boolean {
  return !lt(version, OLDEST)
}

/** Whether a version's `bl login` exits 0 even if the API rejects the login. */
export function ignoresLoginErrors(version: string): boolean {
  return lt(version, FIRST_STRICT)
}

/** An exact version, with or without `v`, as it is without; undefined for anything else, build metadata included. */
export function exactVersion(text: string): string | undefined {
  const version = text.startsWith('v') ? text.slice(1) : text
  return version.length <= MAX_LENGTH && valid(version) === version ? version : undefined
}

/**
 * Whether a tag is one that nobody should get without asking for it. Upstream marks no release as a prerelease, so
 * such a tag can become "latest".
 */
export function looksLikePrerelease(version: string): boolean {
  return version.includes('-')
}

/** The version in the `Location` of `/releases/latest`; undefined if it has none. */
export function versionInLocation(location: string | undefined): string | undefined {
  const tag = /\/releases\/tag\/v([^/?#]+)$/.exec(location ?? '')?.[1]
  return tag === undefined ? undefined : exactVersion(tag)
}

/** The versions in a range, newest first; prereleases only if the range names one. */
export function versionsInRange(versions: readonly string[], range: string): string[] {
  return rsort(versions.filter((version) => satisfies(version, range)))
}

/** The versions before one, newest first. */
export function versionsBefore(versions: readonly string[], version: string): string[] {
  return rsort(versions.filter((candidate) => lt(candidate, version)))
}
