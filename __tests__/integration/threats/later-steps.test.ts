import { afterEach, beforeEach, describe, expect, test } from '@jest/globals'
import type { Job, StepResult } from '../../../sandbox/job.ts'
import { API_KEY, CLIENT_ID, CLIENT_SECRET, credentials, openWorld, tree, type World } from '../world.ts'

const PRIOR = 'context:\n  workspace: own\nworkspaces:\n- name: own\n  credentials:\n    apiKey: "of-this-machine"\n'
let world: World
beforeEach(async () => {
  world = await openWorld()
})
afterEach(() => world.close())

const minted = { version: '9.9.2', workspace: 'acme', ...credentials['service-account'] }
const oauth = { version: '9.9.2', workspace: 'acme', ...credentials.oauth }

function messages(step: StepResult | undefined): string {
  return (step?.annotations ?? []).map(({ level, message }) => `${level}: ${message}`).join('\n')
}

describe('threat 34: an empty variable of the job breaks later calls of bl', () => {
  test.each(['BL_CLIENT_CREDENTIALS', 'BL_API_KEY'])(
    '%s: named in a warning, and none is exported empty',
    async (name) => {
      const job = world.machine.job({ env: { [name]: '' } })
      const step = await job.uses({ with: oauth })
      expect(step.exitCode).toBe(0)
      expect(Object.entries(step.env).filter(([key, value]) => key.startsWith('BL_') && value === '')).toEqual([])
      if (name === 'BL_CLIENT_CREDENTIALS') expect(messages(step)).toMatch(/^warning: .*BL_CLIENT_CREDENTIALS/)
      else expect(step.env.BL_API_KEY).toBe(step.outputs.token)
      await job.end()
    },
  )

  test.each(['BL_CLIENT_CREDENTIALS', 'BL_API_KEY'])(
    '%s with nothing that could replace it: named in a warning',
    async (name) => {
      const job = world.machine.job({ env: { [name]: '' } })
      const step = await job.uses({ with: { ...oauth, 'export-env': 'false' } })
      expect(messages(step)).toContain(name)
      expect(step.env).toEqual({})
      await job.end()
    },
  )
})

describe('threat 36: what later steps change', () => {
  async function begun(inputs: Record<string, string> = minted): Promise<Job> {
    await world.config.write(PRIOR)
    const job = world.machine.job({ secrets: { KEY: API_KEY } })
    const step = await job.uses({ id: 'bl', with: inputs })
    expect(step.exitCode).toBe(0)
    return job
  }
  function expectRestored(): void {
    expect(world.config.read()).toBe(PRIOR)
    expect(tree(world.machine.home)).toEqual(['.blaxel', '.blaxel/config.yaml'])
  }

  test('of HOME, BL_* and the API: the post keeps to what main did', async () => {
    const job = await begun()
    const { url, requests } = await world.sandbox.trap()
    Object.assign(job.env, {
      HOME: world.machine.workspace,
      BL_API_URL: url,
      BL_ENV: 'local',
      BL_API_KEY: 'bl_someone_elses_key_012',
      BL_WORKSPACE: 'beta',
      RUNNER_TOOL_CACHE: world.machine.workspace,
    })
    const [post] = await job.end()
    expect([post?.exitCode, post?.annotations]).toEqual([0, []])
    expect(requests).toEqual([])
    expectRestored()
    expect(tree(world.machine.workspace)).toEqual([])
    const deletes = world.sandbox.requests.filter(({ method }) => method === 'DELETE')
    expect(deletes.map(({ host, headers }) => [host, headers.authorization])).toEqual([
      ['api.blaxel.ai', `Bearer ${API_KEY}`],
    ])
    expect(world.sandbox.blaxel.keys.size).toBe(0)
  })

  test.each([
    ['another key', 'bl_someone_elses_key_012', 'got another api-key than the main step'],
    ['another kind of secret', CLIENT_SECRET, 'got another api-key than the main step'],
    ['no key, as in nested composite actions', '', 'got no valid api-key, although the main step did'],
    ['no more than blanks', ' ', 'got no valid api-key, although the main step did'],
    ['what can be no key', 'two words', 'got no valid api-key, although the main step did'],
  ])('of what with: is evaluated to, %s now: no DELETE, a warning, and the config as before', async (_, now, says) => {
    await world.config.write(PRIOR)
    const job = world.machine.job({ env: { KEY: API_KEY } })
    expect((await job.uses({ with: { ...minted, 'api-key': '${{ env.KEY }}' } })).exitCode).toBe(0)
    job.env.KEY = now
    const [post] = await job.end()
    expect(post?.exitCode).toBe(0)
    expect(messages(post)).toMatch(/^warning: The key setup-bl-[0-9a-f]{32} was not revoked\. The post step got /)
    expect(messages(post)).toContain(says)
    expect(messages(post)).toMatch(/GitHub evaluates with: again after the job.* It expires by itself at \d{4}-/)
    expect(world.sandbox.requests.filter(({ method }) => method === 'DELETE')).toEqual([])
    expectRestored()
  })

  test.each(['', '{', '{"schema":1,"invocation":"x"}'])('of the state to %j: nothing is touched', async (text) => {
    const job = await begun()
    const before = [world.config.read(), tree(world.machine.home)]
    const state = job.stateOf('bl')
    for (const name of Object.keys(state)) state[name] = text
    const asked = world.sandbox.requests.length
    const [post] = await job.end()
    expect(post?.exitCode).toBe(0)
    if (text !== '') expect(messages(post)).toContain('warning: The state that the main step has saved was changed')
    expect([world.config.read(), tree(world.machine.home)]).toEqual(before)
    expect(world.sandbox.requests).toHaveLength(asked)
  })
})

