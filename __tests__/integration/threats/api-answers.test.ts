import { afterEach, beforeEach, describe, expect, test } from '@jest/globals'
import type { StepResult } from '../../../sandbox/job.ts'
import type { Answer, CliFaults, RecordedRequest } from '../../../sandbox/sandbox.ts'
import { HOST, requests } from '../api-requests.ts'
import { expectFailure, expectHidden, expectNoPart, expectNothingStaged } from '../failure.ts'
import {
  API_KEY,
  CLIENT_ID,
  CLIENT_SECRET,
  credentials,
  openWorld,
  requestsTo,
  tree,
  type World,
  isAlive,
} from '../world.ts'
import { hurried } from './preload.ts'

const PAIR = Buffer.from(`${CLIENT_ID}:${CLIENT_SECRET}`).toString('base64')
const LONGEST_TEST = 300_000
const isLong = process.env.LONG === '1'

let world: World
beforeEach(async () => {
  world = await openWorld()
})
afterEach(() => world.close())

type Request = keyof typeof requests
const names = Object.keys(requests) as Request[]

/** Answers one kind of request so, for good, and runs main. */
function tryWith(request: Request, answer: Answer, env: Readonly<Record<string, string>> = {}): Promise<StepResult> {
  const { method, path, credential } = requests[request]
  world.sandbox.intercept({ host: HOST, method, path, answer })
  return world.machine.job({ env, debug: true }).uses({ with: { workspace: 'acme', ...credential } })
}

function sent(request: Request): number {
  const { method, path } = requests[request]
  return requestsTo(world.sandbox, HOST).filter((each) => each === `${method} ${path}`).length
}

const respond = (status: number, body: object | string = { error: 'no' }): Answer => ({ kind: 'respond', status, body })

