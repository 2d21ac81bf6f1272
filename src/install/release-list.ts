import { SetupError } from '../util/errors.ts'
import {
  decideRetry,
  hostOf,
  isRetryable,
  NetworkError,
  RetryableStatus,
  type Http,
  type HttpResponse,
} from '../util/http.ts'
import { field, interceptionOf, parseJson, reasonIn } from '../util/reason.ts'
import type { RetryDecision } from '../util/retry.ts'
import { RELEASE_MAX_JITTER_MS } from './download.ts'
import { exactVersion } from './version.ts'

/** A release as GitHub's REST API lists it. */
export interface ListedRelease {
  readonly version: string
  readonly isPrerelease: boolean
  readonly files: readonly string[]
}

const API = 'https://api.github.com/repos/blaxel-ai/toolkit/releases'
const PER_PAGE = 100
/** A server with more pages than this never ends. */
const MAX_PAGES = 50
/** The assets of a release take about 20 kB of JSON. */
const MAX_PAGE_BYTES = 10_000_000
const DEADLINE_MS = 120_000
const EXACT_INSTEAD = "set the input version to an exact version such as '0.1.108'."

/**
 * Every published release, from the REST API: 60 requests an hour and address without a token, 1,000 an hour and
 * repository with GITHUB_TOKEN (docs.github.com, "Rate limits for the REST API"). If the API forbids the request with
 * the token, as an organization with a list of allowed addresses does, it is sent without one.
 * @throws SetupError with GitHub's reason
 */
export async function listReleases(
  http: Http,
  token: string | undefined,
  signal: AbortSignal,
): Promise<ListedRelease[]> {
  const deadline = Date.now() + DEADLINE_MS
  const releases: ListedRelease[] = []
  let auth = token
  for (let page = 1; page <= MAX_PAGES; page += 1) {
    let response = await requestPage(page, http, auth, deadline, signal)
    if (auth !== undefined && response.status === 403 && !isQuotaExceeded(response)) {
      const forbidden = response
      auth = undefined
      response = await requestPage(page, http, auth, deadline, signal)
      if (response.status !== 200) throw rejected(forbidden)
    }
    const list = parsePage(response)
    releases.push(...list.flatMap((release) => parseRelease(release) ?? []))
    if (list.length < PER_PAGE) break
  }
  return releases
}

async function requestPage(
  page: number,
  http: Http,
  token: string | undefined,
  deadline: number,
  signal: AbortSignal,
): Promise<HttpResponse> {
  const headers = {
    accept: 'application/vnd.github+json',
    'x-github-api-version': '2022-11-28',
    ...(token === undefined ? {} : { authorization: `Bearer ${token}` }),
  }
  const options = { timeoutMs: 30_000, maxJitterMs: RELEASE_MAX_JITTER_MS, deadline, decide, maxBytes: MAX_PAGE_BYTES }
  try {
    const url = `${API}?per_page=${PER_PAGE}&page=${page}`
    const response = await http.send({ method: 'GET', url, headers }, options, signal)
    const interception = interceptionOf(response, hostOf(url))
    // In an outage GitHub answers with a page of its own.
    if (interception === undefined || isRetryable(response)) return response
    throw new NetworkError('intercepted', interception)
  } catch (error) {
    if (!(error instanceof NetworkError)) throw error
    throw new SetupError(
      error.message,
      `A range, or a latest release that can't be used, needs api.github.com: let the runner reach it, or ${EXACT_INSTEAD}`,
      { cause: error },
    )
  }
}

/** A quota that is used up doesn't come back while we wait. */
function decide(error: unknown): RetryDecision {
  return error instanceof RetryableStatus && isQuotaExceeded(error.response) ? { kind: 'fail' } : decideRetry(error)
}

function isQuotaExceeded({ status, headers }: HttpResponse): boolean {
  return (status === 403 || status === 429) && headers['x-ratelimit-remaining'] === '0'
}

function parsePage(response: HttpResponse): unknown[] {
  if (isQuotaExceeded(response)) throw quotaExceeded(response)
  const list = response.status === 200 ? parseJson(response.text) : undefined
  if (Array.isArray(list)) return list
  throw rejected(response)
}

function rejected(response: HttpResponse): SetupError {
  const { status } = response
  const reason = statusAndReason(response)
  if (status === 401) {
    return new SetupError(
      `api.github.com does not accept the input github-token (${reason}).`,
      'Remove the input, or use a token of github.com.',
    )
  }
  if (status === 403 || status === 429) {
    return new SetupError(
      `api.github.com rejected the request for the list of releases (${reason}).`,
      `Run the job again later, or ${EXACT_INSTEAD}`,
    )
  }
  return new SetupError(
    `api.github.com gave an unexpected response to the request for the list of releases (${reason}).`,
    `Run the job again, or ${EXACT_INSTEAD}`,
  )
}

function statusAndReason(response: HttpResponse): string {
  const reason = response.status === 200 ? undefined : reasonIn(response)
  return reason === undefined ? String(response.status) : `${response.status}: ${reason}`
}

function quotaExceeded(response: HttpResponse): SetupError {
  const reset = Number(response.headers['x-ratelimit-reset'])
  const when = Number.isFinite(reset) && reset > 0 ? ` It resets at ${new Date(reset * 1000).toISOString()}.` : ''
  return new SetupError(
    `The rate limit of api.github.com for this address or token is exceeded (${statusAndReason(response)}).${when}`,
    "Set the input version to an exact version, which asks no API, or set github-token: '${{ github.token }}'.",
  )
}

function parseRelease(release: unknown): ListedRelease | undefined {
  const tag = field(release, 'tag_name')
  const version = typeof tag === 'string' && tag.startsWith('v') ? exactVersion(tag) : undefined
  if (version === undefined || field(release, 'draft') === true) return undefined
  const assets = field(release, 'assets')
  const names = Array.isArray(assets) ? assets.map((asset) => field(asset, 'name')) : []
  return {
    version,
    isPrerelease: field(release, 'prerelease') === true,
    files: names.filter((name) => typeof name === 'string'),
  }
}
