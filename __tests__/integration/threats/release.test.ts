import { existsSync } from 'node:fs'
import { mkdir, writeFile } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { describe, expect, test } from '@jest/globals'
import { tarGz, type Entry } from '../../../sandbox/archive.ts'
import { packageCli } from '../../../sandbox/cli/package.ts'
import type { StepResult } from '../../../sandbox/job.ts'
import type { ReleaseOptions, Sandbox } from '../../../sandbox/sandbox.ts'
import { expectFailure, expectNothingStaged } from '../failure.ts'
import { credentials, inWorld, ownRequestsTo, requestsTo, tree, type World } from '../world.ts'
import { contents } from './files.ts'

const ASSETS = 'release-assets.githubusercontent.com'
const LISTED = '0.1.100'

/** A program that writes down that it was run, whatever its archive looks like. */
function program({ root }: Sandbox, version: string): Entry {
  const content = packageCli({ version, dumpFile: join(root, 'ran.jsonl') })
  return { name: 'blaxel', mode: 0o755, content }
}

function ran({ root }: Sandbox): boolean {
  return tree(root).includes('ran.jsonl')
}

/** Nothing was installed, nothing of the archive was run, and what was in the tool cache is as it was. */
async function expectRefused(
  world: World,
  inputs: Readonly<Record<string, string>>,
  says: readonly (string | RegExp)[],
): Promise<StepResult> {
  const { sandbox, machine } = world
  const before = contents(machine.toolCache)
  const runs = sandbox.github.invocations().length
  const step = await machine.job().uses({ with: { ...inputs } })
  expectFailure(step, says)
  const after = Object.entries(contents(machine.toolCache))
  // The place of a version may be made, but nothing in it.
  const added = after.filter(([path, what]) => !(path in before) && !what.endsWith('directory'))
  expect([Object.fromEntries(after), added]).toEqual([expect.objectContaining(before), []])
  expectNothingStaged(world)
  expect([sandbox.github.invocations().length, ran(sandbox)]).toEqual([runs, false])
  return step
}

describe('threat 28: an archive is refused, and the tool cache stays as it was:', () => {
  type Make = (sandbox: Sandbox) => Omit<ReleaseOptions, 'version'>
  const withFile = ({ github }: Sandbox, bytes: Buffer) => ({ assets: { [github.platformFile]: bytes } })
  /** Another archive than the one that the checksums file of the release names. */
  const swapped = (sandbox: Sandbox, bytes: Buffer) => ({
    ...withFile(sandbox, bytes),
    checksums: `${sandbox.github.sha256('9.9.2')}  ${sandbox.github.platformFile}\n`,
  })
  const bothSums =
    /^The SHA-256 of \S+ of bl 9\.9\.3 is [0-9a-f]{64}, but the release's checksums file says [0-9a-f]{64}/

  const archives: [string, Make, string | RegExp][] = [
    ['one bit is another', (sandbox) => swapped(sandbox, flipped(sandbox.github.archive('9.9.2'))), bothSums],
    ['its end is missing', (sandbox) => swapped(sandbox, sandbox.github.archive('9.9.2').subarray(0, -9)), bothSums],
    ['something was appended', (sandbox) => swapped(sandbox, appended(sandbox.github.archive('9.9.2'))), bothSums],
    [
      'it is the one for another platform',
      (sandbox) => swapped(sandbox, sandbox.github.archive('9.9.2', 'blaxel_Darwin_arm64.tar.gz')),
      bothSums,
    ],
    ['there is no checksums file', () => ({ checksums: null }), 'checksums.txt does not exist'],
    [
      'the checksums file has no line for it',
      ({ github }) => ({ checksums: `${github.sha256('9.9.2')}  ${github.platformFile}.old\n` }),
      'does not list exactly one for',
    ],
    [
      'the checksums file has two lines for it',
      ({ github }) => ({
        checksums: ['9.9.2', '9.9.1'].map((v) => `${github.sha256(v)}  ${github.platformFile}\n`).join(''),
      }),
      'does not list exactly one for',
    ],
    [
      'a link has the name of the program',
      (sandbox) => withFile(sandbox, tarGz([{ name: 'blaxel', link: '/bin/sh' }])),
      'does not contain blaxel',
    ],
  ]

  test.concurrent.each(archives)('%s', (_, make, says) =>
    inWorld(async (world) => {
      const { sandbox, machine } = world
      await machine.job().uses({ with: { version: '9.9.1' } })
      sandbox.github.publish({ version: '9.9.3', ...make(sandbox) })
      await expectRefused(world, { version: '9.9.3' }, [says])
      expect(tree(dirname(machine.toolCache)).filter((path) => path.includes('evil'))).toEqual([])
    }),
  )

  test.concurrent('nothing but the program is taken out of it, wherever a path or a link leads', () =>
    inWorld(async (world) => {
      const { sandbox, machine } = world
      const names = ['../evil', '../../evil', 'a/../../../evil', '/tmp/evil', '..\\evil', 'C:\\evil', 'blaxel/../evil']
      const planted = names.map((name) => ({ name, content: Buffer.from('planted') }))
      const links = [
        { name: 'x', link: '../..' },
        { name: 'x/evil', content: Buffer.from('planted') },
        { name: 'bl', link: '/bin/sh' },
      ]
      const archive = tarGz([...planted, ...links, program(sandbox, '9.9.3')])
      sandbox.github.publish({ version: '9.9.3', assets: { [sandbox.github.platformFile]: archive } })
      const step = await machine.job().uses({ with: { version: '9.9.3' } })
      expect(step.annotations).toEqual([])
      expect(tree(dirname(machine.toolCache)).filter((path) => path.includes('evil'))).toEqual([])
      expect(existsSync('/tmp/evil')).toBe(false)
      expect(tree(dirname(step.outputs.path ?? ''))).toEqual(['bl', 'blaxel', 'setup-bl.json'])
    }),
  )

  test.concurrent('the program is another version, which only running it shows', () =>
    inWorld(async (world) => {
      const { sandbox, machine } = world
      sandbox.github.publish({ version: '9.9.3', ...withFile(sandbox, tarGz([program(sandbox, '9.9.30')])) })
      const step = await machine.job().uses({ with: { version: '9.9.3' } })
      expectFailure(step, ['Version: 9.9.30', 'instead of 9.9.3. Nothing was installed'])
      expect(tree(machine.toolCache).filter((path) => path.startsWith('bl/9.9.3/'))).toEqual([])
      expectNothingStaged(world)
    }),
  )
})

