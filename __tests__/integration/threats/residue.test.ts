import { afterEach, beforeEach, describe, expect, test } from '@jest/globals'
import { spawnSync } from 'node:child_process'
import {
  existsSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  readdirSync,
  readlinkSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { parse } from 'yaml'
import type { Job, StepResult } from '../../../sandbox/job.ts'
import { createMachine } from '../../../sandbox/machine.ts'
import { expectFailure, expectNothingStaged } from '../failure.ts'
import { databasePath } from '../login-store.ts'
import { API_KEY, CLIENT_ID, configOf, credentials, openWorld, tree, visible, type World } from '../world.ts'
import { preloaded } from './preload.ts'

let world: World
beforeEach(async () => {
  world = await openWorld()
})
afterEach(() => world.close())

const kinds = Object.entries(credentials)
const HASH = expect.stringMatching(/^[0-9a-f]{64}$/) as unknown
const USE = /^[0-9a-f]{32}$/

describe('threat 9: what later steps can read holds paths, ids and hashes alone:', () => {
  test.each(kinds)('%s', async (kind, credential) => {
    const { sandbox, machine } = world
    const job = machine.job()
    const step = await job.uses({ with: { workspace: 'acme', ...credential } })
    expect(Object.keys(step.state)).toEqual(['setup-bl'])
    const state = JSON.parse(step.state['setup-bl'] ?? '') as { invocation: string }
    const use = expect.stringMatching(USE) as unknown
    const login = { directory: join(machine.home, '.blaxel'), workspace: 'acme', tokenHash: HASH }
    const [minted] = sandbox.blaxel.keys.values()
    const key = {
      ...{ origin: 'https://api.blaxel.ai/v0', workspace: 'acme', serviceAccount: CLIENT_ID, credential: HASH },
      ...{ name: minted?.name, id: minted?.id, expiresAt: expect.any(Number) as unknown },
    }
    expect(state).toEqual({
      ...{ schema: 1, invocation: use, login, ...(kind === 'service-account' ? { key } : {}) },
      scratch: join(job.temp, `setup-bl-${state.invocation}`),
      staging: join(machine.toolCache, 'bl', `.setup-bl-${state.invocation}`),
    })
    for (const secret of [API_KEY, ...sandbox.blaxel.issued]) {
      expect(step.files.GITHUB_STATE).not.toContain(secret)
      expect(step.files.GITHUB_PATH + step.summary).not.toContain(secret)
    }
    // Outputs and environment hold the session token under its names, and nothing else that is secret.
    const holders = Object.entries({ ...step.outputs, ...step.env }).filter(([, value]) => value === step.outputs.token)
    const short = kind === 'api-key' ? [] : ['BL_TOKEN']
    expect(holders.map(([name]) => name).sort()).toEqual(['BL_API_KEY', ...short, 'token'])
    await job.end()
  })
})

describe('threat 16: the login is private, and not where artifacts are made:', () => {
  let umask: number
  beforeEach(() => {
    umask = process.umask(0)
  })
  afterEach(() => {
    process.umask(umask)
  })

  test.each(kinds)('%s, on a machine where everybody may read new files', async (_, credential) => {
    const { sandbox, machine, config } = world
    const modes: Record<string, number> = {}
    const note = (directory: string) => {
      for (const path of readdirSync(directory, { recursive: true, encoding: 'utf8' }))
        modes[join(directory, path)] = lstatSync(join(directory, path)).mode & 0o777
    }
    const handle = () => {
      for (const name of readdirSync(job.temp).filter((each) => each.startsWith('setup-bl-'))) {
        modes[join(job.temp, name)] = lstatSync(join(job.temp, name)).mode & 0o777
        note(join(job.temp, name))
      }
      return { status: 200, body: { id: 'ws-1', name: 'acme' } }
    }
    sandbox.intercept({ host: 'api.blaxel.ai', method: 'GET', path: /acme$/, answer: { kind: 'handle', handle } })
    const job = machine.job()
    const before = tree(machine.workspace)
    expect((await job.uses({ with: { workspace: 'acme', ...credential } })).exitCode).toBe(0)
    note(machine.home)
    const privateHomes = Object.keys(modes).filter((path) => path.includes('setup-bl-'))
    expect(privateHomes.length).toBeGreaterThan(1)
    // `bl` makes what is inside its private HOME as it likes: nobody gets there.
    const outer = privateHomes.filter((path) => !path.includes('.blaxel'))
    expect(outer.map((path) => modes[path])).toEqual(outer.map(() => 0o700))
    expect(modes[dirname(config.path)]).toBe(0o700)
    for (const name of ['config.yaml', 'setup-bl.db']) {
      expect([name, modes[join(dirname(config.path), name)]]).toEqual([name, 0o600])
    }
    expect(tree(machine.workspace)).toEqual(before)
    await job.end()
    expect(tree(machine.workspace)).toEqual(before)
  })

  const links: [string, string][] = [
    ['config.yaml', 'a file'],
    ['setup-bl.db', 'nothing yet'],
  ]
  test.each(links)('%s that is a link to %s in the checkout is not followed', async (file, target) => {
    const { machine } = world
    const victim = join(machine.workspace, 'artifact')
    if (target === 'a file') writeFileSync(victim, 'workspaces: []\n')
    mkdirSync(join(machine.home, '.blaxel'))
    symlinkSync(victim, join(machine.home, '.blaxel', file))
    const job = machine.job()
    const step = await job.uses({ with: { workspace: 'acme', ...credentials['api-key'] } })
    expectFailure(step, [`${file} is a symbolic link`])
    await job.end()
    expect(existsSync(victim) ? readFileSync(victim, 'utf8') : undefined).toBe(
      target === 'a file' ? 'workspaces: []\n' : undefined,
    )
    expect(lstatSync(join(machine.home, '.blaxel', file)).isSymbolicLink()).toBe(true)
  })
})

describe('threat 17: a self-hosted machine is left as it was:', () => {
  const other = '- name: gamma\n  credentials:\n    apiKey: "bl_gamma_of_this_machine"\n'
  const prior = '- name: acme\n  id: ws-9\n  credentials:\n    apiKey: "bl_acme_of_this_machine"\n'
  const text = (...entries: string[]) =>
    `# kept by hand\ncontext:\n  workspace: gamma\nworkspaces:\n${entries.join('')}`

  async function begin(before: string | undefined): Promise<{ job: Job; step: StepResult }> {
    if (before !== undefined) await world.config.write(before, 0o640)
    const job = (await selfHosted()).job()
    const step = await job.uses({ with: { workspace: 'acme', ...credentials.oauth } })
    expect(step.exitCode).toBe(0)
    expect(world.config.read()).toContain(step.outputs.token)
    return { job, step }
  }
  const selfHosted = () =>
    Promise.resolve(world.secrets.watch({ ...world.machine, runnerEnvironment: 'self-hosted' as const }))
  async function end(job: Job): Promise<StepResult> {
    const [post] = await job.end()
    expect(post?.exitCode).toBe(0)
    if (!post) throw new Error('there was no post step')
    return post
  }
  const keys = () => {
    const { workspaces } = parse(world.config.read() ?? '') as {
      workspaces: { name: string; credentials: { apiKey: string } }[]
    }
    return Object.fromEntries(workspaces.map(({ name, credentials: { apiKey } }) => [name, apiKey]))
  }
  function expectOnlyConfig(content: string, mode = 0o640): void {
    expect([world.config.read(), world.config.mode()]).toEqual([content, mode])
    expect(tree(world.machine.home)).toEqual(['.blaxel', '.blaxel/config.yaml'])
  }

  test.each([
    ['no config', undefined],
    ['an entry of the same workspace', text(other, prior)],
  ])('%s', async (_, before) => {
    const { job } = await begin(before)
    expect((await end(job)).annotations).toEqual([])
    if (before === undefined) expect(tree(world.machine.home)).toEqual([])
    else expectOnlyConfig(before)
  })

  test('a config in which somebody else logs in meanwhile keeps that', async () => {
    const { job, step } = await begin(text(other))
    const added = '  - name: beta\n    credentials:\n      apiKey: "bl_beta_of_somebody"\n'
    await world.config.write(`${world.config.read() ?? ''}${added}`)
    await end(job)
    expect(world.config.read()).not.toContain(step.outputs.token)
    expect(keys()).toEqual({ gamma: 'bl_gamma_of_this_machine', beta: 'bl_beta_of_somebody' })
  })

  test('an entry of ours that somebody has replaced is theirs', async () => {
    const { job, step } = await begin(text(other, prior))
    const theirs = (world.config.read() ?? '').replace(step.outputs.token ?? '', 'bl_newer_of_somebody')
    await world.config.write(theirs)
    await end(job)
    expect(keys()).toEqual({ gamma: 'bl_gamma_of_this_machine', acme: 'bl_newer_of_somebody' })
  })

  test('a config that was removed meanwhile stays removed', async () => {
    const { job } = await begin(text(other, prior))
    rmSync(world.config.path)
    await end(job)
    expect(world.config.read()).toBeUndefined()
    expect(tree(world.machine.home).filter((path) => path.includes('setup-bl'))).toEqual([])
  })

  test('a database that a step has deleted: our entry goes all the same', async () => {
    const { job, step } = await begin(text(other))
    rmSync(databasePath(world.config))
    await end(job)
    expect(world.config.read()).not.toContain(step.outputs.token)
    expect(parse(world.config.read() ?? '')).toMatchObject({ workspaces: [{ name: 'gamma' }] })
    expect(tree(world.machine.home)).toEqual(['.blaxel', '.blaxel/config.yaml'])
  })

  test('a post step that runs twice does nothing the second time', async () => {
    const { job } = await begin(text(other, prior))
    const [[id, saved] = ['', '']] = Object.entries({
      '__blaxel-ai_setup-bl': { ...job.stateOf('__blaxel-ai_setup-bl') },
    })
    await end(job)
    expectOnlyConfig(text(other, prior))
    const again = (await selfHosted()).job()
    const failed = await again.uses({ with: { version: 'newest' } })
    expect(failed.exitCode).toBe(1)
    Object.assign(again.stateOf(id), saved)
    expect((await end(again)).annotations).toEqual([])
    expectOnlyConfig(text(other, prior))
  })
})

describe('threat 44: another file system, or one that is in use, is no obstacle:', () => {
  const SHARED_MEMORY = '/dev/shm'
  const shared: string[] = []
  afterEach(() => {
    for (const path of shared.splice(0)) rmSync(path, { recursive: true, force: true })
  })
  function freshIn(parent: string): string {
    const path = mkdtempSync(join(parent, 'mount-'))
    shared.push(path)
    return path
  }

  /** Containers often mount theirs without the right to run programs. */
  function canRunIn(parent: string): boolean {
    if (!existsSync(parent)) return false
    const program = join(mkdtempSync(join(parent, 'probe-')), 'true')
    writeFileSync(program, '#!/bin/sh\n', { mode: 0o755 })
    const { status } = spawnSync(program)
    rmSync(dirname(program), { recursive: true })
    return status === 0
  }

  const runsPrograms = canRunIn(SHARED_MEMORY)
  if (!runsPrograms) process.stderr.write(`Programs in ${SHARED_MEMORY} may not run: no tool cache is put there.\n`)
  // macOS has no second file system that anybody may write to.
  const testOnTwo = existsSync(SHARED_MEMORY) ? test : test.skip
  testOnTwo.each([[tmpdir(), SHARED_MEMORY], ...(runsPrograms ? [[SHARED_MEMORY, tmpdir()]] : [])])(
    'HOME and tool cache in %s, RUNNER_TEMP in %s',
    async (machines, temps) => {
      const { sandbox } = world
      const root = freshIn(machines)
      const machine = world.secrets.watch(await createMachine({ root, env: sandbox.env }))
      const config = configOf(machine)
      await config.write('# kept\n', 0o640)
      const job = machine.job({ temp: freshIn(temps) })
      // Else the test shows nothing.
      expect(lstatSync(job.temp).dev).not.toBe(lstatSync(machine.toolCache).dev)
      const step = await job.uses({ with: { workspace: 'acme', ...credentials['service-account'] } })
      expect([step.exitCode, step.annotations]).toEqual([0, []])
      expect((await job.run('bl get agents --skip-version-warning')).exitCode).toBe(0)
      const [post] = await job.end()
      expect([post?.exitCode, post?.annotations]).toEqual([0, []])
      expect([config.read(), config.mode(), tree(machine.home)]).toEqual([
        '# kept\n',
        0o640,
        ['.blaxel', '.blaxel/config.yaml'],
      ])
      expect([...tree(machine.toolCache), ...tree(job.temp)].filter((path) => path.includes('setup-bl-'))).toEqual([])
    },
  )

  /** The first renames of each target fail so; as on Windows, where that is asked for. */
  const failing = (code: string, times: number, windows: boolean) => `
import fs from 'node:fs'
import { syncBuiltinESMExports } from 'node:module'
const { renameSync: real } = fs
const failed = new Map()
const { platform } = process
fs.renameSync = (from, to) => {
  const count = failed.get(to) ?? 0
  if (count >= ${times}) return real(from, to)
  failed.set(to, count + 1)
  fs.appendFileSync(process.env.RENAMES, '${code}\\n')
  if (${String(windows)}) {
    // Whoever catches this error sees Windows, until the next turn.
    Object.defineProperty(process, 'platform', { value: 'win32', configurable: true })
    setImmediate(() => Object.defineProperty(process, 'platform', { value: platform, configurable: true }))
  }
  throw Object.assign(new Error('${code}: injected'), { code: '${code}', syscall: 'rename', path: from, dest: to })
}
syncBuiltinESMExports()
`
  test.each(['EPERM'])('a rename that Windows refuses twice with %s is made then', async (code) => {
    const { machine, config } = world
    const RENAMES = join(machine.temp, 'renames')
    const job = machine.job({ env: { ...preloaded(world, 'locked', failing(code, 2, true)), RENAMES } })
    const step = await job.uses({ with: { workspace: 'acme', ...credentials.oauth } })
    expect([step.exitCode, step.annotations]).toEqual([0, []])
    expect(readFileSync(RENAMES, 'utf8').length).toBeGreaterThan(0)
    expect(config.read()).toContain(step.outputs.token)
    const [post] = await job.end()
    expect([post?.exitCode, post?.annotations]).toEqual([0, []])
    expect(tree(machine.home)).toEqual([])
  })

  test.each(['EXDEV'])('a rename that never works (%s) is one clear error', async (code) => {
    const { machine, config } = world
    await config.write('# kept\n', 0o640)
    const RENAMES = join(machine.temp, 'renames')
    const job = machine.job({ env: { ...preloaded(world, 'never', failing(code, 1e9, false)), RENAMES } })
    const step = await job.uses({ with: { workspace: 'acme', ...credentials.oauth } })
    expectFailure(step, [code])
    await job.end()
    expectNothingStaged(world)
    expect([config.read(), config.mode()]).toEqual(['# kept\n', 0o640])
    expect(visible(step)).not.toContain('at ')
    expect(tree(machine.toolCache).filter((path) => path.endsWith('.complete'))).toEqual([])
  })
})

describe('threat 44: two jobs at once, each as if in a container of its own,', () => {
  const inside = ['unshare', '--map-root-user', '--pid', '--fork', '--kill-child', '--mount', '--mount-proc'] as const
  const [program, ...args] = inside
  const canUnshare = spawnSync(program, [...args, 'true']).status === 0
  if (!canUnshare) console.log('this machine allows no namespaces: the two jobs were tried in the same ones')

  test('on one HOME and one tool cache: each works, and nothing is left', async () => {
    const { machine, config } = world
    await config.write('# kept\n', 0o640)
    for (const round of ['cold', 'warm']) {
      const jobs = ['acme', 'beta'].map((workspace) => ({ workspace, job: machine.job(canUnshare ? { inside } : {}) }))
      const steps = await Promise.all(
        jobs.map(({ workspace, job }) => job.uses({ with: { workspace, ...credentials['service-account'] } })),
      )
      for (const step of steps) {
        expect([step.exitCode, step.annotations]).toEqual([0, []])
        expect(config.read()).toContain(step.outputs.token)
        if (round === 'warm') expect(step.outputs['cache-hit']).toBe('true')
      }
      const scripts = await Promise.all(
        jobs.map(({ workspace, job }) =>
          job.run(`${canUnshare ? 'echo "process $$" && readlink /proc/self/ns/mnt && ' : ''}bl token ${workspace}`),
        ),
      )
      // Each is process 1 of its namespace, and no two mounts are the same.
      if (canUnshare) {
        const mounts = scripts.map(({ log }) => /^process 1\n(mnt:.+)$/m.exec(log)?.[1])
        expect(new Set([...mounts, undefined, readlinkSync('/proc/self/ns/mnt')]).size).toBe(4)
      }
      expect(scripts.map(({ exitCode }) => exitCode)).toEqual([0, 0])
      const posts = await Promise.all(jobs.map(({ job }) => job.end()))
      expect(posts.flat().map(({ exitCode, annotations }) => [exitCode, annotations])).toEqual([
        [0, []],
        [0, []],
      ])
      expect([config.read(), config.mode(), tree(machine.home)]).toEqual([
        '# kept\n',
        0o640,
        ['.blaxel', '.blaxel/config.yaml'],
      ])
      expectNothingStaged(world)
      expect(world.sandbox.blaxel.keys.size).toBe(0)
    }
  })
})
