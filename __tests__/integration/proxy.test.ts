import { afterEach, beforeEach, describe, expect, test } from '@jest/globals'
import { createMachine, type Machine } from '../../sandbox/machine.ts'
import type { StepResult } from '../../sandbox/job.ts'
import { hurried } from './threats/preload.ts'
import { credentials, openWorld, visible, type World } from './world.ts'

const MIRROR = { host: 'mirror.invalid', url: 'https://mirror.invalid/toolkit' }

let world: World
beforeEach(async () => {
  world = await openWorld()
  world.sandbox.addHost(MIRROR.host, () => ({ status: 200, body: world.sandbox.github.archive('9.9.2') }))
})
afterEach(() => world.close())

/** A machine that differs in its network settings. */
async function machineWith(change: Record<string, string>, without: readonly string[] = []): Promise<Machine> {
  const env = Object.entries({ ...world.sandbox.env, ...change }).filter(([name]) => !without.includes(name))
  return world.secrets.watch(await createMachine({ root: world.sandbox.root, env: Object.fromEntries(env) }))
}

function fromMirror(machine: Machine): Promise<StepResult> {
  return machine
    .job({ env: hurried(world) })
    .uses({ with: { version: '9.9.2', checksum: world.sandbox.github.sha256('9.9.2'), 'mirror-url': MIRROR.url } })
}

describe('no_proxy', () => {
  test('that names the host goes past the proxy', async () => {
    const step = await fromMirror(await machineWith({ no_proxy: 'a.example, *.invalid' }))
    expect(step.annotations).toEqual([
      { level: 'error', message: expect.stringContaining('No connection to mirror.invalid') as unknown },
    ])
    expect(world.sandbox.connects).toEqual([])
  })

  test('that names another does not', async () => {
    const step = await fromMirror(await machineWith({ NO_PROXY: 'rror.invalid' }))
    expect(step.exitCode).toBe(0)
    expect(world.sandbox.connects).toEqual(['mirror.invalid:443'])
  })
})

describe('a proxy', () => {
  test.each(['https_proxy', 'HTTPS_PROXY'])(
    'in %s alone holds for every request, and bl is told of it and of the certificates',
    async (name) => {
      const other = name === 'https_proxy' ? 'HTTPS_PROXY' : 'https_proxy'
      const machine = await machineWith({ SSL_CERT_DIR: '/etc/ssl/certs', NO_PROXY: 'internal.example' }, [other])
      const job = machine.job()
      const step = await job.uses({ with: { workspace: 'acme', ...credentials.oauth } })
      expect(step.exitCode).toBe(0)
      for (const { env } of world.sandbox.github.invocations()) {
        expect(env[name]).toBe(world.sandbox.env[name])
        expect(env).toMatchObject({
          SSL_CERT_FILE: world.sandbox.env.SSL_CERT_FILE,
          SSL_CERT_DIR: '/etc/ssl/certs',
          NO_PROXY: 'internal.example',
        })
      }
      await job.end()
    },
  )

  test('that wants authentication gets it, and its password is not shown', async () => {
    world.sandbox.proxy.requireAuth('carol', 'pass word/1')
    const https_proxy = (world.sandbox.env.https_proxy ?? '').replace('http://', 'http://carol:pass%20word%2F1@')
    const machine = await machineWith({ https_proxy, HTTPS_PROXY: https_proxy })
    const job = machine.job({ debug: true })
    const step = await job.uses({ with: { workspace: 'acme', ...credentials.oauth } })
    expect(step.exitCode).toBe(0)
    for (const secret of ['pass word/1', 'pass%20word%2F1']) expect(visible(step)).not.toContain(secret)
    await job.end()
    // A child is given the proxy, and Node would tell of all that a child is given.
    const { version = '' } = step.outputs
    const talkative = machine.job({ env: { NODE_DEBUG: 'child_process' } })
    const warm = await talkative.uses({ with: { version, workspace: 'acme', ...credentials.oauth } })
    expect([warm.exitCode, warm.outputs['cache-hit']]).toEqual([0, 'true'])
    for (const secret of ['pass word/1', 'pass%20word%2F1']) expect(warm.raw).not.toContain(secret)
    await talkative.end()
  })

  test('that wants authentication and does not get it has its own message', async () => {
    world.sandbox.proxy.requireAuth('carol', 'pass word/1')
    const step = await fromMirror(await machineWith({}))
    expect(step.annotations).toEqual([
      {
        level: 'error',
        message: expect.stringMatching(
          /proxy refused to connect to mirror\.invalid \(407\).*user and password into https_proxy/,
        ) as unknown,
      },
    ])
    expect(world.sandbox.connects).toHaveLength(1)
  })

  test('that refuses a host has its own message', async () => {
    world.sandbox.proxy.refuseAll(403)
    const step = await fromMirror(await machineWith({}))
    expect(step.annotations).toEqual([
      {
        level: 'error',
        message: expect.stringMatching(/proxy refused to connect to mirror\.invalid \(403\).*no_proxy/) as unknown,
      },
    ])
  })

  test('whose TLS nobody knows has its own message, and no credential is sent', async () => {
    const machine = await machineWith({}, ['NODE_EXTRA_CA_CERTS', 'SSL_CERT_FILE'])
    const step = await machine.job().uses({ with: { workspace: 'acme', ...credentials.oauth } })
    expect(step.annotations).toEqual([
      {
        level: 'error',
        message: expect.stringMatching(/^The certificate of \S+ is not trusted .*NODE_EXTRA_CA_CERTS/) as unknown,
      },
    ])
    expect(world.sandbox.requests).toEqual([])
  })
})