function flipped(bytes: Buffer): Buffer {
  const other = Buffer.from(bytes)
  const middle = other.length >> 1
  other[middle] = (other[middle] ?? 0) ^ 1
  return other
}

function appended(bytes: Buffer): Buffer {
  return Buffer.concat([bytes, Buffer.from('more')])
}

describe('threat 30: a token of GitHub', () => {
  const withToken = (sandbox: Sandbox) =>
    sandbox.requests.filter(({ headers }) => /bearer|token|gh[ps]_/i.test(headers.authorization ?? ''))

  test.concurrent('of the job goes to the list of releases at api.github.com, and nowhere else', () =>
    inWorld(async ({ sandbox, machine }) => {
      await machine.job().uses({ with: { version: '9.9.x' } })
      await machine.job().uses({ with: { version: 'latest', checksum: sandbox.github.sha256('9.9.2') } })
      await machine.job().uses({ with: { version: '9.9.1' } })
      expect(withToken(sandbox).map(({ host }) => host)).toEqual(['api.github.com'])
      const others = sandbox.requests.filter(({ host }) => host !== 'api.github.com')
      expect(others.filter((request) => /gh[ps]_/.test(JSON.stringify(request)))).toEqual([])
    }),
  )

  test.concurrent.each(['', 'ghp_of_the_enterprise_server'])(
    'of an Enterprise Server stays there (input: %j)',
    (token) =>
      inWorld(async ({ sandbox, machine }) => {
        const job = machine.job({ serverUrl: 'https://ghes.example' })
        const given = token === '' ? {} : { 'github-token': token }
        const step = await job.uses({ with: { version: '9.9.x', ...given } })
        expect(step.outputs.version).toBe('9.9.2')
        expect(requestsTo(sandbox, 'api.github.com')).toHaveLength(1)
        expect(withToken(sandbox)).toEqual([])
      }),
  )

  test.concurrent('follows no redirect', () =>
    inWorld(async ({ sandbox, machine }) => {
      const trap: string[] = []
      sandbox.addHost('evil.example', ({ headers }) => {
        trap.push(headers.authorization ?? '')
        return { status: 200, body: [] }
      })
      const headers = { location: 'https://evil.example/releases' }
      sandbox.intercept({ host: 'api.github.com', path: /./, answer: { kind: 'respond', status: 302, headers } })
      const step = await machine.job().uses({ with: { version: '9.9.x' } })
      expectFailure(step, ['api.github.com gave an unexpected response', '(302)'])
      expect(trap).toEqual([])
    }),
  )

  test.concurrent('is not sent to a mirror', () =>
    inWorld(async ({ sandbox, machine }) => {
      sandbox.addHost('mirror.example', () => ({ status: 200, body: sandbox.github.archive('9.9.2') }))
      const inputs = {
        'mirror-url': 'https://mirror.example',
        version: '9.9.2',
        checksum: sandbox.github.sha256('9.9.2'),
      }
      const step = await machine.job().uses({ with: inputs })
      expect(step.exitCode).toBe(0)
      expect(requestsTo(sandbox, 'mirror.example')).toHaveLength(1)
      expect(withToken(sandbox)).toEqual([])
    }),
  )
})

