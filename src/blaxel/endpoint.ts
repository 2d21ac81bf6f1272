import { SetupError } from '../util/errors.ts'
import { excerpt } from '../util/redact.ts'
import { isLoopback, parseBaseUrl } from '../util/url.ts'

/** The Blaxel API that a session is for. */
export interface Endpoint {
  /** Base URL with its path and without a slash at its end. */
  readonly url: string
  /** BL_ENV as it was given, where it decided. */
  readonly environment: 'prod' | 'dev' | 'local' | undefined
  /** What named it, for the log. */
  readonly source: 'the input api-url' | 'BL_API_URL' | 'BL_ENV' | 'default'
  /** Neither a Blaxel host nor this machine: only the input may name one, and the log says so. */
  readonly isForeign: boolean
}

const URL_OF = {
  prod: 'https://api.blaxel.ai/v0',
  dev: 'https://api.blaxel.dev/v0',
  local: 'http://localhost:8080/v0',
} as const

/** What `bl` and the SDKs use where nothing is set. */
export const DEFAULT_API_URL: string = URL_OF.prod

const REMEDY = `Use the API's base URL with its path, such as ${DEFAULT_API_URL}.`

/**
 * Which API is meant: the input api-url, else BL_API_URL, else BL_ENV, else production. From the environment, which a
 * step before may have changed, only Blaxel's own hosts and loopback are taken.
 * @throws SetupError naming the input or variable, for a URL that is not https (loopback excepted), holds a user or
 * password, or names a foreign host without the input
 */
export function resolveEndpoint(given: { apiUrl: string; BL_API_URL: string; BL_ENV: string }): Endpoint {
  if (given.apiUrl !== '') {
    const { url, base } = parseBaseUrl(given.apiUrl, 'The input api-url', REMEDY)
    return { url: base, environment: undefined, source: 'the input api-url', isForeign: !isBlaxel(url) }
  }
  if (given.BL_API_URL !== '') {
    const { url, base } = parseBaseUrl(given.BL_API_URL, 'BL_API_URL in the environment', REMEDY)
    if (!isBlaxel(url)) {
      throw new SetupError(
        `BL_API_URL in the environment names ${excerpt(url.host)}, which is not a Blaxel host.`,
        'To send credentials there, set the input api-url. Otherwise unset BL_API_URL.',
      )
    }
    return { url: base, environment: undefined, source: 'BL_API_URL', isForeign: false }
  }
  return fromEnvironmentName(given.BL_ENV)
}

function fromEnvironmentName(environment: string): Endpoint {
  if (environment === '') return { url: DEFAULT_API_URL, environment: undefined, source: 'default', isForeign: false }
  if (environment !== 'prod' && environment !== 'dev' && environment !== 'local') {
    throw new SetupError(
      `BL_ENV in the environment is '${excerpt(environment)}'.`,
      'Set it to prod, dev or local, or unset it.',
    )
  }
  return { url: URL_OF[environment], environment, source: 'BL_ENV', isForeign: false }
}

function isBlaxel(url: URL): boolean {
  return isLoopback(url.hostname) || /\.blaxel\.(?:ai|dev)$/.test(url.hostname)
}
