import { BlockList, isIP } from 'node:net'
import { NetworkError, type Route } from '../util/http.ts'
import { bareHost, type Proxy } from '../util/proxy-agent.ts'
import { isLoopback } from '../util/url.ts'

type Environment = Readonly<Record<string, string | undefined>>

/** The proxy settings of the environment, read once: our own requests and `bl` use the same. */
export interface ProxySettings {
  readonly https: ProxySetting
  /** No request of ours uses it, since plain http is for loopback only; `bl` is told of it. */
  readonly http: ProxySetting
  readonly noProxy: string
}

type ProxySetting =
  | { readonly kind: 'none' }
  | { readonly kind: 'usable'; readonly proxy: Proxy }
  | { readonly kind: 'unusable'; readonly error: NetworkError }

const NAMES = ['https_proxy', 'HTTPS_PROXY', 'http_proxy', 'HTTP_PROXY']

/**
 * Reads https_proxy, http_proxy and no_proxy; the lower-case spelling comes first, as in curl and the runner.
 * @param os Node's name of the operating system
 */
export function readProxySettings(env: Environment, os: string): ProxySettings {
  const get = reader(env, os)
  const read = (name: string): ProxySetting => {
    const variable = [name, name.toUpperCase()].find((spelling) => get(spelling).trim() !== '')
    return variable === undefined ? { kind: 'none' } : parseProxy(variable, get(variable))
  }
  const noProxy = get('no_proxy').trim() === '' ? get('NO_PROXY') : get('no_proxy')
  return { https: read('https_proxy'), http: read('http_proxy'), noProxy: noProxyItems(noProxy).join(',') }
}

/** How a request gets to its host: by the settings and nothing else, so none goes past a proxy in silence. */
export function routeTo(url: URL, { https, noProxy }: ProxySettings): Route {
  if (isLoopback(url.hostname) || https.kind === 'none' || isBypassed(url, noProxy)) return { kind: 'direct' }
  return https.kind === 'usable' ? { kind: 'proxy', proxy: https.proxy } : { kind: 'refused', error: https.error }
}

/** The settings as variables for `bl`, in both spellings: Go reads the upper-case one first. */
export function proxyVariables({ https, http, noProxy }: ProxySettings): Record<string, string> {
  const values = { https_proxy: textOf(https), http_proxy: textOf(http), no_proxy: noProxy }
  return Object.fromEntries(
    Object.entries(values).flatMap(([name, value]) =>
      value === ''
        ? []
        : [
            [name, value],
            [name.toUpperCase(), value],
          ],
    ),
  )
}

/**
 * The passwords in the variables, whether these can be used or not: as written, decoded, as `bl` gets them, and as they
 * stand in Proxy-Authorization.
 */
export function proxyPasswords(env: Environment, os: string): string[] {
  const get = reader(env, os)
  const passwords = NAMES.flatMap((name) => {
    const { userInfo } = split(get(name).trim())
    if (!/:./s.test(userInfo)) return []
    const password = userInfo.slice(userInfo.indexOf(':') + 1)
    const bytes = decodePercent(password)
    return [password, Buffer.from(bytes, 'latin1').toString(), encodePercent(bytes), basic(decodePercent(userInfo))]
  })
  return [...new Set(passwords)]
}

/**
 * Where `bl` in later steps, which get the job's own variables, will not use the proxy that this step uses.
 * @returns a warning for each variable, with what to write
 */
export function laterStepWarnings(env: Environment, os: string): string[] {
  const { https } = readProxySettings(env, os)
  const get = reader(env, os)
  // What Go reads: the first that is not empty, blanks included.
  const name = get('HTTPS_PROXY') === '' ? 'https_proxy' : 'HTTPS_PROXY'
  const value = get(name)
  if (value === '') return []
  const warnings: string[] = []
  const problem = laterProblem(https, name, value)
  if (problem !== undefined) warnings.push(problem)
  const [upper, lower] = [get('NO_PROXY'), get('no_proxy')]
  const isSame = noProxyItems(upper).join(',') === noProxyItems(lower).join(',')
  if (upper !== '' && lower.trim() !== '' && !isSame) warnings.push(differs('NO_PROXY', 'no_proxy', 'list'))
  return warnings
}

