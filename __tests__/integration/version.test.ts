import { afterEach, beforeEach, describe, expect, test } from '@jest/globals'
import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import type { StepResult } from '../../sandbox/job.ts'
import type { Answer } from '../../sandbox/sandbox.ts'
import { hurried, preloaded } from './threats/preload.ts'
import { credentials, openWorld, requestsTo, tree, type World } from './world.ts'

const ARCHIVE = /\/blaxel_[A-Za-z]+_[a-z0-9_]+\.(?:tar\.gz|zip)$/

let world: World
beforeEach(async () => {
  world = await openWorld()
})
afterEach(() => world.close())

function use(inputs: Record<string, string>, job = world.machine.job()): Promise<StepResult> {
  return job.uses({ with: inputs })
}

function errors(step: StepResult): string[] {
  return step.annotations.filter(({ level }) => level === 'error').map(({ message }) => message)
}

function warnings(step: StepResult): string[] {
  return step.annotations.filter(({ level }) => level === 'warning').map(({ message }) => message)
}

describe('latest', () => {
  test('costs one redirect and no REST API', async () => {
    const step = await use({ version: 'latest' })
    expect(step.outputs.version).toBe('9.9.2')
    expect(requestsTo(world.sandbox, 'github.com')[0]).toBe('GET /blaxel-ai/toolkit/releases/latest')
    expect(requestsTo(world.sandbox, 'api.github.com')).toEqual([])
  })

  test('that is a prerelease gives way to the newest good one, with a warning', async () => {
    const version = '9.9.3-dev2'
    world.sandbox.github.publish({ version })
    world.sandbox.github.publish({ version: '9.9.0' })
    world.sandbox.github.latest = `v${version}`
    const step = await use({})
    expect(step.outputs.version).toBe('9.9.2')
    expect(warnings(step)).toEqual([
      `The latest release, ${version}, looks like a prerelease; using 9.9.2, the previous stable release.`,
    ])
    expect((await use({ version })).outputs.version).toBe(version)
  })

  test.each([
    ['its archive', { archive: null }],
    ['its checksums file', { checksums: null }],
  ])('that lacks %s gives way to the newest good one, with a warning', async (_, lack) => {
    const { github } = world.sandbox
    const assets = 'archive' in lack ? { [github.platformFile]: null } : {}
    github.publish({ version: '9.9.3', assets, ...('checksums' in lack ? { checksums: null } : {}) })
    const step = await use({})
    expect(step.outputs.version).toBe('9.9.2')
    expect(warnings(step)).toEqual([
      expect.stringMatching(
        /^The latest release, 9\.9\.3, has no .* yet; using 9\.9\.2, the previous stable release\.$/,
      ),
    ])
    expect(tree(world.machine.toolCache).filter((path) => path.includes('9.9.3'))).toEqual([])
  })

  test('an exact version that lacks its archive does not', async () => {
    world.sandbox.github.publish({ version: '9.9.3', assets: { [world.sandbox.github.platformFile]: null } })
    const step = await use({ version: '9.9.3' })
    expect(errors(step)).toEqual([expect.stringContaining('Release 9.9.3 of the Blaxel CLI, or its archive for')])
    expect(requestsTo(world.sandbox, 'api.github.com')).toEqual([])
  })
})

