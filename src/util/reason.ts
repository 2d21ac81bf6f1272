import type { IncomingHttpHeaders } from 'node:http'
import { excerpt } from './redact.ts'

interface Response {
  readonly status: number
  readonly headers: IncomingHttpHeaders
  readonly text: string
}

const LONGEST_TITLE = 60

/** The server's own reason for a response, on one line: from JSON or XML, else the text itself, else the kind of web page. */
export function reasonIn(response: Response): string | undefined {
  if (isStorageError(response.text)) {
    const [, message = ''] = /<Message>([^<]*)/.exec(response.text) ?? []
    return excerpt(message) || undefined
  }
  if (isWebPage(response.headers, response.text)) return `a web page${titleOf(response.text)}`
  const body = parseJson(response.text)
  const error = field(body, 'error')
  const candidates = [field(body, 'error_description'), error, field(error, 'message'), field(body, 'message')]
  const reason = candidates.find((candidate) => typeof candidate === 'string' && candidate !== '')
  return excerpt(typeof reason === 'string' ? reason : response.text) || undefined
}

/**
 * Says who answered, where a response is a web page: that comes from something on the way, so it says nothing about
 * the request.
 */
export function interceptionOf({ status, headers, text }: Response, host: string): string | undefined {
  if (!isWebPage(headers, text)) return undefined
  const type = excerpt((headers['content-type'] ?? '').split(';')[0] ?? '') || 'no content type'
  return `Something between the runner and ${host}, such as a gateway, firewall or login page, answered with a web page (${status}, ${type}${titleOf(text)}).`
}

/** Whether a body, or its beginning, is HTML: neither JSON, a checksums file nor an archive begins with `<`. */
function isWebPage(headers: IncomingHttpHeaders, text: string): boolean {
  if (/^[\s\uFEFF]*</.test(text)) return true
  return /html/i.test(headers['content-type'] ?? '') && text.trim() !== '' && parseJson(text) === undefined
}

/** Whether a body is an error of S3, Azure or Google's storage, where GitHub's files and many mirrors are. */
export function isStorageError(text: string): boolean {
  return /^[\s\uFEFF]*(?:<\?xml[^>]*>\s*)?<Error>\s*<Code>/.test(text)
}

function titleOf(page: string): string {
  const title = excerpt(/<title[^>]*>([^<]*)/i.exec(page)?.[1] ?? '', LONGEST_TITLE)
  return title === '' ? '' : `, '${title}'`
}

/** The value of a JSON text; undefined if it is none. */
export function parseJson(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    return undefined
  }
}

/** A field of a value that may be no object. */
export function field(value: unknown, name: string): unknown {
  return typeof value === 'object' && value !== null ? (value as Record<string, unknown>)[name] : undefined
}
