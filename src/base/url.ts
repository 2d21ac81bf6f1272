/** Whether a host name is this machine and nothing else: `localhost`, `[::1]` or numeric 127/8. */
export function isLoopback(hostname: string): boolean {
  return hostname === 'localhost' || hostname === '[::1]' || /^127(?:\.\d{1,3}){3}$/.test(hostname)
}

/** Whether a URL may be asked at all: https, or plain http on loopback, and no user or password in it. */
export function isTrustworthyUrl(url: URL): boolean {
  const secure = url.protocol === 'https:' || (url.protocol === 'http:' && isLoopback(url.hostname))
  return secure && url.username === '' && url.password === ''
}
