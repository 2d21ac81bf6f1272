import { spawnSync } from 'node:child_process'
import { mkdtempSync, realpathSync, writeFileSync } from 'node:fs'
import { rm } from 'node:fs/promises'
import { createServer, type Server } from 'node:http'
import { createServer as createTlsServer, type Server as TlsServer } from 'node:https'
import type { AddressInfo, Socket } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createBlaxel, type BlaxelStandIn } from './blaxel.ts'
import { createAuthority, type Authority, type Validity } from './certificates.ts'
import { createGitHub, type GitHubStandIn } from './github.ts'
import { openProxy, type ProxyControls } from './proxy.ts'
import { createWire, type Handler, type Intercept, type RecordedRequest, type Wire } from './wire.ts'

export type { BlaxelStandIn } from './blaxel.ts'
export type { CliFaults } from './cli/package.ts'
export type { CliInvocation, GitHubStandIn, ReleaseOptions } from './github.ts'
export type { ProxyControls } from './proxy.ts'
export type { Answer, Handler, Intercept, RecordedRequest } from './wire.ts'

export interface SandboxOptions {
  /** A real CLI that goes into this machine's archives in the place of the stand-in. */
  readonly cli?: string
}

/** A loopback internet: GitHub, Blaxel, and a proxy that leads to them and nowhere else. */
export interface Sandbox {
  /** A fresh directory; everything that the sandbox makes lies below it. */
  readonly root: string
  /** What a machine behind the proxy has set. */
  readonly env: Readonly<Record<string, string>>
  readonly proxy: ProxyControls
  /** A certificate for a host by the authority that the machines trust. */
  readonly issue: Authority['issue']
  readonly github: GitHubStandIn
  /** api.blaxel.ai */
  readonly blaxel: BlaxelStandIn
  /** api.blaxel.dev */
  readonly blaxelDev: BlaxelStandIn
  /** Every request in the order of arrival. */
  readonly requests: readonly RecordedRequest[]
  /** host:port of everything that the proxy was asked for and does not know. */
  readonly refused: readonly string[]
  /** host:port of every CONNECT. */
  readonly connects: readonly string[]
  /** Steps in for the normal answer; returns how to undo it. */
  intercept(rule: Intercept): () => void
  /** Makes the proxy lead to one more host, such as a mirror, which answers so, or changes a host and its certificate. */
  addHost(host: string, handler: Handler, validity?: Validity): void
  /** A plain http server on loopback that answers 200 {} and writes down who came. */
  trap(): Promise<{ url: string; requests: readonly RecordedRequest[] }>
  close(): Promise<void>
}

/** Opens a sandbox with the workspaces acme, beta and gamma and two releases of the CLI. */
export async function openSandbox(options: SandboxOptions = {}): Promise<Sandbox> {
  const versions = firstReleases(options.cli)
  const root = realpathSync(mkdtempSync(join(tmpdir(), 'sandbox-')))
  const authority = await createAuthority()
  const certificate = join(root, 'ca.pem')
  writeFileSync(certificate, authority.pem)

  const wire = createWire()
  const loopback = createLoopback()
  const blaxel = createBlaxel((handler) => loopback.listen(wire, handler))
  const blaxelDev = createBlaxel((handler) => loopback.listen(wire, handler))
  const github = createGitHub({ dumpFile: join(root, 'invocations.jsonl'), ...options })
  const hosts = createHosts(authority, wire, {
    ...github.hosts,
    'api.blaxel.ai': blaxel.handler,
    'api.blaxel.dev': blaxelDev.handler,
  })
  const proxy = await openProxy(hosts.accept)

  for (const version of versions) github.standIn.publish({ version })
  for (const name of ['acme', 'beta', 'gamma']) blaxel.standIn.addWorkspace(name)
  return {
    root,
    env: {
      https_proxy: proxy.url,
      HTTPS_PROXY: proxy.url,
      NODE_EXTRA_CA_CERTS: certificate,
      SSL_CERT_FILE: certificate,
    },
    proxy,
    issue: authority.issue,
    github: github.standIn,
    blaxel: blaxel.standIn,
    blaxelDev: blaxelDev.standIn,
    requests: wire.requests,
    refused: proxy.refused,
    connects: proxy.connects,
    intercept: wire.intercept,
    addHost: hosts.add,
    async trap() {
      const own = createWire()
      return { url: await loopback.listen(own, () => ({ status: 200, body: {} })), requests: own.requests }
    },
    async close() {
      await Promise.all([proxy.close(), loopback.close()])
      await rm(root, { recursive: true, force: true, maxRetries: 10 })
    },
  }
}

/** Numbers that no table of known checksums holds; with a real CLI the one that it prints. */
function firstReleases(cli: string | undefined): string[] {
  if (cli === undefined) return ['9.9.1', '9.9.2']
  // With the flag it leaves nothing in its HOME, but it will not start without one.
  const options = { encoding: 'utf8', cwd: tmpdir(), env: { HOME: tmpdir(), USERPROFILE: tmpdir() } } as const
  const { stdout, error } = spawnSync(cli, ['version', '--skip-version-warning'], options)
  if (error !== undefined) throw error
  const version = /\d+\.\d+\.\d+\S*/.exec(stdout)?.[0]
  if (version === undefined) throw new Error(`${cli} does not say its version`)
  return [version]
}

interface Hosts {
  readonly add: (host: string, handler: Handler, validity?: Validity) => void
  /** Takes the tunnel to a host over, if it is one of these. */
  readonly accept: (host: string, socket: Socket) => boolean
}

function createHosts(authority: Authority, wire: Wire, handlers: Readonly<Record<string, Handler>>): Hosts {
  const known = new Map(Object.entries(handlers))
  const servers = new Map<string, Promise<TlsServer>>()

  async function start(host: string, handler: Handler, validity?: Validity): Promise<TlsServer> {
    const server = createTlsServer(await authority.issue(host, validity), wire.listener(host, handler))
    server.on('tlsClientError', (_error, socket) => socket.destroy())
    return server
  }
  return {
    add(host, handler, validity) {
      known.set(host, handler)
      servers.set(host, start(host, handler, validity))
    },
    accept(host, socket) {
      const handler = known.get(host)
      if (handler === undefined) return false
      const server = servers.get(host) ?? start(host, handler)
      servers.set(host, server)
      socket.write('HTTP/1.1 200 Connection established\r\n\r\n')
      void server.then((terminator) => terminator.emit('connection', socket))
      return true
    },
  }
}

interface Loopback {
  listen(wire: Wire, handler: Handler): Promise<string>
  close(): Promise<void>
}

function createLoopback(): Loopback {
  const servers: Server[] = []
  return {
    async listen(wire, handler) {
      const server = createServer((request, response) => {
        wire.listener(request.headers.host ?? '', handler)(request, response)
      })
      servers.push(server)
      await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
      return `http://127.0.0.1:${(server.address() as AddressInfo).port}`
    },
    async close() {
      const closed = servers.map((server) => new Promise((resolve) => server.close(resolve)))
      for (const server of servers) server.closeAllConnections()
      await Promise.all(closed)
    },
  }
}
