import { afterEach, beforeEach, describe, expect, test } from '@jest/globals'
import type { StepResult } from '../../sandbox/job.ts'
import { expectFailure, expectHidden } from './failure.ts'
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
} from './world.ts'

const PAIR = Buffer.from(`${CLIENT_ID}:${CLIENT_SECRET}`).toString('base64')

let world: World
beforeEach(async () => {
  world = await openWorld()
})
afterEach(() => world.close())

/** The annotations of one level. */
function said(step: StepResult, level: 'notice' | 'warning'): string[] {
  return step.annotations.filter((annotation) => annotation.level === level).map(({ message }) => message)
}

/** The step installed `bl`, and nothing more: no session, nothing exported, no request to the API. */
function expectInstallOnly(step: StepResult): void {
  expect(step.exitCode).toBe(0)
  expect(step.outputs).toEqual({
    version: '9.9.2',
    path: expect.stringContaining(world.machine.toolCache),
    'cache-hit': 'false',
    'verified-by': 'release-checksums',
    workspace: '',
    authenticated: 'false',
    token: '',
    'token-type': '',
    'token-expires-at': '',
  })
  expect(step.env).toEqual({})
  expect(step.paths).toHaveLength(1)
  expect(requestsTo(world.sandbox, 'api.blaxel.ai')).toEqual([])
}

const pullRequest = (head: string | undefined) => ({
  pull_request: {
    head: { repo: head === undefined ? null : { full_name: head } },
    base: { repo: { full_name: 'octo-org/hello' } },
  },
})

describe('half a credential', () => {
  test("in Dependabot's pull request: the secret alone, where the ID is kept as a secret, too", async () => {
    const job = world.machine.job({ actor: 'dependabot[bot]', secrets: { BL_SECRET: CLIENT_SECRET } })
    const step = await job.uses({
      with: { workspace: 'acme', 'client-id': '${{ secrets.ID }}', 'client-secret': '${{ secrets.BL_SECRET }}' },
    })
    expectFailure(step, ['The input client-secret is given without client-id', 'add the missing one there too'])
    // It has a secret, so skip would not skip it.
    expect(step.log).not.toContain('skip')
  })
})

describe('on-missing-credentials: skip', () => {
  const skip = { workspace: 'acme', 'on-missing-credentials': 'skip' }

  test('installs bl only, and says so', async () => {
    const job = world.machine.job({ eventName: 'pull_request', event: pullRequest('stranger/hello') })
    const step = await job.uses({ with: skip })
    expectInstallOnly(step)
    expect(said(step, 'warning')).toEqual([])
    expect(said(step, 'notice')).toEqual([
      "No credential is given for the workspace 'acme'. bl was installed but not logged in, because of 'on-missing-credentials: skip'.",
    ])
    expect((await job.run('bl version --skip-version-warning && blaxel version --skip-version-warning')).exitCode).toBe(
      0,
    )
    const [post] = await job.end()
    expect([post?.exitCode, post?.log]).toEqual([0, ''])
    expect(tree(world.machine.home)).toEqual([])
  })

  test.each([
    ['all of it', { workspace: '${{ vars.WORKSPACE }}', 'client-id': '${{ vars.BL_CLIENT_ID }}' }],
    ['an option', { workspace: 'acme', login: '${{ vars.LOGIN }}', 'token-lifetime': '${{ vars.LIFETIME }}' }],
  ])('holds whatever else is empty: %s', async (_, inputs) => {
    await world.config.write('workspaces:\n- name: home\n  credentials:\n    apiKey: "bl_key_of_this_machine"\n')
    const job = world.machine.job({ eventName: 'pull_request', event: pullRequest('stranger/hello') })
    const secret = { 'client-secret': '${{ secrets.BL_SECRET }}', 'api-key': '${{ secrets.BL_API_KEY }}' }
    const step = await job.uses({ with: { ...secret, ...inputs, 'on-missing-credentials': 'skip' } })
    expectInstallOnly(step)
    expect(said(step, 'notice')).toEqual([
      expect.stringMatching(/^No credential is given.* because of 'on-missing-credentials: skip'\.$/) as unknown,
    ])
    // bl in this job would use the machine's own login.
    expect(said(step, 'warning')).toEqual([expect.stringMatching(/^This machine has its own login to home/) as unknown])
  })

  test('logs in as ever where a credential is given', async () => {
    const step = await world.machine.job().uses({ with: { ...skip, ...credentials.oauth } })
    expect(step.outputs).toMatchObject({ authenticated: 'true', 'token-type': 'oauth' })
    expect(step.annotations).toEqual([])
  })

  test('warns where the machine is logged in by itself: bl in this job would use that login', async () => {
    const text =
      'context:\n  workspace: home\nworkspaces:\n' +
      '- name: home\n  credentials:\n    apiKey: "bl_key_of_this_machine"\n' +
      '- name: other\n  credentials:\n    apiKey: "bl_other_of_this_machine"\n'
    await world.config.write(text)
    const step = await world.machine.job().uses({ with: skip })
    expectInstallOnly(step)
    expect(said(step, 'warning')).toEqual([
      expect.stringMatching(/^This machine has its own login to home and other, which bl uses in this job/) as unknown,
    ])
    expectHidden(step, ['bl_key_of_this_machine', 'bl_other_of_this_machine'])
    expect(world.config.read()).toBe(text)
  })

  test('does not warn of a config without a login', async () => {
    await world.config.write('context:\n  workspace: ""\nworkspaces: []\n')
    const step = await world.machine.job().uses({ with: skip })
    expectInstallOnly(step)
    expect(said(step, 'warning')).toEqual([])
  })

  test('does not fail for a config that is not valid, which it leaves alone', async () => {
    await world.config.write('workspaces: [\n')
    const step = await world.machine.job().uses({ with: skip })
    expectInstallOnly(step)
    expect(world.config.read()).toBe('workspaces: [\n')
  })
})