describe('a range', () => {
  beforeEach(() => {
    for (const version of ['0.1.90', '0.1.95', '0.1.101', '0.2.0', '0.2.1-rc1'])
      world.sandbox.github.publish({ version, prerelease: version.includes('-') })
    world.sandbox.github.publish({ version: '0.3.0', draft: true })
  })

  test.each([
    ['0.1.x', '0.1.101'],
    ['>=0.1.90 <0.1.100', '0.1.95'],
    ['>=0.2.1-rc0 <0.3', '0.2.1-rc1'],
  ])('%s is the newest release that matches: %s', async (range, version) => {
    // Their sums are known, and the sandbox's archives are others.
    const step = await use({ version: range, checksum: world.sandbox.github.sha256(version) })
    expect(step.outputs.version).toBe(version)
    expect(warnings(step)).toEqual([])
  })

  test('does not ask the tool cache first', async () => {
    await use({ version: '9.9.1' })
    const step = await use({ version: '^9.9.0' })
    expect(step.outputs).toMatchObject({ version: '9.9.2', 'cache-hit': 'false' })
    expect((await use({ version: '^9.9.0' })).outputs).toMatchObject({ version: '9.9.2', 'cache-hit': 'true' })
  })

  test('that nothing matches is an error', async () => {
    expect(errors(await use({ version: '^7.0.0' }))).toEqual([expect.stringContaining("matches the range '^7.0.0'")])
  })

  test('takes an older release than the newest that lacks its archive, with a warning', async () => {
    world.sandbox.github.publish({ version: '9.9.3', assets: { [world.sandbox.github.platformFile]: null } })
    const step = await use({ version: '9.9.x' })
    expect(step.outputs.version).toBe('9.9.2')
    expect(warnings(step)).toEqual([expect.stringContaining('9.9.3 matches')])
  })

  test('reads every page of the list', async () => {
    for (let number = 200; number < 320; number += 1) world.sandbox.github.publish({ version: `0.5.${number}` })
    const step = await use({ version: '~9.9.1' })
    expect(step.outputs.version).toBe('9.9.2')
    expect(requestsTo(world.sandbox, 'api.github.com').length).toBe(2)
  })
})

describe('api.github.com', () => {
  const list = { host: 'api.github.com', path: /releases$/ }
  const headersThere = () =>
    world.sandbox.requests.filter(({ host }) => host === 'api.github.com').map(({ headers }) => headers.authorization)

  test('with its quota used up: the message says when it is filled again', async () => {
    const headers = { 'x-ratelimit-remaining': '0', 'x-ratelimit-reset': '1893456000' }
    world.sandbox.intercept({
      ...list,
      answer: { kind: 'respond', status: 403, headers, body: { message: 'API rate limit exceeded' } },
    })
    const step = await use({ version: '9.9.x' })
    expect(errors(step)).toEqual([
      expect.stringMatching(/rate limit.*resets at 2030-01-01T00:00:00.000Z.*exact version/),
    ])
    expect(requestsTo(world.sandbox, 'api.github.com')).toHaveLength(1)
  })

  const limited: Answer = {
    kind: 'respond',
    status: 403,
    headers: { 'retry-after': '1' },
    body: { message: 'You have exceeded a secondary rate limit.' },
  }
  const addressNotAllowed: Answer = {
    kind: 'respond',
    status: 403,
    body: { message: 'The organization has an IP allow list enabled, and your IP address is not permitted.' },
  }

  test('that asks for a pause (403, Retry-After) is waited for', async () => {
    world.sandbox.intercept({ ...list, answer: limited, times: 2 })
    const step = await use({ version: '9.9.x' }, world.machine.job({ env: hurried(world) }))
    expect([step.outputs.version, errors(step)]).toEqual(['9.9.2', []])
    expect(requestsTo(world.sandbox, 'api.github.com')).toHaveLength(3)
  })

  test('that asks for a longer pause than there is time for: the message has its reason', async () => {
    const headers = { 'retry-after': '9999' }
    world.sandbox.intercept({ ...list, answer: { ...limited, headers } })
    // By the action's clock a minute passes between two looks at it.
    const clock = 'const { now } = Date; let looks = 0; Date.now = () => now() + 60_000 * looks++'
    const job = world.machine.job({ env: preloaded(world, 'clock', clock) })
    expect(errors(await use({ version: '9.9.x' }, job))).toEqual([
      expect.stringMatching(/rejected the request.*\(403: You have exceeded a secondary rate limit\.\).*exact version/),
    ])
  })

  test('that forbids the token is asked without it', async () => {
    world.sandbox.intercept({ ...list, answer: addressNotAllowed, times: 1 })
    const step = await use({ version: '9.9.x' })
    expect([step.outputs.version, errors(step)]).toEqual(['9.9.2', []])
    expect(headersThere()).toEqual([expect.stringContaining('Bearer'), undefined])
  })

  test('that forbids every request: the message has its reason', async () => {
    world.sandbox.intercept({ ...list, answer: addressNotAllowed })
    const step = await use({ version: '9.9.x' })
    expect(errors(step)).toEqual([expect.stringContaining('(403: The organization has an IP allow list enabled')])
    expect(requestsTo(world.sandbox, 'api.github.com')).toHaveLength(2)
  })

  test('that does not accept the token: the message names the input', async () => {
    const step = await use({ version: '9.9.x', 'github-token': 'not-a-token-of-github' })
    expect(errors(step)).toEqual([expect.stringContaining('github-token')])
    expect(step.raw).not.toContain('not-a-token-of-github')
  })
})

