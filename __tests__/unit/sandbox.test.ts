import { spawn } from 'node:child_process'
import { createHash } from 'node:crypto'
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { Agent, request as httpsRequest } from 'node:https'
import { request as httpRequest, type IncomingHttpHeaders } from 'node:http'
import { join } from 'node:path'
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from '@jest/globals'
import { zip } from '../../sandbox/archive.ts'
import { packageCli } from '../../sandbox/cli/package.ts'
import { openSandbox, type Answer, type CliFaults, type Sandbox } from '../../sandbox/sandbox.ts'

const API = 'https://api.blaxel.ai/v0'
const RELEASES = 'https://github.com/blaxel-ai/toolkit/releases'
const KEY = 'bl_a_long_lived_key'
const BASIC = `Basic ${Buffer.from('robot:s3cret-s3cret').toString('base64')}`

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

describe('github', () => {
  it('leads from the latest release to the bytes of its archive', async () => {
    const latest = await send(`${RELEASES}/latest`)
    expect([latest.status, latest.headers.location]).toEqual([302, `${RELEASES}/tag/v9.9.2`])
    expect((await send(`${RELEASES}/tag/v9.9.2`)).status).toBe(200)

    const { platformFile } = sandbox.github
    const download = await send(`${RELEASES}/download/v9.9.2/${platformFile}`)
    const asset = await send(download.headers.location ?? '')
    expect(download.headers.location).toMatch(/^https:\/\/release-assets\.githubusercontent\.com\/.*sig=/)
    expect(asset.headers['content-length']).toBe(`${asset.body.length}`)
    expect(asset.body.equals(sandbox.github.archive('9.9.2'))).toBe(true)

    const sums = sandbox.github.archive('9.9.2', 'blaxel_9.9.2_checksums.txt').toString()
    expect(sums).toContain(`${createHash('sha256').update(asset.body).digest('hex')}  ${platformFile}\n`)
    expect(sums.trim().split('\n')).toHaveLength(8)
  })

  it('knows neither other releases nor other files', async () => {
    for (const path of ['tag/v1.2.3', 'download/v1.2.3/x', 'download/v9.9.2/x']) {
      expect((await send(`${RELEASES}/${path}`)).status).toBe(404)
    }
  })

  it('publishes what a test asks for', () => {
    const { github } = sandbox
    const assets = { [github.platformFile]: null, 'extra.txt': Buffer.from('extra') }
    github.publish({ version: '9.9.3', assets, checksums: null })
    expect(github.latest).toBe('v9.9.3')
    expect(() => github.archive('9.9.3')).toThrow('has no')
    expect(() => github.archive('9.9.3', 'blaxel_9.9.3_checksums.txt')).toThrow('has no')
    expect(github.archive('9.9.3', 'extra.txt').toString()).toBe('extra')

    github.publish({ version: '9.9.4-rc1', checksums: 'own\n' })
    expect(github.latest).toBe('v9.9.3')
    expect(github.archive('9.9.4-rc1', 'blaxel_9.9.4-rc1_checksums.txt').toString()).toBe('own\n')
  })

  it('lists releases page by page, newest first, and takes no token of another server', async () => {
    sandbox.github.publish({ version: '9.9.3', prerelease: true })
    const url = 'https://api.github.com/repos/blaxel-ai/toolkit/releases'
    const first = await send(`${url}?per_page=2&page=1`)
    expect(json(first)).toMatchObject([{ tag_name: 'v9.9.3', prerelease: true }, { tag_name: 'v9.9.2' }])
    expect(first.headers.link).toContain(`<${url}?per_page=2&page=2>; rel="next"`)
    const second = json(await send(`${url}?per_page=2&page=2`, { headers: bearer('ghs_good') }))
    const name = sandbox.github.platformFile
    const digest = `sha256:${sandbox.github.sha256('9.9.1')}`
    expect(second).toMatchObject([{ assets: expect.arrayContaining([expect.objectContaining({ name, digest })]) }])
    expect(json(await send(`${url}/latest`))).toMatchObject({ tag_name: 'v9.9.3' })
    expect((await send(url, { headers: bearer('other') })).status).toBe(401)
  })

  it('writes zip files that keep names, contents and modes', () => {
    const bytes = zip([{ name: 'blaxel.exe', content: Buffer.from('MZ'), mode: 0o755 }])
    expect(bytes.subarray(0, 4).toString('latin1')).toBe('PK\x03\x04')
    expect(bytes.subarray(30, 42).toString()).toBe('blaxel.exeMZ')
    expect(bytes.equals(zip([{ name: 'blaxel.exe', content: Buffer.from('MZ'), mode: 0o755 }]))).toBe(true)
  })
})