describe('install only', () => {
  test('is what no workspace and no credential mean, without a word about it', async () => {
    await world.config.write('workspaces: [\n')
    const step = await world.machine.job().uses()
    expectInstallOnly(step)
    expect(step.annotations).toEqual([])
    expect(world.config.read()).toBe('workspaces: [\n')
  })

  test.each([
    ['BL_WORKSPACE', { BL_WORKSPACE: 'acme' }, 'no credential is given'],
    ['BL_CLIENT_CREDENTIALS', { BL_CLIENT_CREDENTIALS: PAIR }, 'no workspace is named'],
  ])('is what %s alone in the environment means, with a notice that says what is missing', async (_, env, says) => {
    const step = await world.machine.job({ env }).uses()
    expectInstallOnly(step)
    expect(said(step, 'notice')).toEqual([expect.stringContaining(says) as unknown])
    expectHidden(step, [API_KEY, CLIENT_SECRET, PAIR])
  })
})

describe('the environment', () => {
  test('gives what the inputs do not', async () => {
    const env = { BL_WORKSPACE: 'beta', BL_API_KEY: API_KEY }
    const step = await world.machine.job({ env }).uses()
    expect(step.outputs).toMatchObject({ workspace: 'beta', authenticated: 'true', 'token-type': 'api-key' })
    expectMasked(step, API_KEY)
  })

  test('never wins over the inputs', async () => {
    const env = { BL_WORKSPACE: 'gamma', BL_API_KEY: 'bl_key_of_the_environment' }
    const step = await world.machine.job({ env }).uses({ with: { workspace: 'acme', ...credentials.oauth } })
    expect(step.outputs).toMatchObject({ workspace: 'acme', 'token-type': 'oauth' })
    const authorizations = world.sandbox.requests.map(({ headers }) => headers.authorization ?? '')
    expect(authorizations.join()).not.toContain('bl_key_of_the_environment')
    expectMasked(step, 'bl_key_of_the_environment')
  })

  test('with BL_CLIENT_CREDENTIALS is taken, before BL_API_KEY, and a warning says to move it into with:', async () => {
    const env = { BL_CLIENT_CREDENTIALS: PAIR, BL_API_KEY: API_KEY }
    const step = await world.machine.job({ env }).uses({ with: { workspace: 'acme' } })
    expect(step.outputs).toMatchObject({ authenticated: 'true', 'token-type': 'oauth' })
    expect(said(step, 'warning')).toEqual([
      expect.stringMatching(
        /^BL_CLIENT_CREDENTIALS .*sends the client secret again.*client-id and client-secret in with:/,
      ),
    ])
    for (const secret of [CLIENT_SECRET, PAIR, API_KEY]) expectMasked(step, secret)
    // bl itself is given the session token alone.
    for (const { env } of world.sandbox.github.invocations()) expect(env).not.toHaveProperty('BL_CLIENT_CREDENTIALS')
  })

  test('with BL_CLIENT_CREDENTIALS draws the same warning where the inputs win', async () => {
    const env = { BL_CLIENT_CREDENTIALS: PAIR }
    const step = await world.machine.job({ env }).uses({ with: { workspace: 'acme', ...credentials['api-key'] } })
    expect(step.outputs).toMatchObject({ 'token-type': 'api-key' })
    expect(said(step, 'warning')).toEqual([expect.stringMatching(/^BL_CLIENT_CREDENTIALS /) as unknown])
  })
})

