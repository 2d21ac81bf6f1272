import { readFileSync } from 'node:fs'
import { Agent, request as httpsRequest } from 'node:https'
import { request as httpRequest, type IncomingHttpHeaders } from 'node:http'
import { afterEach, beforeEach, describe, expect, it } from '@jest/globals'
import { openSandbox, type Answer, type Sandbox } from '../../sandbox/sandbox.ts'

const API = 'https://api.blaxel.ai/v0'
const RELEASES = 'https://github.com/blaxel-ai/toolkit/releases'
const KEY = 'bl_a_long_lived_key'

interface Response {
  readonly status: number
  readonly headers: IncomingHttpHeaders
  readonly body: Buffer
}

interface Options {
  readonly method?: string
  readonly headers?: Record<string, string>
  readonly body?: string
  readonly withinMs?: number
}

let sandbox: Sandbox

beforeEach(async () => {
  sandbox = await openSandbox()
  sandbox.blaxel.addApiKey(KEY, { workspaces: ['acme'], mayMintFor: ['robot'] })
  sandbox.blaxel.addClient('robot', 's3cret-s3cret', { workspaces: ['acme'] })
})

afterEach(async () => {
  await sandbox.close()
})

/** A client that trusts what the sandbox's environment says, and goes where it says. */
function send(
  url: string,
  { method = 'GET', headers = {}, body, withinMs = 10_000 }: Options = {},
  from = sandbox,
): Promise<Response> {
  const plain = url.startsWith('http:')
  const ca = readFileSync(from.env.SSL_CERT_FILE ?? '')
  const agent = new Agent({ ca, proxyEnv: { HTTPS_PROXY: from.env.HTTPS_PROXY } })
  const options = { method, headers, signal: AbortSignal.timeout(withinMs), ...(plain ? {} : { agent }) }
  return new Promise((resolve, reject) => {
    const outgoing = (plain ? httpRequest : httpsRequest)(url, options, (incoming) => {
      const chunks: Buffer[] = []
      incoming.on('data', (chunk: Buffer) => chunks.push(chunk))
      incoming.on('error', reject)
      incoming.on('end', () => {
        resolve({ status: incoming.statusCode ?? 0, headers: incoming.headers, body: Buffer.concat(chunks) })
      })
    })
    outgoing.on('error', reject)
    outgoing.end(body)
  })
}

function bearer(token: string): Record<string, string> {
  return { authorization: `Bearer ${token}` }
}

function json(response: Response): unknown {
  return JSON.parse(response.body.toString())
}

describe('blaxel', () => {
  it.each([
    ['acme', KEY, 200],
    ['acme', 'other', 401],
    ['beta', KEY, 403],
    ['nowhere', KEY, 404],
  ])('answers for workspace %s and key %s with %i', async (name, key, status) => {
    expect((await send(`${API}/workspaces/${name}`, { headers: bearer(key) })).status).toBe(status)
  })

  it('mints, lists, expires and deletes keys of a service account', async () => {
    const url = `${API}/service_accounts/robot/api_keys`
    const body = JSON.stringify({ name: 'job', expires_in: '2h' })
    const minted = json(await send(url, { method: 'POST', headers: bearer(KEY), body })) as {
      id: string
      apiKey: string
    }
    const works = async () => (await send(`${API}/workspaces/acme`, { headers: bearer(minted.apiKey) })).status
    expect(json(await send(url, { headers: bearer(KEY) }))).toEqual([
      { id: minted.id, name: 'job', expires_in: '2h', createdAt: expect.any(String) },
    ])
    expect(await works()).toBe(200)
    sandbox.blaxel.clockSkewMs = 3 * 60 * 60 * 1000
    expect(await works()).toBe(401)

    const remove = { method: 'DELETE', headers: bearer(KEY) }
    expect((await send(`${url}/${minted.id}`, remove)).status).toBe(200)
    expect((await send(`${url}/${minted.id}`, remove)).status).toBe(404)
    expect(sandbox.blaxel.keys.size).toBe(0)
    expect((await send(`${API}/service_accounts/else/api_keys`, { headers: bearer(KEY) })).status).toBe(403)
  })
})

