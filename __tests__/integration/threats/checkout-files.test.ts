import { execFileSync } from 'node:child_process'
import { mkdirSync, symlinkSync, truncateSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { describe, expect, test } from '@jest/globals'
import { expectFailure } from '../failure.ts'
import { credentials, inWorld, visible, type World } from '../world.ts'

/** What a file of the runner holds that a stranger would like to see. */
const PLANTED = 'planted-secret-of-this-machine'

interface HostileFile {
  readonly what: string
  /** Puts it at a path of the checkout. */
  readonly make: (path: string, world: World) => void
  readonly why: string
}

function secretOutside({ machine }: World): string {
  const path = join(dirname(machine.workspace), 'secret')
  writeFileSync(path, `${PLANTED}\nBL_API_KEY=${PLANTED}\n`)
  return path
}

const files: HostileFile[] = [
  {
    what: 'a link to a secret',
    make: (path, world) => {
      symlinkSync(secretOutside(world), path)
    },
    why: 'is a symbolic link',
  },
  {
    what: 'a link to /dev/zero',
    make: (path) => {
      symlinkSync('/dev/zero', path)
    },
    why: 'is a symbolic link',
  },
  {
    what: 'a link to itself',
    make: (path) => {
      symlinkSync(path, path)
    },
    why: 'is a symbolic link',
  },
  {
    what: 'a FIFO that nobody writes to',
    make: (path) => {
      execFileSync('mkfifo', [path])
    },
    why: 'is not a regular file',
  },
  {
    what: 'a directory',
    make: (path) => {
      mkdirSync(path)
    },
    why: 'is not a regular file',
  },
  {
    what: 'a file of 1 GB',
    make: (path) => {
      writeFileSync(path, '9.9.1\n')
      truncateSync(path, 1_000_000_000)
    },
    why: 'is larger than 64 kB',
  },
]

describe('threat 46: a hostile file of the checkout', () => {
  test.concurrent.each(files)('as version-file: $what is refused by its path', ({ make, why }) =>
    inWorld(async (world) => {
      const { sandbox, machine } = world
      make(join(machine.workspace, '.bl-version'), world)
      const step = await machine.job().uses({ with: { 'version-file': '.bl-version' } })
      expectFailure(step, [`The input version-file names .bl-version, which ${why}.`])
      expect(step.raw).not.toContain(PLANTED)
      expect(sandbox.requests).toEqual([])
    }),
  )

  test.concurrent.each(['.env', 'blaxel.toml'])('as %s: none of these is read, and each is named', (name) =>
    inWorld(async (world) => {
      const { machine } = world
      for (const [index, { make, why }] of files.entries()) {
        // A checkout of its own for each.
        const workspace = join(dirname(machine.workspace), `checkout-${index}`)
        mkdirSync(workspace)
        make(join(workspace, name), world)
        const job = machine.job({ workspace })
        const step = await job.uses({
          with: { version: '9.9.2', workspace: 'acme', login: 'false', ...credentials.oauth },
        })
        expect(step.exitCode).toBe(0)
        expect(step.annotations).toEqual([
          {
            level: 'warning',
            message: expect.stringContaining(`${name} in the checkout ${why}, so it was not read`) as unknown,
          },
        ])
        expect(visible(step)).not.toContain(PLANTED)
      }
    }),
  )

  const outside: [string, (world: World) => string][] = [
    ['by ..', () => '../secret'],
    ['by its absolute path', (world) => secretOutside(world)],
    [
      'by way of a linked directory',
      ({ machine }) => {
        symlinkSync('..', join(machine.workspace, 'sub'))
        return 'sub/secret'
      },
    ],
  ]
  test.concurrent.each(outside)('that lies outside is not read: %s', (_, pathIn) =>
    inWorld(async (world) => {
      secretOutside(world)
      const path = pathIn(world)
      const step = await world.machine.job().uses({ with: { 'version-file': path } })
      expectFailure(step, ['is outside the checkout'])
      expect(step.raw).not.toContain(PLANTED)
    }),
  )

  test.concurrent.each(['.bl-version', '.tool-versions'])('%s is never shown, only its path and line', (name) =>
    inWorld(async ({ machine }) => {
      const line = name === '.bl-version' ? PLANTED : `blaxel ${PLANTED}`
      writeFileSync(join(machine.workspace, name), `\n${line}\n`)
      const step = await machine.job().uses({ with: { 'version-file': name } })
      expectFailure(step, [`${name}, line 2, is not an exact version`])
      expect(step.raw).not.toContain(PLANTED)
    }),
  )

  test.concurrent('shows the names of BL_* variables alone, never a value or another text', () =>
    inWorld(async ({ machine }) => {
      const lines = [
        `BL_API_KEY=${PLANTED}`,
        `BL_::add-path::/evil=${PLANTED}`,
        `##[set-output name=token]${PLANTED}=BL_X`,
        `export BL_ENV="${PLANTED}"`,
        `# BL_WORKSPACE=${PLANTED}`,
      ]
      writeFileSync(join(machine.workspace, '.env'), lines.join('\n'))
      const step = await machine.job().uses({ with: { workspace: 'acme', login: 'false', ...credentials.oauth } })
      expect(step.annotations.map(({ message }) => message.replace(/:.*/, ''))).toEqual([
        '.env in the checkout sets BL_API_KEY (line 1)',
        '.env in the checkout sets BL_ENV (line 4)',
      ])
      expect(visible(step)).not.toContain(PLANTED)
      expect(step.paths).toHaveLength(1)
    }),
  )
})
