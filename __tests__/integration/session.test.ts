import { afterEach, beforeEach, describe, expect, test } from '@jest/globals'
import { API_KEY, CLIENT_SECRET, credentials, openWorld, requestsTo, tree, visible, type World } from './world.ts'

let world: World
beforeEach(async () => {
  world = await openWorld()
})
afterEach(() => world.close())

describe('client-id and client-secret', () => {
  test('become an OAuth token, from main to post', async () => {
    const { sandbox, machine, config } = world
    const job = machine.job()
    const step = await job.uses({ with: { workspace: 'acme', ...credentials.oauth } })

    expect(step.log.trimEnd().split('\n')).toEqual([
      expect.stringMatching(/^Installed bl 9\.9\.2 for \S+ in \d+\.\d s \(SHA-256 verified: release checksums\)$/),
      expect.stringMatching(
        /^Logged in to workspace acme with an OAuth token that expires \d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$/,
      ),
      'Exported BL_WORKSPACE, BL_API_KEY and BL_TOKEN to later steps',
    ])
    expect(step.exitCode).toBe(0)
    const [token = ''] = sandbox.blaxel.issued
    expect(step.outputs).toEqual({
      version: '9.9.2',
      path: expect.stringContaining(machine.toolCache),
      'cache-hit': 'false',
      'verified-by': 'release-checksums',
      workspace: 'acme',
      authenticated: 'true',
      token,
      'token-type': 'oauth',
      'token-expires-at': expect.stringMatching(/Z$/),
    })
    expect(step.env).toEqual({ BL_WORKSPACE: 'acme', BL_API_KEY: token, BL_TOKEN: token })
    expect(config.read()).toContain(token)
    expect(config.mode()).toBe(0o600)

    const later = await job.run('bl workspaces --current && bl get agents && blaxel version')
    expect(later.exitCode).toBe(0)
    expect(later.log).toContain('acme')

    const [post] = await job.end()
    expect(post?.exitCode).toBe(0)
    expect(post?.log).toBe('Logged out of workspace acme\n')
    expect(config.read()).toBeUndefined()
    expect(tree(job.temp).filter((path) => path.includes('setup-bl'))).toEqual([])
    expect(visible(step)).not.toContain(CLIENT_SECRET)
    expect(sandbox.refused).toEqual([])
  })
})

describe('api-key with service-account', () => {
  test('mints a key and revokes it after the job', async () => {
    const { sandbox, machine, config } = world
    await config.write('# mine\nworkspaces: []\n', 0o640)
    const job = machine.job()
    const step = await job.uses({ with: { workspace: 'acme', ...credentials['service-account'] } })
    expect(step.exitCode).toBe(0)
    expect(step.outputs['token-type']).toBe('service-account-key')
    expect(sandbox.blaxel.keys.size).toBe(1)
    expect(config.read()).not.toContain(API_KEY)

    const [post] = await job.end()
    expect(post?.log).toMatch(
      /^Logged out of workspace acme\nRevoked the key setup-bl-[0-9a-f]{32} of the service account sa-deployer\n$/,
    )
    expect(sandbox.blaxel.keys.size).toBe(0)
    expect(config.read()).toBe('# mine\nworkspaces: []\n')
    expect(config.mode()).toBe(0o640)
  })
})

describe('api-key alone', () => {
  test('is its own session token, with a notice', async () => {
    const job = world.machine.job()
    const step = await job.uses({ with: { workspace: 'acme', ...credentials['api-key'] } })
    expect(step.exitCode).toBe(0)
    expect(step.outputs).toMatchObject({ token: API_KEY, 'token-type': 'api-key', 'token-expires-at': '' })
    expect(step.env).toEqual({ BL_WORKSPACE: 'acme', BL_API_KEY: API_KEY })
    expect(step.annotations).toEqual([
      { level: 'notice', message: expect.stringContaining('does not expire') as unknown },
    ])
    await job.end()
    expect(world.config.read()).toBeUndefined()
    expect(requestsTo(world.sandbox, 'api.blaxel.ai')).toContain('GET /v0/workspaces/acme')
  })
})
