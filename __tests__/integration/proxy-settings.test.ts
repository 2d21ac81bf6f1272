import { describe, expect, test } from '@jest/globals'
import { createServer } from 'node:net'
import type { AddressInfo } from 'node:net'
import { createAuthority } from '../../sandbox/certificates.ts'
import { createMachine, type Machine } from '../../sandbox/machine.ts'
import type { StepResult } from '../../sandbox/job.ts'
import type { Sandbox } from '../../sandbox/sandbox.ts'
import { expectFailure, expectHidden } from './failure.ts'
import { CLIENT_SECRET, credentials, inWorld, visible, type World } from './world.ts'

type Variables = Readonly<Record<string, string>>

const good = { workspace: 'acme', ...credentials.oauth }
const PASSWORD = 'p^w|x 1%'
const UNREACHABLE = 'http://127.0.0.1:1'

/** A machine with no proxy variables but these. */
function machineWith({ sandbox, secrets }: World, proxies: Variables): Promise<Machine> {
  const { NODE_EXTRA_CA_CERTS = '', SSL_CERT_FILE = '' } = sandbox.env
  const env = { NODE_EXTRA_CA_CERTS, SSL_CERT_FILE, ...proxies }
  return createMachine({ root: sandbox.root, env }).then((machine) => secrets.watch(machine))
}

const portOf = ({ proxy }: Sandbox) => new URL(proxy.url).port
const warningsOf = ({ annotations }: StepResult) => annotations.map(({ message }) => message)
const encodedPassword = encodeURIComponent(PASSWORD).replaceAll("'", '%27')

interface Used {
  readonly what: string
  readonly variables: (sandbox: Sandbox) => Variables | Promise<Variables>
  /** What bl is told, by default the proxy's own URL. */
  readonly url?: (sandbox: Sandbox, given: Variables) => string
  readonly warns?: readonly string[]
}

const ENDS = "bl in later steps can't read https_proxy: it begins or ends with a blank or a line break. Remove that."
const ENCODE =
  "bl in later steps can't read https_proxy. Percent-encode the special characters of user and password, such as ^ as %5E and % as %25."
const DIFFERS =
  'HTTPS_PROXY differs from https_proxy: this step uses https_proxy, but bl in later steps reads HTTPS_PROXY. Set both to the same URL.'

const withAuth = (userInfo: string) => (sandbox: Sandbox) => {
  sandbox.proxy.requireAuth('carol', PASSWORD)
  return { https_proxy: sandbox.proxy.url.replace('://', `://${userInfo}@`) }
}
const authorized = ({ proxy }: Sandbox) => proxy.url.replace('://', `://carol:${encodedPassword}@`)

// unit/proxy.test.ts has the other forms.
const used: Used[] = [
  {
    what: 'a host name without a scheme',
    variables: (sandbox) => ({ https_proxy: `localhost:${portOf(sandbox)}` }),
    url: (sandbox) => `http://localhost:${portOf(sandbox)}`,
  },
  {
    what: 'a carriage return at the end',
    variables: ({ proxy }) => ({ https_proxy: `${proxy.url}\r` }),
    warns: [ENDS],
  },
  {
    what: 'a password as it is',
    variables: withAuth(`carol:${PASSWORD}`),
    url: authorized,
    warns: [ENCODE],
  },
  {
    what: 'a good https_proxy and a dead HTTPS_PROXY',
    variables: ({ proxy }) => ({ https_proxy: proxy.url, HTTPS_PROXY: UNREACHABLE }),
    warns: [DIFFERS],
  },
  {
    what: 'a blank https_proxy and a good HTTPS_PROXY',
    variables: ({ proxy }) => ({ https_proxy: ' ', HTTPS_PROXY: proxy.url }),
  },
  {
    what: 'an http_proxy that can not be used',
    variables: ({ proxy }) => ({
      https_proxy: proxy.url,
      http_proxy: 'socks5://proxy.example',
      HTTP_PROXY: 'http://[',
    }),
  },
  {
    what: 'the address ::1',
    variables: async ({ proxy }) => ({ https_proxy: await proxy.alsoListen('ipv6') }),
    url: (_, { https_proxy = '' }) => https_proxy,
  },
  {
    what: 'TLS at an address',
    variables: async ({ proxy, issue }) => {
      const url = await proxy.alsoListen({ tls: await issue('127.0.0.1') })
      return { https_proxy: url.replace('localhost', '127.0.0.1') }
    },
    url: (_, { https_proxy = '' }) => https_proxy,
  },
]

describe('threat 42: every request of ours and of bl goes through a proxy with', () => {
  test.concurrent.each(used)('$what', ({ variables, url = ({ proxy }) => proxy.url, warns = [] }) =>
    inWorld(async (world) => {
      const { sandbox } = world
      const given = await variables(sandbox)
      const machine = await machineWith(world, given)
      const job = machine.job({ debug: true })
      const step = await job.uses({ with: good })
      expect([step.exitCode, warningsOf(step)]).toEqual([0, warns])
      const expected = url(sandbox, given)
      for (const { env } of sandbox.github.invocations()) {
        expect([env.https_proxy, env.HTTPS_PROXY]).toEqual([expected, expected])
      }
      expect(new Set(sandbox.connects)).toContain('api.blaxel.ai:443')
      const ended = await job.end()
      for (const each of [step, ...ended]) expectHidden(each, [PASSWORD, encodedPassword])
    }),
  )
})

