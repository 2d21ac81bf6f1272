import { describe, expect, test } from '@jest/globals'
import type { Job, StepResult } from '../../sandbox/job.ts'
import type { Answer, RecordedRequest } from '../../sandbox/sandbox.ts'
import { HOST, KEYS, requests } from './api-requests.ts'
import { hurried } from './threats/preload.ts'
import { expectFailure, expectHidden, expectNoPart, expectNothingStaged } from './failure.ts'
import { API_KEY, CLIENT_ID, CLIENT_SECRET, credentials, inWorld, requestsTo, tree, type World } from './world.ts'

const PRIOR = '# kept by hand\nworkspaces: []\n'

interface Request {
  readonly method: 'GET' | 'POST'
  readonly path: string
  readonly credential: Readonly<Record<string, string>>
}

interface Tried {
  readonly world: World
  readonly job: Job
  readonly step: StepResult
  /** How often the request was sent. */
  readonly sent: number
}

/** Answers one of the requests so, and runs the action's main. */
async function tryWith(
  world: World,
  { method, path, credential }: Request,
  answers: Answer[],
  env: Readonly<Record<string, string>> = {},
): Promise<Tried> {
  const { sandbox, machine, config } = world
  await config.write(PRIOR, 0o640)
  answers.forEach((answer, index) => {
    // The last one stays for good.
    const times = index === answers.length - 1 ? {} : { times: 1 }
    sandbox.intercept({ host: HOST, method, path, answer, ...times })
  })
  const job = machine.job({ env })
  const step = await job.uses({ with: { workspace: 'acme', ...credential } })
  const sent = requestsTo(sandbox, HOST).filter((request) => request === `${method} ${path}`).length
  return { world, job, step, sent }
}

/** The step failed so, and neither it nor the post step left anything behind, nor showed a secret. */
async function expectRefusal({ world, job, step }: Tried, says: readonly (string | RegExp)[]): Promise<void> {
  const { sandbox, machine, config } = world
  expectFailure(step, says)
  expectNothingStaged(world)
  expect([config.read(), config.mode(), tree(machine.home)]).toEqual([PRIOR, 0o640, ['.blaxel', '.blaxel/config.yaml']])
  const [post] = await job.end()
  expect([post?.exitCode, post?.annotations]).toEqual([0, []])
  expect(sandbox.blaxel.keys.size).toBe(0)
  for (const each of [step, post]) {
    if (each) expectHidden(each, [API_KEY, CLIENT_SECRET, ...sandbox.blaxel.issued])
  }
}

const said = (status: number): Answer => ({ kind: 'respond', status, body: { code: status, error: 'it said no' } })
const text = (body: string): Answer => ({ kind: 'respond', status: 200, body })

interface Row {
  readonly request: keyof typeof requests
  readonly what: string
  readonly answer: Answer
  /** How often the request is sent. */
  readonly sent: number
  readonly says: readonly string[]
}

const OUTAGE = 'Your credential was not rejected. Retry later.'
const NO_KEY = ['No short-lived key could be created for the service account sa-deployer', 'No key was left behind']

const final: Row[] = [
  ...[400, 401, 403].map((status) => ({
    ...{ request: 'token' as const, what: `${status}`, answer: said(status), sent: 1 },
    says: [`rejected client-id and client-secret (${status}: it said no)`, 'belong together'],
  })),
  {
    ...{ request: 'token', what: '404', answer: said(404), sent: 1 },
    says: ['There is no Blaxel API at https://api.blaxel.ai/v0 (404: it said no)', 'with its path'],
  },
  {
    ...{ request: 'workspace', what: '400', answer: said(400), sent: 1 },
    says: [`${HOST} sent an unexpected response to a request (400: it said no)`, 'Check the URL of the API'],
  },
  {
    ...{ request: 'workspace', what: '401', answer: said(401), sent: 1 },
    says: ['The Blaxel API rejected api-key (401: it said no)', 'valid API key'],
  },
  {
    ...{ request: 'workspace', what: '403', answer: said(403), sent: 1 },
    says: ["accepts api-key, but not for the workspace 'acme' (403: it said no)", 'Check the input workspace'],
  },
  {
    ...{ request: 'workspace', what: '404', answer: said(404), sent: 1 },
    says: ["There is no workspace 'acme' (404: it said no)", 'Check the input workspace'],
  },
  {
    ...{ request: 'mint', what: '400', answer: said(400), sent: 1 },
    says: ["can't create a key for the service account sa-deployer (400: it said no)", 'token-lifetime'],
  },
  {
    ...{ request: 'mint', what: '401', answer: said(401), sent: 1 },
    says: ['The Blaxel API rejected api-key (401: it said no)', 'valid API key'],
  },
  {
    ...{ request: 'mint', what: '403', answer: said(403), sent: 1 },
    says: ['is not allowed to create keys for the service account sa-deployer (403: it said no)', 'apiKey:write'],
  },
  {
    ...{ request: 'mint', what: '404', answer: said(404), sent: 1 },
    says: ['found no service account sa-deployer for this api-key (404: it said no)', 'service-account'],
  },
]

