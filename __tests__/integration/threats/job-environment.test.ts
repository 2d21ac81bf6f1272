import { afterEach, beforeEach, describe, expect, test } from '@jest/globals'
import { writeFileSync } from 'node:fs'
import { createServer } from 'node:https'
import type { AddressInfo } from 'node:net'
import { join } from 'node:path'
import type { StepResult } from '../../../sandbox/job.ts'
import { createAuthority } from '../../../sandbox/certificates.ts'
import { expectFailure, expectHidden, expectNoPart } from '../failure.ts'
import {
  API_KEY,
  CLIENT_ID,
  CLIENT_SECRET,
  credentials,
  openWorld,
  requestsTo,
  tree,
  visible,
  type World,
} from '../world.ts'
import { preloaded } from './preload.ts'

const HOST = 'api.blaxel.ai'
const PAIR = Buffer.from(`${CLIENT_ID}:${CLIENT_SECRET}`).toString('base64')
const good = { workspace: 'acme', ...credentials.oauth }

let world: World
beforeEach(async () => {
  world = await openWorld()
})
afterEach(() => world.close())

function warnings({ annotations }: StepResult): string[] {
  return annotations.filter(({ level }) => level === 'warning').map(({ message }) => message)
}

describe('threat 5: a hostile .env in the checkout does not redirect the login:', () => {
  test.each(Object.entries(credentials))('%s', async (_, credential) => {
    const { sandbox, machine } = world
    const trap = await sandbox.trap()
    const url = `${trap.url}/v0`
    const lines = [`BL_API_URL=${url}`, 'BL_ENV=local', `HTTPS_PROXY=${trap.url}`, `https_proxy=${trap.url}`]
    lines.push(
      'BL_CLIENT_CREDENTIALS=c3RyYW5nZXI6c3RyYW5nZXItc2VjcmV0',
      'SSL_CERT_FILE=/dev/null',
      'BL_WORKSPACE=gamma',
    )
    writeFileSync(join(machine.workspace, '.env'), `${lines.join('\n')}\n`)
    writeFileSync(join(machine.workspace, 'blaxel.toml'), 'workspace = "gamma"\n')

    const job = machine.job()
    const step = await job.uses({ with: { workspace: 'acme', ...credential } })
    await job.end()
    expect(step.exitCode).toBe(0)
    expect(step.outputs.workspace).toBe('acme')
    expect(trap.requests).toEqual([])
    for (const { cwdEntries } of sandbox.github.invocations()) expect(cwdEntries).toEqual([])

    // The trap works: `bl` run in the checkout brings it the key.
    writeFileSync(join(machine.workspace, '.env'), `BL_API_URL=${url}\n`)
    const bl = step.outputs.path ?? ''
    await machine.job().run(`${bl} login acme --skip-version-warning`, { env: { BL_API_KEY: 'bl_key_for_the_trap' } })
    expect(JSON.stringify(trap.requests.map(({ headers }) => headers))).toContain('bl_key_for_the_trap')
  })
})

test('threat 6: what the checkout sets for later calls is named, by file, line and variable', async () => {
  const { machine } = world
  const values = ['https://evil.example/v0', 'bl_planted_key_0123456789', 'planted-workspace', 'dev', 'planted-token']
  const [url, key, workspace, env, token] = values
  writeFileSync(
    join(machine.workspace, '.env'),
    `# BL_DEBUG=1\nFOO=1\nBL_API_URL=${url ?? ''}\n  export BL_API_KEY="${key ?? ''}"\r\nBL_WORKSPACE: ${workspace ?? ''}\nNOT_BL_ENV=1\n`,
  )
  writeFileSync(
    join(machine.workspace, 'blaxel.toml'),
    `name = "x"\n[env]\nBL_ENV = "${env ?? ''}"\n"BL_TOKEN" = '${token ?? ''}'\n`,
  )
  const job = machine.job()
  const step = await job.uses({ with: good })
  expect(step.exitCode).toBe(0)
  const named = warnings(step).map((text) => /^(\S+) in the checkout sets (\S+) \(line (\d+)\)/.exec(text)?.slice(1))
  expect(named).toEqual([
    ['.env', 'BL_API_URL', '3'],
    ['.env', 'BL_API_KEY', '4'],
    ['.env', 'BL_WORKSPACE', '5'],
    ['blaxel.toml', 'BL_ENV', '3'],
    ['blaxel.toml', 'BL_TOKEN', '4'],
  ])
  for (const value of values.filter((each) => each !== 'dev')) expect(visible(step)).not.toContain(value)
  await job.end()
})

