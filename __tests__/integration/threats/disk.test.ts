import { execFileSync } from 'node:child_process'
import { chmodSync, chownSync, lstatSync, mkdirSync, symlinkSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { describe, expect, test } from '@jest/globals'
import type { StepResult } from '../../../sandbox/job.ts'
import type { Machine } from '../../../sandbox/machine.ts'
import { expectFailure, expectHidden } from '../failure.ts'
import { storedText } from '../login-store.ts'
import { API_KEY, CLIENT_SECRET, configOf, credentials, inWorld, tree } from '../world.ts'
import { contents } from './files.ts'
import { handOver, limitedMachine, mayChangeOwner, mayMount, whileReadOnly, withSmallDisk } from './limited.ts'

const PRIOR = '# kept by hand\nworkspaces: []\n'
const good = { version: '9.9.2', workspace: 'acme', ...credentials.oauth } as const
const WRITE_ACCESS = "Give the runner's user write access to it"

/** Nothing of ours is left anywhere. */
function expectNothingLeft({ home, toolCache, temp }: Machine): void {
  const left = [home, toolCache, temp].flatMap((directory) => tree(directory))
  expect(left.filter((path) => path.includes('setup-bl-') || path.includes('setup-bl.l'))).toEqual([])
}

function expectOneClearError(step: StepResult, says: RegExp): void {
  expect(step.annotations.map(({ level }) => level)).toEqual(['error'])
  expect(step.annotations[0]?.message).toMatch(says)
  expect([step.exitCode, step.stderr]).toEqual([1, ''])
  expectHidden(step, [API_KEY, CLIENT_SECRET])
}

async function writeConfig(machine: Machine, text = PRIOR): Promise<void> {
  await configOf(machine).write(text, 0o640)
  handOver(machine.home)
}

describe('threat 35: a directory that can not be written to', () => {
  test('the tool cache: an error that names it, and nothing is left', () =>
    inWorld(async (world) => {
      const machine = await limitedMachine(world)
      await writeConfig(machine)
      const job = machine.job()
      await whileReadOnly(machine.toolCache, async () => {
        expectFailure(await job.uses({ with: good }), [
          `${machine.toolCache}/bl can't be used (mkdir: EACCES)`,
          WRITE_ACCESS,
        ])
        expect((await job.end()).flatMap(({ annotations }) => annotations)).toEqual([])
      })
      expect(configOf(machine).read()).toBe(PRIOR)
      expect(tree(machine.toolCache)).toEqual([])
      expectNothingLeft(machine)
    }))

  test('the tool cache with the version in it: that is a hit as ever', () =>
    inWorld(async (world) => {
      const machine = await limitedMachine(world)
      await machine.job().uses({ with: { version: '9.9.2' } })
      const before = contents(machine.toolCache)
      const job = machine.job()
      await whileReadOnly(machine.toolCache, () =>
        whileReadOnly(join(machine.toolCache, 'bl'), async () => {
          const step = await job.uses({ with: good })
          expect(step.annotations).toEqual([])
          expect(step.outputs).toMatchObject({ 'cache-hit': 'true', authenticated: 'true' })
          expect((await job.end()).flatMap(({ annotations }) => annotations)).toEqual([])
        }),
      )
      expect(contents(machine.toolCache)).toEqual(before)
      expect(tree(machine.home)).toEqual([])
    }))

  test.each(['oauth', 'service-account'] as const)(
    'HOME, with %s: an error that names it, and no key is left',
    (kind) =>
      inWorld(async (world) => {
        const machine = await limitedMachine(world)
        const job = machine.job()
        await whileReadOnly(machine.home, async () => {
          const step = await job.uses({ with: { version: '9.9.2', workspace: 'acme', ...credentials[kind] } })
          expectFailure(step, [
            `${machine.home}/.blaxel can't be written (EACCES: permission denied)`,
            "'login: false'",
          ])
          expect(world.sandbox.requests.filter(({ host }) => host.startsWith('api.'))).toEqual([])
          expect((await job.end()).flatMap(({ annotations }) => annotations)).toEqual([])
        })
        expect(tree(machine.home)).toEqual([])
        expect(world.sandbox.blaxel.keys.size).toBe(0)
        expectNothingLeft(machine)
      }),
  )

  test('HOME, with login: false: needs none', () =>
    inWorld(async (world) => {
      const machine = await limitedMachine(world)
      const job = machine.job()
      await whileReadOnly(machine.home, async () => {
        const step = await job.uses({ with: { ...good, login: 'false' } })
        expect(step.annotations).toEqual([])
        expect(step.outputs.authenticated).toBe('true')
      })
    }))

  test('~/.blaxel: an error, and the config is as it was', () =>
    inWorld(async (world) => {
      const machine = await limitedMachine(world)
      await writeConfig(machine)
      const job = machine.job()
      await whileReadOnly(join(machine.home, '.blaxel'), async () => {
        expectOneClearError(await job.uses({ with: good }), /\.blaxel can't be written \(EACCES: permission denied\)/)
        expect((await job.end()).flatMap(({ annotations }) => annotations)).toEqual([])
      })
      expect([configOf(machine).read(), configOf(machine).mode()]).toEqual([PRIOR, 0o640])
      expect(tree(machine.home)).toEqual(['.blaxel', '.blaxel/config.yaml'])
    }))

  test('~/.blaxel between main and post: a warning, and nothing is lost', () =>
    inWorld(async (world) => {
      const machine = await limitedMachine(world)
      await writeConfig(machine)
      const job = machine.job()
      await job.uses({ with: good })
      const during = configOf(machine).read()
      await whileReadOnly(join(machine.home, '.blaxel'), async () => {
        const [post] = await job.end()
        expect(post?.exitCode).toBe(0)
        expect(post?.annotations).toEqual([
          { level: 'warning', message: expect.stringMatching(/could not be removed: .*read-only/) as unknown },
        ])
      })
      expect(configOf(machine).read()).toBe(during)
      expect(JSON.parse(storedText(configOf(machine)))).toMatchObject({ base: { text: PRIOR } })
    }))

  test('RUNNER_TEMP: an error that names it, before a credential is used', () =>
    inWorld(async (world) => {
      const machine = await limitedMachine(world)
      const job = machine.job()
      const step = await whileReadOnly(job.temp, () => job.uses({ with: good }))
      expectFailure(step, [/setup-bl-[0-9a-f]{32} can't be used \(mkdir: EACCES\)/, WRITE_ACCESS])
      expect(world.sandbox.requests).toEqual([])
    }))
})

describe('threat 35: a variable of the runner that is not set, or is no absolute path', () => {
  const names = ['HOME', 'RUNNER_TEMP', 'RUNNER_TOOL_CACHE']
  test.concurrent.each(names)('%s is not set: an error that names it, before a credential is used', (name) =>
    inWorld(async ({ sandbox, machine }) => {
      const job = machine.job({ omit: [name] })
      expectFailure(await job.uses({ with: good }), [`${name} is not set`, "Set it in the runner's environment"])
      const [post] = await job.end()
      expect([post?.exitCode, post?.annotations, sandbox.requests]).toEqual([0, [], []])
    }),
  )

  test.concurrent.each(['', 'home'])('HOME is %j', (HOME) =>
    inWorld(async ({ sandbox, machine }) => {
      const step = await machine.job().uses({ with: good, env: { HOME } })
      expectFailure(step, [HOME === '' ? 'HOME is not set' : 'HOME is not an absolute path'])
      expect(sandbox.requests).toEqual([])
    }),
  )
})

describe('threat 35: a disk without room', () => {
  const sizes: [number, string][] = [
    [2, 'the download'],
    [16, 'the unpacked program'],
  ]
  test.each(sizes)('for files of more than %i kB, which %s is: an error, and the tool cache as it was', (largestFile) =>
    inWorld(async (world) => {
      const machine = await limitedMachine(world, { largestFile })
      await writeConfig(machine)
      const job = machine.job()
      const step = await job.uses({ with: good })
      expectOneClearError(step, /can't be used \(write: EFBIG\)\. A file size limit is set on the runner/)
      expect((await job.end()).flatMap(({ annotations }) => annotations)).toEqual([])
      expect(tree(machine.toolCache).filter((path) => path !== 'bl')).toEqual([])
      expect([configOf(machine).read(), configOf(machine).mode()]).toEqual([PRIOR, 0o640])
      expectNothingLeft(machine)
    }),
  )

  test('for a config that has grown: an error, and it is byte for byte as it was', () =>
    inWorld(async (world) => {
      const limited = await limitedMachine(world, { largestFile: 8 })
      const config = `${PRIOR}${'# a long story\n'.repeat(800)}`
      await installAs(limited, world.machine)
      await writeConfig(limited, config)
      const job = limited.job()
      expectOneClearError(await job.uses({ with: good }), /can't be (?:replaced .*\(EFBIG\)|used: disk I\/O error)/)
      expect((await job.end()).flatMap(({ annotations }) => annotations)).toEqual([])
      expect([configOf(limited).read(), configOf(limited).mode()]).toEqual([config, 0o640])
      expect(tree(limited.home)).toEqual(['.blaxel', '.blaxel/config.yaml'])
    }))

  if (!mayMount()) {
    console.log('disk.test.ts: nothing can be mounted here, so a full disk is a file-size limit alone.')
  } else {
    /** Free room at which something else fails each time, up to where everything fits. */
    test('at HOME: from no room at all to just enough, an error or a session, and nothing is lost', () =>
      inWorld(async (world) => {
        const machine = await limitedMachine(world)
        await installAs(machine, world.machine)
        const outcomes: string[] = []
        for (const kilobytes of [4, 8, 12, 16, 24, 40]) {
          await withSmallDisk(machine.home, kilobytes, async () => {
            await writeConfig(machine)
            const job = machine.job()
            const step = await job.uses({ with: good })
            outcomes.push(step.outcome)
            if (step.exitCode !== 0) expectOneClearError(step, /ENOSPC|disk is full/)
            const during = configOf(machine).read()
            const [post] = await job.end()
            expectUndoneOrKept(machine, post, during)
          })
        }
        expect([outcomes[0], outcomes.at(-1)]).toEqual(['failure', 'success'])
      }))

    test('at HOME, between main and post: a warning, and nothing is lost', () =>
      inWorld(async (world) => {
        const machine = await limitedMachine(world)
        await installAs(machine, world.machine)
        await withSmallDisk(machine.home, 40, async () => {
          await writeConfig(machine)
          const job = machine.job()
          await job.uses({ with: good })
          const during = configOf(machine).read()
          fill(machine.home)
          const [post] = await job.end()
          expectUndoneOrKept(machine, post, during)
        })
      }))

    test.each([4, 12, 24])('at the tool cache, of %i kB: an error, and nothing is half-written', (kilobytes) =>
      inWorld(async (world) => {
        const machine = await limitedMachine(world)
        await writeConfig(machine)
        await withSmallDisk(machine.toolCache, kilobytes, async () => {
          const job = machine.job()
          expectOneClearError(await job.uses({ with: good }), /\(write: ENOSPC\)\. The disk is full: free some space/)
          expect((await job.end()).flatMap(({ annotations }) => annotations)).toEqual([])
          expect(tree(machine.toolCache).filter((path) => path !== 'bl')).toEqual([])
        })
        expect(configOf(machine).read()).toBe(PRIOR)
      }),
    )

    test('at RUNNER_TEMP: an error, and nothing is lost', () =>
      inWorld(async (world) => {
        const machine = await limitedMachine(world)
        await installAs(machine, world.machine)
        await writeConfig(machine)
        await withSmallDisk(machine.temp, 16, async () => {
          const job = machine.job()
          fill(job.temp)
          const step = await job.uses({ with: good })
          expectOneClearError(step, /ENOSPC|no space/)
          const [post] = await job.end()
          expect(post?.exitCode).toBe(0)
          expect([configOf(machine).read(), configOf(machine).mode()]).toEqual([PRIOR, 0o640])
        })
        expect(tree(machine.home)).toEqual(['.blaxel', '.blaxel/config.yaml'])
      }))
  }
})

/** The config is as it was before; or, where there was no room for that, a warning says so and the database still knows it. */
function expectUndoneOrKept(machine: Machine, post: StepResult | undefined, during: string | undefined): void {
  expect(post?.exitCode).toBe(0)
  if (post?.annotations.length === 0) {
    expect([configOf(machine).read(), configOf(machine).mode()]).toEqual([PRIOR, 0o640])
    return
  }
  expect(post?.annotations).toEqual([
    {
      level: 'warning',
      message: expect.stringMatching(
        /could not be removed: .*can't be (?:written|used)[^']*(?:ENOSPC|disk is full)/,
      ) as unknown,
    },
  ])
  expect(configOf(machine).read()).toBe(during)
  expect(JSON.parse(storedText(configOf(machine)))).toMatchObject({ base: { text: PRIOR } })
}

/** Installs the CLI without limits, and hands it to the limited machine. */
async function installAs(limited: Machine, unlimited: Machine): Promise<void> {
  await unlimited.job().uses({ with: { version: '9.9.2' } })
  execFileSync('cp', ['-a', `${unlimited.toolCache}/.`, limited.toolCache])
  handOver(limited.toolCache)
}

/** Takes what room there is left. */
function fill(directory: string): void {
  try {
    for (let number = 0; ; number += 1) writeFileSync(join(directory, `filler-${number}`), Buffer.alloc(4096))
  } catch {
    // no more room
  }
}

describe('threat 35: what stands in the place of the config', () => {
  const strange: [string, (path: string, machine: Machine) => void, string][] = [
    ['a FIFO', (path) => void execFileSync('mkfifo', [path]), 'config.yaml is not a regular file'],
    [
      'a file that may not be read',
      (path) => {
        writeFileSync(path, PRIOR, { mode: 0o200 })
      },
      "config.yaml can't be read (EACCES: permission denied)",
    ],
  ]
  if (!mayChangeOwner) console.log("disk.test.ts: only root can make somebody else's file, so that is not tried here.")
  else {
    test("somebody else's file, which can't be given back to him: an error, and it is left as it is", () =>
      inWorld(async (world) => {
        const machine = await limitedMachine(world)
        await writeConfig(machine)
        const { path } = configOf(machine)
        chmodSync(path, 0o666)
        chownSync(path, 0, 0)
        const job = machine.job()
        const step = await job.uses({ with: good })
        expectFailure(step, ["config.yaml can't be replaced with the same owner and group (EPERM", "'login: false'"])
        const [post] = await job.end()
        expect([post?.exitCode, post?.annotations]).toEqual([0, []])
        expect([configOf(machine).read(), configOf(machine).mode(), lstatSync(path).uid]).toEqual([PRIOR, 0o666, 0])
        expectNothingLeft(machine)
      }))
  }

  test.each(strange)('%s: refused before anything is asked, and left as it is', (_, make, says) =>
    inWorld(async (world) => {
      const machine = await limitedMachine(world)
      const path = configOf(machine).path
      mkdirSync(dirname(path))
      make(path, machine)
      handOver(machine.home)
      const before = [lstatSync(path).mode, lstatSync(path).mtimeMs, tree(machine.home)]
      const job = machine.job()
      const step = await job.uses({ with: good })
      expectFailure(step, [says, "'login: false'"])
      expect(world.sandbox.requests.filter(({ host }) => host.startsWith('api.'))).toEqual([])
      const [post] = await job.end()
      expect([post?.exitCode, post?.annotations]).toEqual([0, []])
      expect([lstatSync(path).mode, lstatSync(path).mtimeMs, tree(machine.home)]).toEqual(before)
      expectNothingLeft(machine)
    }),
  )

  test.each(['a file', 'a FIFO', 'a link to nowhere'])(
    '%s at ~/.blaxel: an error, at once, and it is left as it is',
    (what) =>
      inWorld(async (world) => {
        const machine = await limitedMachine(world)
        const directory = join(machine.home, '.blaxel')
        if (what === 'a file') writeFileSync(directory, 'not ours')
        else if (what === 'a FIFO') execFileSync('mkfifo', [directory])
        else symlinkSync('nowhere', directory)
        handOver(machine.home)
        const job = machine.job()
        const step = await job.uses({ with: good })
        expectOneClearError(step, /\.blaxel\S* (?:can't be read \(ENOTDIR|is not a directory)/)
        const [post] = await job.end()
        expect(post?.exitCode).toBe(0)
        expect(tree(machine.home)).toEqual(['.blaxel'])
        expectNothingLeft(machine)
      }),
  )
})