describe('version-file', () => {
  const write = (name: string, text: string) => {
    const path = join(world.machine.workspace, name)
    mkdirSync(join(path, '..'), { recursive: true })
    writeFileSync(path, text)
  }

  test.each([
    ['sub/.tool-versions', 'bl v9.9.1\r\n'],
    ['.bl-version', '\uFEFFv9.9.1\r\n\r\n'],
  ])('%s: %j names 9.9.1', async (name, text) => {
    write(name, text)
    expect((await use({ 'version-file': name })).outputs.version).toBe('9.9.1')
  })

  test('without an exact version is an error that names the place', async () => {
    write('.tool-versions', 'a 1\nblaxel latest\n')
    const step = await use({ 'version-file': '.tool-versions' })
    expect(errors(step)).toEqual([expect.stringContaining('.tool-versions, line 2, is not an exact version')])
    expect(world.sandbox.requests).toEqual([])
  })

  test('outside the checkout is an error', async () => {
    write('../outside', '9.9.1')
    const step = await use({ 'version-file': '../outside' })
    expect(errors(step)).toEqual([expect.stringContaining('../outside, which is outside the checkout')])
  })

  test('of a pull request that asks for a bl which believes refusals gets a warning', async () => {
    world.sandbox.github.publish({ version: '0.1.94' })
    write('.bl-version', '0.1.94')
    const job = world.machine.job({ eventName: 'pull_request_target' })
    const step = await use(
      {
        'version-file': '.bl-version',
        checksum: world.sandbox.github.sha256('0.1.94'),
        workspace: 'acme',
        ...credentials.oauth,
      },
      job,
    )
    expect(step.exitCode).toBe(0)
    expect(warnings(step)).toEqual([expect.stringContaining('exits 0 when a login is rejected')])
    await job.end()
  })
})

describe('checksum', () => {
  test('one line a platform: the one for this runner decides', async () => {
    const { github } = world.sandbox
    const lines = ['blaxel_Linux_i386.tar.gz', github.platformFile].map(
      (file) => `${github.sha256('9.9.2', file)}  ${file}`,
    )
    const step = await use({ checksum: `${lines.join('\n')}\n` })
    expect(step.outputs['verified-by']).toBe('checksum-input')
    expect(world.sandbox.requests.filter(({ path }) => path.includes('checksums.txt'))).toEqual([])
  })

  test('without a line for this runner: an error that names the archive', async () => {
    const step = await use({ version: '9.9.2', checksum: `${'0'.repeat(64)}  blaxel_Plan9_x86_64.tar.gz` })
    expect(errors(step)).toEqual([expect.stringContaining(`has no line for ${world.sandbox.github.platformFile}`)])
    expect(world.sandbox.requests.filter(({ path }) => ARCHIVE.test(path))).toEqual([])
  })
})