describe('threat 40: two jobs, one of them on another API', () => {
  test("no token is sent to the other's API", async () => {
    const { blaxelDev } = world.sandbox
    blaxelDev.addWorkspace('acme')
    blaxelDev.addClient(CLIENT_ID, CLIENT_SECRET, { workspaces: ['acme'] })
    const prod = world.machine.job()
    const first = await prod.uses({ with: oauth })
    const dev = world.machine.job({ env: { BL_ENV: 'dev' } })
    const refused = await dev.uses({ with: oauth })
    expect([first.exitCode, refused.exitCode]).toEqual([0, 1])
    expect(messages(refused)).toContain('at https://api.blaxel.ai/v0, not at https://api.blaxel.dev/v0')
    expect((await prod.run('bl get agents --skip-version-warning')).exitCode).toBe(0)
    await dev.end()
    await prod.end()
    expectNoStrayToken()
  })

  test('for two workspaces: each job is told its own API, and bl asks that one', async () => {
    const { blaxelDev } = world.sandbox
    blaxelDev.addWorkspace('beta')
    blaxelDev.addClient(CLIENT_ID, CLIENT_SECRET, { workspaces: ['beta'] })
    const dev = world.machine.job({ env: { BL_ENV: 'dev' } })
    expect((await dev.uses({ with: { ...oauth, workspace: 'beta' } })).env).toMatchObject({
      BL_ENV: 'dev',
      BL_API_URL: 'https://api.blaxel.dev/v0',
    })
    const prod = world.machine.job()
    expect((await prod.uses({ with: oauth })).exitCode).toBe(0)
    for (const job of [dev, prod]) expect((await job.run('bl get agents --skip-version-warning')).exitCode).toBe(0)
    await dev.end()
    await prod.end()
    expectNoStrayToken()
  })

  /** A token is only ever shown to the API that has issued it. */
  function expectNoStrayToken(): void {
    const { requests, blaxel, blaxelDev } = world.sandbox
    const stray = requests.filter(({ host, headers }) => {
      const foreign = host === 'api.blaxel.ai' ? blaxelDev.issued : blaxel.issued
      return foreign.some((token) => JSON.stringify(headers).includes(token))
    })
    expect(stray.map(({ host, path }) => `${host}${path}`)).toEqual([])
  }
})