describe('threat 24: a run without secrets says why, and can be let pass:', () => {
  const pull = (head: string) => ({
    pull_request: { head: { repo: { full_name: head } }, base: { repo: { full_name: 'octo-org/hello' } } },
  })
  const runs = [
    ['a fork', { eventName: 'pull_request', event: pull('stranger/hello') }, 'pull request from a fork'],
    [
      'Dependabot',
      { eventName: 'pull_request', actor: 'dependabot[bot]', event: pull('octo-org/hello') },
      'Dependabot secrets',
    ],
  ] as const
  // As in a workflow: the secrets are named, and empty.
  const inputs = { workspace: 'acme', 'client-id': '${{ secrets.ID }}', 'client-secret': '${{ secrets.SECRET }}' }

  test.each(runs)('%s', async (_, options, says) => {
    const { sandbox, machine } = world
    expectFailure(await machine.job(options).uses({ with: inputs }), [says, "set 'on-missing-credentials: skip'"])
    expect(sandbox.connects).toEqual([])

    const job = machine.job(options)
    const step = await job.uses({ with: { ...inputs, 'on-missing-credentials': 'skip' } })
    expect([step.exitCode, step.outputs.authenticated, step.env]).toEqual([0, 'false', {}])
    expect(step.annotations.map(({ level }) => level)).toEqual(['notice'])
    expect(requestsTo(sandbox, HOST)).toEqual([])
    await job.end()
    expect(tree(machine.home)).toEqual([])
  })

  test('an own run whose secret is empty is told something else', async () => {
    const step = await world.machine.job({ eventName: 'push' }).uses({ with: inputs })
    expectFailure(step, ['the secrets they refer to are empty'])
    expect(step.log).not.toMatch(/fork|Dependabot/)
  })
})

describe('threat 34: an empty variable of the job is named, and none is exported:', () => {
  const harmful = ['BL_CLIENT_CREDENTIALS', 'BL_API_KEY']
  test.each([...harmful.map((name) => [name]), ['BL_WORKSPACE', 'BL_API_URL', 'BL_ENV', 'BL_TOKEN']])(
    '%s',
    async (...names) => {
      const job = world.machine.job({ env: Object.fromEntries(names.map((name) => [name, ''])) })
      const step = await job.uses({ with: good })
      expect(step.exitCode).toBe(0)
      expect(warnings(step)).toEqual(
        names
          .filter((name) => harmful.includes(name))
          .map((name) => expect.stringContaining(`${name} is set but empty`) as unknown),
      )
      expect(Object.values(step.env).filter((value) => value === '')).toEqual([])
      expect(step.files.GITHUB_ENV).not.toMatch(/^BL_\w+<<(.*)\n\1$/m)
      await job.end()
    },
  )

  test.each(harmful)('%s, where nobody logs in', async (name) => {
    const step = await world.machine.job({ env: { [name]: '' } }).uses()
    expect(step.exitCode).toBe(0)
    expect(warnings(step)).toEqual([expect.stringContaining(`${name} is set but empty`) as unknown])
    expect(step.env).toEqual({})
  })

  test('bl is in fact broken by it', async () => {
    const job = world.machine.job({ env: { BL_CLIENT_CREDENTIALS: '' } })
    await job.uses({ with: good })
    expect((await job.run('bl get agents --skip-version-warning')).exitCode).not.toBe(0)
    await job.end()
  })
})

test('threat 41: BL_CLIENT_CREDENTIALS in the job sends the client secret on, and a warning names the remedy', async () => {
  const { sandbox, machine } = world
  const sentSecret = () =>
    sandbox.requests.filter(({ headers }) => headers.authorization === `Basic ${PAIR}`).map(({ path }) => path)
  const job = machine.job({ env: { BL_CLIENT_CREDENTIALS: PAIR } })
  const step = await job.uses({ with: { workspace: 'acme' } })
  expect(warnings(step)).toEqual([
    expect.stringMatching(/^BL_CLIENT_CREDENTIALS .*every later bl call sends the client secret.*in with:/) as unknown,
  ])
  expectNoPart(step, [CLIENT_SECRET, PAIR])
  expect(sentSecret()).toHaveLength(1)
  expect((await job.run('bl get agents --skip-version-warning')).exitCode).toBe(0)
  expect(sentSecret()).toHaveLength(2)
  await job.end()

  // The remedy works.
  const mended = machine.job()
  expect(warnings(await mended.uses({ with: good }))).toEqual([])
  expect((await mended.run('bl get agents --skip-version-warning')).exitCode).toBe(0)
  expect(sentSecret()).toHaveLength(3)
  await mended.end()
})

