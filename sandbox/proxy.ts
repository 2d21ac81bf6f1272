import { createServer, type IncomingMessage } from 'node:http'
import { createServer as createTcpServer, Socket, type AddressInfo, type Server } from 'node:net'
import type { Duplex } from 'node:stream'
import { createServer as createTlsServer } from 'node:tls'
import type { Identity } from './certificates.ts'

/** What tests may do to the proxy. */
export interface ProxyControls {
  /** http://127.0.0.1:PORT */
  readonly url: string
  /** Answers 407 to whoever does not name this user and password. */
  requireAuth(user: string, password: string): void
  /** Answers every CONNECT with this status. */
  refuseAll(status: number): void
  /** Never answers a CONNECT. */
  hang(): void
  /** Back to normal. */
  reset(): void
  /** Lets the proxy also listen with TLS, or on ::1, and returns the URL there. */
  alsoListen(how: { readonly tls: Identity } | 'ipv6'): Promise<string>
}

/** The proxy itself: its controls, what it saw, and its end. */
export interface Proxy extends ProxyControls {
  readonly connects: readonly string[]
  readonly refused: readonly string[]
  close(): Promise<void>
}

type Mood =
  | { readonly kind: 'normal' }
  | { readonly kind: 'auth'; readonly expected: string }
  | { readonly kind: 'refuse'; readonly status: number }
  | { readonly kind: 'hang' }

/** Starts a proxy on loopback that hands the tunnel for a known host to `accept`, and refuses where that says no. */
export async function openProxy(accept: (host: string, socket: Socket) => boolean): Promise<Proxy> {
  const connects: string[] = []
  const refused: string[] = []
  const sockets = new Set<Socket>()
  let mood: Mood = { kind: 'normal' }

  const server = createServer((request, response) => {
    refused.push(plainAuthority(request))
    response.writeHead(403, { connection: 'close' }).end('This proxy has no way there.\n')
  })
  server.on('connection', (socket) => {
    sockets.add(socket)
    socket.on('close', () => sockets.delete(socket))
    socket.on('error', () => socket.destroy())
  })
  server.on('connect', (request: IncomingMessage, stream: Duplex, head: Buffer) => {
    const authority = request.url ?? ''
    connects.push(authority)
    const verdict = refusal(mood, request)
    if (verdict === 'hang') return
    if (verdict !== undefined) {
      refuse(stream, verdict)
      return
    }
    const [host = '', port] = authority.split(':')
    if (head.length > 0) stream.unshift(head)
    if (stream instanceof Socket && port === '443' && accept(host, stream)) return
    refused.push(authority)
    refuse(stream, 403)
  })
  const fronts: Server[] = [server]
  const listen = async (front: Server, address: string) => {
    await new Promise<void>((resolve) => front.listen(0, address, resolve))
    return (front.address() as AddressInfo).port
  }
  const toServer = (socket: Socket) => void server.emit('connection', socket)

  return {
    url: `http://127.0.0.1:${await listen(server, '127.0.0.1')}`,
    connects,
    refused,
    requireAuth(user, password) {
      mood = { kind: 'auth', expected: `Basic ${Buffer.from(`${user}:${password}`).toString('base64')}` }
    },
    refuseAll(status) {
      mood = { kind: 'refuse', status }
    },
    hang() {
      mood = { kind: 'hang' }
    },
    reset() {
      mood = { kind: 'normal' }
    },
    async alsoListen(how) {
      const front = how === 'ipv6' ? createTcpServer(toServer) : createTlsServer(how.tls, toServer)
      front.on('tlsClientError', (_, socket: Socket) => socket.destroy())
      fronts.push(front)
      return how === 'ipv6'
        ? `http://[::1]:${await listen(front, '::1')}`
        : `https://localhost:${await listen(front, '127.0.0.1')}`
    },
    async close() {
      const closed = Promise.all(fronts.map((front) => new Promise((resolve) => front.close(resolve))))
      for (const socket of sockets) socket.destroy()
      await closed
    },
  }
}

function refusal(mood: Mood, request: IncomingMessage): number | 'hang' | undefined {
  switch (mood.kind) {
    case 'normal':
      return undefined
    case 'auth':
      return request.headers['proxy-authorization'] === mood.expected ? undefined : 407
    case 'refuse':
      return mood.status
    case 'hang':
      return 'hang'
  }
}

function refuse(stream: Duplex, status: number): void {
  const challenge = status === 407 ? 'Proxy-Authenticate: Basic realm="sandbox"\r\n' : ''
  stream.end(`HTTP/1.1 ${status} Refused\r\n${challenge}Content-Length: 0\r\nConnection: close\r\n\r\n`)
}

function plainAuthority(request: IncomingMessage): string {
  const url = URL.parse(request.url ?? '')
  if (url === null) return request.headers.host ?? ''
  return `${url.hostname}:${url.port || '80'}`
}
