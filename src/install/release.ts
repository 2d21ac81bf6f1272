import { SetupError } from '../util/errors.ts'
import { hostOf, isRetryable, NetworkError, type Http, type HttpResponse } from '../util/http.ts'
import { interceptionOf, reasonIn } from '../util/reason.ts'
import { excerpt } from '../util/redact.ts'
import { RELEASE_MAX_JITTER_MS, unreachable } from './download.ts'
import { listReleases, type ListedRelease } from './release-list.ts'
import {
  isSupported,
  looksLikePrerelease,
  versionInLocation,
  versionsBefore,
  versionsInRange,
  type VersionSpec,
} from './version.ts'

/** Where releases come from. */
export type ReleaseSource =
  /** `token` is for api.github.com only, and only the token of a server at github.com. */
  | { readonly kind: 'github'; readonly token: string | undefined }
  /** A server with a copy of the repository's release pages; github.com is not asked then. */
  | { readonly kind: 'mirror'; readonly url: string }

/** An exact version, and what the user should know about how it was chosen. */
export interface Release {
  readonly version: string
  readonly warning?: string
}

export interface ReleaseDeps {
  readonly http: Http
  readonly source: ReleaseSource
  /** Name of the archive for this runner: releases without it are not considered. */
  readonly archive: string
}

const REPOSITORY = 'https://github.com/blaxel-ai/toolkit'
const REQUEST_TIMEOUT_MS = 15_000
const DEADLINE_MS = 120_000
const EXACT = "set the input version to an exact version such as '0.1.108'."

/** The URLs of a release. Nothing but these paths is appended to a mirror's URL. */
export function releaseUrls(source: ReleaseSource) {
  const base = source.kind === 'mirror' ? source.url : REPOSITORY
  return {
    latest: `${base}/releases/latest`,
    file: (version: string, name: string) => `${base}/releases/download/v${version}/${name}`,
    checksums: (version: string) => `${base}/releases/download/v${version}/blaxel_${version}_checksums.txt`,
  }
}

/**
 * Resolves a version spec. An exact version needs no request; `latest` needs one, to the redirect of
 * `/releases/latest`, which has no quota. Ranges, and a latest release that is a prerelease, need the REST API.
 * @throws SetupError if there is no such release
 */
export async function resolveVersion(spec: VersionSpec, deps: ReleaseDeps, signal: AbortSignal): Promise<Release> {
  switch (spec.kind) {
    case 'exact':
      return { version: spec.version }
    case 'latest':
      return latestRelease(deps, signal)
    case 'range':
      return newestInRange(spec.range, deps, signal)
  }
}

async function latestRelease(deps: ReleaseDeps, signal: AbortSignal): Promise<Release> {
  const { latest } = releaseUrls(deps.source)
  const response = await request(latest, deps, signal)
  const version = versionInLocation(response.headers.location)
  if (version === undefined) {
    throw new SetupError(
      `${latest} does not redirect to a release (it answered ${answerOf(response)}).`,
      deps.source.kind === 'mirror'
        ? `Make the mirror redirect it to .../releases/tag/vX.Y.Z, or ${EXACT}`
        : `Run the job again, or ${EXACT}`,
    )
  }
  if (!looksLikePrerelease(version)) return { version }
  return stableReleaseBefore(version, `The latest release, ${version}, looks like a prerelease`, deps, signal)
}

/**
 * The newest stable release before one that can't be used, with a warning that says so.
 * @param reason why it can't be used, as a sentence without its full stop
 * @throws SetupError if there is none, or a mirror is used, which has no list of releases
 */
export async function stableReleaseBefore(
  version: string,
  reason: string,
  deps: ReleaseDeps,
  signal: AbortSignal,
): Promise<Release> {
  const releases = deps.source.kind === 'mirror' ? [] : await listReleases(deps.http, deps.source.token, signal)
  const stable = withArchive(releases, deps).filter(
    (release) => !release.isPrerelease && !looksLikePrerelease(release.version),
  )
  const [previous] = versionsBefore(versionsOf(stable), version)
  if (previous !== undefined) {
    return { version: previous, warning: `${reason}; using ${previous}, the previous stable release.` }
  }
  throw new SetupError(`${reason}.`, `Set the input version to an exact version; '${version}' installs this one.`)
}

async function newestInRange(range: string, deps: ReleaseDeps, signal: AbortSignal): Promise<Release> {
  if (deps.source.kind === 'mirror') {
    throw new SetupError(
      `The input version is the range '${excerpt(range)}', but a mirror has no list of releases.`,
      "Set an exact version such as '0.1.108', or remove mirror-url.",
    )
  }
  const releases = await listReleases(deps.http, deps.source.token, signal)
  // Tags that look like prereleases are left to the range, which matches them only if it names one.
  const candidates = releases.filter(({ isPrerelease, version }) => !isPrerelease || looksLikePrerelease(version))
  const [newest = ''] = versionsInRange(versionsOf(candidates), range)
  const [version] = versionsInRange(versionsOf(withArchive(candidates, deps)), range)
  if (version === undefined) {
    throw new SetupError(
      `No release of the Blaxel CLI for this runner matches the range '${excerpt(range)}'.`,
      'See https://github.com/blaxel-ai/toolkit/releases for the versions that exist.',
    )
  }
  if (version === newest) return { version }
  const warning = `${newest} matches '${excerpt(range)}' but has no ${deps.archive} yet; using ${version}.`
  return { version, warning }
}

function withArchive(releases: readonly ListedRelease[], { archive }: ReleaseDeps): ListedRelease[] {
  return releases.filter(({ version, files }) => isSupported(version) && files.includes(archive))
}

function versionsOf(releases: readonly ListedRelease[]): string[] {
  return releases.map(({ version }) => version)
}

/** Where a response leads, or why it leads nowhere. */
function answerOf(response: HttpResponse): string {
  const { status, headers } = response
  if (URL.canParse(headers.location ?? '')) return `${status} to ${excerpt(hostOf(headers.location ?? ''))}`
  const reason = reasonIn(response)
  return reason === undefined ? String(status) : `${status}: ${reason}`
}

async function request(url: string, { http }: ReleaseDeps, signal: AbortSignal): Promise<HttpResponse> {
  const options = {
    timeoutMs: REQUEST_TIMEOUT_MS,
    maxJitterMs: RELEASE_MAX_JITTER_MS,
    deadline: Date.now() + DEADLINE_MS,
  }
  try {
    const response = await http.send({ method: 'GET', url }, options, signal)
    const interception = interceptionOf(response, hostOf(url))
    if (interception === undefined || isOwnPage(response)) return response
    throw new NetworkError('intercepted', interception)
  } catch (error) {
    throw error instanceof NetworkError ? unreachable(error) : error
  }
}

/** GitHub and mirrors have web pages of their own for a redirect, for what is not there, and for an outage. */
function isOwnPage(response: HttpResponse): boolean {
  const { status } = response
  return (status >= 300 && status < 400) || status === 404 || isRetryable(response)
}
