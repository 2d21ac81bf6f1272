import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, test } from '@jest/globals'
import type { StepResult } from '../../../sandbox/job.ts'
import { expectFailure, expectHidden, expectNothingStaged, masksOf } from '../failure.ts'
import {
  API_KEY,
  CLIENT_ID,
  CLIENT_SECRET,
  credentials,
  inWorld,
  ownRequestsTo,
  requestsTo,
  tree,
  visible,
  type World,
} from '../world.ts'

const HOST = 'api.blaxel.ai'
const HOUR = 3_600_000
const PRIOR = '# kept by hand\nworkspaces: []\n'

/** A token of three parts, of which the second says when it ends. */
function jwt(expiresAt: number): string {
  const parts = [
    { alg: 'HS256', typ: 'JWT' },
    { sub: CLIENT_ID, exp: Math.floor(expiresAt / 1000) },
  ]
  return [...parts.map((part) => Buffer.from(JSON.stringify(part)).toString('base64url')), 'c2lnbmF0dXJl'].join('.')
}

function said(step: StepResult, level: 'warning' | 'notice' | 'error'): string[] {
  return step.annotations.filter((annotation) => annotation.level === level).map(({ message }) => message)
}

/** How often `bl login` was run. */
function logins({ sandbox }: World): number {
  return sandbox.github.invocations().filter(({ argv }) => argv[0] === 'login').length
}

describe('threat 25: a clock that is wrong', () => {
  const skews: [string, number][] = [
    ['a day ahead', 24 * HOUR],
    ['a day behind', -24 * HOUR],
  ]

  describe.each(skews)("with Blaxel's clock %s", (_, skew) => {
    test.concurrent('an OAuth token lives from now on, as long as the answer says', () =>
      inWorld(async ({ sandbox, machine, config }) => {
        sandbox.blaxel.clockSkewMs = skew
        const before = Date.now()
        const job = machine.job()
        const step = await job.uses({ with: { workspace: 'acme', ...credentials.oauth } })
        const expiresAt = Date.parse(step.outputs['token-expires-at'] ?? '')
        // RFC 3339 as it is shown here knows no parts of a second.
        expect(expiresAt).toBeGreaterThanOrEqual(before + 2 * HOUR - 1000)
        expect(expiresAt).toBeLessThanOrEqual(Date.now() + 2 * HOUR)

        // The login of a live job stays when another one comes and tidies up.
        const other = machine.job()
        await other.uses({ with: { workspace: 'beta', ...credentials.oauth } })
        expect(config.read()).toContain(step.outputs.token)
        expect((await job.run('bl get agents --skip-version-warning')).exitCode).toBe(0)
        await other.end()
        await job.end()
        expect(tree(machine.home)).toEqual([])
      }),
    )

    test.concurrent('a minted key lives from now on, as long as was asked for', () =>
      inWorld(async ({ sandbox, machine }) => {
        sandbox.blaxel.clockSkewMs = skew
        const before = Date.now()
        const job = machine.job()
        const step = await job.uses({
          with: { workspace: 'acme', ...credentials['service-account'], 'token-lifetime': '1d' },
        })
        const expiresAt = Date.parse(step.outputs['token-expires-at'] ?? '')
        expect(expiresAt).toBeGreaterThanOrEqual(before + 24 * HOUR - 1000)
        expect(expiresAt).toBeLessThanOrEqual(Date.now() + 24 * HOUR)
        await job.end()
        expect(sandbox.blaxel.keys.size).toBe(0)
      }),
    )
  })

  test.concurrent('a JWT that is over by the local clock is used where the API takes it, and its login stays', () =>
    inWorld(async ({ sandbox, machine, config }) => {
      const token = jwt(Date.now() - HOUR)
      sandbox.blaxel.addApiKey(token, { workspaces: ['acme'] })
      const job = machine.job()
      const step = await job.uses({ with: { workspace: 'acme', 'api-key': token } })
      expect(step.outputs).toMatchObject({ authenticated: 'true', token })
      const other = machine.job()
      await other.uses({ with: { workspace: 'beta', ...credentials.oauth } })
      expect(config.read()).toContain(token)
      await other.end()
      await job.end()
      expect(tree(machine.home)).toEqual([])
    }),
  )

  test.concurrent('a JWT that is over by the local clock explains the refusal of the API, after it was asked', () =>
    inWorld(async ({ sandbox, machine }) => {
      const token = jwt(Date.now() - HOUR)
      const step = await machine.job().uses({ with: { workspace: 'acme', 'api-key': token } })
      expectFailure(step, ['rejected api-key (401', 'It expired at', 'Use a fresh token'])
      expect(visible(step)).not.toContain(token)
      expect(ownRequestsTo(sandbox, HOST)).toEqual(['GET /v0/workspaces/acme'])
    }),
  )
})