describe('threat 31: a release that was published again under its old tag', () => {
  const says = [
    /^The SHA-256 of \S+ of bl 0\.1\.100 is [0-9a-f]{64}, but setup-bl's table of known checksums says [0-9a-f]{64}/,
    'The archive was changed after its release',
  ]

  test.concurrent('is refused, though its own checksums file agrees with it', () =>
    inWorld(async (world) => {
      world.sandbox.github.publish({ version: LISTED })
      await expectRefused(world, { version: LISTED }, says)
    }),
  )

  test.concurrent('is refused where latest leads to it', () =>
    inWorld(async (world) => {
      world.sandbox.github.publish({ version: LISTED })
      await expectRefused(world, {}, says)
    }),
  )

  test.concurrent('is no hit either, where the tool cache has it', () =>
    inWorld(async (world) => {
      const { sandbox, machine } = world
      sandbox.github.publish({ version: LISTED })
      const directory = join(machine.toolCache, 'bl', LISTED, process.arch)
      await mkdir(directory, { recursive: true })
      const { content = '' } = program(sandbox, LISTED)
      for (const name of ['bl', 'blaxel']) await writeFile(join(directory, name), content, { mode: 0o755 })
      const record = { version: LISTED, archive: sandbox.github.platformFile, verifiedBy: 'known-checksums' }
      await writeFile(
        join(directory, 'setup-bl.json'),
        JSON.stringify({ ...record, sha256: sandbox.github.sha256(LISTED) }),
      )
      await writeFile(`${directory}.complete`, '')
      await expectRefused(world, { version: LISTED }, says)
    }),
  )

  test.concurrent("can be taken by somebody who says so in 'checksum'", () =>
    inWorld(async ({ sandbox, machine }) => {
      sandbox.github.publish({ version: LISTED })
      const step = await machine.job().uses({ with: { version: LISTED, checksum: sandbox.github.sha256(LISTED) } })
      expect(step.outputs).toMatchObject({ version: LISTED, 'verified-by': 'checksum-input' })
    }),
  )
})

describe('threat 32: a tool-cache entry that came from another archive', () => {
  test.concurrent('does not answer a checksum: it is fetched anew, and the next use is a hit', () =>
    inWorld(async ({ sandbox, machine }) => {
      await machine.job().uses({ with: { version: '9.9.2' } })
      const old = sandbox.github.sha256('9.9.2')
      const other = tarGz([program(sandbox, '9.9.2'), { name: 'NOTICE', content: Buffer.from('another archive') }])
      sandbox.github.publish({ version: '9.9.2', assets: { [sandbox.github.platformFile]: other } })
      const checksum = sandbox.github.sha256('9.9.2')
      expect(checksum).not.toBe(old)

      const asked = requestsTo(sandbox, ASSETS).length
      const step = await machine.job().uses({ with: { version: '9.9.2', checksum } })
      expect(step.outputs).toMatchObject({ 'cache-hit': 'false', 'verified-by': 'checksum-input' })
      expect(requestsTo(sandbox, ASSETS)).toHaveLength(asked + 1)
      const next = await machine.job().uses({ with: { version: '9.9.2', checksum } })
      expect(next.outputs).toMatchObject({ 'cache-hit': 'true' })
      expect(requestsTo(sandbox, ASSETS)).toHaveLength(asked + 1)
    }),
  )

  test.concurrent('stays where the archive that is asked for can not be had', () =>
    inWorld(async (world) => {
      await world.machine.job().uses({ with: { version: '9.9.2' } })
      const checksum = world.sandbox.github.sha256('9.9.1')
      await expectRefused(world, { version: '9.9.2', checksum }, [`but the input checksum says ${checksum}`])
      const step = await world.machine.job().uses({ with: { version: '9.9.2' } })
      expect(step.outputs).toMatchObject({ 'cache-hit': 'true' })
    }),
  )
})

describe('threat 50: a text without end is given up', () => {
  const api = 'api.blaxel.ai'
  const texts: [string, string, RegExp, Readonly<Record<string, string>>, string][] = [
    [
      'a token',
      api,
      /\/oauth\/token$/,
      { workspace: 'acme', ...credentials.oauth },
      'sent a response larger than 1 MB',
    ],
    [
      'a workspace',
      api,
      /\/workspaces\/acme$/,
      { workspace: 'acme', ...credentials.oauth },
      'sent a response larger than 1 MB',
    ],
    [
      'a minted key',
      api,
      /\/api_keys$/,
      { workspace: 'acme', ...credentials['service-account'] },
      'No short-lived key could be created',
    ],
    ['the list of releases', 'api.github.com', /releases$/, { version: '9.9.x' }, 'sent a response larger than 10 MB'],
    ['a checksums file', 'github.com', /checksums\.txt$/, { version: '9.9.2' }, 'is larger than 1 MB'],
  ]
  test.concurrent.each(texts)('%s', (_, host, path, inputs, says) =>
    inWorld(async (world) => {
      const { sandbox, machine } = world
      sandbox.intercept({ host, path, answer: { kind: 'endless' } })
      const step = await machine.job().uses({ with: { ...inputs } })
      expectFailure(step, [says])
      expectNothingStaged(world)
      // Not one of them is worth another try.
      const asked = ownRequestsTo(sandbox, host).filter((request) => path.test(request.split('?')[0] ?? ''))
      expect(asked.filter((request) => request.split(' ')[0] === asked[0]?.split(' ')[0])).toHaveLength(1)
    }),
  )
})