/** @param value of the variable that Go reads */
function laterProblem(used: ProxySetting, name: string, value: string): string | undefined {
  const unreadable = `bl in later steps can't read ${name}`
  if (used.kind === 'none') return `${unreadable}: it holds nothing but blanks. Unset it.`
  if (used.kind === 'unusable') return undefined
  const { variable, url } = used.proxy
  const read = parseProxy(name, value)
  if (read.kind !== 'usable' || read.proxy.url.href !== url.href) return differs(name, variable, 'URL')
  if (value !== value.trim()) return `${unreadable}: it begins or ends with a blank or a line break. Remove that.`
  const { userInfo, rest } = split(value)
  if (!isHostOfGo(rest, url)) return `${unreadable}. Write its host as in '${url.protocol}//${url.host}'.`
  if (!/^(?:[\w.~!$&'()*+,;=:@-]|%[0-9a-f]{2})*$/i.test(userInfo))
    return `${unreadable}. Percent-encode the special characters of user and password, such as ^ as %5E and % as %25.`
  return undefined
}

function differs(name: string, used: string, what: string): string {
  return `${name} differs from ${used}: this step uses ${used}, but bl in later steps reads ${name}. Set both to the same ${what}.`
}

/** Go leaves a host as it is written. */
function isHostOfGo(rest: string, { hostname }: URL): boolean {
  const isPlain = /^(?:\[[\da-f:.]+\]|[\w.-]+)(?::\d*)?(?:[/?#][!-~]*)?$/i.test(rest)
  return isPlain && (rest.startsWith('[') || rest.toLowerCase().startsWith(hostname))
}

/** Windows knows no case in the names of variables. */
function reader(env: Environment, os: string): (name: string) => string {
  if (os !== 'win32') return (name) => env[name] ?? ''
  const folded = new Map(Object.entries(env).map(([name, value]) => [name.toUpperCase(), value]))
  return (name) => folded.get(name.toUpperCase()) ?? ''
}

/** A URL, or a host and port without a scheme. */
function parseProxy(variable: string, value: string): ProxySetting {
  const { scheme, userInfo, rest } = split(value.trim())
  if (rest.includes('@')) {
    const remedy = 'Write / as %2F, ? as %3F and # as %23.'
    return unusable(`${variable} has a user or a password that is not percent-encoded. ${remedy}`)
  }
  // URL drops line breaks and tabs from within a text, and takes quotes and braces for parts of a host's name.
  const isUrl = !/\p{Cc}/u.test(userInfo) && !/\s|\p{Cc}/u.test(rest) && URL.canParse(`${scheme}://${rest}`)
  const isHost = isUrl && /^(?:\[[\da-f:.]+\]|[\w.-]+)$/.test(new URL(`${scheme}://${rest}`).hostname)
  if (!isHost || (scheme !== 'http' && scheme !== 'https')) {
    const remedy = "Set it to a URL such as 'http://proxy.example:3128', or unset it."
    return unusable(`${variable} is not the URL of an http proxy. ${remedy}`)
  }
  const [user = '', ...passwordParts] = userInfo.split(':')
  const credentials = [decodePercent(user), decodePercent(passwordParts.join(':'))] as const
  const url = new URL(`${scheme}://${new URL(`${scheme}://${rest}`).host}`)
  url.username = encodePercent(credentials[0])
  url.password = encodePercent(credentials[1])
  const authorization = userInfo === '' ? undefined : `Basic ${basic(credentials.join(':'))}`
  return { kind: 'usable', proxy: { variable, url, authorization } }
}

/** No request that needs it is sent. */
function unusable(message: string): ProxySetting {
  return { kind: 'unusable', error: new NetworkError('proxy', message, true) }
}

interface Parts {
  readonly scheme: string
  readonly userInfo: string
  /** Host, port and what follows. */
  readonly rest: string
}

function split(value: string): Parts {
  const [, scheme = 'http', text = ''] = /^(?:([a-z][a-z0-9+.-]*):\/\/)?(.*)$/is.exec(value) ?? []
  const end = text.search(/[/?#]/)
  const at = text.lastIndexOf('@', end === -1 ? undefined : end)
  return { scheme: scheme.toLowerCase(), userInfo: at === -1 ? '' : text.slice(0, at), rest: text.slice(at + 1) }
}

/** The bytes of a text as latin1. A % that begins no escape stands for itself, as in curl. */
function decodePercent(text: string): string {
  return Buffer.from(text)
    .toString('latin1')
    .replace(/%([0-9a-f]{2})/gi, (_, hex: string) => String.fromCharCode(parseInt(hex, 16)))
}

function encodePercent(bytes: string): string {
  return bytes.replace(/[^\w.~-]/g, (byte) => `%${byte.charCodeAt(0).toString(16).toUpperCase().padStart(2, '0')}`)
}

function basic(bytes: string): string {
  return Buffer.from(bytes, 'latin1').toString('base64')
}

function textOf(setting: ProxySetting): string {
  return setting.kind === 'usable' ? setting.proxy.url.href.replace(/\/$/, '') : ''
}

function noProxyItems(list: string): string[] {
  return list
    .split(',')
    .map((item) => item.trim().toLowerCase())
    .filter((item) => item !== '')
}

/** Whether no_proxy names the host, by the rules of Go (golang.org/x/net/http/httpproxy): those that `bl` follows. */
function isBypassed(url: URL, noProxy: string): boolean {
  const host = bareHost(url.hostname)
  const port = url.port || '443'
  return noProxyItems(noProxy).some(
    (item) => item === '*' || (isIP(host) === 0 ? isDomainIn : isAddressIn)(item, host, port),
  )
}

function isDomainIn(item: string, host: string, port: string): boolean {
  const [, name = '', itemPort = ''] = /^(.*?)(?::(\d*))?$/.exec(item) ?? []
  const domain = name.replace(/^\*(?=\.)/, '')
  return (
    (itemPort === '' || itemPort === port) &&
    (domain.startsWith('.') ? host.endsWith(domain) : host === domain || host.endsWith(`.${domain}`))
  )
}

function isAddressIn(item: string, host: string, port: string): boolean {
  const [address = '', prefix] = item.split('/')
  if (prefix !== undefined) return /^\d+$/.test(prefix) && isInSubnet(address, Number(prefix), host)
  if (isIP(item) !== 0) return isInSubnet(item, undefined, host)
  const [, name = '', itemPort = ''] = /^(.*?)(?::(\d*))?$/.exec(item) ?? []
  return (itemPort === '' || itemPort === port) && isInSubnet(bareHost(name), undefined, host)
}

function isInSubnet(address: string, prefix: number | undefined, host: string): boolean {
  const [family, bits] = isIP(address) === 6 ? (['ipv6', 128] as const) : (['ipv4', 32] as const)
  const length = prefix ?? bits
  if (isIP(address) === 0 || !(length >= 0 && length <= bits)) return false
  const subnet = new BlockList()
  subnet.addSubnet(address, length, family)
  return subnet.check(host, isIP(host) === 6 ? 'ipv6' : 'ipv4')
}
