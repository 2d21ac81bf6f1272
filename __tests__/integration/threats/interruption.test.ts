import { describe, expect, test } from '@jest/globals'
import { existsSync, readFileSync } from 'node:fs'
import { setTimeout as pause } from 'node:timers/promises'
import type { Job, Running } from '../../../sandbox/job.ts'
import { abandonLogins, databasePath } from '../login-store.ts'
import { credentials, inWorld, tree, type World } from '../world.ts'

const PRIOR = `context: {workspace: personal}   # mine
workspaces:
    - name: personal
      credentials: {apiKey: 'of this machine'}
`
const POINTS = process.env.LONG === '1' ? 40 : 4
const minted = { version: '9.9.2', workspace: 'acme', ...credentials['service-account'] }
const points = Array.from({ length: POINTS }, (_, index) => index / POINTS)
const WAYS = ['SIGINT', 'SIGINT, SIGTERM, SIGKILL'] as const

/** One way and one point of time each; the ways take turns. */
const cases = points.map((point, index) => [WAYS[index % 2] ?? WAYS[0], point] as const)

async function interrupt(running: Running<unknown>, way: (typeof WAYS)[number], afterMs: number): Promise<void> {
  await pause(afterMs)
  for (const signal of way.split(', ') as NodeJS.Signals[]) {
    running.kill(signal)
    await pause(15)
  }
}

/** How long a step takes here and now, when nobody interrupts it. */
async function durations({ machine }: World): Promise<{ main: number; post: number }> {
  const job = machine.job()
  const { durationMs: main } = await job.uses({ with: minted })
  const [post] = await job.end()
  return { main, post: post?.durationMs ?? 0 }
}

function expectAsBefore({ config, machine, sandbox }: World, job: Job): void {
  expect([config.read(), config.mode()]).toEqual([PRIOR, 0o640])
  expect(tree(machine.home)).toEqual(['.blaxel', '.blaxel/config.yaml'])
  expect([...tree(machine.toolCache), ...tree(job.temp)].filter((path) => path.includes('setup-bl-'))).toEqual([])
  expect(sandbox.blaxel.keys.size).toBe(0)
  if (!existsSync(databasePath(config))) return
  const database = readFileSync(databasePath(config), 'latin1')
  for (const token of sandbox.blaxel.issued) expect(database).not.toContain(token)
}

async function expectNextWorks(world: World): Promise<void> {
  const next = world.machine.job()
  const step = await next.uses({ with: minted })
  expect([step.exitCode, step.annotations]).toEqual([0, []])
  expect((await next.run('bl token acme')).exitCode).toBe(0)
  await next.end()
  expectAsBefore(world, next)
}

describe('threat 20: a main step that is interrupted', () => {
  test.each(cases)('by %s at %d of its time: the post undoes it, and the next job works', async (way, point) => {
    await inWorld(async (world) => {
      await world.config.write(PRIOR, 0o640)
      const { main } = await durations(world)
      const job = world.machine.job()
      const running = job.start({ with: minted })
      await interrupt(running, way, point * main)
      await running.result
      const [post] = await job.end()
      expect(post?.exitCode).toBe(0)
      expectAsBefore(world, job)
      await expectNextWorks(world)
    })
  })
})

describe('threat 20: a post step that is interrupted', () => {
  test.each(cases)('by %s at %d of its time: nothing is torn, and all is undone in the end', async (way, point) => {
    await inWorld(async (world) => {
      await world.config.write(PRIOR, 0o640)
      const { post: duration } = await durations(world)
      const job = world.machine.job()
      await job.uses({ with: minted })
      const during = world.config.read()
      const running = job.startEnd()
      // The signals of the runner come when it has begun: before that, nobody could ignore them.
      await interrupt(running, way, Math.max(0.3, point) * duration)
      const [post] = await running.result
      expect([PRIOR, during]).toContain(world.config.read())
      if (way === 'SIGINT') {
        if (post?.exitCode === 0) expectAsBefore(world, job)
        else expect(post?.signal).toBe('SIGINT')
      }
      abandonLogins(world.config)
      world.sandbox.blaxel.keys.clear()
      await expectNextWorks(world)
    })
  })
})

describe('threat 38: a minted key that nobody remembers', () => {
  const api = { host: 'api.blaxel.ai', path: /api_keys$/ }

  test.each(['SIGINT', 'SIGKILL'] as const)('%s while the key is made: none is left', async (signal) => {
    await inWorld(async (world) => {
      world.sandbox.intercept({ ...api, method: 'POST', answer: { kind: 'process-then-reset' } })
      let made = false
      world.sandbox.intercept({ ...api, method: 'GET', answer: { kind: 'delay', ms: 0 } })
      const job = world.machine.job()
      const running = job.start({ with: minted })
      while (!made) {
        made = world.sandbox.requests.some(({ method, path }) => method === 'POST' && path.endsWith('/api_keys'))
        await pause(1)
      }
      running.kill(signal)
      await running.result
      await job.end()
      expect(world.sandbox.blaxel.keys.size).toBe(0)
    })
  })

  test.each(['SIGINT', 'a failed installation'])('%s while the answer is on its way: none is left', async (what) => {
    await inWorld(async (world) => {
      world.sandbox.intercept({ ...api, method: 'POST', answer: { kind: 'stall', bytes: 5 } })
      const version = what === 'SIGINT' ? minted.version : '9.9.4'
      world.sandbox.github.publish({ version: '9.9.4', faults: { versionBroken: true } })
      const job = world.machine.job()
      const running = job.start({ with: { ...minted, version } })
      while (world.sandbox.blaxel.keys.size === 0) await pause(1)
      if (what === 'SIGINT') running.kill('SIGINT')
      const step = await running.result
      expect([step.exitCode, world.sandbox.blaxel.keys.size]).toEqual([1, 1])
      await job.end()
      expect(world.sandbox.blaxel.keys.size).toBe(0)
    })
  })

  test('the connection breaks after the key is made: deleted by its name, not made again', async () => {
    await inWorld(async (world) => {
      world.sandbox.intercept({ ...api, method: 'POST', answer: { kind: 'process-then-reset' } })
      const job = world.machine.job()
      const step = await job.uses({ with: minted })
      expect(step.exitCode).toBe(1)
      const asked = world.sandbox.requests.filter(({ path }) => path.includes('/api_keys'))
      expect(asked.filter(({ method }) => method === 'POST')).toHaveLength(1)
      expect(world.sandbox.blaxel.keys.size).toBe(0)
      await job.end()
    })
  })

  test('the connection breaks, and the list can not be read: the post deletes it', async () => {
    await inWorld(async (world) => {
      world.sandbox.intercept({ ...api, method: 'POST', answer: { kind: 'process-then-reset' } })
      const undo = world.sandbox.intercept({
        ...api,
        method: 'GET',
        answer: { kind: 'respond', status: 403, body: {} },
      })
      const job = world.machine.job()
      expect((await job.uses({ with: minted })).exitCode).toBe(1)
      expect(world.sandbox.blaxel.keys.size).toBe(1)
      undo()
      await job.end()
      expect(world.sandbox.blaxel.keys.size).toBe(0)
    })
  })

  test('the installation fails after the key is made: the post revokes it', async () => {
    await inWorld(async (world) => {
      world.sandbox.github.publish({ version: '9.9.4', faults: { versionBroken: true } })
      const job = world.machine.job()
      const step = await job.uses({ with: { ...minted, version: '9.9.4' } })
      expect(step.exitCode).toBe(1)
      await job.end()
      expect(world.sandbox.blaxel.keys.size).toBe(0)
    })
  })
})