describe('threat 42: settings that weaken TLS or print requests have no effect:', () => {
  test('NODE_TLS_REJECT_UNAUTHORIZED=0', async () => {
    const authority = await createAuthority()
    const seen: string[] = []
    const trap = createServer(await authority.issue('localhost'), (request, response) => {
      seen.push(JSON.stringify(request.headers))
      response.end('{}')
    })
    await new Promise<void>((resolve) => trap.listen(0, '127.0.0.1', resolve))
    try {
      const url = `https://localhost:${(trap.address() as AddressInfo).port}/v0`
      const job = world.machine.job({ env: { NODE_TLS_REJECT_UNAUTHORIZED: '0' } })
      const step = await job.uses({ with: { ...good, 'api-url': url } })
      expect(warnings(step)).toEqual([expect.stringContaining('NODE_TLS_REJECT_UNAUTHORIZED=0 was ignored') as unknown])
      expectFailure(step, [/The certificate of localhost:\d+ is not trusted/, 'No credential was sent'])
      expect(seen).toEqual([])
      // The trap works.
      const script = `fetch('${url}', { headers: { authorization: 'x' } }).then((answer) => process.exit(answer.ok ? 0 : 1))`
      expect((await job.run(`node --no-warnings -e "${script}"`)).exitCode).toBe(0)
      expect(seen).toHaveLength(1)
    } finally {
      trap.close()
    }
  })

  test.each(['http,https,tls,net,http2,stream', '*'])('NODE_DEBUG=%s', async (NODE_DEBUG) => {
    const job = world.machine.job({ env: { NODE_DEBUG } })
    const step = await job.uses({ with: { workspace: 'acme', ...credentials['service-account'] } })
    const posts = await job.end()
    expect(step.exitCode).toBe(0)
    expect(warnings(step)).toEqual([expect.stringContaining('NODE_DEBUG was ignored') as unknown])
    for (const each of [step, ...posts]) {
      // With * Node tells of its modules, before the action begins.
      if (NODE_DEBUG !== '*') expect(each.stderr).toBe('')
      expect(each.raw).not.toMatch(/^(?:HTTP|TLS|NET) \d+:/m)
      expectHidden(each, [API_KEY])
    }
    expectHidden({ ...step, files: { ...step.files, GITHUB_ENV: '', GITHUB_OUTPUT: '' } }, world.sandbox.blaxel.issued)
  })

  test.each(['socks5://proxy.example', 'http://user:pa%ss@[x'])(
    'a proxy that can not be used is not passed by: %s',
    async (proxy) => {
      for (const name of ['https_proxy', 'HTTPS_PROXY']) {
        const env = { https_proxy: '', HTTPS_PROXY: '', [name]: proxy }
        const step = await world.machine.job({ env }).uses({ with: good })
        expectFailure(step, [`${name} is not the URL of an http proxy`])
        expect(visible(step)).not.toContain('pa%ss')
      }
      expect([world.sandbox.requests, world.sandbox.connects]).toEqual([[], []])
    },
  )
})

describe('threat 51: nothing is printed past the redactor:', () => {
  /** As a library does that throws where nobody catches it, with the request in the message. */
  const crash = (how: string) => `
import https from 'node:https'
import { syncBuiltinESMExports } from 'node:module'
const { request: real } = https
https.request = (...args) => {
  const said = JSON.stringify(args[0]?.headers ?? {})
  if (/authorization/i.test(said)) setImmediate(() => { const error = new Error('crashed with ' + said); ${how} })
  return real(...args)
}
syncBuiltinESMExports()
`
  const ways: [string, string, boolean][] = [
    ['an uncaught error', 'throw error', true],
    ['an error with the request as a field', 'throw Object.assign(error, { headers: said })', true],
    ['a rejection', 'void Promise.reject(error)', true],
    ['something thrown that is no error', 'throw said', true],
    ['a warning of the process', 'process.emitWarning(said)', false],
    ['a word on stderr', 'process.stderr.write(said); console.error(error)', false],
  ]

  test.each(ways)('%s in main', async (_, how, isFatal) => {
    const { sandbox, machine } = world
    const env = preloaded(world, 'crash', crash(how))
    const job = machine.job({ env, debug: true })
    const step = await job.uses({ with: { workspace: 'acme', ...credentials['service-account'] } })
    expect(step.exitCode).toBe(isFatal ? 1 : 0)
    expect(step.stderr).toBe('')
    if (isFatal) {
      expect(step.annotations).toHaveLength(1)
      expect(step.raw).toContain('***')
      expect(step.raw.match(/^::error\b/gm)).toHaveLength(1)
      expect(step.raw).not.toMatch(/^\s+at /m)
    }
    expectNoPart(step, [API_KEY, ...sandbox.blaxel.issued])
    await job.end()
  })

  test.each(ways)('%s in post', async (_, how) => {
    const { sandbox, machine } = world
    const job = machine.job({ debug: true })
    await job.uses({ with: { workspace: 'acme', ...credentials['service-account'] } })
    Object.assign(job.env, preloaded(world, 'crash', crash(how)))
    const [post] = await job.end()
    // A job that has worked does not fail for it.
    expect([post?.exitCode, post?.stderr]).toEqual([0, ''])
    if (post) expectNoPart(post, [API_KEY, ...sandbox.blaxel.issued])
  })

  // unit/runner-env.test.ts has the other files.
  test('no GITHUB_ENV: refused before a credential is used', async () => {
    for (const credential of Object.values(credentials)) {
      const job = world.machine.job({ omit: ['GITHUB_ENV'] })
      const step = await job.uses({ with: { workspace: 'acme', ...credential } })
      expectFailure(step, ['GITHUB_ENV is not set'])
      expectNoPart(step, [API_KEY, CLIENT_SECRET])
    }
    expect(world.sandbox.connects).toEqual([])
  })
})
