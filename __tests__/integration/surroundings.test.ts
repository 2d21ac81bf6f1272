// Installing in surroundings that are not the ideal ones, but ordinary: what other people's users have met.
import { existsSync, lstatSync, readFileSync, realpathSync, statSync, writeFileSync } from 'node:fs'
import { execFileSync } from 'node:child_process'
import { dirname, join } from 'node:path'
import { setTimeout as pause } from 'node:timers/promises'
import { describe, expect, test } from '@jest/globals'
import { packageCli } from '../../sandbox/cli/package.ts'
import type { StepResult } from '../../sandbox/job.ts'
import { expectFailure, expectNothingStaged } from './failure.ts'
import { mayMount } from './threats/limited.ts'
import { preloaded } from './threats/preload.ts'
import { credentials, inWorld, tree, type World } from './world.ts'

const VERSION = { version: '9.9.2' }
const LOGIN = { ...VERSION, workspace: 'acme', ...credentials.oauth }

/** Node's file functions with faults, for the action alone. */
function brokenFs(world: World, body: string): Record<string, string> {
  return preloaded(
    world,
    'broken-fs',
    `import fs from 'node:fs'
import { syncBuiltinESMExports } from 'node:module'
const fail = (code, syscall, path) => { throw Object.assign(new Error(code + ', ' + syscall), { code, syscall, path }) }
${body}
syncBuiltinESMExports()
`,
  )
}

describe('a tool cache without symbolic links', () => {
  test.concurrent.each(['ENOTSUP', 'EPERM'])('(%s) gets a copy', (code) =>
    inWorld(async (world) => {
      const { machine } = world
      const env = brokenFs(world, `fs.symlinkSync = (_, path) => fail('${code}', 'symlink', path)`)
      const job = machine.job({ env })
      const step = await job.uses({ with: LOGIN })
      expect([step.exitCode, step.annotations]).toEqual([0, []])
      const path = step.outputs.path ?? ''
      expect(lstatSync(path).isSymbolicLink()).toBe(false)
      expect(readFileSync(path)).toEqual(readFileSync(join(dirname(path), 'blaxel')))
      expect((await job.run('bl version && blaxel version')).exitCode).toBe(0)
      expect((await machine.job({ env }).uses({ with: VERSION })).outputs['cache-hit']).toBe('true')
      await job.end()
    }),
  )

  test.concurrent('that refuses to change modes, and lets every file be executed, works', () =>
    inWorld(async (world) => {
      const body = `const { openSync } = fs
fs.openSync = (path, flags, mode) => openSync(path, flags, mode === 0o600 && /entry.blaxel$/.test(path) ? 0o755 : mode)
fs.chmodSync = (path) => fail('EPERM', 'chmod', path)`
      const step = await world.machine.job({ env: brokenFs(world, body) }).uses({ with: VERSION })
      expect([step.exitCode, step.annotations]).toEqual([0, []])
    }),
  )
})

if (!mayMount()) {
  console.log('surroundings.test.ts: nothing can be mounted here, so no read-only file system is tried.')
} else {
  describe('a tool cache on a read-only file system', () => {
    async function whileReadOnly<T>(directory: string, work: () => Promise<T>): Promise<T> {
      execFileSync('mount', ['--bind', directory, directory])
      execFileSync('mount', ['-o', 'remount,bind,ro', directory])
      try {
        return await work()
      } finally {
        execFileSync('umount', ['-l', directory])
      }
    }

    test('without the version is named at once, with the path', () =>
      inWorld(async (world) => {
        const { machine } = world
        const started = Date.now()
        const step = await whileReadOnly(machine.toolCache, () => machine.job().uses({ with: VERSION }))
        expectFailure(step, [join(machine.toolCache, 'bl'), 'mkdir: EROFS', 'The file system is read-only'])
        expect(Date.now() - started).toBeLessThan(10_000)
      }))

    test('with the version is a hit, and nothing needs to be written', () =>
      inWorld(async (world) => {
        const { machine } = world
        await machine.job().uses({ with: VERSION })
        const step = await whileReadOnly(machine.toolCache, () => machine.job().uses({ with: LOGIN }))
        expect([step.exitCode, step.annotations, step.outputs['cache-hit']]).toEqual([0, [], 'true'])
      }))
  })
}