/** Answers that are worth another try, but for minting, which is not repeatable. */
const passing: Row[] = [408, 503].flatMap((status) => {
  const what = `${status}`
  const says = [`The Blaxel API at ${HOST} has an outage (${status}: it said no)`]
  return [
    { request: 'token', what, answer: said(status), sent: 4, says: [...says, OUTAGE] },
    { request: 'workspace', what, answer: said(status), sent: 4, says: [...says, OUTAGE] },
    { request: 'mint', what, answer: said(status), sent: 1, says: status < 500 ? says : [...NO_KEY, ...says] },
  ]
})

const broken: Row[] = [
  ...(['token', 'workspace'] as const).map((request) => ({
    ...{ request, what: 'a broken connection', answer: { kind: 'reset' } as const, sent: 4 },
    says: [`The connection to ${HOST} broke`, "Check the runner's network"],
  })),
  {
    ...{ request: 'mint', what: 'a broken connection', answer: { kind: 'reset' }, sent: 1 },
    says: [`The connection to ${HOST} broke`, ...NO_KEY],
  },
]

const garbled: Row[] = ['', '{"name":["acme"]}'].flatMap((body) => {
  const what = `200 and ${body === '' ? 'nothing' : body}`
  const answer = text(body)
  return [
    {
      request: 'token',
      what,
      answer,
      sent: 1,
      says: [`${HOST} sent an unexpected response to the request for a token (200)`],
    },
    {
      request: 'workspace',
      what,
      answer,
      sent: 1,
      says: [`${HOST} sent an unexpected response to the request for the workspace (200)`],
    },
    {
      request: 'mint',
      what,
      answer,
      sent: 1,
      says: [`${HOST} sent an unexpected response to the request for a key (200)`, ...NO_KEY],
    },
  ]
})

describe('an answer that is no session ends in one error:', () => {
  test.concurrent.each([final, passing, broken, garbled].flat())(
    '$request gets $what',
    ({ request, answer, sent, says }) =>
      inWorld(async (world) => {
        const tried = await tryWith(world, requests[request], [answer], sent > 1 ? hurried(world) : {})
        expect(tried.sent).toBe(sent)
        await expectRefusal(tried, says)
      }),
  )
})

describe('trouble that passes:', () => {
  test.concurrent.each(['token', 'workspace'] as const)('%s gets 503 and 408, then an answer', (name) =>
    inWorld(async (world) => {
      const { step, sent } = await tryWith(
        world,
        requests[name],
        [said(503), said(408), { kind: 'delay', ms: 0 }],
        hurried(world),
      )
      expect(step.exitCode).toBe(0)
      expect(step.annotations.filter(({ level }) => level !== 'notice')).toEqual([])
      expect(sent).toBe(3)
    }),
  )

  test.concurrent("bl login is wrong about a workspace that the API's own answer explains", () =>
    inWorld(async (world) => {
      world.sandbox.intercept({ host: HOST, path: /workspaces/, answer: said(403), times: 1 })
      world.sandbox.intercept({ host: HOST, path: /workspaces/, answer: { kind: 'delay', ms: 300 } })
      const job = world.machine.job()
      const step = await job.uses({ with: { workspace: 'gamma', ...credentials.oauth } })
      expectFailure(step, ["not for the workspace 'gamma' (403"])
      await job.end()
    }),
  )

  test.concurrent.each(['token', 'workspace', 'mint'] as const)('%s gets 429, and waits as it is told', (name) =>
    inWorld(async (world) => {
      const { sandbox } = world
      const busy: Answer = { kind: 'respond', status: 429, headers: { 'retry-after': '1' }, body: { error: 'slowly' } }
      const { job, step } = await tryWith(world, requests[name], [busy, busy, { kind: 'delay', ms: 0 }])
      expect(step.exitCode).toBe(0)
      expect(step.outputs).toMatchObject({ authenticated: 'true' })

      const { method, path } = requests[name]
      const times = sandbox.requests.filter((request) => request.method === method && request.path === path)
      const [first, second, third] = times.map(({ at }) => at)
      expect((second ?? 0) - (first ?? 0)).toBeGreaterThanOrEqual(1000)
      expect((third ?? 0) - (second ?? 0)).toBeGreaterThanOrEqual(1000)
      expect(sandbox.blaxel.keys.size).toBe(name === 'mint' ? 1 : 0)
      await job.end()
      expect(sandbox.blaxel.keys.size).toBe(0)
    }),
  )
})

