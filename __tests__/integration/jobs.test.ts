import { afterEach, beforeEach, describe, expect, test } from '@jest/globals'
import { dirname } from 'node:path'
import { API_KEY, CLIENT_ID, credentials, openWorld, requestsTo, tree, visible, type World, isAlive } from './world.ts'

const PRIOR = `# kept by hand
context: {workspace: personal}   # mine
workspaces:
    - name: personal
      credentials: {apiKey: 'of this machine'}
    # the last word
`

let world: World
beforeEach(async () => {
  world = await openWorld()
})
afterEach(() => world.close())

describe('two jobs that overlap on one machine', () => {
  test('one on another API: refused, and the first is undisturbed', async () => {
    world.sandbox.blaxelDev.addWorkspace('acme')
    world.sandbox.blaxelDev.addApiKey('bl_key_of_dev_0123456789', { workspaces: ['acme'] })
    const first = world.machine.job()
    await first.uses({ with: { version: '9.9.2', workspace: 'acme', ...credentials.oauth } })
    const before = world.config.read()
    const second = world.machine.job({ env: { BL_ENV: 'dev' } })
    const step = await second.uses({
      with: { version: '9.9.2', workspace: 'acme', 'api-key': 'bl_key_of_dev_0123456789' },
    })
    expect(step.exitCode).toBe(1)
    expect(step.annotations.map(({ message }) => message).join()).toContain('https://api.blaxel.ai/v0')
    expect(step.env).toEqual({})
    await second.end()
    expect(world.config.read()).toBe(before)
    await first.end()
  })
})

describe('a machine with a login of its own', () => {
  const own = `context:\n  workspace: acme\nworkspaces:\n- name: acme\n  credentials:\n    apiKey: "of-the-machine"\ntracking: false\n`

  test('keeps what somebody else logs in to meanwhile', async () => {
    await world.config.write(own)
    const job = world.machine.job()
    await job.uses({ with: { workspace: 'acme', ...credentials.oauth } })
    expect((await job.run('bl login beta')).exitCode).toBe(0)
    const beta = /- name: beta[^]*?apiKey: "([^"]+)"/.exec(world.config.read() ?? '')?.[1]
    await job.end()
    expect(world.config.read()).toContain('of-the-machine')
    expect(world.config.read()).toContain(`apiKey: "${String(beta)}"`)
    expect(world.config.read()).toMatch(/^context:\n {2}workspace: beta\n/)
  })
})

describe('switches', () => {
  test('login: false writes no config and runs no bl login', async () => {
    const job = world.machine.job()
    const step = await job.uses({ with: { workspace: 'acme', login: 'false', ...credentials.oauth } })
    expect(step.log).toContain('Opened a session for workspace acme')
    expect(step.env.BL_API_KEY).toBe(step.outputs.token)
    expect(world.sandbox.github.invocations().map(({ argv }) => argv[0])).toEqual(['version'])
    expect(world.config.read()).toBeUndefined()
    const [post] = await job.end()
    expect(post?.log).toBe('')
  })

  test('export-env: false sets outputs alone', async () => {
    const job = world.machine.job()
    const step = await job.uses({ with: { workspace: 'acme', 'export-env': 'false', ...credentials.oauth } })
    expect(step.env).toEqual({})
    expect(step.outputs.token).toBe(world.sandbox.blaxel.issued[0])
    await job.end()
  })

  test('logout: false leaves the login in the config', async () => {
    await world.config.write(PRIOR, 0o644)
    const job = world.machine.job()
    const step = await job.uses({ with: { workspace: 'acme', logout: 'false', ...credentials.oauth } })
    expect(step.exitCode).toBe(0)
    await job.end()
    expect(world.config.read()).toContain(step.outputs.token)
    expect(world.config.read()).toContain("apiKey: 'of this machine'")
    expect(tree(dirname(world.config.path))).toEqual(['config.yaml'])
    expect((await job.run('bl token acme')).exitCode).toBe(0)
  })

  test('api-url leads to another API, named in the log and to later steps', async () => {
    const url = await world.sandbox.blaxel.loopbackUrl()
    const job = world.machine.job()
    const step = await job.uses({ with: { workspace: 'acme', 'api-url': url, ...credentials.oauth } })
    expect(step.exitCode).toBe(0)
    expect(step.env.BL_API_URL).toBe(url)
    expect(requestsTo(world.sandbox, 'api.blaxel.ai')).toEqual([])
    await job.end()
    expect(world.config.read()).toBeUndefined()
  })

  test('BL_ENV: dev leads there, and later steps are told so', async () => {
    world.sandbox.blaxelDev.addWorkspace('acme')
    world.sandbox.blaxelDev.addClient(CLIENT_ID, credentials.oauth['client-secret'], { workspaces: ['acme'] })
    const job = world.machine.job({ env: { BL_ENV: 'dev' } })
    const step = await job.uses({ with: { workspace: 'acme', ...credentials.oauth } })
    expect(step.env).toMatchObject({ BL_ENV: 'dev', BL_API_URL: 'https://api.blaxel.dev/v0' })
    expect(world.config.read()).toContain('env: "dev"')
    expect((await job.run('bl get agents')).exitCode).toBe(0)
    expect(requestsTo(world.sandbox, 'api.blaxel.ai')).toEqual([])
    await job.end()
  })
})

describe('a step that is cancelled', () => {
  test.each(['SIGINT', 'SIGTERM'] as const)(
    'with %s while bl login runs: bl is killed and the post step undoes the rest',
    async (signal) => {
      world.sandbox.github.publish({
        version: '9.9.3',
        faults: { loginSleepMs: 60_000, loginSpawnsChild: true, loginIgnoresSigterm: true },
      })
      const job = world.machine.job()
      const step = job.start({ with: { version: '9.9.3', workspace: 'acme', ...credentials['service-account'] } })
      const loginPid = await loginStarted(world)
      step.kill(signal)
      const result = await step.result
      expect(result.exitCode).toBe(1)
      expect(result.annotations).toEqual([
        { level: 'error', message: expect.stringContaining(`cancelled (${signal})`) as unknown },
      ])
      expect(isAlive(loginPid)).toBe(false)
      expect(result.env).toEqual({})
      expect(result.paths).toEqual([])
      await job.end()
      expect(world.sandbox.blaxel.keys.size).toBe(0)
      expect(tree(world.machine.home)).toEqual([])
      expect(tree(job.temp).filter((path) => path.includes('setup-bl'))).toEqual([])
      expect(visible(result)).not.toContain(API_KEY)
    },
  )
})

async function loginStarted({ sandbox }: World): Promise<number> {
  for (;;) {
    const login = sandbox.github.invocations().find(({ argv }) => argv[0] === 'login')
    if (login) return login.pid
    await new Promise((resolve) => setTimeout(resolve, 20))
  }
}