describe('intercept', () => {
  const host = 'api.blaxel.ai'
  const path = '/v0/workspaces/acme'
  const ask = (withinMs = 10_000) => send(`${API}/workspaces/acme`, { headers: bearer(KEY), withinMs })
  const answering = (answer: Answer) => sandbox.intercept({ host, path, answer })

  it('responds', async () => {
    answering({ kind: 'respond', status: 418, headers: { 'retry-after': '1' }, body: { error: 'tea' } })
    const answer = await ask()
    expect([answer.status, answer.headers['retry-after'], json(answer)]).toEqual([418, '1', { error: 'tea' }])
  })

  it('resets, before and after the work is done', async () => {
    answering({ kind: 'reset' })
    await expect(ask()).rejects.toMatchObject({ code: 'ECONNRESET' })
    const mint = '/v0/service_accounts/robot/api_keys'
    sandbox.intercept({ host, method: 'POST', path: mint, answer: { kind: 'process-then-reset' } })
    const minting = send(`https://${host}${mint}`, { method: 'POST', headers: bearer(KEY), body: '{"name":"x"}' })
    await expect(minting).rejects.toMatchObject({ code: 'ECONNRESET' })
    expect(sandbox.blaxel.keys.size).toBe(1)
  })

  it.each<[Answer, string]>([
    [{ kind: 'hang' }, 'ABORT_ERR'],
    [{ kind: 'stall', bytes: 5 }, 'ABORT_ERR'],
    [{ kind: 'endless' }, 'ABORT_ERR'],
    [{ kind: 'truncate', bytes: 5 }, 'ECONNRESET'],
  ])('%j ends in %s', async (answer, code) => {
    answering(answer)
    await expect(ask(code === 'ABORT_ERR' ? 500 : 10_000)).rejects.toMatchObject({ code })
  })

  it('counts what it lets through and what it answers, in the order of the rules', async () => {
    const once = { host, path: /workspaces/, times: 1 }
    sandbox.intercept({ ...once, after: 1, answer: { kind: 'respond', status: 500 } })
    sandbox.intercept({ ...once, after: 1, answer: { kind: 'respond', status: 503 } })
    const undo = sandbox.intercept({ host, path: /acme/, after: 3, answer: { kind: 'respond', status: 504 } })
    const statuses = []
    for (let count = 0; count < 5; count += 1) statuses.push((await ask()).status)
    undo()
    statuses.push((await ask()).status)
    expect(statuses).toEqual([200, 500, 503, 504, 504, 200])
    expect(sandbox.requests.map(({ status }) => status)).toEqual(statuses)
  })
})

describe('proxy', () => {
  /** The bare CONNECT: an Agent does not pass a signal on to it. */
  const connect = (withinMs: number): Promise<number | undefined> => {
    const options = { method: 'CONNECT', path: 'github.com:443', signal: AbortSignal.timeout(withinMs) }
    return new Promise((resolve, reject) => {
      const outgoing = httpRequest(sandbox.proxy.url, options)
      outgoing.on('connect', ({ statusCode }, socket) => {
        socket.destroy()
        resolve(statusCode)
      })
      outgoing.on('error', reject)
      outgoing.end()
    })
  }

  it('refuses hosts and ports that it does not know, and says which', async () => {
    await expect(send('https://telemetry.example/')).rejects.toThrow('403')
    await expect(send('https://github.com:444/')).rejects.toThrow('403')
    const plain = await send(sandbox.proxy.url, { headers: { host: 'plain.example:80' } })
    expect(plain.status).toBe(403)
    expect(sandbox.refused).toEqual(['telemetry.example:443', 'github.com:444', 'plain.example:80'])
    expect(sandbox.connects).toEqual(['telemetry.example:443', 'github.com:444'])
    expect(sandbox.requests).toEqual([])
  })

  it('asks for a password, refuses and falls silent when told to', async () => {
    const { proxy } = sandbox
    proxy.requireAuth('me', 'secret')
    await expect(send(RELEASES)).rejects.toThrow('407')
    proxy.refuseAll(502)
    await expect(send(RELEASES)).rejects.toThrow('502')
    proxy.hang()
    await expect(connect(200)).rejects.toMatchObject({ code: 'ABORT_ERR' })
    proxy.reset()
    expect(await connect(10_000)).toBe(200)
    expect((await send(RELEASES)).status).toBe(404)
  })
})

it('sets traps that answer and remember', async () => {
  const trap = await sandbox.trap()
  const answer = await send(`${trap.url}/x`, { method: 'POST', body: 'secret' })
  expect([answer.status, json(answer)]).toEqual([200, {}])
  expect(trap.requests).toMatchObject([{ method: 'POST', path: '/x', body: 'secret' }])
  expect(sandbox.requests).toEqual([])
})
