import { SetupError } from '../base/errors.ts'
import { NetworkError, type Http, type HttpAnswer } from '../base/http.ts'
import { looksLikePrerelease, versionInLocation, type VersionWish } from './version.ts'

const REPOSITORY = 'https://github.com/blaxel-ai/toolkit'
const REQUEST_TIMEOUT_MS = 15_000
/** A release draws many jobs at once; where GitHub turns them away, a wide spread keeps them from coming back together. */
export const GITHUB_BUSY_SPREAD_MS = 10_000
const DEADLINE_MS = 120_000

/** Where the parts of a release are. */
export const releaseUrls = {
  latest: `${REPOSITORY}/releases/latest`,
  page: (version: string) => `${REPOSITORY}/releases/tag/v${version}`,
  file: (version: string, name: string) => `${REPOSITORY}/releases/download/v${version}/${name}`,
  checksums: (version: string) => `${REPOSITORY}/releases/download/v${version}/blaxel_${version}_checksums.txt`,
}

/**
 * The exact version that a wish means. An exact wish costs no request; `latest` costs one, to the redirect of
 * `/releases/latest`, which has no quota as the REST API has.
 * @throws SetupError where GitHub names no usable release
 */
export async function resolveVersion(wish: VersionWish, http: Http, signal: AbortSignal): Promise<string> {
  switch (wish.kind) {
    case 'exact':
      return wish.version
    case 'latest':
      return latestVersion(http, signal)
  }
}

async function latestVersion(http: Http, signal: AbortSignal): Promise<string> {
  const answer = await askGitHub(releaseUrls.latest, http, signal)
  const version = versionInLocation(answer.headers.location)
  if (version === undefined) {
    throw new SetupError(
      `${releaseUrls.latest} does not name a release (it answered ${answer.status}).`,
      "Run the job again, or set the input version to an exact version such as '0.1.108'.",
    )
  }
  if (looksLikePrerelease(version)) {
    throw new SetupError(
      `The latest release of the Blaxel CLI is ${version}, which looks like a prerelease and is never taken unasked.`,
      `Set the input version to an exact version; '${version}' takes this one.`,
    )
  }
  return version
}

/** A short answer of GitHub's, whatever its status. @throws SetupError where none comes */
async function askGitHub(url: string, http: Http, signal: AbortSignal): Promise<HttpAnswer> {
  const patience = {
    timeoutMs: REQUEST_TIMEOUT_MS,
    busySpreadMs: GITHUB_BUSY_SPREAD_MS,
    endsAt: Date.now() + DEADLINE_MS,
  }
  try {
    return await http.ask({ method: 'GET', url }, patience, signal)
  } catch (error) {
    throw error instanceof NetworkError ? unreachable(error) : error
  }
}

/** What to do where GitHub can't be reached. */
export function unreachable(error: NetworkError): SetupError {
  return new SetupError(
    error.message,
    'The runner must reach github.com and release-assets.githubusercontent.com: check its network and its proxy.',
    { cause: error },
  )
}
