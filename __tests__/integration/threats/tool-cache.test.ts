import { readFileSync, renameSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, test } from '@jest/globals'
import type { Machine } from '../../../sandbox/machine.ts'
import { expectFailure, expectNothingStaged } from '../failure.ts'
import { inWorld, tree } from '../world.ts'
import { contents } from './files.ts'

const VERSION = { version: '9.9.2' }
const AT_ONCE = process.env.LONG === '1' ? 20 : 6

interface Place {
  readonly directory: string
  readonly program: string
  readonly record: string
  readonly marker: string
}

function placeOf({ toolCache }: Machine): Place {
  const directory = join(toolCache, 'bl', VERSION.version, process.arch)
  return {
    directory,
    program: join(directory, 'blaxel'),
    record: join(directory, 'setup-bl.json'),
    marker: `${directory}.complete`,
  }
}

describe('threat 29: a tool-cache entry that is damaged or half-written', () => {
  // unit/tool-cache.test.ts has the others.
  const damages: [string, (place: Place) => void][] = [
    [
      'without its .complete',
      ({ marker }) => {
        rmSync(marker)
      },
    ],
    [
      'with half a record',
      ({ record }) => {
        writeFileSync(record, '{"version":"9.9.2","arch')
      },
    ],
    [
      'with half a program',
      ({ program }) => {
        writeFileSync(program, readFileSync(program).subarray(0, 3000))
      },
    ],
    [
      'that is a link to nowhere',
      ({ directory }) => {
        rmSync(directory, { recursive: true })
        symlinkSync('nowhere', directory)
      },
    ],
    [
      'of another version under this one’s name',
      ({ directory, marker }) => {
        const other = directory.replace('9.9.2', '9.9.1')
        rmSync(directory, { recursive: true })
        renameSync(other, directory)
        writeFileSync(marker, '')
      },
    ],
  ]

  test.concurrent.each(damages)('%s is no hit, and is made good', (_, damage) =>
    inWorld(async (world) => {
      const { machine } = world
      await machine.job().uses({ with: { version: '9.9.1' } })
      await machine.job().uses({ with: VERSION })
      const good = contents(placeOf(machine).directory)
      damage(placeOf(machine))
      const job = machine.job()
      const step = await job.uses({ with: VERSION })
      expect(step.annotations).toEqual([])
      expect(step.outputs).toMatchObject({ version: '9.9.2', 'cache-hit': 'false' })
      expect(contents(placeOf(machine).directory)).toEqual(good)
      expect((await job.run('bl version --skip-version-warning')).log).toContain('Version: 9.9.2')
      expectNothingStaged(world)
    }),
  )

  test.concurrent('stays until what replaces it is ready', () =>
    inWorld(async (world) => {
      const { sandbox, machine } = world
      await machine.job().uses({ with: VERSION })
      rmSync(placeOf(machine).record)
      const before = contents(machine.toolCache)
      sandbox.intercept({ host: 'github.com', path: /./, answer: { kind: 'respond', status: 403 } })
      expectFailure(await machine.job().uses({ with: VERSION }), [/could not be downloaded: \S+ answered 403/])
      expect(contents(machine.toolCache)).toEqual(before)
    }),
  )

  test.concurrent('is made good under the hands of a job that uses it', () =>
    inWorld(async ({ machine }) => {
      const user = machine.job()
      await user.uses({ with: VERSION })
      const loop = user.startRun(
        'n=0; until [ -e "$RUNNER_TEMP/enough" ]; do bl version --skip-version-warning > out; n=$((n+1)); done; echo "ran $n"',
      )
      for (let round = 0; round < 2; round += 1) {
        rmSync(placeOf(machine).record)
        expect((await machine.job().uses({ with: VERSION })).outputs['cache-hit']).toBe('false')
      }
      writeFileSync(join(user.temp, 'enough'), '')
      expect((await loop.result).log).toMatch(/^ran [1-9]\d*\n$/)
    }),
  )

  test.concurrent.each(['an empty tool cache', 'a damaged entry'])(
    `is not what ${AT_ONCE} jobs at once make of %s`,
    (start) =>
      inWorld(async (world) => {
        const { machine } = world
        if (start === 'a damaged entry') {
          await machine.job().uses({ with: VERSION })
          writeFileSync(placeOf(machine).program, 'damaged')
        }
        const jobs = Array.from({ length: AT_ONCE }, () => machine.job())
        const steps = await Promise.all(jobs.map((job) => job.uses({ with: VERSION })))
        expect(steps.map(({ annotations, outputs }) => [annotations, outputs.version])).toEqual(
          jobs.map(() => [[], '9.9.2']),
        )
        const later = await Promise.all(jobs.map((job) => job.run('bl version --skip-version-warning')))
        expect(later.map(({ exitCode }) => exitCode)).toEqual(jobs.map(() => 0))
        expect(tree(placeOf(machine).directory)).toEqual(['bl', 'blaxel', 'setup-bl.json'])
        expectNothingStaged(world)
        expect((await machine.job().uses({ with: VERSION })).outputs['cache-hit']).toBe('true')
      }),
  )
})