describe("threat 10: a stranger's text is no command to the runner:", () => {
  const INJECTION =
    '##[set-output name=token]x ::add-path::/x\n::add-path::/x\r::set-output name=token::x\n::set-env name=PATH::/x' +
    '\n##[add-path]/x\n::stop-commands::x\u2028::add-mask::acme\x1b[2J\0::error::second'

  function expectHarmless(step: StepResult): void {
    expectFailure(step, [])
    expect(step.raw).not.toMatch(/##\[|^::(?!add-mask::|error::|notice::|warning::|debug::)/m)
    // eslint-disable-next-line no-control-regex -- these must not be there
    expect(step.raw).not.toMatch(/[\0-\x09\x0b-\x1f\x7f-\x9f\u2028\u2029]/)
    expect(step.masks).not.toContain('acme')
    const [error = ''] = step.annotations.filter(({ level }) => level === 'error').map(({ message }) => message)
    expect(error.length).toBeLessThan(800)
  }

  test.each(names)('an error of the API: %s', async (name) => {
    expectHarmless(await tryWith(name, respond(403, { error: `${INJECTION} ${'long '.repeat(1000)}` })))
    expect(world.sandbox.refused).toEqual([])
  })

  test('the name of a workspace', async () => {
    expectHarmless(await tryWith('workspace', respond(200, { name: INJECTION })))
  })

  const faults: [string, CliFaults][] = [
    ['bl login', { loginExit: 1, loginPrints: `${INJECTION}\n${'long '.repeat(1000)}` }],
    ['bl version', { versionExit: 1, versionPrints: INJECTION }],
    ['bl version, and another number', { versionPrints: `${INJECTION} 1.2.3` }],
  ]
  test.each(faults)('what is printed by %s', async (_, fault) => {
    world.sandbox.github.publish({ version: '9.9.3', faults: fault })
    expectHarmless(
      await world.machine.job().uses({ with: { version: '9.9.3', workspace: 'acme', ...credentials.oauth } }),
    )
  })
})

describe('threat 11: an error that echoes the credential does not show it:', () => {
  test.each(names)('%s', async (name) => {
    const secret = name === 'token' ? CLIENT_SECRET : API_KEY
    const handle = ({ headers, body }: RecordedRequest) => ({
      status: 403,
      body: { error: { message: `${JSON.stringify(headers)} ${body} ${secret}` } },
    })
    const step = await tryWith(name, { kind: 'handle', handle })
    expectFailure(step, ['(403: '])
    expectHidden(step, [secret, PAIR])
    expectNoPart(step, [secret, PAIR])
  })

  test('by bl, which was given the session token', async () => {
    const { sandbox, machine, secrets } = world
    secrets.allow(/^tool cache\/bl\/9\.9\.3\/[^/]+\/blaxel$/, 'what the stand-in is to print is a part of the program')
    const loginPrints = `key ${API_KEY} as ${Buffer.from(API_KEY).toString('base64')}\n`
    sandbox.github.publish({ version: '9.9.3', faults: { loginPrints, loginExit: 1 } })
    const step = await machine.job().uses({ with: { version: '9.9.3', workspace: 'acme', ...credentials['api-key'] } })
    expectFailure(step, ["'bl login acme' failed", 'key *** as ***'])
    expectNoPart(step, [API_KEY])
  })
})

describe('threat 12: no credential follows a redirect:', () => {
  /** Over https: from there to http not even a careless client would go. */
  function trapHost(): { readonly url: string; readonly requests: readonly RecordedRequest[] } {
    const seen: RecordedRequest[] = []
    world.sandbox.addHost('evil.example', (request) => {
      seen.push(request)
      return { status: 200, body: { name: 'acme' } }
    })
    return { url: 'https://evil.example', requests: seen }
  }

  const rows = names.flatMap((name) =>
    (isLong ? [301, 302, 303, 307, 308] : [302, 307]).map((status) => ({ name, status })),
  )
  test.each(rows)('$name, $status', async ({ name, status }) => {
    const trap = trapHost()
    const location = `${trap.url}/v0`
    const step = await tryWith(name, { kind: 'respond', status, headers: { location } })
    expectFailure(step, [`${HOST} redirects API requests (${status} to evil.example)`])
    expect([trap.requests, sent(name)]).toEqual([[], 1])
  })

  test.each([302, 307])('the deletion of a key after the job, %i', async (status) => {
    const { sandbox, machine } = world
    const trap = trapHost()
    const job = machine.job()
    await job.uses({ with: { workspace: 'acme', ...credentials['service-account'] } })
    const headers = { location: trap.url }
    sandbox.intercept({ host: HOST, method: 'DELETE', path: /./, answer: { kind: 'respond', status, headers } })
    const [post] = await job.end()
    expect(post?.annotations).toEqual([
      { level: 'warning', message: expect.stringMatching(/could not be revoked.*expires by itself/) as unknown },
    ])
    expect(trap.requests).toEqual([])
  })
})

describe('threat 13: credentials go to the Blaxel API alone:', () => {
  const PASSWORD = 'url-passw0rd'
  // unit/endpoint.test.ts has the table, and a property over any address.
  const urls = [
    'http://api.blaxel.ai/v0',
    'http://127.0.0.1.evil.example/v0',
    `https://user:${PASSWORD}@api.blaxel.ai/v0`,
    'file:///etc/passwd',
  ]
  const foreign = ['https://evil.example/v0', 'https://api.blaxel.ai.evil.example/v0']

  async function expectRefused(step: Promise<StepResult>): Promise<void> {
    const result = await step
    expectFailure(result, [])
    expectHidden(result, [CLIENT_SECRET, PASSWORD])
    expect([world.sandbox.connects, world.sandbox.refused, world.sandbox.requests]).toEqual([[], [], []])
  }
  const good = { workspace: 'acme', ...credentials.oauth }

  test.each(urls)('api-url %s', (url) => expectRefused(world.machine.job().uses({ with: { ...good, 'api-url': url } })))

  test.each([...urls, ...foreign])('BL_API_URL %s in the environment', (url) =>
    expectRefused(world.machine.job({ env: { BL_API_URL: url } }).uses({ with: good })),
  )

  test.each([
    `https://user:${PASSWORD}@mirror.invalid/x`,
    `https://${PASSWORD}@mirror.invalid`,
    'http://mirror.invalid',
  ])('mirror-url %s', (url) => expectRefused(world.machine.job().uses({ with: { ...good, 'mirror-url': url } })))

  test('a foreign host by the input is named', async () => {
    world.sandbox.addHost('blaxel.corp.example', () => ({ status: 401, body: {} }))
    const job = world.machine.job({ env: { BL_API_URL: 'https://evil.example/v0' } })
    const step = await job.uses({ with: { ...good, 'api-url': 'https://blaxel.corp.example/v0' } })
    expect(step.log).toContain('The credential is sent to blaxel.corp.example')
    expect(requestsTo(world.sandbox, 'blaxel.corp.example')).toHaveLength(1)
    expect(world.sandbox.connects).not.toContain('evil.example:443')
  })

  test('this machine is taken, by each of its exact names', async () => {
    const { port } = new URL(await world.sandbox.blaxel.loopbackUrl())
    for (const host of ['localhost', '127.0.0.1', '127.0.0.2']) {
      // Not every name is listened to; what counts is that it is not refused.
      const step = await world.machine
        .job({ env: hurried(world) })
        .uses({ with: { ...good, login: 'false', 'api-url': `http://${host}:${port}/v0` } })
      expect(step.log).not.toContain('not an https URL')
    }
  })
})

describe('threat 21: no success that is none:', () => {
  const releases: [string, CliFaults][] = [
    ['0.1.30', {}],
    ['0.1.94', {}],
    ['9.9.3', { loginAlwaysSucceeds: true }],
  ]
  const rows = releases.flatMap(([version, faults]) => [401, 403, 500].map((status) => ({ version, faults, status })))

  async function loginWith(version: string, faults: CliFaults): Promise<StepResult> {
    const { sandbox, machine } = world
    sandbox.github.publish({ version, faults })
    // The pin stands for the sum that the reviewed table has of the real archive.
    const inputs = { version, checksum: sandbox.github.sha256(version), workspace: 'acme' }
    return machine.job({ env: hurried(world) }).uses({ with: { ...inputs, ...credentials['api-key'] } })
  }
  function expectNothingDone(step: StepResult): void {
    expectFailure(step, [])
    expectNothingStaged(world)
    expect(tree(world.machine.home).filter((path) => path.includes('config.yaml'))).toEqual([])
  }

  test.each(rows)('bl $version, which exits 0, against a $status', async ({ version, faults, status }) => {
    world.sandbox.intercept({ host: HOST, path: /./, answer: respond(status) })
    expectNothingDone(await loginWith(version, faults))
  })

  test.each<[string, CliFaults]>([
    ['exits 0 and writes nothing', { loginWritesNothing: true }],
    ['exits 0 and writes an empty file', { loginEntry: '' }],
    [
      'exits 0 and stores another token',
      { loginEntry: 'workspaces:\n- name: acme\n  credentials:\n    apiKey: "x"\n' },
    ],
    ['stores the token and exits 1', { loginExit: 1 }],
  ])('a bl that %s', async (_, faults) => {
    expectNothingDone(await loginWith('9.9.3', faults))
  })
})

describe('threat 22: nothing hangs:', () => {
  test(
    'a bl version that sleeps is given up',
    async () => {
      const { sandbox, machine } = world
      sandbox.github.publish({ version: '9.9.3', faults: { versionSleepMs: 90_000 } })
      const job = machine.job({ env: hurried(world) })
      expectFailure(await job.uses({ with: { version: '9.9.3' } }), [/did not (?:end|answer) within 10 s/])
      expect(sandbox.github.invocations().filter(({ pid }) => isAlive(pid))).toEqual([])
      expectNothingStaged(world)
    },
    LONGEST_TEST,
  )

  test(
    'a bl login that sleeps, shrugs at SIGTERM and has a child is killed with it',
    async () => {
      const { sandbox, machine } = world
      const faults = { loginSleepMs: 90_000, loginIgnoresSigterm: true, loginSpawnsChild: true }
      sandbox.github.publish({ version: '9.9.3', faults })
      const job = machine.job({ env: hurried(world) })
      const step = await job.uses({ with: { version: '9.9.3', workspace: 'acme', ...credentials.oauth } })
      expectFailure(step, ["'bl login acme' did not end within 60 s and was killed"])
      const started = sandbox.github.invocations().flatMap(({ pid, childPid }) => [pid, childPid ?? pid])
      expect(started).toHaveLength(4)
      expect(started.filter(isAlive)).toEqual([])
      for (const { stdinClosed } of sandbox.github.invocations()) expect(stdinClosed).toBe(true)
      await job.end()
      expect(job.orphans).toEqual([])
    },
    LONGEST_TEST,
  )

  test('a child that bl login leaves behind with open pipes does not outlive it', async () => {
    const { sandbox, machine } = world
    sandbox.github.publish({ version: '9.9.3', faults: { loginSpawnsChild: true } })
    const job = machine.job()
    const step = await job.uses({ with: { version: '9.9.3', workspace: 'acme', ...credentials.oauth } })
    expect(step.exitCode).toBe(0)
    const children = sandbox.github.invocations().flatMap(({ childPid }) => (childPid === undefined ? [] : [childPid]))
    expect(children).toHaveLength(1)
    expect(children.filter(isAlive)).toEqual([])
  })

  test.each(['token', 'workspace'] as const)(
    'an API that never answers: %s',
    async (name) => {
      expectFailure(await tryWith(name, { kind: 'hang' }, hurried(world)), [`${HOST} did not answer within 15 s`])
      expect(sent(name)).toBe(4)
    },
    LONGEST_TEST,
  )

  test(
    'a proxy that never answers',
    async () => {
      world.sandbox.proxy.hang()
      const job = world.machine.job({ env: hurried(world) })
      expectFailure(await job.uses({ with: { workspace: 'acme', ...credentials.oauth } }), [
        /did not answer within 15 s/,
      ])
    },
    LONGEST_TEST,
  )

  test(
    'an API that never answers the post step',
    async () => {
      const { sandbox, machine } = world
      const job = machine.job()
      await job.uses({ with: { workspace: 'acme', ...credentials['service-account'] } })
      Object.assign(job.env, hurried(world))
      sandbox.intercept({ host: HOST, method: 'DELETE', path: /./, answer: { kind: 'hang' } })
      const [post] = await job.end()
      expect(post?.exitCode).toBe(0)
      expect(post?.annotations).toEqual([
        { level: 'warning', message: expect.stringMatching(/could not be revoked: .*did not answer/) as unknown },
      ])
      expect(tree(machine.home)).toEqual([])
    },
    LONGEST_TEST,
  )

  test('Retry-After: 9999 is taken for a minute at most, and a cancel does not wait for it', async () => {
    const { sandbox, machine } = world
    const headers = { 'retry-after': '9999' }
    sandbox.intercept({ host: HOST, path: /./, answer: { kind: 'respond', status: 429, headers } })
    const running = machine.job({ debug: true }).start({ with: { workspace: 'acme', ...credentials.oauth } })
    const pause = await new Promise<number>((resolve) => {
      const look = setInterval(() => {
        const [, seconds] = /Retrying POST \S+ in ([\d.]+) s/.exec(running.outputSoFar()) ?? []
        if (seconds === undefined) return
        clearInterval(look)
        resolve(Number(seconds))
      }, 20)
    })
    expect(pause).toBeGreaterThanOrEqual(60)
    expect(pause).toBeLessThan(62)
    running.kill('SIGINT')
    expectFailure(await running.result, ['The step was cancelled (SIGINT)'])
  })
})

describe('threat 23: no storm of retries:', () => {
  const rows = names.flatMap((name) => [
    ...(isLong ? [400, 401, 403, 404, 405, 410, 422] : [401, 404]).map((status) => ({
      name,
      what: `${status}`,
      answer: respond(status),
      tries: 1,
    })),
    ...(isLong ? [408, 425, 500, 503] : [408, 500]).map((status) => ({
      ...{ name, what: `${status}`, answer: respond(status) },
      tries: name === 'mint' ? 1 : 4,
    })),
    { name, what: 'a reset', answer: { kind: 'reset' } as const, tries: name === 'mint' ? 1 : 4 },
  ])
  test.each(rows)('$name gets $what: $tries tries', async ({ name, answer, tries }) => {
    expectFailure(await tryWith(name, answer, tries === 1 ? {} : hurried(world)), [])
    expect(sent(name)).toBe(tries)
    // Nothing else is asked in its place, but for the key that may have been made.
    const others = requestsTo(world.sandbox, HOST).filter((each) => !each.endsWith(requests[name].path))
    expect(others).toEqual([])
    expect(requestsTo(world.sandbox, HOST).length).toBeLessThanOrEqual(tries + 4)
  })
})