describe('threat 29: a cached program that looks intact, but', () => {
  const notRunnable = packageCli({ version: '9.9.2', dumpFile: '', faults: { versionBroken: true } })
  const damages: [string, (program: Buffer) => string | Buffer, RegExp][] = [
    [
      "can't be started",
      (program) => Buffer.concat([notRunnable, Buffer.alloc(program.length - notRunnable.length)]),
      /does not run: (?:it could not be started|exit code 12[67]|it was killed by SIGKILL)/,
    ],
    [
      'has an interpreter that is not there',
      (program) => '#!/nowhere/node\n'.padEnd(program.length, '#'),
      /does not run: it could not be started: spawn .* ENOENT/,
    ],
    [
      'crashes',
      (program) => '#!/bin/sh\nkill -SEGV $$\n'.padEnd(program.length, '#'),
      /does not run: it was killed by SIGSEGV/,
    ],
  ]

  test.concurrent.each(damages)('%s is dropped, so that the next job gets a new one', (_, damaged, says) =>
    inWorld(async (world) => {
      const { machine } = world
      const { outputs } = await machine.job().uses({ with: VERSION })
      const program = realpathSync(outputs.path ?? '')
      const good = readFileSync(program)
      writeFileSync(program, damaged(good), 'latin1')
      const step = await machine.job().uses({ with: LOGIN })
      expectFailure(step, [says, 'removed from the tool cache: run the job again'])
      const again = await machine.job().uses({ with: LOGIN })
      expect([again.exitCode, again.outputs['cache-hit'], readFileSync(program).equals(good)]).toEqual([
        0,
        'false',
        true,
      ])
    }),
  )
})

describe('threat 45: bl leaves no worker behind', () => {
  test.concurrent('that writes after our call into HOME, the tool cache or the temporary directory', () =>
    inWorld(async (world) => {
      const { machine } = world
      const job = machine.job()
      expect((await job.uses({ with: LOGIN })).exitCode).toBe(0)
      await job.end()
      await pause(1_500)
      const left = [machine.home, machine.toolCache, job.temp].flatMap((directory) => tree(directory))
      expect(left.filter((path) => path.includes('skills'))).toEqual([])
      expectNothingStaged(world)
    }),
  )

  test.concurrent('which the stand-in would, were it not told that it runs in CI', () =>
    inWorld(async ({ machine }) => {
      const { outputs } = await machine.job().uses({ with: VERSION })
      await machine.job().run(`env -u CI -u GITHUB_ACTIONS '${outputs.path ?? ''}' version`)
      while (!existsSync(join(machine.home, '.blaxel', 'skills', 'state.json'))) await pause(20)
    }),
  )
})

describe('on Node', () => {
  const asVersion = (world: World, version: string) =>
    preloaded(
      world,
      `node-${version}`,
      `Object.defineProperty(process.versions, 'node', { value: '${version}' })
Object.defineProperty(process, 'version', { value: 'v${version}' })`,
    )

  test.concurrent.each(['18.20.8', '20.20.2', '22.12.0'])(
    '%s main fails with one error that says what is needed',
    (old) =>
      inWorld(async (world) => {
        const job = world.machine.job({ env: asVersion(world, old) })
        const step = await job.uses({ with: LOGIN })
        expectFailure(step, [`needs Node 22.13 or newer, but the runner started it with v${old}`, 'Update the runner'])
        expect(step.raw.trim().split('\n')).toHaveLength(1)
        expect(world.sandbox.connects).toEqual([])
      }),
  )

  test.concurrent('20.20.2 post says the same, and does not fail the job', () =>
    inWorld(async (world) => {
      const job = world.machine.job()
      await job.uses({ with: VERSION })
      Object.assign(job.env, asVersion(world, '20.20.2'))
      const [post] = (await job.end()) as [StepResult]
      expect(post.exitCode).toBe(0)
      expect(post.annotations.map(({ message }) => message)).toEqual([expect.stringContaining('needs Node 22.13')])
    }),
  )

  test.concurrent.each(['22.13.0', '23.0.0', '24.21.0'])('%s it works', (version) =>
    inWorld(async (world) => {
      const step = await world.machine.job({ env: asVersion(world, version) }).uses({ with: VERSION })
      expect([step.exitCode, step.annotations]).toEqual([0, []])
    }),
  )
})

test('a checksum as GitHub shows digests is taken', () =>
  inWorld(async ({ sandbox, machine }) => {
    const step = await machine
      .job()
      .uses({ with: { ...VERSION, checksum: `sha256:${sandbox.github.sha256('9.9.2')}` } })
    expect(step.outputs).toMatchObject({ version: '9.9.2', 'verified-by': 'checksum-input' })
  }))

test('an installed program can be executed by every user, whatever the umask', () =>
  inWorld(async (world) => {
    const step = await world.machine
      .job({ env: preloaded(world, 'umask', 'process.umask(0o077)') })
      .uses({ with: VERSION })
    const path = step.outputs.path ?? ''
    expect(statSync(path).mode & 0o777).toBe(0o755)
  }))
