import { afterEach, beforeEach, describe, expect, test } from '@jest/globals'
import { gzipSync } from 'node:zlib'
import type { StepResult } from '../../sandbox/job.ts'
import { tarGz } from '../../sandbox/archive.ts'
import { hurried } from './threats/preload.ts'
import { openWorld, tree, type World } from './world.ts'

const ASSETS = 'release-assets.githubusercontent.com'
const ANY = /./

let world: World
beforeEach(async () => {
  world = await openWorld()
})
afterEach(() => world.close())

function use(inputs: Record<string, string> = {}): Promise<StepResult> {
  return world.machine
    .job({ env: hurried(world) })
    .uses({ with: { version: '9.9.2', checksum: world.sandbox.github.sha256('9.9.2'), ...inputs } })
}

function errors(step: StepResult): string[] {
  return step.annotations.filter(({ level }) => level === 'error').map(({ message }) => message)
}

function triesOfArchive(): number {
  return world.sandbox.requests.filter(({ host }) => host === ASSETS).length
}

describe('a download is tried again', () => {
  test.each([
    ['was cut', { kind: 'truncate', bytes: 5_000 }],
    ['was reset', { kind: 'reset' }],
    ['was answered 503', { kind: 'respond', status: 503 }],
    ['was turned away with Retry-After', { kind: 'respond', status: 429, headers: { 'retry-after': '0' } }],
    // 15 s without a byte, which pass in 1.5 s
    ['stalled', { kind: 'stall', bytes: 5_000 }],
  ] as const)('where it %s', async (_, answer) => {
    world.sandbox.intercept({ host: ASSETS, path: ANY, times: 1, answer })
    const step = await use()
    expect(step.exitCode).toBe(0)
    expect(step.outputs.version).toBe('9.9.2')
    expect(triesOfArchive()).toBe(2)
  })

  test('at most eight times in all, and then the error says what happened', async () => {
    world.sandbox.intercept({ host: ASSETS, path: ANY, answer: { kind: 'truncate', bytes: 5_000 } })
    const step = await use()
    expect(errors(step)).toEqual([expect.stringContaining(`The connection to ${ASSETS} broke`)])
    expect(triesOfArchive()).toBe(8)
    expect(tree(world.machine.toolCache).filter((path) => path.includes('9.9.2'))).toEqual([])
  })

  test.each([400, 403, 410])('but not after %s', async (status) => {
    world.sandbox.intercept({ host: ASSETS, path: ANY, answer: { kind: 'respond', status } })
    expect(errors(await use())).toEqual([expect.stringContaining(`${ASSETS} answered ${status}`)])
    expect(triesOfArchive()).toBe(1)
  })
})

describe('threat 50: an archive without end', () => {
  test('is given up at 200 MB', async () => {
    world.sandbox.intercept({ host: ASSETS, path: ANY, answer: { kind: 'endless' } })
    expect(errors(await use())).toEqual([expect.stringContaining('larger than 200 MB')])
    expect(tree(world.machine.toolCache).filter((path) => path.includes('setup-bl'))).toEqual([])
  })

  test('of unpacked bytes is given up at 500 MB', async () => {
    const { github } = world.sandbox
    const zeros = tarGz([{ name: 'blaxel', mode: 0o755, content: Buffer.alloc(501_000_000) }])
    github.publish({ version: '9.9.3', assets: { [github.platformFile]: zeros } })
    const step = await use({ version: '9.9.3', checksum: github.sha256('9.9.3') })
    expect(errors(step)).toEqual([expect.stringContaining('larger than 500 MB unpacked')])
    expect(tree(world.machine.toolCache).filter((path) => path.includes('9.9.3') || path.includes('setup-bl'))).toEqual(
      [],
    )
  })
})

describe('an archive is refused, and nothing of it is left,', () => {
  test.each([['without the program', [{ name: 'README.md', content: Buffer.from('x') }], 'does not contain blaxel']])(
    '%s',
    async (_, entries, why) => {
      const { github } = world.sandbox
      github.publish({ version: '9.9.3', assets: { [github.platformFile]: tarGz(entries) } })
      const step = await use({ version: '9.9.3', checksum: github.sha256('9.9.3') })
      expect(errors(step)).toEqual([expect.stringContaining(why)])
      expect(
        tree(world.machine.toolCache).filter((path) => path.includes('9.9.3') || path.includes('setup-bl')),
      ).toEqual([])
    },
  )

  test('that is no archive', async () => {
    const { github } = world.sandbox
    github.publish({ version: '9.9.3', assets: { [github.platformFile]: gzipSync('no tar at all') } })
    const step = await use({ version: '9.9.3', checksum: github.sha256('9.9.3') })
    expect(errors(step)).toEqual([
      expect.stringMatching(/The archive of the Blaxel CLI (?:is damaged|does not contain blaxel)/),
    ])
  })
})
