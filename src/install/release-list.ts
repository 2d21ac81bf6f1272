import { SetupError } from '../util/errors.ts'
import { judgeRequest, NetworkError, RetryableStatus, type Http, type HttpAnswer } from '../util/http.ts'
import type { Verdict } from '../util/retry.ts'
import { exactVersion } from './version.ts'

/** A release as GitHub's REST API lists it. */
export interface ListedRelease {
  readonly version: string
  readonly isPrerelease: boolean
  readonly files: readonly string[]
}

const API = 'https://api.github.com/repos/blaxel-ai/toolkit/releases'
const PER_PAGE = 100
/** More pages than this are a server that does not end. */
const MOST_PAGES = 50
/** A release's assets take about 20 kB of JSON. */
const LARGEST_PAGE = 10_000_000
const DEADLINE_MS = 120_000

/**
 * Every published release, from the REST API: 60 requests an hour and address without a token, 1,000 an hour and
 * repository with GITHUB_TOKEN (docs.github.com, "Rate limits for the REST API").
 * @throws SetupError where the quota is used up, saying when it is filled again
 */
export async function listReleases(
  http: Http,
  token: string | undefined,
  signal: AbortSignal,
): Promise<ListedRelease[]> {
  const releases: ListedRelease[] = []
  for (let page = 1; page <= MOST_PAGES; page += 1) {
    const answer = await askForPage(page, http, token, signal)
    const listed = parsePage(answer)
    releases.push(...listed.releases)
    if (listed.count < PER_PAGE) return releases
  }
  return releases
}

async function askForPage(
  page: number,
  http: Http,
  token: string | undefined,
  signal: AbortSignal,
): Promise<HttpAnswer> {
  const headers = {
    accept: 'application/vnd.github+json',
    'x-github-api-version': '2022-11-28',
    ...(token === undefined ? {} : { authorization: `Bearer ${token}` }),
  }
  const patience = {
    timeoutMs: 30_000,
    busySpreadMs: 10_000,
    endsAt: Date.now() + DEADLINE_MS,
    judge,
    largest: LARGEST_PAGE,
  }
  try {
    return await http.ask({ method: 'GET', url: `${API}?per_page=${PER_PAGE}&page=${page}`, headers }, patience, signal)
  } catch (error) {
    if (!(error instanceof NetworkError)) throw error
    throw new SetupError(
      error.message,
      "A range, or a latest release that can't be used, needs api.github.com: let the runner reach it, or set an exact version.",
      { cause: error },
    )
  }
}

/** A quota that is used up does not come back while we wait. */
function judge(error: unknown): Verdict {
  return error instanceof RetryableStatus && isQuotaUsedUp(error.answer) ? { kind: 'final' } : judgeRequest(error)
}

function isQuotaUsedUp({ status, headers }: Pick<HttpAnswer, 'status' | 'headers'>): boolean {
  return (status === 403 || status === 429) && headers['x-ratelimit-remaining'] === '0'
}

function parsePage(answer: HttpAnswer): { readonly releases: ListedRelease[]; readonly count: number } {
  if (isQuotaUsedUp(answer)) throw quotaUsedUp(answer)
  if (answer.status === 401) {
    throw new SetupError(
      'api.github.com does not accept the input github-token (401).',
      'Leave the input out, or give a token of github.com.',
    )
  }
  const list = answer.status === 200 ? parseArray(answer.text) : undefined
  if (!list) {
    throw new SetupError(
      `api.github.com gave an unexpected answer to the list of releases (${answer.status}).`,
      "Run the job again, or set the input version to an exact version such as '0.1.108'.",
    )
  }
  return { releases: list.flatMap((release) => listed(release) ?? []), count: list.length }
}

function quotaUsedUp({ status, headers }: HttpAnswer): SetupError {
  const reset = Number(headers['x-ratelimit-reset'])
  const when =
    Number.isFinite(reset) && reset > 0 ? ` It is filled again at ${new Date(reset * 1000).toISOString()}.` : ''
  return new SetupError(
    `The quota of api.github.com for this address or token is used up (${status}).${when}`,
    "Set the input version to an exact version, which asks no API, or give a token in github-token: '${{ github.token }}'.",
  )
}

function parseArray(text: string): unknown[] | undefined {
  try {
    const value: unknown = JSON.parse(text)
    return Array.isArray(value) ? value : undefined
  } catch {
    return undefined
  }
}

function listed(release: unknown): ListedRelease | undefined {
  if (typeof release !== 'object' || release === null) return undefined
  const { tag_name: tag, draft, prerelease, assets } = release as Record<string, unknown>
  const version = typeof tag === 'string' && tag.startsWith('v') ? exactVersion(tag) : undefined
  if (version === undefined || draft === true) return undefined
  return { version, isPrerelease: prerelease === true, files: Array.isArray(assets) ? assets.flatMap(nameOf) : [] }
}

function nameOf(asset: unknown): string[] {
  const name = typeof asset === 'object' && asset !== null && 'name' in asset ? asset.name : undefined
  return typeof name === 'string' ? [name] : []
}
