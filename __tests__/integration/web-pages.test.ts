import { describe, expect, test } from '@jest/globals'
import type { Answer } from '../../sandbox/sandbox.ts'
import { expectFailure, expectHidden } from './failure.ts'
import { API_KEY, CLIENT_SECRET, credentials, inWorld, visible } from './world.ts'

const BODY = 'Your access to this site is blocked'
const API = 'api.blaxel.ai'
const ASSETS = 'release-assets.githubusercontent.com'

/** A page as a firewall, a login page or a captive portal gives it. */
function page(status: number, title: string, type = 'text/html; charset=utf-8'): Answer {
  const body = `<!DOCTYPE html>\n<html><head><title>${title}</title></head><body>${BODY}</body></html>\n`
  return { kind: 'respond', status, headers: { 'content-type': type }, body }
}

const intercepted = (host: string, what: string) =>
  `Something between the runner and ${host}, such as a gateway, firewall or login page, answered with a web page (${what}).`

const requests = {
  token: { method: 'POST', path: '/v0/oauth/token', credential: credentials.oauth },
  workspace: { method: 'GET', path: '/v0/workspaces/acme', credential: credentials.oauth },
  mint: {
    method: 'POST',
    path: '/v0/service_accounts/sa-deployer/api_keys',
    credential: credentials['service-account'],
  },
} as const

describe('a web page is no verdict on the credential:', () => {
  const pages: [string, Answer, string][] = [
    ['200', page(200, 'Sign in to the guest network'), "200, text/html, 'Sign in to the guest network'"],
    ['401', page(401, 'Authentication required'), "401, text/html, 'Authentication required'"],
    ['403', page(403, 'Access Denied'), "403, text/html, 'Access Denied'"],
    ['404', page(404, 'Not found', 'text/plain'), "404, text/plain, 'Not found'"],
    [
      '511',
      page(511, 'Network Authentication Required', 'application/json'),
      "511, application/json, 'Network Authentication Required'",
    ],
  ]
  const rows = pages.flatMap(([what, answer, says]) =>
    (what === '403' ? (['token', 'workspace', 'mint'] as const) : (['token'] as const)).map((request) => ({
      ...{ request, what, answer, says },
    })),
  )
  test.concurrent.each(rows)('$request gets one with $what', ({ request, answer, says }) =>
    inWorld(async ({ sandbox, machine }) => {
      const { method, path, credential } = requests[request]
      sandbox.intercept({ host: API, method, path, answer })
      const job = machine.job()
      const step = await job.uses({ with: { workspace: 'acme', ...credential } })
      expectFailure(step, [
        intercepted(API, says),
        request === 'mint' ? 'No key was left behind.' : 'Your credential was not rejected.',
      ])
      const ended = await job.end()
      for (const each of [step, ...ended]) {
        expect(visible(each)).not.toContain(BODY)
        expectHidden(each, [API_KEY, CLIENT_SECRET])
      }
    }),
  )

  test.concurrent('a redirect to a login page is not followed, and named', () =>
    inWorld(async ({ sandbox, machine }) => {
      const headers = { location: 'https://login.example/?next=x', 'content-type': 'text/html' }
      const answer: Answer = { kind: 'respond', status: 302, headers, body: `<html>${BODY}</html>` }
      sandbox.intercept({ host: API, path: /./, answer })
      const step = await machine.job().uses({ with: { workspace: 'acme', ...credentials.oauth } })
      expectFailure(step, [`${API} redirects API requests (302 to login.example), which are not followed`])
      expect(visible(step)).not.toContain(BODY)
    }),
  )
})

describe('a web page is no release:', () => {
  const LATEST = /\/releases\/latest$/
  const ARCHIVE = /\.(?:tar\.gz|zip)$/
  const CHECKSUMS = /checksums\.txt$/
  const rows: [string, string, string, RegExp, Record<string, string>, Answer][] = [
    ['latest', "200, text/html, 'Sign in'", 'github.com', LATEST, {}, page(200, 'Sign in')],
    ['archive', "200, text/html, 'Sign in'", 'github.com', ARCHIVE, { version: '9.9.2' }, page(200, 'Sign in')],
    [
      'archive',
      "200, application/gzip, 'A'",
      'github.com',
      ARCHIVE,
      { version: '9.9.2' },
      page(200, 'A', 'application/gzip'),
    ],
    ['archive', "403, text/html, 'Blocked'", 'github.com', ARCHIVE, { version: '9.9.2' }, page(403, 'Blocked')],
    ['checksums file', "200, text/html, 'Hi'", 'github.com', CHECKSUMS, { version: '9.9.2' }, page(200, 'Hi')],
    ['list', "403, text/html, 'Blocked'", 'api.github.com', /./, { version: '9.9.x' }, page(403, 'Blocked')],
  ]
  test.concurrent.each(rows)('%s is one (%s)', (_, says, host, path, inputs, answer) =>
    inWorld(async ({ sandbox, machine }) => {
      sandbox.intercept({ host, path, answer })
      const step = await machine.job().uses({ with: inputs })
      expectFailure(step, [intercepted(host, says)])
      expect(visible(step)).not.toContain(BODY)
    }),
  )

  test.concurrent('latest that leads to a login page', () =>
    inWorld(async ({ sandbox, machine }) => {
      const headers = { location: 'https://login.example/?next=x' }
      sandbox.intercept({ host: 'github.com', path: LATEST, answer: { kind: 'respond', status: 302, headers } })
      const step = await machine.job().uses()
      expectFailure(step, ['/releases/latest does not redirect to a release (it answered 302 to login.example).'])
    }),
  )

  test.concurrent("a mirror's own page for what is not there stays that", () =>
    inWorld(async ({ sandbox, machine }) => {
      sandbox.addHost('mirror.example', () => ({
        status: 404,
        headers: { 'content-type': 'text/html' },
        body: '<html><head><title>404 Not Found</title></head></html>',
      }))
      const inputs = { version: '9.9.2', 'mirror-url': 'https://mirror.example' }
      const step = await machine.job().uses({ with: inputs })
      expectFailure(step, ['Release 9.9.2 of the Blaxel CLI, or its archive for'])
    }),
  )
})

