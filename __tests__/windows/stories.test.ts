// What is different on Windows, by real programs, paths and file locks: profiles that are not ASCII, programs and files
// that can't be replaced while something holds them. Runs on Windows, and on Debian under Wine (npm run e2e:windows).
import { afterEach, beforeEach, describe, expect, test } from '@jest/globals'
import { readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { setTimeout as pause } from 'node:timers/promises'
import type { StepResult } from '../../sandbox/job.ts'
import { createMachine, type Machine } from '../../sandbox/machine.ts'
import { configOf, credentials, openWorld, tree, type ConfigFile, type World } from '../integration/world.ts'

const PRIOR = '# of this machine\r\ncontext: {workspace: home}\r\n'
const VERSION = '9.9.2'
const oauth = { version: VERSION, workspace: 'acme', ...credentials.oauth }
const minting = { version: VERSION, workspace: 'acme', ...credentials['service-account'] }

let world: World
beforeEach(async () => {
  world = await openWorld()
})
afterEach(() => world.close())

/** A machine whose every path lies in a user's profile, and which has a config of its own. */
async function machineOf(profile: string): Promise<{ machine: Machine; config: ConfigFile }> {
  const { root, env } = world.sandbox
  const machine = await createMachine({ root: join(root, 'Users', profile), env, runnerEnvironment: 'self-hosted' })
  const config = configOf(machine)
  await config.write(PRIOR)
  return { machine: world.secrets.watch(machine), config }
}

/** Asserts a step that went well, without a warning. */
function expectFine(step: StepResult | undefined): void {
  expect([step?.exitCode, step?.annotations]).toEqual([0, []])
}

describe.each(['runneradmin', 'Jörg Müller', '用户'])('in the profile %s', (profile) => {
  test('a job installs, logs in, uses bl, and leaves everything as it was', async () => {
    const { machine, config } = await machineOf(profile)
    const job = machine.job()
    expectFine(await job.uses({ with: oauth }))
    expect(config.read()).toContain(world.sandbox.blaxel.issued[0])
    const later = await job.run('bl workspaces --current && blaxel token && bl get agents')
    expect([later.exitCode, later.log]).toEqual([0, expect.stringMatching(/^acme\r?\n/)])
    const [post] = await job.end()
    expectFine(post)
    expect(config.read()).toBe(PRIOR)
    expect(tree(dirname(config.path)).filter((path) => path !== 'version')).toEqual(['config.yaml'])
    expect([...tree(job.temp), ...tree(machine.toolCache)].filter((path) => path.includes('setup-bl-'))).toEqual([])
    // A second job finds what the first one has installed.
    expect((await machine.job().uses({ with: { version: VERSION } })).outputs['cache-hit']).toBe('true')
  })

  test('a key is minted and revoked', async () => {
    const { machine, config } = await machineOf(profile)
    const job = machine.job()
    expectFine(await job.uses({ with: minting }))
    expect(world.sandbox.blaxel.keys.size).toBe(1)
    const [post] = await job.end()
    expectFine(post)
    expect([world.sandbox.blaxel.keys.size, config.read()]).toEqual([0, PRIOR])
  })
})

const damages: readonly (readonly [string, (good: Buffer) => Buffer])[] = [
  ['cut off', (good) => good.subarray(0, 3_000)],
  ['full of zeros', (good) => Buffer.alloc(good.length)],
  [
    'of the right size and start, but no program',
    (good) => Buffer.concat([Buffer.from('MZ'), Buffer.alloc(good.length - 2)]),
  ],
]

test.each(damages)(
  'a bl.exe in the tool cache that is %s is replaced, by the next job at the latest',
  async (_, damage) => {
    const { machine } = await machineOf('runneradmin')
    const first = await machine.job().uses({ with: { version: VERSION } })
    const path = first.outputs.path ?? ''
    const good = readFileSync(path)
    writeFileSync(path, damage(good))
    const job = machine.job()
    const step = await job.uses({ with: oauth })
    if (step.exitCode !== 0) expect(step.annotations[0]?.message).toContain('run the job again to download it again')
    await job.end()
    expectFine(await machine.job().uses({ with: oauth }))
    expect(readFileSync(path).equals(good)).toBe(true)
  },
)

test('a bl.exe that runs is replaced, and what was replaced is gone after a later job', async () => {
  const { machine } = await machineOf('runneradmin')
  const job = machine.job()
  const step = await job.uses({ with: oauth })
  const entry = dirname(step.outputs.path ?? '')
  const clean = readdirSync(entry).sort()
  const undo = world.sandbox.intercept({
    host: 'api.blaxel.ai',
    path: /\/agents$/,
    answer: { kind: 'delay', ms: 12_000 },
  })
  const running = job.startRun('bl get agents')
  await pause(3_000)
  // No longer a hit, so that the next job replaces it.
  rmSync(join(entry, 'setup-bl.json'))
  expectFine(await machine.job().uses({ with: { version: VERSION } }))
  expect(readdirSync(entry).filter((name) => name.endsWith('.old'))).not.toEqual([])
  expect((await running.result).exitCode).toBe(0)
  undo()
  const later = await machine.job().uses({ with: { version: VERSION } })
  expect([later.outputs['cache-hit'], readdirSync(entry).sort()]).toEqual(['true', clean])
})

test('three cold jobs at once install one program', async () => {
  const { machine } = await machineOf('Jörg Müller')
  const steps = await Promise.all([1, 2, 3].map(() => machine.job().uses({ with: { version: VERSION } })))
  steps.forEach(expectFine)
  expect(tree(machine.toolCache).filter((path) => /setup-bl-|\.old$/.test(path))).toEqual([])
})

test.each([
  ['the first', [0, 1]],
  ['the second', [1, 0]],
] as const)(
  'of two jobs that overlap %s ends first: each keeps its login, and the config is as it was',
  async (_, order) => {
    const { machine, config } = await machineOf('用户')
    const jobs = [machine.job(), machine.job()] as const
    await Promise.all(
      jobs.map(async (job, index) => {
        expectFine(await job.uses({ with: { ...oauth, workspace: ['acme', 'beta'][index] ?? '' } }))
      }),
    )
    for (const index of order) {
      expect((await jobs[index].run('bl token')).exitCode).toBe(0)
      expectFine((await jobs[index].end())[0])
    }
    expect(config.read()).toBe(PRIOR)
  },
)

describe('a config that another process holds when the last job ends', () => {
  /** SQLite opens a file so that it can't be replaced on Windows. */
  const hold = (path: string) => new DatabaseSync(path)

  test('for a second: is put back after that', async () => {
    const { machine, config } = await machineOf('Jörg Müller')
    const job = machine.job()
    await job.uses({ with: oauth })
    const holder = hold(config.path)
    const ending = job.end()
    await pause(1_000)
    holder.close()
    expectFine((await ending)[0])
    expect(config.read()).toBe(PRIOR)
  })

  test('for long: post says so, and does not fail the job', async () => {
    const { machine, config } = await machineOf('Jörg Müller')
    const job = machine.job()
    await job.uses({ with: oauth })
    const holder = hold(config.path)
    const [post] = await job.end()
    holder.close()
    expect([post?.exitCode, post?.annotations.map(({ message }) => message)]).toEqual([
      0,
      [expect.stringContaining(config.path)],
    ])
  })
})