describe('a proxy variable that no request uses is no error:', () => {
  test.concurrent.each(['socks5://proxy.example'])('%s', (https_proxy) =>
    inWorld(async (world) => {
      const { sandbox, machine } = world
      const cached = await machine.job().uses({ with: { version: '9.9.2' } })
      expect(cached.exitCode).toBe(0)
      const job = machine.job({
        env: { https_proxy, HTTPS_PROXY: https_proxy, BL_API_URL: await sandbox.blaxel.loopbackUrl() },
      })
      const step = await job.uses({ with: { ...good, version: '9.9.2' } })
      expect([step.exitCode, warningsOf(step)]).toEqual([0, []])
      await job.end()
    }),
  )
})

interface Broken {
  readonly what: string
  readonly url: (sandbox: Sandbox) => string | Promise<string>
  readonly says: string | RegExp
}

/** A server that is no proxy: it answers so, and hangs up. */
async function notAProxy(answer: string): Promise<string> {
  const server = createServer((socket) => {
    socket.on('error', () => undefined)
    socket.once('data', () => socket.end(answer))
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  server.unref()
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`
}

const broken: Broken[] = [
  {
    what: 'refuses connections',
    url: () => UNREACHABLE,
    says: 'No connection to the proxy 127.0.0.1:1 (https_proxy): ECONNREFUSED.',
  },
  {
    what: 'has no address',
    url: () => 'no-such-proxy.invalid:3128',
    says: /^No connection to the proxy no-such-proxy\.invalid:3128 \(https_proxy\): (?:ENOTFOUND|EAI_AGAIN)\./,
  },
  {
    what: 'speaks no TLS',
    url: ({ proxy }) => proxy.url.replace('http://', 'https://'),
    says: /^No connection through the proxy 127\.0\.0\.1:\d+ \(https_proxy\): (?:EPROTO|ERR_SSL_\w+|ECONNRESET)\. Check its scheme/,
  },
  {
    what: 'speaks another protocol',
    url: () => notAProxy('220 mail.example ESMTP\r\n'),
    says: /^No connection through the proxy 127\.0\.0\.1:\d+ \(https_proxy\): HPE_\w+\. Check its scheme, host and port\./,
  },
  {
    what: 'hangs up',
    url: () => notAProxy(''),
    says: /^No connection through the proxy 127\.0\.0\.1:\d+ \(https_proxy\): ECONNRESET\./,
  },
  {
    what: 'has a certificate of an authority that is not trusted',
    url: async ({ proxy }) => proxy.alsoListen({ tls: await (await createAuthority()).issue('localhost') }),
    says: /^The certificate of the proxy localhost:\d+ \(https_proxy\) is not trusted \(\w+\)\. Name its CA's PEM file in NODE_EXTRA_CA_CERTS/,
  },
  {
    what: 'has the certificate of another host',
    url: async ({ proxy, issue }) => proxy.alsoListen({ tls: await issue('proxy.example') }),
    says: /^The certificate of the proxy localhost:\d+ \(https_proxy\) is not trusted \(ERR_TLS_CERT_ALTNAME_INVALID\)/,
  },
  {
    what: 'has a certificate that has expired',
    url: async ({ proxy, issue }) => {
      const [notBefore, notAfter] = [new Date('2020-01-01'), new Date('2020-02-01')]
      return proxy.alsoListen({ tls: await issue('localhost', { notBefore, notAfter }) })
    },
    says: /^The certificate of the proxy localhost:\d+ \(https_proxy\) is not valid at this time \(CERT_HAS_EXPIRED\)\. Check the runner's clock first: it says 20/,
  },
]

describe('the cause is named where a proxy', () => {
  test.concurrent.each(broken)('$what', ({ url, says }) =>
    inWorld(async (world) => {
      const { sandbox } = world
      const machine = await machineWith(world, { https_proxy: await url(sandbox) })
      const step = await machine.job().uses({ with: good })
      expectFailure(step, [says])
      expectHidden(step, [CLIENT_SECRET])
      expect(sandbox.requests).toEqual([])
    }),
  )
})

describe("the runner's clock is named where the certificate of a host", () => {
  const day = 86_400_000
  test.concurrent.each([
    ['is not valid yet', 'CERT_NOT_YET_VALID', 2 * day],
    ['has expired', 'CERT_HAS_EXPIRED', -9 * day],
  ])('%s', (_, code, shift) =>
    inWorld(async ({ sandbox, machine }) => {
      const notBefore = new Date(Date.now() + shift)
      const validity = { notBefore, notAfter: new Date(notBefore.getTime() + day) }
      sandbox.addHost('api.blaxel.ai', () => ({ status: 200, body: {} }), validity)
      const step = await machine.job().uses({ with: good })
      expectFailure(step, [
        `The certificate of api.blaxel.ai is not valid at this time (${code}). Check the runner's clock first: it says 20`,
        'No credential was sent.',
      ])
      expect(visible(step)).not.toContain('NODE_EXTRA_CA_CERTS')
    }),
  )
})
