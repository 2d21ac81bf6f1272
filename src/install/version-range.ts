import lt from 'semver/functions/lt.js'
import rsort from 'semver/functions/rsort.js'
import satisfies from 'semver/functions/satisfies.js'
import validRange from 'semver/ranges/valid.js'
import { SetupError } from '../util/errors.ts'
import { excerpt } from '../util/redact.ts'

/** @throws SetupError where the input `version` is neither a version nor a range in npm's notation */
export function refuseBadRange(input: string): void {
  if (validRange(input) !== null) return
  throw new SetupError(
    `The input version is '${excerpt(input)}', which is no version of the Blaxel CLI.`,
    "Use an exact version such as '0.1.108', a range such as '^0.1.90', or 'latest'.",
  )
}

/** The versions that a range matches, newest first; prereleases only where the range names one. */
export function matching(versions: readonly string[], range: string): string[] {
  return rsort(versions.filter((version) => satisfies(version, range)))
}

/** The versions that came before one, newest first. */
export function before(versions: readonly string[], version: string): string[] {
  return rsort(versions.filter((candidate) => lt(candidate, version)))
}
