import { SetupError } from '../util/errors.ts'
import { NetworkError, type Http, type HttpAnswer } from '../util/http.ts'
import { excerpt } from '../util/redact.ts'
import { listReleases, type ListedRelease } from './release-list.ts'
import { isSupported, looksLikePrerelease, versionInLocation, type VersionWish } from './version.ts'

/** Where releases come from. */
export type ReleaseSource =
  /** `token` is for api.github.com alone, and only the token of a server at github.com. */
  | { readonly kind: 'github'; readonly token: string | undefined }
  /** A server that answers in the place of the repository's pages; nothing else is asked then. */
  | { readonly kind: 'mirror'; readonly url: string }

/** An exact version, and what the person should know of how it was chosen. */
export interface Resolution {
  readonly version: string
  readonly warning?: string
}

/** A release lacks its archive or the sum of it, as every release does in its first minutes. */
export class MissingFile extends SetupError {}

export interface ReleaseEdges {
  readonly http: Http
  readonly source: ReleaseSource
  /** Name of the archive for this runner: a release without it is none for us. */
  readonly archive: string
}

const REPOSITORY = 'https://github.com/blaxel-ai/toolkit'
const REQUEST_TIMEOUT_MS = 15_000
/** A release draws many jobs at once; where its server turns them away, a wide spread keeps them from coming back together. */
export const RELEASE_BUSY_SPREAD_MS = 10_000
const DEADLINE_MS = 120_000

/** The addresses of a release's parts. Nothing but these is appended to a mirror's address. */
export function releaseUrls(source: ReleaseSource) {
  const base = source.kind === 'mirror' ? source.url : REPOSITORY
  return {
    latest: `${base}/releases/latest`,
    file: (version: string, name: string) => `${base}/releases/download/v${version}/${name}`,
    checksums: (version: string) => `${base}/releases/download/v${version}/blaxel_${version}_checksums.txt`,
  }
}

/**
 * The exact version that a wish means. An exact wish costs no request; `latest` costs one, to the redirect of
 * `/releases/latest`, which has no quota as the REST API has. Ranges, and a latest release that is a prerelease, need
 * the REST API.
 * @throws SetupError where no usable release is found
 */
export async function resolveVersion(wish: VersionWish, edges: ReleaseEdges, signal: AbortSignal): Promise<Resolution> {
  switch (wish.kind) {
    case 'exact':
      return { version: wish.version }
    case 'latest':
      return latestVersion(edges, signal)
    case 'range':
      return newestInRange(wish.range, edges, signal)
  }
}

async function latestVersion(edges: ReleaseEdges, signal: AbortSignal): Promise<Resolution> {
  const { latest } = releaseUrls(edges.source)
  const answer = await askServer(latest, edges, signal)
  const version = versionInLocation(answer.headers.location)
  if (version === undefined) {
    throw new SetupError(
      `${latest} does not lead to a release (it answered ${answer.status}).`,
      edges.source.kind === 'mirror'
        ? "Let the mirror redirect it to .../releases/tag/vX.Y.Z, or set the input version to an exact version such as '0.1.108'."
        : "Run the job again, or set the input version to an exact version such as '0.1.108'.",
    )
  }
  if (!looksLikePrerelease(version)) return { version }
  return releaseBefore(version, `${version}, which looks like a prerelease and is never taken unasked`, edges, signal)
}

/**
 * The newest good release before one that can't be used, with a warning that says so.
 * @param why what the latest release is, as the end of a sentence that begins "The latest release is"
 * @throws SetupError where there is none, or a mirror is used, which knows no list of releases
 */
export async function releaseBefore(
  version: string,
  why: string,
  edges: ReleaseEdges,
  signal: AbortSignal,
): Promise<Resolution> {
  const releases = edges.source.kind === 'mirror' ? [] : await listReleases(edges.http, edges.source.token, signal)
  const good = usable(releases, edges.archive).filter(
    (candidate) => !candidate.isPrerelease && !looksLikePrerelease(candidate.version),
  )
  const { before } = await import('./version-range.ts')
  const [older] = before(
    good.map((candidate) => candidate.version),
    version,
  )
  if (older === undefined) {
    throw new SetupError(
      `The latest release is ${why}.`,
      `Set the input version to an exact version; '${version}' takes this one.`,
    )
  }
  return {
    version: older,
    warning: `The latest release is ${why}: ${older}, the newest good one before it, was taken.`,
  }
}

async function newestInRange(range: string, edges: ReleaseEdges, signal: AbortSignal): Promise<Resolution> {
  if (edges.source.kind === 'mirror') {
    throw new SetupError(
      `The input version is the range '${excerpt(range)}', which a mirror can't answer: it has no list of releases.`,
      "Set an exact version such as '0.1.108', or leave mirror-url out.",
    )
  }
  const releases = await listReleases(edges.http, edges.source.token, signal)
  const { matching } = await import('./version-range.ts')
  const stable = (candidate: ListedRelease) => !candidate.isPrerelease || looksLikePrerelease(candidate.version)
  const versionsOf = (candidates: readonly ListedRelease[]) =>
    matching(
      candidates.filter(stable).map(({ version }) => version),
      range,
    )
  const [newest] = versionsOf(releases)
  const [version] = versionsOf(usable(releases, edges.archive))
  if (version === undefined) {
    throw new SetupError(
      `No release of the Blaxel CLI for this runner matches the range '${excerpt(range)}'.`,
      'Compare it with https://github.com/blaxel-ai/toolkit/releases.',
    )
  }
  if (version === newest) return { version }
  return {
    version,
    warning: `${newest ?? ''} matches '${excerpt(range)}' but has no ${edges.archive} yet: ${version} was taken.`,
  }
}

function usable(releases: readonly ListedRelease[], archive: string): ListedRelease[] {
  return releases.filter((release) => isSupported(release.version) && release.files.includes(archive))
}

/** A short answer of the releases' server, whatever its status. @throws SetupError where none comes */
async function askServer(url: string, { http }: ReleaseEdges, signal: AbortSignal): Promise<HttpAnswer> {
  const patience = {
    timeoutMs: REQUEST_TIMEOUT_MS,
    busySpreadMs: RELEASE_BUSY_SPREAD_MS,
    endsAt: Date.now() + DEADLINE_MS,
  }
  try {
    return await http.ask({ method: 'GET', url }, patience, signal)
  } catch (error) {
    throw error instanceof NetworkError ? unreachable(error) : error
  }
}

/** What to do where a server of releases can't be reached. */
export function unreachable(error: NetworkError): SetupError {
  const remedy =
    error.fault === 'proxy' || error.fault === 'certificate'
      ? 'Nothing was installed.'
      : "Check the runner's network and proxy: it must reach github.com and release-assets.githubusercontent.com, or the host of mirror-url."
  return new SetupError(error.message, remedy, { cause: error })
}
