import { Agent as HttpAgent, request as httpRequest } from 'node:http'
import { Agent as HttpsAgent, type RequestOptions } from 'node:https'
import { connect as connectTcp, isIP, type Socket } from 'node:net'
import type { Duplex } from 'node:stream'
import { connect as connectTls } from 'node:tls'

/** An http proxy that can be used. */
export interface Proxy {
  /** The variable that names it. */
  readonly variable: string
  /** Its http or https URL, with user and password percent-encoded. */
  readonly url: URL
  /** The value of Proxy-Authorization, where the URL has a user or a password. */
  readonly authorization: string | undefined
}

/** There is no way through the proxy, so the host itself saw nothing. */
export class ProxyError extends Error {
  override readonly name = 'ProxyError'
  readonly proxy: Proxy
  /** What the proxy answered to CONNECT; undefined if it gave no answer, and `cause` says why. */
  readonly status: number | undefined

  constructor(proxy: Proxy, status: number | undefined, options?: ErrorOptions) {
    super('no tunnel through the proxy', options)
    this.proxy = proxy
    this.status = status
  }
}

/**
 * Makes agents that keep connections open, one for each kind of route.
 * @returns the agent for a request that is direct, or for one through a proxy
 */
export function createAgents(): (url: URL, proxy: Proxy | undefined) => HttpAgent {
  const plain = new HttpAgent({ keepAlive: true })
  const secure = new HttpsAgent({ keepAlive: true })
  const tunnels = new Map<string, HttpAgent>()
  return (url, proxy) => {
    if (!proxy) return url.protocol === 'https:' ? secure : plain
    const tunnel = tunnels.get(proxy.url.href) ?? new TunnelAgent(proxy)
    tunnels.set(proxy.url.href, tunnel)
    return tunnel
  }
}

/** The host name without the brackets of an IPv6 address, as sockets take it. */
export function bareHost(host: string): string {
  return host.replace(/^\[(.*)\]$/, '$1')
}

/** TLS to the host through a tunnel that the proxy opens. Node refuses to send a plain http request through it. */
class TunnelAgent extends HttpsAgent {
  readonly #proxy: Proxy

  constructor(proxy: Proxy) {
    super({ keepAlive: true })
    this.#proxy = proxy
  }

  override createConnection(
    { host, port }: RequestOptions,
    created: (error: Error | null, stream: Duplex) => void = () => undefined,
  ): undefined {
    const name = host ?? ''
    openTunnel(this.#proxy, `${isIP(name) === 6 ? `[${name}]` : name}:${port ?? 443}`).then(
      (socket) => {
        created(null, connectTls({ socket, host: name, ...serverName(name), ALPNProtocols: ['http/1.1'] }))
      },
      (error: unknown) => {
        // The callback takes no stream where there is an error.
        ;(created as (error: unknown) => void)(error)
      },
    )
  }
}

function openTunnel(proxy: Proxy, authority: string): Promise<Socket> {
  return new Promise((resolve, reject) => {
    const { authorization } = proxy
    const request = httpRequest({
      method: 'CONNECT',
      path: authority,
      headers: { host: authority, ...(authorization === undefined ? {} : { 'proxy-authorization': authorization }) },
      createConnection: () => connectToProxy(proxy.url),
    })
    request.once('connect', ({ statusCode = 0 }, socket: Socket, head: Buffer) => {
      if (statusCode >= 200 && statusCode < 300) {
        if (head.length > 0) socket.unshift(head)
        resolve(socket)
      } else {
        socket.destroy()
        reject(new ProxyError(proxy, statusCode))
      }
    })
    request.once('error', (cause) => {
      reject(new ProxyError(proxy, undefined, { cause }))
    })
    request.end()
  })
}

function connectToProxy(url: URL): Socket {
  const host = bareHost(url.hostname)
  const secure = url.protocol === 'https:'
  const port = Number(url.port || (secure ? 443 : 80))
  if (!secure) return connectTcp({ host, port })
  return connectTls({ host, port, ...serverName(host) })
}

/** TLS knows no addresses as server names. */
function serverName(host: string): { servername?: string } {
  return isIP(host) === 0 ? { servername: host } : {}
}
