import { SetupError } from '../util/errors.ts'

export type VersionWish =
  | { readonly kind: 'latest' }
  | { readonly kind: 'exact'; readonly version: string }
  /** Anything else: whether it is a range is for version-range.ts to say, since what reads ranges takes long to load. */
  | { readonly kind: 'range'; readonly range: string }

/** The first release whose `bl` knows `--skip-version-warning`; without it every call asks api.github.com, without a time-out. */
const OLDEST = '0.1.18'
/** The first release whose `bl login` fails where the API answers 403. */
const FIRST_STRICT = '0.1.95'

const NUMBER = '(?:0|[1-9]\\d{0,8})'
const IDENTIFIER = '(?:0|[1-9]\\d*|\\d*[A-Za-z-][0-9A-Za-z-]*)'
/** The grammar of semver.org (version 2.0.0) without build metadata, which no tag of the CLI has. */
const EXACT = new RegExp(`^${NUMBER}\\.${NUMBER}\\.${NUMBER}(?:-${IDENTIFIER}(?:\\.${IDENTIFIER})*)?$`)
const LONGEST = 64

/**
 * Reads the input `version`: empty or `latest`, an exact version with or without `v`, or a range in npm's notation.
 * @throws SetupError for exact versions before 0.1.18
 */
export function parseVersionWish(input: string): VersionWish {
  if (input === '' || input === 'latest') return { kind: 'latest' }
  const version = exactVersion(input)
  if (version === undefined) return { kind: 'range', range: input }
  if (!isSupported(version)) throw tooOld(`The input version is '${version}'`)
  return { kind: 'exact', version }
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
  return !isBefore(version, OLDEST)
}

/** Whether a version's `bl` reports success where the API has refused the login. */
export function believesRefusals(version: string): boolean {
  return isBefore(version, FIRST_STRICT)
}

/** An exact version, with or without `v`, as it is without; undefined for anything else. */
export function exactVersion(text: string): string | undefined {
  const bare = text.startsWith('v') ? text.slice(1) : text
  return bare.length <= LONGEST && EXACT.test(bare) ? bare : undefined
}

/**
 * Whether a tag is one that nobody should get without asking for it. Upstream marks no release as a prerelease, so
 * such a tag can become "latest".
 */
export function looksLikePrerelease(version: string): boolean {
  return version.includes('-')
}

/** The version that the `Location` of `/releases/latest` names, or undefined where it names none. */
export function versionInLocation(location: string | undefined): string | undefined {
  const tag = /\/releases\/tag\/v([^/?#]+)$/.exec(location ?? '')?.[1]
  return tag === undefined ? undefined : exactVersion(tag)
}

/** Whether an exact version comes before a release; its prereleases do. */
function isBefore(version: string, release: string): boolean {
  const [numbers = ''] = version.split('-')
  const ours = numbers.split('.').map(Number)
  const theirs = release.split('.').map(Number)
  for (const [index, number] of theirs.entries()) {
    const difference = (ours[index] ?? 0) - number
    if (difference !== 0) return difference < 0
  }
  return looksLikePrerelease(version)
}
