import { SetupError } from './errors.ts'

/** Whether a host name is this machine and nothing else: `localhost`, `[::1]` or numeric 127/8. */
export function isLoopback(hostname: string): boolean {
  return hostname === 'localhost' || hostname === '[::1]' || /^127(?:\.\d{1,3}){3}$/.test(hostname)
}

/** Whether a URL may be asked at all: https, or plain http on loopback, and no user or password in it. */
export function isTrustworthyUrl(url: URL): boolean {
  const secure = url.protocol === 'https:' || (url.protocol === 'http:' && isLoopback(url.hostname))
  return secure && url.username === '' && url.password === ''
}

/**
 * Reads an address to which paths are appended.
 * @param source what gave it, for the message, which does not show the address: it may hold a password
 * @returns the URL, and its text without a slash at the end
 * @throws SetupError for what is no URL, not https (loopback excepted), or holds a user, password, query or fragment
 */
export function parseBaseUrl(
  text: string,
  source: string,
  remedy: string,
): { readonly url: URL; readonly base: string } {
  const refuse = (what: string): never => {
    throw new SetupError(`${source} ${what}.`, remedy)
  }
  if (!URL.canParse(text)) return refuse('is not a URL')
  const url = new URL(text)
  if (url.username !== '' || url.password !== '') refuse('holds a user or a password')
  if (!isTrustworthyUrl(url)) refuse('is not an https URL (http is for loopback addresses only)')
  // An empty one shows in the text alone.
  if (/[?#]/.test(url.href)) refuse('has a query or a fragment')
  return { url, base: url.href.replace(/\/+$/, '') }
}
