import { SetupError } from '../base/errors.ts'
import { excerpt } from '../base/redact.ts'
import semver from 'semver'

export type VersionWish = { readonly kind: 'latest' } | { readonly kind: 'exact'; readonly version: string }

/** The first release whose `bl` knows `--skip-version-warning`; without it every call asks api.github.com, without a time-out. */
const OLDEST = '0.1.18'

/**
 * Reads the input `version`: empty or `latest`, or an exact version with or without `v`.
 * @throws SetupError for any other form and for versions before 0.1.18
 */
export function parseVersionWish(input: string): VersionWish {
  if (input === '' || input === 'latest') return { kind: 'latest' }
  const version = exactVersion(input)
  if (version === undefined) {
    throw new SetupError(
      `The input version is '${excerpt(input)}', which is no version of the Blaxel CLI.`,
      "Use an exact version such as '0.1.108', or 'latest'.",
    )
  }
  if (semver.lt(version, OLDEST)) {
    throw new SetupError(
      `The input version is '${version}', but versions before ${OLDEST} can't run unattended.`,
      `Use ${OLDEST} or newer: older ones have no --skip-version-warning and wait for api.github.com without end.`,
    )
  }
  return { kind: 'exact', version }
}

function exactVersion(text: string): string | undefined {
  const bare = text.startsWith('v') ? text.slice(1) : text
  // semver.valid alone would also take '=1.2.3', ' v1.2.3 ' and build metadata, which no tag of the CLI has.
  return semver.valid(bare) === bare ? bare : undefined
}

/**
 * Whether a tag is one that nobody should get without asking for it. Upstream marks no release as a prerelease, so
 * such a tag can become "latest".
 */
export function looksLikePrerelease(version: string): boolean {
  return semver.prerelease(version) !== null
}

/** The version that the `Location` of `/releases/latest` names, or undefined where it names none. */
export function versionInLocation(location: string | undefined): string | undefined {
  const tag = /\/releases\/tag\/v([^/?#]+)$/.exec(location ?? '')?.[1]
  return tag === undefined ? undefined : exactVersion(tag)
}

/** Whether a program's output names exactly this version: `0.1.10` is not in `Version: 0.1.108`. */
export function mentionsVersion(output: string, version: string): boolean {
  return output.split(/[\s,;()]+/).some((word) => word === version || word === `v${version}`)
}
