import { SetupError } from '../base/errors.ts'
import { excerpt } from '../base/redact.ts'
import gte from 'semver/functions/gte.js'
import lt from 'semver/functions/lt.js'
import prerelease from 'semver/functions/prerelease.js'
import rsort from 'semver/functions/rsort.js'
import satisfies from 'semver/functions/satisfies.js'
import valid from 'semver/functions/valid.js'
import validRange from 'semver/ranges/valid.js'

export type VersionWish =
  | { readonly kind: 'latest' }
  | { readonly kind: 'exact'; readonly version: string }
  | { readonly kind: 'range'; readonly range: string }

/** The first release whose `bl` knows `--skip-version-warning`; without it every call asks api.github.com, without a time-out. */
const OLDEST = '0.1.18'
/** The first release whose `bl login` fails where the API answers 403. */
const FIRST_STRICT = '0.1.95'

/**
 * Reads the input `version`: empty or `latest`, an exact version with or without `v`, or a range in npm's notation.
 * @throws SetupError for any other form and for exact versions before 0.1.18
 */
export function parseVersionWish(input: string): VersionWish {
  if (input === '' || input === 'latest') return { kind: 'latest' }
  const version = exactVersion(input)
  if (version !== undefined) {
    if (!isSupported(version)) throw tooOld(`The input version is '${version}'`)
    return { kind: 'exact', version }
  }
  if (validRange(input) !== null) return { kind: 'range', range: input }
  throw new SetupError(
    `The input version is '${excerpt(input)}', which is no version of the Blaxel CLI.`,
    "Use an exact version such as '0.1.108', a range such as '^0.1.90', or 'latest'.",
  )
}

/** What is wrong with a version before 0.1.18. @param what names it, as the beginning of a sentence */
export function tooOld(what: string): SetupError {
  return new SetupError(
    `${what}, but versions before ${OLDEST} can't run unattended.`,
    `Use ${OLDEST} or newer: older ones have no --skip-version-warning and wait for api.github.com without end.`,
  )
}

/** Whether a version can run unattended. */
export function isSupported(version: string): boolean {
  return gte(version, OLDEST)
}

/** Whether a version's `bl` reports success where the API has refused the login. */
export function believesRefusals(version: string): boolean {
  return lt(version, FIRST_STRICT)
}

/** An exact version, with or without `v`, as it is without; undefined for anything else. */
export function exactVersion(text: string): string | undefined {
  const bare = text.startsWith('v') ? text.slice(1) : text
  // semver.valid alone would also take '=1.2.3', ' v1.2.3 ' and build metadata, which no tag of the CLI has.
  return valid(bare) === bare ? bare : undefined
}

/** The versions that a range matches, newest first; prereleases only where the range names one. */
export function matching(versions: readonly string[], range: string): string[] {
  return rsort(versions.filter((version) => satisfies(version, range)))
}

/** The versions that came before one, newest first. */
export function before(versions: readonly string[], version: string): string[] {
  return rsort(versions.filter((candidate) => lt(candidate, version)))
}

/**
 * Whether a tag is one that nobody should get without asking for it. Upstream marks no release as a prerelease, so
 * such a tag can become "latest".
 */
export function looksLikePrerelease(version: string): boolean {
  return prerelease(version) !== null
}

/** The version that the `Location` of `/releases/latest` names, or undefined where it names none. */
export function versionInLocation(location: string | undefined): string | undefined {
  const tag = /\/releases\/tag\/v([^/?#]+)$/.exec(location ?? '')?.[1]
  return tag === undefined ? undefined : exactVersion(tag)
}
