import { afterEach, beforeEach, describe, expect, test } from '@jest/globals'
import { existsSync } from 'node:fs'
import { join } from 'node:path'
import type { StepResult } from '../../sandbox/job.ts'
import type { Handler } from '../../sandbox/sandbox.ts'
import { credentials, openWorld, requestsTo, type World } from './world.ts'

const MIRROR = 'https://mirror.example/blaxel/toolkit'

let world: World
beforeEach(async () => {
  world = await openWorld()
})
afterEach(() => world.close())

/** A file server with the files of release 9.9.1; with `redirects` also /releases/latest. */
function fileServer(redirects: boolean): Handler {
  const { github } = world.sandbox
  const file = github.platformFile
  const folder = '/blaxel/toolkit/releases'
  const files: Record<string, Buffer> = {
    [`${folder}/download/v9.9.1/${file}`]: github.archive('9.9.1'),
    [`${folder}/download/v9.9.1/blaxel_9.9.1_checksums.txt`]: Buffer.from(`${github.sha256('9.9.1')}  ${file}\n`),
  }
  return ({ path }) => {
    if (redirects && path === `${folder}/latest`)
      return { status: 302, headers: { location: `${MIRROR}/releases/tag/v9.9.1` } }
    const body = files[path]
    return body ? { status: 200, body } : { status: 404, body: 'not here' }
  }
}

function use(inputs: Record<string, string>): Promise<StepResult> {
  return world.machine.job().uses({ with: { 'mirror-url': MIRROR, ...inputs } })
}

function messages(step: StepResult, wanted: 'error' | 'warning'): string[] {
  return step.annotations.filter(({ level }) => level === wanted).map(({ message }) => message)
}

describe('a plain file server as a mirror', () => {
  beforeEach(() => {
    world.sandbox.addHost('mirror.example', fileServer(false))
  })

  test('gives exact versions, vouches for itself with a warning, and nothing else is asked', async () => {
    const step = await use({ version: '9.9.1', workspace: 'acme', ...credentials.oauth })
    expect(step.outputs).toMatchObject({ version: '9.9.1', 'cache-hit': 'false', 'verified-by': 'release-checksums' })
    expect(messages(step, 'warning')).toEqual([expect.stringContaining('not an independent source')])
    expect([...new Set(world.sandbox.requests.map(({ host }) => host))].sort()).toEqual([
      'api.blaxel.ai',
      'mirror.example',
    ])
  })

  test('needs no warning with a checksum, and makes no request for a hit', async () => {
    const checksum = world.sandbox.github.sha256('9.9.1')
    const step = await use({ version: '9.9.1', checksum })
    expect(step.outputs['verified-by']).toBe('checksum-input')
    expect(messages(step, 'warning')).toEqual([])
    const before = world.sandbox.requests.length
    expect((await use({ version: '9.9.1', checksum })).outputs).toMatchObject({
      'cache-hit': 'true',
      'verified-by': 'checksum-input',
    })
    expect(world.sandbox.requests.length).toBe(before)
  })

  test('has a place of its own in the tool cache', async () => {
    const fromGitHub = await world.machine.job().uses({ with: { version: '9.9.1' } })
    const fromMirror = await use({ version: '9.9.1' })
    expect(fromMirror.outputs['cache-hit']).toBe('false')
    expect(fromMirror.outputs.path).toMatch(/bl-mirror-[0-9a-f]{12}/)
    expect(existsSync(join(world.machine.toolCache, 'bl', '9.9.1'))).toBe(true)
    expect(fromGitHub.outputs.path).not.toBe(fromMirror.outputs.path)
  })

  test('can not answer latest, and the message says what it would take', async () => {
    expect(messages(await use({}), 'error')).toEqual([
      expect.stringMatching(/does not redirect to a release \(it answered 404: not here\)\. Make the mirror redirect/),
    ])
  })

  test('can not answer a range', async () => {
    expect(messages(await use({ version: '^9.9.0' }), 'error')).toEqual([
      expect.stringMatching(/a mirror has no list of releases/),
    ])
    expect(world.sandbox.requests).toEqual([])
  })

  test('must match the table of known sums, as GitHub must', async () => {
    const file = world.sandbox.github.platformFile
    world.sandbox.addHost('mirror.example', ({ path }) =>
      path.endsWith(file) ? { status: 200, body: world.sandbox.github.archive('9.9.1') } : { status: 404, body: '' },
    )
    expect(messages(await use({ version: '0.1.108' }), 'error')).toEqual([
      expect.stringContaining("setup-bl's table of known checksums says"),
    ])
  })
})

test('a mirror that redirects answers latest', async () => {
  world.sandbox.addHost('mirror.example', fileServer(true))
  const step = await use({ 'mirror-url': `${MIRROR}/` })
  expect(step.outputs.version).toBe('9.9.1')
  expect(requestsTo(world.sandbox, 'github.com')).toEqual([])
})
