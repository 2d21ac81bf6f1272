import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, test } from '@jest/globals'
import type { Job } from '../../sandbox/job.ts'
import { credentials, openWorld, type World } from '../integration/world.ts'
import type { SdkReport } from './sdk-client.ts'

let world: World
beforeEach(async () => {
  world = await openWorld()
})
afterEach(() => world.close())

describe('the TypeScript SDK in a later step', () => {
  test.each([
    { found: 'in environment and config', inputs: {} },
    { found: 'in the environment alone', inputs: { login: 'false' } },
    { found: 'in the config alone', inputs: { 'export-env': 'false' } },
  ])('calls the API with the session token that it finds $found', async ({ inputs }) => {
    const { sandbox, machine } = world
    const job = machine.job()
    await job.uses({ with: { workspace: 'acme', ...credentials.oauth, ...inputs } })
    const [token = ''] = sandbox.blaxel.issued
    const before = sandbox.requests.length

    const { report } = await runClient(job)
    expect(report).toEqual({ workspace: 'acme', api: 'https://api.blaxel.ai/v0', status: 200 })
    expect(sandbox.requests.slice(before)).toEqual([
      expect.objectContaining({
        host: 'api.blaxel.ai',
        method: 'GET',
        path: '/v0/agents',
        headers: expect.objectContaining({
          'x-blaxel-authorization': `Bearer ${token}`,
          'x-blaxel-workspace': 'acme',
        }) as unknown,
      }),
    ])
    expect(sandbox.blaxel.issued).toEqual([token])
    await job.end()
  })

  test('goes to the API that the action was told of', async () => {
    const { sandbox, machine } = world
    const api = await sandbox.blaxel.loopbackUrl()
    const job = machine.job()
    await job.uses({ with: { workspace: 'acme', 'api-url': api, ...credentials.oauth } })
    const { report } = await runClient(job)
    expect(report).toEqual({ workspace: 'acme', api, status: 200 })
    await job.end()
  })

  test('finds no credential without the action, nor after the job', async () => {
    const first = world.machine.job()
    await first.uses({ with: { workspace: 'acme', ...credentials.oauth } })
    await first.end()
    const { step } = await runClient(world.machine.job())
    expect(step.exitCode).toBe(1)
    expect(step.raw).toContain('No Blaxel credentials found')
  })
})

/**
 * Runs the client with what the action has left for later steps, and with what keeps the SDK on the sandbox's proxy:
 * Node heeds a proxy only when told to, and the SDK's own HTTP/2 connection, which it tries first, never does.
 */
async function runClient(job: Job) {
  const file = join(import.meta.dirname, 'sdk-client.ts')
  const step = await job.run(`node ${file}`, { env: { NODE_USE_ENV_PROXY: '1', BL_DISABLE_CONTROL_PLANE_H2: '1' } })
  const report = step.exitCode === 0 ? (JSON.parse(step.stdout) as SdkReport) : undefined
  return { report, step }
}
