import { afterEach, beforeEach, describe, expect, test } from '@jest/globals'
import { spawn, spawnSync } from 'node:child_process'
import { closeSync, openSync, writeFileSync, writeSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { setTimeout as pause } from 'node:timers/promises'
import { parse } from 'yaml'
import type { Job, StepResult } from '../../../sandbox/job.ts'
import { CLIENT_ID, CLIENT_SECRET, credentials, openWorld, tree, type World } from '../world.ts'

const PRIOR = `# kept by hand
context: {workspace: personal}   # mine
workspaces:
    - name: personal
      credentials: {apiKey: 'of this machine'}
    # the last word
`
/** What a step says that waits for the lock for over a second. */
const WAITING = 'Waiting for another job on this machine, which is using '
const JOBS = process.env.LONG === '1' ? 20 : 6
const VERSIONS = Array.from({ length: process.env.LONG === '1' ? 8 : 3 }, (_, index) => `9.8.${index}`)
const names = Array.from({ length: JOBS }, (_, index) => `team-${index}`)

let world: World
beforeEach(async () => {
  world = await openWorld()
  for (const name of names) world.sandbox.blaxel.addWorkspace(name)
  world.sandbox.blaxel.addClient(CLIENT_ID, CLIENT_SECRET, { workspaces: ['acme', 'beta', ...names] })
  for (const version of VERSIONS) world.sandbox.github.publish({ version })
  await world.config.write(PRIOR, 0o644)
})
afterEach(() => world.close())

const inputsOf = (index: number) => ({
  version: VERSIONS[index % VERSIONS.length] ?? '',
  workspace: names[index] ?? '',
  ...credentials.oauth,
})

interface Begun {
  readonly job: Job
  readonly step: StepResult
}

function beginAll(): Promise<Begun[]> {
  return Promise.all(
    names.map(async (_, index) => {
      const job = world.machine.job()
      return { job, step: await job.uses({ with: inputsOf(index) }) }
    }),
  )
}

function expectAsBefore(text = PRIOR): void {
  expect([world.config.read(), world.config.mode()]).toEqual([text, 0o644])
  expect(tree(world.machine.home)).toEqual(['.blaxel', '.blaxel/config.yaml'])
  expect(tree(world.machine.toolCache).filter((path) => path.includes('setup-bl-'))).toEqual([])
}

async function expectAllLoggedIn(begun: readonly Begun[]): Promise<void> {
  expect(begun.map(({ step }) => [step.exitCode, step.annotations])).toEqual(begun.map(() => [0, []]))
  const text = world.config.read() ?? ''
  const found = (parse(text) as { workspaces: { name: string }[] }).workspaces.map(({ name }) => name)
  expect(names.filter((name) => !found.includes(name))).toEqual([])
  expect(begun.filter(({ step }) => !text.includes(String(step.outputs.token)))).toEqual([])
  const codes = await Promise.all(begun.map(async ({ job }) => (await job.run('bl token')).exitCode))
  expect(codes).toEqual(begun.map(() => 0))
}

describe(`threat 18: ${JOBS} jobs at once on one home and one tool cache`, () => {
  test('cold, then warm: each has its login, and after them the config is as before', async () => {
    for (const warmth of ['cold', 'warm']) {
      const begun = await beginAll()
      await expectAllLoggedIn(begun)
      if (warmth === 'warm') expect(begun.filter(({ step }) => step.outputs['cache-hit'] !== 'true')).toEqual([])
      await Promise.all(begun.map(({ job }) => job.end()))
      expectAsBefore()
    }
  })

  test('on a machine without a config: nothing is left but the database', async () => {
    const machine = await world.newMachine()
    const turns = Array.from({ length: 2 }, async () => {
      for (let round = 0; round < 2; round++) {
        const job = machine.job()
        const step = await job.uses({ with: inputsOf(round) })
        expect([step.exitCode, step.annotations]).toEqual([0, []])
        await job.end()
      }
    })
    await Promise.all(turns)
    expect(tree(machine.home)).toEqual([])
  })

  test('while mains are killed at random: the others work, and the posts undo all', async () => {
    const begun = await Promise.all(
      names.map(async (_, index) => {
        const job = world.machine.job()
        const running = job.start({ with: inputsOf(index) })
        if (index % 2 === 0) {
          await pause(Math.random() * 250 * JOBS)
          running.kill('SIGKILL')
        }
        return { job, step: await running.result }
      }),
    )
    const lost = begun.filter(({ step }) => step.signal === null && step.exitCode !== 0)
    expect(lost.map(({ step }) => step.annotations)).toEqual([])
    const alive = begun.filter(({ step }) => step.signal === null)
    for (const { step } of alive) expect(world.config.read()).toContain(step.outputs.token)
    await Promise.all(begun.map(({ job }) => job.end()))
    expectAsBefore()
  })

  test('while another process edits the config: nothing of its is lost, and nothing of ours stays', async () => {
    let over = false
    let edits = 0
    const other = async () => {
      while (!over) {
        const file = openSync(world.config.path, 'w')
        await pause(60)
        edits += 1
        writeSync(file, `${PRIOR}# edit ${edits}\n`)
        closeSync(file)
        await pause(200)
      }
    }
    const editing = other()
    const begun = await beginAll()
    expect(begun.map(({ step }) => [step.exitCode, step.annotations])).toEqual(begun.map(() => [0, []]))
    await Promise.all(begun.map(({ job }) => job.end()))
    over = true
    await editing
    expectAsBefore(`${PRIOR}# edit ${edits}\n`)
  })

  test('a holder of the lock that is killed holds nobody up', async () => {
    const first = world.machine.job()
    await first.uses({ with: inputsOf(0) })
    const holder = holdLock([])
    await holder.held
    const second = world.machine.job()
    const running = second.start({ with: inputsOf(1) })
    await pause(300)
    process.kill(holder.pid, 'SIGKILL')
    expect((await running.result).exitCode).toBe(0)
    await Promise.all([first.end(), second.end()])
    expectAsBefore()
  })

  const canUnshare = spawnSync('unshare', ['-rp', '--fork', '--mount', 'true']).status === 0
  if (!canUnshare) console.log('this machine allows no namespaces: the lock was not tried across them')
  const testInNamespaces = canUnshare ? test : test.skip
  testInNamespaces('a holder in another pid namespace and mount namespace is waited for', async () => {
    const first = world.machine.job()
    await first.uses({ with: inputsOf(0) })
    const holder = holdLock(['unshare', '-rp', '--fork', '--kill-child', '--mount'])
    await holder.held
    const second = world.machine.job()
    const running = second.start({ with: inputsOf(1) })
    let isDone = false
    void running.result.then(() => (isDone = true))
    while (!running.outputSoFar().includes(WAITING)) await pause(20)
    expect([isDone, world.config.read()?.includes('team-1')]).toEqual([false, false])
    process.kill(holder.pid, 'SIGKILL')
    expect((await running.result).exitCode).toBe(0)
    await Promise.all([first.end(), second.end()])
    expectAsBefore()
  })

  test.each(['SIGINT', 'SIGTERM'] as const)('a step that waits for the lock hears %s at once', async (signal) => {
    const first = world.machine.job()
    await first.uses({ with: inputsOf(0) })
    const holder = holdLock([])
    await holder.held
    const second = world.machine.job()
    const running = second.start({ with: inputsOf(1) })
    while (!running.outputSoFar().includes(WAITING)) await pause(20)
    const cancelledAt = performance.now()
    running.kill(signal)
    const { exitCode, annotations } = await running.result
    expect(performance.now() - cancelledAt).toBeLessThan(2_000)
    expect(exitCode).toBe(1)
    expect(annotations.map(({ message }) => message).join()).toContain(`cancelled (${signal})`)
    process.kill(holder.pid, 'SIGKILL')
    await Promise.all([first.end(), second.end()])
    expectAsBefore()
  })

  function holdLock(prefix: readonly string[]): { readonly pid: number; readonly held: Promise<void> } {
    const script = join(world.machine.temp, 'holder.mjs')
    const database = join(dirname(world.config.path), 'setup-bl.db')
    writeFileSync(
      script,
      `import { DatabaseSync } from 'node:sqlite'
const db = new DatabaseSync(${JSON.stringify(database)})
db.exec('BEGIN EXCLUSIVE')
console.log('held')
setTimeout(() => db.close(), 60_000)`,
    )
    const [file, ...args] = [...prefix, process.execPath, '--disable-warning=ExperimentalWarning', script]
    const child = spawn(file, args, { stdio: ['ignore', 'pipe', 'inherit'] })
    return {
      pid: child.pid ?? 0,
      held: new Promise((resolve) =>
        child.stdout.once('data', () => {
          resolve()
        }),
      ),
    }
  }
})

describe('threat 17b: two jobs for one workspace', () => {
  const orders = [
    ['first', 0],
    ['second', 1],
  ] as const
  const kinds = ['oauth', 'service-account'] as const
  const all = orders.flatMap(([order, index]) => kinds.map((kind) => [order, kind, index, credentials[kind]] as const))

  test.each(all)(
    'the %s ends first, with %s: the other keeps its login and its key',
    async (_, __, index, credential) => {
      const inputs = { version: '9.9.2', workspace: 'acme', ...credential }
      // Every GITHUB_* is the same: nothing but what the action makes up itself tells the two apart.
      const jobs = [world.machine.job(), world.machine.job()] as const
      const steps = [await jobs[0].uses({ with: inputs }), await jobs[1].uses({ with: inputs })] as const
      const [goes, stays] = index === 0 ? ([0, 1] as const) : ([1, 0] as const)
      const [post] = await jobs[goes].end()
      expect(post?.exitCode).toBe(0)
      expect(world.config.read()).toContain(steps[stays].outputs.token)
      expect((await jobs[stays].run('bl token acme && bl get agents --skip-version-warning')).exitCode).toBe(0)
      await jobs[stays].end()
      expectAsBefore()
    },
  )
})

describe('threat 19: a clean-up touches nothing that it did not write', () => {
  test('two workspaces in one job: the posts, in reverse order, undo one each', async () => {
    const job = world.machine.job()
    for (const [id, workspace] of [
      ['one', 'acme'],
      ['two', 'beta'],
    ] as const) {
      expect((await job.uses({ id, with: { version: '9.9.2', workspace, ...credentials.oauth } })).exitCode).toBe(0)
    }
    expect(
      (await job.run(`printf kept > "$HOME/.blaxel/of-another-step"; printf kept > "$RUNNER_TEMP/of-another-step"`))
        .exitCode,
    ).toBe(0)
    const posts = await job.end()
    expect(posts.map(({ log }) => log.trim())).toEqual(['Logged out of workspace beta', 'Logged out of workspace acme'])
    expect(world.config.read()).toBe(PRIOR)
    expect(tree(dirname(world.config.path))).toEqual(['config.yaml', 'of-another-step'])
    expect(tree(job.temp)).toContain('of-another-step')
  })
})