describe('the reason of a server is shown:', () => {
  const reason = 'API rate limit exceeded for 192.0.2.1'
  const rows: [string, string, RegExp, Record<string, string>, Answer][] = [
    [
      'an archive that is refused',
      'github.com',
      /\.(?:tar\.gz|zip)$/,
      { version: '9.9.2' },
      { kind: 'respond', status: 451, headers: { 'content-type': 'text/plain' }, body: reason },
    ],
    [
      'an archive that its storage refuses',
      ASSETS,
      /./,
      { version: '9.9.2' },
      {
        kind: 'respond',
        status: 403,
        headers: { 'content-type': 'application/xml' },
        body: `<?xml version="1.0"?><Error><Code>AuthenticationFailed</Code><Message>${reason}</Message></Error>`,
      },
    ],
    [
      'a latest release that is refused',
      'github.com',
      /latest$/,
      {},
      { kind: 'respond', status: 403, body: { message: reason } },
    ],
  ]
  test.concurrent.each(rows)('%s', (_, host, path, inputs, answer) =>
    inWorld(async ({ sandbox, machine }) => {
      sandbox.intercept({ host, path, answer })
      const step = await machine.job().uses({ with: inputs })
      expectFailure(step, [reason])
    }),
  )
})

describe('a retry', () => {
  const busy: Answer = { kind: 'respond', status: 429, headers: { 'retry-after': '1' }, body: { error: 'slow down' } }
  test.concurrent('that waits more than a second is a line in the log', () =>
    inWorld(async ({ sandbox, machine }) => {
      sandbox.intercept({ host: API, path: '/v0/oauth/token', times: 2, answer: busy })
      const job = machine.job()
      const step = await job.uses({ with: { workspace: 'acme', ...credentials.oauth } })
      expect(step.exitCode).toBe(0)
      const lines = visible(step)
        .split('\n')
        .filter((line) => line.includes('Retrying'))
      expect(lines).toEqual(
        ['2', '3'].map((attempt) => {
          const start = `${API} answered 429 \\(slow down\\)\\. Retrying POST https://${API}/v0/oauth/token in`
          return expect.stringMatching(new RegExp(`^${start} [1-3]\\.\\d s \\(attempt ${attempt}\\)$`))
        }),
      )
      await job.end()
    }),
  )

  test.concurrent('of a download is one too', () =>
    inWorld(async ({ sandbox, machine }) => {
      const path = /\.(?:tar\.gz|zip)$/
      const answer = { ...busy, headers: { 'retry-after': '2' } }
      sandbox.intercept({ host: 'github.com', path, times: 1, answer })
      const step = await machine.job().uses({ with: { version: '9.9.2' } })
      expect(step.exitCode).toBe(0)
      expect(visible(step)).toMatch(
        /^github\.com answered 429 \(slow down\)\. Retrying https:\/\/github\.com\/\S+ in \d+\.\d s \(attempt 2\)$/m,
      )
    }),
  )

  test.concurrent('that waits less is a line for debugging', () =>
    inWorld(async ({ sandbox, machine }) => {
      const answer: Answer = { kind: 'respond', status: 503, body: { error: 'restarting' } }
      sandbox.intercept({ host: API, path: '/v0/oauth/token', times: 1, answer })
      const job = machine.job({ debug: true })
      const step = await job.uses({ with: { workspace: 'acme', ...credentials.oauth } })
      expect(step.exitCode).toBe(0)
      expect(visible(step)).toMatch(/^::debug::api\.blaxel\.ai answered 503 \(restarting\)\. Retrying POST/m)
      await job.end()
    }),
  )
})