describe('an error that', () => {
  // Threat 11 has a secret that is shown whole.
  test.concurrent.each(Object.values(requests))(
    'echoes a credential that is cut off shows nothing of it: $path',
    (request) =>
      inWorld(async (world) => {
        const secret = request === requests.token ? CLIENT_SECRET : API_KEY
        const handle = ({ headers }: RecordedRequest) => {
          const [, sent = ''] = (headers.authorization ?? '').split(' ')
          return { status: 403, body: { error: `${'long '.repeat(56)}${secret} ${sent} ${secret}` } }
        }
        const tried = await tryWith(world, request, [{ kind: 'handle', handle }])
        await expectRefusal(tried, ['(403: long long'])
        expectNoPart(tried.step, [secret, Buffer.from(`${CLIENT_ID}:${CLIENT_SECRET}`).toString('base64')])
      }),
  )

  test.concurrent('is cut off in a key that is taken apart to make the message harmless shows no part of it', () =>
    inWorld(async (world) => {
      const key = 'bl_key_0123456789::abcdefghij'
      world.secrets.add(key)
      const job = world.machine.job()
      const error = `${'long '.repeat(55)}${key} more`
      world.sandbox.intercept({
        ...{ host: HOST, path: requests.workspace.path },
        answer: { kind: 'respond', status: 403, body: { error } },
      })
      const step = await job.uses({ with: { workspace: 'acme', 'api-key': key } })
      expectFailure(step, ['(403: long long'])
      expectNoPart(step, [key])
    }),
  )

  test.concurrent('echoes the token of the session shows nothing of it', () =>
    inWorld(async (world) => {
      const { path } = requests.workspace
      const handle = ({ headers }: RecordedRequest) => ({ status: 401, body: headers.authorization ?? '' })
      world.sandbox.intercept({ host: HOST, path, answer: { kind: 'handle', handle } })
      const tried = await tryWith(world, requests.token, [{ kind: 'delay', ms: 0 }])
      expect(world.sandbox.blaxel.issued).toHaveLength(1)
      await expectRefusal(tried, [
        /rejected the session token that it issued for client-id and client-secret \(401: Bearer(?: \*\*\*|…)\)/,
      ])
      expectNoPart(tried.step, world.sandbox.blaxel.issued)
    }),
  )
})

describe('a key that was minted, though nobody was told:', () => {
  test.concurrent('a key of another use with the same account stays', () =>
    inWorld(async (world) => {
      const other = await world.machine.job().uses({ with: { workspace: 'acme', ...credentials['service-account'] } })
      expect(other.exitCode).toBe(0)
      const machine = await world.newMachine()
      world.sandbox.intercept({ host: HOST, method: 'POST', path: KEYS, answer: { kind: 'process-then-reset' } })
      const step = await machine.job().uses({ with: { workspace: 'acme', ...credentials['service-account'] } })
      expectFailure(step, ['The key that was created anyway was deleted'])
      expect([...world.sandbox.blaxel.keys.values()].map(({ apiKey }) => apiKey)).toEqual([other.outputs.token])
    }),
  )

  // Threat 38 has what else can hinder it.
  test.concurrent('its deletion is refused, and the post step deletes it', () =>
    inWorld(async (world) => {
      world.sandbox.intercept({ host: HOST, method: 'DELETE', path: /\/api_keys\//, times: 1, answer: said(403) })
      const { job, step } = await tryWith(world, requests.mint, [{ kind: 'process-then-reset' }])
      expectFailure(step, [
        /A key named setup-bl-[0-9a-f]{32} may be left behind, and the post step will try to delete it/,
      ])
      expect(world.sandbox.blaxel.keys.size).toBe(1)
      const [post] = await job.end()
      expect(post?.log).toMatch(/^Revoked the key setup-bl-[0-9a-f]{32} of the service account sa-deployer\n$/)
      expect(world.sandbox.blaxel.keys.size).toBe(0)
    }),
  )
})