/** The secret is masked before a word is printed, and not shown. */
function expectMasked(step: StepResult, secret: string): void {
  const lines = step.stdout.split('\n')
  const firstWord = lines.findIndex((line) => !line.startsWith('::add-mask::'))
  expect(lines.slice(0, firstWord)).toContain(`::add-mask::${secret}`)
  expect(visible(step)).not.toContain(secret)
}

describe('a second use in the same job, with the workspace alone', () => {
  test('asks for the credential as an input once the API does not take it any more', async () => {
    const job = world.machine.job()
    const first = await job.uses({ with: { workspace: 'acme', ...credentials.oauth } })
    world.sandbox.blaxel.revoke(first.outputs.token ?? '')
    const second = await job.uses({ with: { workspace: 'acme' } })
    expectFailure(second, ['The Blaxel API rejected BL_API_KEY (401', 'set the credential as an input (with:)'])
    expectHidden(second, [first.outputs.token ?? ''])
  })

  test('does not take a BL_API_KEY that a step has set since for one', async () => {
    const job = world.machine.job()
    await job.uses({ with: { workspace: 'acme', ...credentials.oauth } })
    job.env.BL_API_KEY = API_KEY
    const second = await job.uses({ with: { workspace: 'acme' } })
    expect(second.outputs).toMatchObject({ token: API_KEY, 'token-type': 'api-key' })
    expect(said(second, 'notice')).toEqual([expect.stringContaining('does not expire') as unknown])
  })
})

describe('an api-key that is a JWT', () => {
  /** As the API issues them: three parts, of which the second says when it ends. */
  const jwt = (seconds: number) =>
    [
      { alg: 'HS256', typ: 'JWT' },
      { sub: CLIENT_ID, exp: Math.floor(Date.now() / 1000) + seconds },
    ]
      .map((part) => Buffer.from(JSON.stringify(part)).toString('base64url'))
      .concat('c2lnbmF0dXJlLW9mLTMyLWJ5dGVzLWV4YWN0bHk')
      .join('.')
  const HOUR = 3600

  test('is its own, short-lived session token', async () => {
    const token = jwt(HOUR)
    world.sandbox.blaxel.addApiKey(token, { workspaces: ['acme'] })
    const job = world.machine.job()
    const step = await job.uses({ with: { workspace: 'acme', 'api-key': token } })
    expect(step.exitCode).toBe(0)
    expect(step.outputs).toMatchObject({ token, 'token-type': 'oauth' })
    expect(Date.parse(step.outputs['token-expires-at'] ?? '')).toBeGreaterThan(Date.now())
    expect(step.env).toEqual({ BL_WORKSPACE: 'acme', BL_API_KEY: token, BL_TOKEN: token })
    expect(step.annotations).toEqual([])
    expectMasked(step, token)
    expect(world.sandbox.requests.filter(({ method }) => method === 'POST')).toEqual([])
    await job.end()
    expect(tree(world.machine.home)).toEqual([])
  })

  test('that has not expired and is refused is not called expired', async () => {
    const token = jwt(HOUR)
    const step = await world.machine.job().uses({ with: { workspace: 'acme', 'api-key': token } })
    expectFailure(step, ['The Blaxel API rejected api-key (401', 'Use a fresh token'])
    expect(step.log).not.toContain('expired')
  })
})

describe('the input apikey, for those who come from bl-action', () => {
  test('works as api-key does, with a word about its name', async () => {
    const job = world.machine.job()
    const step = await job.uses({ with: { workspace: 'acme', apikey: API_KEY } })
    expect(step.exitCode).toBe(0)
    expect(step.outputs).toMatchObject({ token: API_KEY, 'token-type': 'api-key' })
    expect(said(step, 'warning')).toEqual([expect.stringContaining('Rename apikey to api-key') as unknown])
    expectMasked(step, API_KEY)
  })

  test('mints for a service account, and is what the post step revokes with', async () => {
    const job = world.machine.job()
    const step = await job.uses({ with: { workspace: 'acme', apikey: API_KEY, 'service-account': CLIENT_ID } })
    expect(step.outputs).toMatchObject({ 'token-type': 'service-account-key' })
    expect(world.sandbox.blaxel.keys.size).toBe(1)
    await job.end()
    expect(world.sandbox.blaxel.keys.size).toBe(0)
  })

  test('is named by the error where the API does not take it', async () => {
    const step = await world.machine.job().uses({ with: { workspace: 'acme', apikey: 'bl_not_a_key_0123456789' } })
    expectFailure(step, ['The Blaxel API rejected apikey (401', 'valid API key'])
    expectHidden(step, ['bl_not_a_key_0123456789'])
  })
})