describe('threat 27: the answer is for another workspace:', () => {
  const answers: [string, unknown, string][] = [
    ['beta', { name: 'beta' }, "'beta'"],
    ['the name in capitals', { name: 'ACME' }, "'ACME'"],
    ['a name that holds a command', { name: 'acme\n::add-path::/evil' }, "'acme : :add-path: :/evil'"],
  ]
  test.concurrent.each(answers)('%s', (_, body, name) =>
    inWorld(async (world) => {
      const { sandbox, machine, config } = world
      const path = '/v0/workspaces/acme'
      sandbox.intercept({ host: HOST, path, answer: { kind: 'respond', status: 200, body: body as object } })
      await config.write(PRIOR, 0o640)
      const job = machine.job()
      const step = await job.uses({ with: { workspace: 'acme', ...credentials['service-account'] } })
      expectFailure(step, [
        `${HOST} returned the workspace ${name} instead of 'acme'.`,
        'Check the inputs workspace and api-url',
      ])
      // `bl login` may have run by then, in a home of its own.
      expect([config.read(), config.mode()]).toEqual([PRIOR, 0o640])
      await job.end()
      expect([config.read(), config.mode()]).toEqual([PRIOR, 0o640])
      // The key was made before the workspace was asked.
      expect(sandbox.blaxel.issued).toHaveLength(1)
      expect(sandbox.blaxel.keys.size).toBe(0)
    }),
  )
})

describe('threat 47: a hostile value of the API is neither masked nor used:', () => {
  const command = '\n::add-path::/evil'
  const tokens: [string, string][] = [
    ['a quote', 'eyJ0b2"tlbjEyMzQ1Njc4'],
    ['a line break and a command', `eyJ0b2tlbjEyMzQ1Njc4${command}`],
  ]
  const oauthMasks = [...masksOf(CLIENT_SECRET), ...masksOf(`${CLIENT_ID}:${CLIENT_SECRET}`)].sort()

  async function expectUnused(
    world: World,
    kind: 'oauth' | 'service-account',
    path: string,
    body: string | object,
  ): Promise<StepResult> {
    const { sandbox, machine, config } = world
    await config.write(PRIOR, 0o640)
    sandbox.intercept({ host: HOST, method: 'POST', path, answer: { kind: 'respond', status: 200, body } })
    const job = machine.job()
    const step = await job.uses({ with: { workspace: 'acme', ...credentials[kind] } })
    expectFailure(step, [`${HOST} sent an unexpected response to`])
    expect(logins(world)).toBe(0)
    expectNothingStaged(world)
    await job.end()
    expect([config.read(), config.mode()]).toEqual([PRIOR, 0o640])
    expect(sandbox.requests.filter(({ method }) => method === 'DELETE')).toEqual([])
    return step
  }

  test.concurrent.each(tokens)('a token with %s', (_, token) =>
    inWorld(async (world) => {
      const body = { access_token: token, expires_in: 7200 }
      const step = await expectUnused(world, 'oauth', '/v0/oauth/token', body)
      expect([...step.masks].sort()).toEqual(oauthMasks)
    }),
  )

  test.concurrent.each(['1e999', '"7200"'])('a token that lives %s seconds', (seconds) =>
    inWorld(async (world) => {
      const body = `{"access_token":"eyJ0b2tlbjEyMzQ1Njc4","expires_in":${seconds}}`
      const step = await expectUnused(world, 'oauth', '/v0/oauth/token', body)
      expect([...step.masks].sort()).toEqual(oauthMasks)
    }),
  )

  const keys: [string, object][] = [
    ...tokens.map(([what, apiKey]): [string, object] => [`a key with ${what}`, { id: 'ak_1', apiKey }]),
    ['a key whose id leads elsewhere', { id: '../../workspaces/acme', apiKey: 'bl_0123456789abcdef' }],
    ['a key whose id holds a command', { id: `ak_1${command}`, apiKey: 'bl_0123456789abcdef' }],
  ]
  test.concurrent.each(keys)('%s', (_, body) =>
    inWorld(async (world) => {
      const step = await expectUnused(world, 'service-account', `/v0/service_accounts/${CLIENT_ID}/api_keys`, body)
      expect([...step.masks].sort()).toEqual(masksOf(API_KEY).sort())
    }),
  )

  test.concurrent("what a workspace's answer holds besides its name goes nowhere", () =>
    inWorld(async ({ sandbox, machine, config }) => {
      const planted = `"\n- name: beta\n  credentials:\n    apiKey: "bl_planted_0123456789`
      sandbox.blaxel.addWorkspace('acme', { id: planted, displayName: planted, region: planted })
      await config.write(PRIOR, 0o640)
      const job = machine.job()
      const step = await job.uses({ with: { workspace: 'acme', ...credentials.oauth } })
      expect([config.read(), step.raw, ...Object.values(step.files)].join('')).not.toContain('bl_planted')
      await job.end()
      expect([config.read(), config.mode()]).toEqual([PRIOR, 0o640])
    }),
  )
})