describe('blaxel', () => {
  const exchange = (grant_type = 'client_credentials', authorization = BASIC) =>
    send(`${API}/oauth/token`, { method: 'POST', headers: { authorization }, body: JSON.stringify({ grant_type }) })

  it('exchanges client credentials for a token that works', async () => {
    const answer = json(await exchange()) as { access_token: string; expires_in: number }
    const payload = answer.access_token.split('.')[1] ?? ''
    const { iat, exp } = JSON.parse(Buffer.from(payload, 'base64url').toString()) as { iat: number; exp: number }
    expect([answer.expires_in, exp - iat]).toEqual([7200, 7200])
    expect(sandbox.blaxel.issued).toEqual([answer.access_token])
    for (const headers of [
      bearer(answer.access_token),
      { 'x-blaxel-authorization': `Bearer ${answer.access_token}` },
    ]) {
      expect(json(await send(`${API}/workspaces/acme`, { headers }))).toMatchObject({ id: 'ws-1', status: 'ready' })
    }
    sandbox.blaxel.revoke(answer.access_token)
    expect((await send(`${API}/workspaces/acme`, { headers: bearer(answer.access_token) })).status).toBe(401)
  })

  it('refuses a wrong grant and a wrong secret with 400', async () => {
    expect(json(await exchange('password'))).toMatchObject({ error: 'unsupported_grant_type' })
    const wrong = await exchange(undefined, `Basic ${Buffer.from('robot:x').toString('base64')}`)
    expect([wrong.status, json(wrong)]).toMatchObject([400, { error: 'invalid_client' }])
  })

  it.each([
    ['acme', KEY, 200],
    ['acme', 'other', 401],
    ['beta', KEY, 403],
    ['nowhere', KEY, 404],
  ])('answers for workspace %s and key %s with %i', async (name, key, status) => {
    expect((await send(`${API}/workspaces/${name}`, { headers: bearer(key) })).status).toBe(status)
  })

  it('lists workspaces and resources for who may see them', async () => {
    const headers = { ...bearer(KEY), 'x-blaxel-workspace': 'acme' }
    expect(json(await send(`${API}/workspaces`, { headers }))).toMatchObject([{ name: 'acme' }])
    expect(json(await send(`${API}/agents`, { headers }))).toEqual([])
    const paginated = await send(`${API}/agents`, { headers: { ...headers, 'blaxel-version': '2026-04-28' } })
    expect(json(paginated)).toMatchObject({ data: [] })
    expect((await send(`${API}/agents`, { headers: { ...headers, 'x-blaxel-workspace': 'beta' } })).status).toBe(403)
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

  it('keeps other accounts on api.blaxel.dev and the same ones on its loopback address', async () => {
    const { status } = await send('https://api.blaxel.dev/v0/workspaces/acme', { headers: bearer(KEY) })
    expect(status).toBe(401)
    const url = await sandbox.blaxel.loopbackUrl()
    expect(url).toBe(await sandbox.blaxel.loopbackUrl())
    expect((await send(`${url}/workspaces/acme`, { headers: bearer(KEY) })).status).toBe(200)
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

  it('hands the request to a function', async () => {
    answering({ kind: 'handle', handle: ({ headers }) => ({ status: 200, body: headers.authorization ?? '' }) })
    expect((await ask()).body.toString()).toBe(`Bearer ${KEY}`)
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

  it('delays', async () => {
    answering({ kind: 'delay', ms: 150 })
    const begin = performance.now()
    expect((await ask()).status).toBe(200)
    expect(performance.now() - begin).toBeGreaterThan(140)
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

  it('leads to hosts that a test adds', async () => {
    sandbox.addHost('mirror.example', ({ path }) => ({ status: 200, body: path }))
    expect((await send('https://mirror.example/a?b')).body.toString()).toBe('/a?b')
    expect(sandbox.requests).toMatchObject([{ host: 'mirror.example', method: 'GET', path: '/a?b', status: 200 }])
  })
})

it('sets traps that answer and remember', async () => {
  const trap = await sandbox.trap()
  const answer = await send(`${trap.url}/x`, { method: 'POST', body: 'secret' })
  expect([answer.status, json(answer)]).toEqual([200, {}])
  expect(trap.requests).toMatchObject([{ method: 'POST', path: '/x', body: 'secret' }])
  expect(sandbox.requests).toEqual([])
})

it('stands beside another and leaves nothing behind', async () => {
  const other = await openSandbox()
  const [own, theirs] = await Promise.all([send(`${RELEASES}/latest`), send(`${RELEASES}/latest`, {}, other)])
  expect([own.status, theirs.status]).toEqual([302, 302])
  expect([sandbox.requests.length, other.requests.length]).toEqual([1, 1])
  const crossed = { ...other, env: { ...other.env, HTTPS_PROXY: sandbox.env.HTTPS_PROXY ?? '' } }
  await expect(send(RELEASES, {}, crossed)).rejects.toThrow('certificate')
  await other.close()
  expect(existsSync(other.root)).toBe(false)
})

describe('the stand-in CLI', () => {
  let shared: Sandbox

  beforeAll(async () => {
    shared = await openSandbox()
    shared.blaxel.addApiKey(KEY, { workspaces: ['acme'] })
  })

  afterAll(async () => {
    await shared.close()
  })

  /** A home of its own for each release. */
  function install(version: string, faults: CliFaults = {}) {
    const home = join(shared.root, version)
    const program = join(home, process.platform === 'win32' ? 'blaxel.exe' : 'blaxel')
    mkdirSync(home)
    const content = packageCli({ version, faults, dumpFile: join(shared.root, 'invocations.jsonl') })
    writeFileSync(program, content, { mode: 0o755 })
    const run = (line: string, env: Record<string, string> = {}) => {
      const child = spawn(program, line.split(' '), {
        cwd: home,
        env: { HOME: home, USERPROFILE: home, BL_API_KEY: KEY, ...shared.env, ...env },
        stdio: ['ignore', 'pipe', 'pipe'],
      })
      return new Promise<{ code: number | null; out: string; err: string }>((resolve) => {
        const texts = { out: '', err: '' }
        child.stdout.on('data', (chunk: Buffer) => (texts.out += chunk.toString()))
        child.stderr.on('data', (chunk: Buffer) => (texts.err += chunk.toString()))
        child.on('exit', (code) =>
          setTimeout(() => {
            resolve({ code, ...texts })
          }, 50),
        )
      })
    }
    return { run, config: () => readFileSync(join(home, '.blaxel/config.yaml'), 'utf8') }
  }

  const QUIET = '--skip-version-warning'

  it('logs in, shows its token and logs out', async () => {
    const { run, config } = install('9.8.1')
    expect(await run(`login acme ${QUIET}`)).toEqual({
      code: 0,
      out: 'ℹ Using API key from environment variable BL_API_KEY\n✓ Successfully logged in to workspace acme\n',
      err: '',
    })
    expect(config()).toBe(
      `context:\n  workspace: acme\nworkspaces:\n- name: acme\n  id: ws-1\n  credentials:\n    apiKey: "${KEY}"\ntracking: false\n`,
    )
    expect((await run('token')).out).toBe(`${KEY}\n`)
    expect((await run(`get agents ${QUIET}`)).code).toBe(0)
    await run(`logout acme ${QUIET}`)
    expect(config()).toBe('context:\n  workspace: \nworkspaces:\ntracking: false\n')
    expect(shared.github.invocations()[0]).toMatchObject({
      version: '9.8.1',
      argv: ['login', 'acme', QUIET],
      stdinClosed: true,
    })
  })

  it('fails in new releases, and in old ones only seems to succeed', async () => {
    const refused = await install('9.8.2').run(`login beta ${QUIET}`)
    expect([refused.code, refused.err]).toEqual([1, expect.stringContaining('permission denied for workspace "beta"')])
    const middle = install('0.1.90')
    expect((await middle.run(`login beta ${QUIET}`)).code).toBe(0)
    expect(middle.config()).toContain('- name: beta\n  credentials:\n')
    const old = install('0.1.30')
    expect((await old.run(`login acme ${QUIET}`, { BL_API_KEY: 'wrong' })).code).toBe(0)
    expect(old.config()).toContain('    apiKey: wrong\n    access_token: ""\n')
    expect((await old.run(`version ${QUIET}`)).out).toMatch(/^Blaxel CLI version: 0\.1\.30\n/)
  })

  it('misbehaves as a release is told to', async () => {
    const faults = { versionPrints: 'x', versionExit: 3, loginPrints: 'echo\n', loginWritesNothing: true, loginExit: 7 }
    const { run, config } = install('9.8.3', faults)
    expect(await run(`version ${QUIET}`)).toMatchObject({ code: 3, out: 'x\n' })
    expect(await run(`login acme ${QUIET}`)).toMatchObject({ code: 7, err: 'echo\n' })
    expect(config).toThrow('ENOENT')

    const always = install('9.8.4', { loginAlwaysSucceeds: true, loginSpawnsChild: true })
    expect((await always.run(`login nowhere ${QUIET}`)).code).toBe(0)
    const childPid = shared.github.invocations().at(-1)?.childPid ?? Number.NaN
    expect(process.kill(childPid, 'SIGKILL')).toBe(true)

    const own = install('9.8.5', { loginEntry: 'own text' })
    await own.run(`login acme ${QUIET}`)
    expect(own.config()).toBe('own text')
  })
})