describe('threat 48: bl can not reach the API that has taken the credential:', () => {
  test.concurrent.each(['oauth', 'service-account', 'api-key'] as const)('no CA certificates, with %s', (kind) =>
    inWorld(async (world) => {
      const { sandbox, machine, config } = world
      const none = join(sandbox.root, 'none.pem')
      writeFileSync(none, '')
      await config.write(PRIOR, 0o640)
      const job = machine.job({ env: { SSL_CERT_FILE: none } })
      const step = await job.uses({ with: { workspace: 'acme', ...credentials[kind] } })
      expectFailure(step, [
        "The Blaxel API accepts the credential, but 'bl login acme' failed",
        ...['ca-certificates', 'SSL_CERT_FILE', 'https_proxy'],
      ])
      // In bl's own words it looks like a bad credential.
      expect(step.log).toContain('permission denied')
      expectHidden(step, [API_KEY, CLIENT_SECRET, ...sandbox.blaxel.issued])
      expectNothingStaged(world)
      const [post] = await job.end()
      expect(post?.exitCode).toBe(0)
      expect([config.read(), config.mode(), sandbox.blaxel.keys.size]).toEqual([PRIOR, 0o640, 0])
    }),
  )
})

describe('threat 52: without a credential on a machine that is logged in by itself', () => {
  const OWN = 'workspaces:\n- name: home\n  credentials:\n    apiKey: "bl_key_of_this_machine"\n'
  const skip = { workspace: 'acme', 'on-missing-credentials': 'skip' }
  const pullRequest = {
    pull_request: { head: { repo: { full_name: 'stranger/hello' } }, base: { repo: { full_name: 'octo-org/hello' } } },
  }
  const runs: [string, object][] = [
    ["a fork's pull request", { eventName: 'pull_request', event: pullRequest }],
    ['a run of Dependabot', { eventName: 'push', actor: 'dependabot[bot]' }],
    ['a run of its own', { eventName: 'push' }],
  ]

  test.concurrent.each(runs)('%s is warned that bl would use that login, which stays as it is', (_, options) =>
    inWorld(async ({ sandbox, machine, config }) => {
      await config.write(OWN, 0o600)
      const job = machine.job(options)
      const step = await job.uses({ with: skip })
      expect(step.exitCode).toBe(0)
      expect(step.outputs.authenticated).toBe('false')
      expect(said(step, 'warning')).toEqual([
        expect.stringMatching(/^This machine has its own login to home, which bl uses in this job/),
      ])
      expectHidden(step, ['bl_key_of_this_machine'])
      expect(requestsTo(sandbox, HOST)).toEqual([])
      await job.end()
      expect([config.read(), config.mode()]).toEqual([OWN, 0o600])
    }),
  )

  test.concurrent('is warned of the login of another job, too', () =>
    inWorld(async ({ machine }) => {
      const trusted = machine.job()
      const { outputs } = await trusted.uses({ with: { workspace: 'beta', ...credentials.oauth } })
      const step = await machine.job({ eventName: 'pull_request', event: pullRequest }).uses({ with: skip })
      expect(said(step, 'warning')).toEqual([expect.stringContaining('This machine has its own login to beta')])
      expectHidden(step, [outputs.token ?? ''])
      await trusted.end()
    }),
  )

  test.concurrent.each(['', 'workspaces: []\n', 'context:\n  workspace: home\n'])(
    'is not warned where the config holds no login: %j',
    (text) =>
      inWorld(async ({ machine, config }) => {
        await config.write(text)
        const step = await machine.job({ eventName: 'pull_request', event: pullRequest }).uses({ with: skip })
        expect(said(step, 'warning')).toEqual([])
      }),
  )
})
