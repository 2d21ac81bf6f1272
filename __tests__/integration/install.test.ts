import { describe, expect, test } from '@jest/globals'
import { existsSync } from 'node:fs'
import { chmod, lstat, mkdir, readFile, readlink, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { tarGz } from '../../sandbox/archive.ts'
import { packageCli } from '../../sandbox/cli/package.ts'
import type { Machine } from '../../sandbox/machine.ts'
import type { CliFaults, Sandbox } from '../../sandbox/sandbox.ts'
import { expectFailure, expectHidden, expectNoPart, expectNothingStaged } from './failure.ts'
import { API_KEY, CLIENT_SECRET, credentials, inWorld, requestsTo, tree, type World } from './world.ts'

const SUM = /[0-9a-f]{64}/
const WRONG = 'ab'.repeat(32)
const ASSETS = 'release-assets.githubusercontent.com'

/** The place of one version in a machine's tool cache. */
function entryOf({ toolCache }: Machine, version = '9.9.2') {
  const directory = join(toolCache, 'bl', version, process.arch)
  return {
    directory,
    program: join(directory, 'blaxel'),
    command: join(directory, 'bl'),
    record: join(directory, 'setup-bl.json'),
    marker: `${directory}.complete`,
  }
}

/** What a whole entry of the tool cache consists of, by its paths there. */
const whole = (version: string) => [
  'bl',
  `bl/${version}`,
  `bl/${version}/${process.arch}`,
  `bl/${version}/${process.arch}.complete`,
  ...['bl', 'blaxel', 'setup-bl.json'].map((file) => `bl/${version}/${process.arch}/${file}`),
]

/** Requests to GitHub, without the opaque names of its assets. */
function asked(sandbox: Sandbox): string[] {
  return [...requestsTo(sandbox, 'github.com'), ...requestsTo(sandbox, ASSETS).map(() => 'asset')].map((request) =>
    request.replace('/blaxel-ai/toolkit/releases', ''),
  )
}

describe('without a cached entry', () => {
  test.concurrent('latest is downloaded, verified and published whole', () =>
    inWorld(async ({ sandbox, machine }) => {
      const job = machine.job()
      const step = await job.uses()
      expect(step.exitCode).toBe(0)
      const entry = entryOf(machine)
      expect(step.outputs).toMatchObject({ version: '9.9.2', path: entry.command, 'cache-hit': 'false' })
      expect(step.outputs).toMatchObject({ 'verified-by': 'release-checksums' })
      expect(step.paths).toEqual([entry.directory])
      expect(tree(machine.toolCache)).toEqual(whole('9.9.2').sort())
      expect(JSON.parse(await readFile(entry.record, 'utf8'))).toEqual({
        version: '9.9.2',
        archive: sandbox.github.platformFile,
        sha256: sandbox.github.sha256('9.9.2'),
        verifiedBy: 'release-checksums',
        size: (await lstat(entry.program)).size,
      })
      expect(await readlink(entry.command)).toBe('blaxel')
      expect((await lstat(entry.program)).mode & 0o777).toBe(0o755)
      expect(asked(sandbox).sort()).toEqual(
        [
          `GET /download/v9.9.2/${sandbox.github.platformFile}`,
          'GET /download/v9.9.2/blaxel_9.9.2_checksums.txt',
          'GET /latest',
          'asset',
          'asset',
        ].sort(),
      )
      expect(requestsTo(sandbox, 'api.github.com')).toEqual([])
      for (const name of ['bl', 'blaxel']) {
        expect((await job.run(`${name} version --skip-version-warning`)).log).toContain('Version: 9.9.2')
      }
    }),
  )

  test.concurrent.each(['9.9.1', 'v9.9.1'])('an exact version asks for no other: %s', (version) =>
    inWorld(async ({ sandbox, machine }) => {
      const step = await machine.job().uses({ with: { version } })
      expect(step.outputs).toMatchObject({ version: '9.9.1', 'cache-hit': 'false' })
      expect(tree(machine.toolCache)).toEqual(whole('9.9.1').sort())
      expect(asked(sandbox)).not.toContain('GET /latest')
    }),
  )

  test.concurrent.each(['as it is', 'in capitals'])('a checksum that is right decides alone: %s', (form) =>
    inWorld(async ({ sandbox, machine }) => {
      const sum = sandbox.github.sha256('9.9.2')
      const checksum = form === 'in capitals' ? sum.toUpperCase() : sum
      const step = await machine.job().uses({ with: { version: '9.9.2', checksum } })
      expect(step.outputs).toMatchObject({ 'verified-by': 'checksum-input', 'cache-hit': 'false' })
      expect(asked(sandbox)).toEqual([`GET /download/v9.9.2/${sandbox.github.platformFile}`, 'asset'])
    }),
  )

  test.concurrent('a download that breaks off once is begun again', () =>
    inWorld(async ({ sandbox, machine }) => {
      const path = /^\/github-production-release-asset\//
      sandbox.intercept({ host: ASSETS, path, times: 1, answer: { kind: 'truncate', bytes: 40 } })
      const step = await machine.job().uses({ with: { version: '9.9.2', checksum: sandbox.github.sha256('9.9.2') } })
      expect(step.exitCode).toBe(0)
      expect(asked(sandbox).filter((request) => request === 'asset')).toHaveLength(2)
    }),
  )
})

describe('with a cached entry', () => {
  test.concurrent('an exact version costs no request to GitHub', () =>
    inWorld(async ({ sandbox, machine }) => {
      await machine.job().uses({ with: { version: '9.9.2' } })
      const before = { requests: sandbox.requests.length, connects: sandbox.connects.length }
      const job = machine.job()
      const step = await job.uses({ with: { version: '9.9.2' } })
      expect(step.outputs).toMatchObject({ version: '9.9.2', 'cache-hit': 'true', 'verified-by': 'release-checksums' })
      expect(step.log).toMatch(/^Found bl 9\.9\.2 for \S+ in the tool cache/)
      expect([sandbox.requests.length, sandbox.connects.length]).toEqual([before.requests, before.connects])
      expect((await job.run('bl version --skip-version-warning')).log).toContain('Version: 9.9.2')
    }),
  )

  test.concurrent('an exact version and a session cost requests to the API alone', () =>
    inWorld(async ({ sandbox, machine }) => {
      await machine.job().uses({ with: { version: '9.9.2' } })
      const before = sandbox.connects.length
      const step = await machine.job().uses({ with: { version: '9.9.2', workspace: 'acme', ...credentials.oauth } })
      expect(step.exitCode).toBe(0)
      expect(new Set(sandbox.connects.slice(before))).toEqual(new Set(['api.blaxel.ai:443']))
    }),
  )

  test.concurrent('latest costs one request', () =>
    inWorld(async ({ sandbox, machine }) => {
      await machine.job().uses({ with: { version: '9.9.2' } })
      const before = asked(sandbox).length
      const step = await machine.job().uses({ with: { version: 'latest' } })
      expect(step.outputs).toMatchObject({ version: '9.9.2', 'cache-hit': 'true' })
      expect(asked(sandbox)).toHaveLength(before + 1)
      expect(requestsTo(sandbox, 'github.com').at(-1)).toBe('GET /blaxel-ai/toolkit/releases/latest')
    }),
  )

  test.concurrent('it is not run, and nothing is written to the tool cache', () =>
    inWorld(async ({ sandbox, machine }) => {
      await machine.job().uses({ with: { version: '9.9.2' } })
      const [before, runs] = [tree(machine.toolCache), sandbox.github.invocations().length]
      const step = await machine.job().uses({ with: { version: '9.9.2' } })
      expect(step.outputs['cache-hit']).toBe('true')
      expect(sandbox.github.invocations().slice(runs)).toEqual([])
      expect(tree(machine.toolCache)).toEqual(before)
    }),
  )

  test.concurrent('what the entry recorded is what vouches for it', () =>
    inWorld(async ({ sandbox, machine }) => {
      const checksum = sandbox.github.sha256('9.9.2')
      await machine.job().uses({ with: { version: '9.9.2', checksum } })
      const step = await machine.job().uses({ with: { version: '9.9.2' } })
      expect(step.outputs).toMatchObject({ 'cache-hit': 'true', 'verified-by': 'checksum-input' })
    }),
  )
})

/** Something that must not be installed, and what the error says. */
interface Unverified {
  readonly what: string
  readonly publish?: (sandbox: Sandbox) => void
  readonly with: (sandbox: Sandbox) => Readonly<Record<string, string>>
  readonly says: readonly (string | RegExp)[]
}

const release = (version: string) => () => ({ version })
const NOT_VERIFIED = ["setup-bl does not install what it can't verify", 'input checksum']

const unverified: Unverified[] = [
  {
    what: 'an archive with another sum than the input checksum',
    with: () => ({ version: '9.9.2', checksum: WRONG }),
    says: [new RegExp(`is ${SUM.source}, but the input checksum says ${WRONG}`), 'Correct the input checksum'],
  },
  {
    what: 'an archive with another sum than the reviewed table, though its own checksums file agrees',
    publish: ({ github }) => {
      github.publish({ version: '0.1.100' })
    },
    with: release('0.1.100'),
    says: [
      new RegExp(`is ${SUM.source}, but setup-bl's table of known checksums says ${SUM.source}`),
      'The archive was changed after its release: report it',
    ],
  },
  {
    what: 'an archive that was tampered with',
    publish: ({ github }) => {
      const file = github.platformFile
      const original = github.archive('9.9.2')
      const assets = { [file]: Buffer.concat([original, Buffer.from('more')]) }
      github.publish({ version: '9.9.3', assets, checksums: `${github.sha256('9.9.2')}  ${file}\n` })
    },
    with: release('9.9.3'),
    says: [
      new RegExp(`is ${SUM.source}, but the release's checksums file says ${SUM.source}`),
      'damaged or was changed',
    ],
  },
  {
    what: 'an archive that was truncated',
    publish: ({ github }) => {
      const file = github.platformFile
      const assets = { [file]: github.archive('9.9.2').subarray(0, -100) }
      github.publish({ version: '9.9.3', assets, checksums: `${github.sha256('9.9.2')}  ${file}\n` })
    },
    with: release('9.9.3'),
    says: [
      new RegExp(`is ${SUM.source}, but the release's checksums file says ${SUM.source}`),
      'damaged or was changed',
    ],
  },
  {
    what: 'an archive that was truncated before its sum was taken',
    publish: ({ github }) => {
      github.publish({ version: '9.9.3', assets: { [github.platformFile]: github.archive('9.9.2').subarray(0, -100) } })
    },
    with: release('9.9.3'),
    says: ['The archive of the Blaxel CLI is damaged', 'not installed'],
  },
  {
    what: 'a web page for an archive, whose checksum is right',
    publish: ({ github }) => {
      github.publish({ version: '9.9.3', assets: { [github.platformFile]: Buffer.from('<html>Sign in</html>') } })
    },
    with: release('9.9.3'),
    says: ['Something between the runner and github.com', 'answered with a web page (200, '],
  },
  {
    what: 'a release without a checksums file',
    publish: ({ github }) => {
      github.publish({ version: '9.9.3', checksums: null })
    },
    with: release('9.9.3'),
    says: ['There is no checksum for bl 9.9.3', 'blaxel_9.9.3_checksums.txt does not exist,', ...NOT_VERIFIED],
  },
  ...[
    ['a checksums file without a line for it', (sum: string) => `${sum}  another_file.tar.gz\n`],
    ['a checksums file that names it twice', (sum: string, file: string) => `${sum}  ${file}\n${WRONG}  ${file}\n`],
    ['a checksums file with a sum that is none', (sum: string, file: string) => `${sum.slice(1)}  ${file}\n`],
  ].map(([what, text]): Unverified => ({
    what: what as string,
    publish: ({ github }) => {
      const checksums = (text as (sum: string, file: string) => string)(github.sha256('9.9.2'), github.platformFile)
      github.publish({ version: '9.9.3', checksums })
    },
    with: release('9.9.3'),
    says: ['There is no checksum for bl 9.9.3', 'does not list exactly one for blaxel_', ...NOT_VERIFIED],
  })),
  {
    what: 'a program that prints another version',
    publish: ({ github }) => {
      github.publish({ version: '9.9.3', faults: { versionPrints: 'Version: 9.9.30' } })
    },
    with: release('9.9.3'),
    says: ["The downloaded bl 9.9.3 does not run on this runner: it says 'Version: 9.9.30' instead of 9.9.3"],
  },
  {
    what: 'a program that does not run',
    publish: ({ github }) => {
      github.publish({ version: '9.9.3', faults: { versionBroken: true } })
    },
    with: release('9.9.3'),
    says: ['The downloaded bl 9.9.3 does not run on this runner', 'Nothing was installed'],
  },
  {
    what: 'a program that ends with an error',
    publish: ({ github }) => {
      github.publish({ version: '9.9.3', faults: { versionExit: 3 } })
    },
    with: release('9.9.3'),
    says: ['The downloaded bl 9.9.3 does not run on this runner: exit code 3', 'Nothing was installed'],
  },
]

describe('is not installed, and the tool cache stays as it was:', () => {
  test.concurrent.each(unverified)('$what', (bad) =>
    inWorld(async (world) => {
      const { sandbox, machine } = world
      await machine.job().uses({ with: { version: '9.9.1' } })
      const ranBefore = sandbox.github.invocations().length
      bad.publish?.(sandbox)
      const step = await machine.job().uses({ with: { ...bad.with(sandbox) } })
      expectFailure(step, bad.says)
      // The place of a version may be made, but nothing that looks like an entry.
      const left = tree(machine.toolCache).filter((path) => !/^bl\/9\.9\.3$|^bl\/9\.9\.2$|^bl\/0\.1\.100$/.test(path))
      expect(left).toEqual(whole('9.9.1').sort())
      expectNothingStaged(world)
      if (!bad.what.startsWith('a program')) expect(sandbox.github.invocations()).toHaveLength(ranBefore)
    }),
  )
})

/** Ways to damage what was installed before. `pinned`: only the input checksum brings it to light. */
const damages: { what: string; pinned?: true; damage: (machine: Machine, sandbox: Sandbox) => Promise<void> }[] = [
  {
    what: 'the program is another version',
    damage: (machine, { root }) =>
      writeFile(entryOf(machine).program, packageCli({ version: '9.9.1', dumpFile: join(root, 'other.jsonl') })),
  },
  {
    what: 'the program prints a longer version',
    damage: (machine, { root }) =>
      writeFile(entryOf(machine).program, packageCli({ version: '9.9.20', dumpFile: join(root, 'other.jsonl') })),
  },
  {
    what: 'the program is half written',
    damage: async (machine) => {
      const { program } = entryOf(machine)
      await writeFile(program, (await readFile(program)).subarray(0, 2000))
    },
  },
  {
    what: 'the program is no program',
    damage: (machine) => writeFile(entryOf(machine).program, '\x7fELF'),
  },
  { what: 'the program is empty', damage: (machine) => writeFile(entryOf(machine).program, '') },
  { what: 'the program may not be executed', damage: (machine) => chmod(entryOf(machine).program, 0o644) },
  { what: 'the program is not there', damage: (machine) => rm(entryOf(machine).program) },
  {
    what: 'the program is a directory',
    damage: async (machine) => {
      await rm(entryOf(machine).program)
      await mkdir(join(entryOf(machine).program, 'inside'), { recursive: true })
    },
  },
  { what: 'bl is not there', damage: (machine) => rm(entryOf(machine).command) },
  { what: 'the record is not there', damage: (machine) => rm(entryOf(machine).record) },
  { what: 'the record is torn', damage: (machine) => writeFile(entryOf(machine).record, '{"version":"9.9') },
  {
    what: 'the record is of another version',
    damage: (machine) => changeRecord(machine, { version: '9.9.1' }),
  },
  {
    what: 'the record is of an archive for another platform',
    damage: (machine) => changeRecord(machine, { archive: 'blaxel_Windows_i386.zip' }),
  },
  {
    what: 'the record has another sum than the input checksum',
    pinned: true,
    damage: (machine) => changeRecord(machine, { sha256: WRONG }),
  },
  { what: '.complete is not there', damage: (machine) => rm(entryOf(machine).marker) },
  {
    what: 'the entry is empty, but .complete is there',
    damage: async (machine) => {
      await rm(entryOf(machine).directory, { recursive: true })
      await mkdir(entryOf(machine).directory)
    },
  },
  {
    what: 'a file stands in the place of the entry',
    damage: async (machine) => {
      await rm(entryOf(machine).directory, { recursive: true })
      await writeFile(entryOf(machine).directory, '')
    },
  },
  {
    what: 'the entry is gone, but .complete is there',
    damage: (machine) => rm(entryOf(machine).directory, { recursive: true }),
  },
]

async function changeRecord(machine: Machine, change: object): Promise<void> {
  const { record } = entryOf(machine)
  const known = JSON.parse(await readFile(record, 'utf8')) as object
  await writeFile(record, JSON.stringify({ ...known, ...change }))
}

describe('a cached entry that is damaged is replaced:', () => {
  test.concurrent.each(damages)('$what', ({ damage, pinned }) =>
    inWorld(async (world) => {
      const { sandbox, machine } = world
      const checksum = pinned ? sandbox.github.sha256('9.9.2') : ''
      await machine.job().uses({ with: { version: '9.9.2' } })
      await damage(machine, sandbox)

      const job = machine.job()
      const step = await job.uses({ with: { version: '9.9.2', checksum } })
      expect(step.annotations).toEqual([])
      expect(step.exitCode).toBe(0)
      expect(step.outputs).toMatchObject({ version: '9.9.2', 'cache-hit': 'false' })
      expect(tree(machine.toolCache)).toEqual(whole('9.9.2').sort())
      expect(JSON.parse(await readFile(entryOf(machine).record, 'utf8'))).toMatchObject({
        version: '9.9.2',
        sha256: sandbox.github.sha256('9.9.2'),
      })
      expect((await job.run('bl version --skip-version-warning')).log).toContain('Version: 9.9.2')
      const next = await machine.job().uses({ with: { version: '9.9.2', checksum } })
      expect(next.outputs).toMatchObject({ 'cache-hit': 'true' })
    }),
  )

  test.concurrent('under the hands of a job that uses it, which never finds it gone', () =>
    inWorld(async ({ machine }) => {
      const user = machine.job()
      await user.uses({ with: { version: '9.9.2' } })
      const loop = user.startRun(
        'n=0; until [ -e "$RUNNER_TEMP/enough" ]; do bl version --skip-version-warning > out; n=$((n+1)); done; echo "ran $n"',
      )
      for (let round = 0; round < 3; round += 1) {
        await rm(entryOf(machine).record)
        const step = await machine.job().uses({ with: { version: '9.9.2' } })
        expect(step.outputs).toMatchObject({ 'cache-hit': 'false' })
      }
      await writeFile(join(user.temp, 'enough'), '')
      const { exitCode, log } = await loop.result
      expect([exitCode, log]).toEqual([0, expect.stringMatching(/^ran [1-9]\d*\n$/)])
    }),
  )

  test.concurrent('only once what replaces it is ready: an archive that fails its check leaves it', () =>
    inWorld(async (world) => {
      const { machine } = world
      await machine.job().uses({ with: { version: '9.9.2' } })
      const before = await readFile(entryOf(machine).record, 'utf8')
      const step = await machine.job().uses({ with: { version: '9.9.2', checksum: WRONG } })
      expectFailure(step, [`but the input checksum says ${WRONG}`])
      expect(tree(machine.toolCache)).toEqual(whole('9.9.2').sort())
      expect(await readFile(entryOf(machine).record, 'utf8')).toBe(before)
      const next = await machine.job().uses({ with: { version: '9.9.2' } })
      expect(next.outputs).toMatchObject({ 'cache-hit': 'true' })
    }),
  )
})

test.concurrent('installs of one version at the same time all end with a whole entry', () =>
  inWorld(async (world) => {
    const { machine } = world
    const jobs = [machine.job(), machine.job(), machine.job(), machine.job()]
    const steps = await Promise.all(jobs.map((job) => job.uses({ with: { version: '9.9.2' } })))
    expect(steps.map(({ annotations, exitCode }) => ({ annotations, exitCode }))).toEqual(
      jobs.map(() => ({ annotations: [], exitCode: 0 })),
    )
    expect(tree(machine.toolCache)).toEqual(whole('9.9.2').sort())
    for (const job of jobs) {
      expect((await job.run('bl version --skip-version-warning')).log).toContain('Version: 9.9.2')
    }
    expect((await machine.job().uses({ with: { version: '9.9.2' } })).outputs).toMatchObject({ 'cache-hit': 'true' })
  }),
)

describe('a bl that was just downloaded', () => {
  const good = { version: '9.9.3', workspace: 'acme', 'api-key': API_KEY }

  /** Publishes a shell script as bl 9.9.3, and returns the file to which it writes the path it logs in from. */
  function publishScript({ sandbox }: World, { version, login }: { version: string; login: string }): string {
    const note = join(sandbox.root, 'logged-in-from')
    const script = `#!/bin/sh
case $1 in
  version) ${version} ;;
  login) echo "$0" >'${note}'; ${login} ;;
esac
`
    const program = { name: 'blaxel', content: Buffer.from(script), mode: 0o755 }
    sandbox.github.publish({ version: '9.9.3', assets: { [sandbox.github.platformFile]: tarGz([program]) } })
    return note
  }

  test.concurrent('and fails its check neither logs in nor is published', () =>
    inWorld(async (world) => {
      const note = publishScript(world, { version: 'echo "Version: 9.9.30"', login: 'exit 3' })
      const step = await world.machine.job().uses({ with: good })
      expectFailure(step, ["The downloaded bl 9.9.3 does not run on this runner: it says 'Version: 9.9.30'"])
      expect(existsSync(note)).toBe(false)
      expect(tree(world.machine.toolCache).filter((path) => path.includes('9.9.3/'))).toEqual([])
      expectNothingStaged(world)
    }),
  )

  test.concurrent('logs in from the tool cache, where it stays if the login fails', () =>
    inWorld(async (world) => {
      const note = publishScript(world, { version: 'echo "Version: 9.9.3"', login: 'exit 3' })
      const { machine } = world
      const step = await machine.job().uses({ with: good })
      expectFailure(step, ["'bl login acme' failed: exit code 3"])
      expect(await readFile(note, 'utf8')).toBe(`${entryOf(machine, '9.9.3').command}\n`)
      expect(tree(machine.toolCache)).toEqual(whole('9.9.3').sort())
    }),
  )

  test.concurrent('and is not a program is never run', () =>
    inWorld(async ({ sandbox, machine }) => {
      const ran = join(sandbox.root, 'ran')
      const program = { name: 'blaxel', content: Buffer.from(`touch '${ran}'\n`), mode: 0o755 }
      sandbox.github.publish({ version: '9.9.3', assets: { [sandbox.github.platformFile]: tarGz([program]) } })
      const step = await machine.job().uses({ with: good })
      expectFailure(step, ['The downloaded bl 9.9.3 does not run on this runner: it is not a program.'])
      expect(existsSync(ran)).toBe(false)
    }),
  )
})

describe('a bl that', () => {
  const api = { host: 'api.blaxel.ai', path: '/v0/workspaces/acme' }
  const good = { workspace: 'acme', 'api-key': API_KEY }

  async function expectNoLogin(world: World, faults: CliFaults, says: readonly (string | RegExp)[]): Promise<void> {
    const { sandbox, machine, config, secrets } = world
    sandbox.github.publish({ version: '9.9.3', faults })
    if (JSON.stringify(faults).includes(API_KEY)) {
      secrets.allow(
        /^tool cache\/bl\/9\.9\.3\/[^/]+\/blaxel$/,
        'what the stand-in is to print is a part of the program',
      )
    }
    await config.write('# kept by hand\n', 0o640)
    const job = machine.job()
    const step = await job.uses({ with: { ...good, version: '9.9.3' } })
    expectFailure(step, says)
    expectHidden(step, [API_KEY])
    expectNoPart(step, [API_KEY])
    expectNothingStaged(world)
    await job.end()
    expect([config.read(), config.mode(), tree(machine.home)]).toEqual([
      '# kept by hand\n',
      0o640,
      ['.blaxel', '.blaxel/config.yaml'],
    ])
  }

  test.concurrent.each([
    [401, 'rejected api-key (401'],
    [403, "not for the workspace 'acme' (403"],
    [404, "There is no workspace 'acme' (404"],
    [500, 'has an outage (500'],
  ])('exits 0 whatever the API says does not make a session of a %i', (status, says) =>
    inWorld(async (world) => {
      world.sandbox.intercept({ ...api, answer: { kind: 'respond', status, body: { error: 'no' } } })
      await expectNoLogin(world, { loginAlwaysSucceeds: true }, [says])
    }),
  )

  test.concurrent('exits 0 and writes nothing is not believed', () =>
    inWorld((world) =>
      expectNoLogin(world, { loginWritesNothing: true }, [
        "'bl login acme' reported success but did not store the login",
        'Set the input version',
      ]),
    ),
  )

  const entries: [string, string][] = [
    ['another token', 'workspaces:\n- name: acme\n  credentials:\n    apiKey: "bl_another_0123456789"\n'],
    ['another workspace', `workspaces:\n- name: beta\n  credentials:\n    apiKey: "${API_KEY}"\n`],
    ['no YAML', `workspaces:\n- name: acme\n  credentials: {apiKey: "${API_KEY}"\n`],
    ['an empty list', 'workspaces: []\n'],
  ]
  test.concurrent.each(entries)('exits 0 and writes %s is not believed', (_, loginEntry) =>
    inWorld((world) => expectNoLogin(world, { loginEntry }, ["'bl login acme' reported success but did not store"])),
  )

  test.concurrent('fails after it has written is believed', () =>
    inWorld((world) => expectNoLogin(world, { loginExit: 3 }, ["'bl login acme' failed: exit code 3"])),
  )

  test.concurrent('prints commands and the token passes neither on', () =>
    inWorld((world) =>
      expectNoLogin(world, { loginExit: 1, loginPrints: `::add-path::/evil\n##[set-output name=x]y\n${API_KEY}\n` }, [
        "'bl login acme' failed: exit code 1, ': :add-path: :/evil # #[set-output name=x]y ***",
      ]),
    ),
  )

  test.concurrent('prints the token where the message is cut off passes no part of it on', () =>
    inWorld((world) =>
      expectNoLogin(world, { loginExit: 1, loginPrints: `${'long '.repeat(57)}${API_KEY}\n` }, ['exit code 1']),
    ),
  )

  test.concurrent('has no CA certificates is told from a credential that is refused', () =>
    inWorld(async (world) => {
      const { sandbox, machine } = world
      const empty = join(sandbox.root, 'no-certificates.pem')
      await writeFile(empty, '')
      const job = machine.job({ env: { SSL_CERT_FILE: empty } })
      const step = await job.uses({ with: good })
      expectFailure(step, [
        "The Blaxel API takes the credential, but 'bl login acme' failed: exit code 1",
        ...['ca-certificates', 'SSL_CERT_FILE', 'https_proxy'],
      ])
      expectHidden(step, [API_KEY])
      expectNothingStaged(world)
      await job.end()
      expect(tree(machine.home)).toEqual([])
    }),
  )
})

describe('a proxy', () => {
  const PASSWORD = 'pr0xy-pa55:word'
  const withPassword = ({ proxy }: Sandbox) => {
    const url = proxy.url.replace('://', `://runner:${encodeURIComponent(PASSWORD)}@`)
    return { https_proxy: url, HTTPS_PROXY: url }
  }
  const good = { workspace: 'acme', ...credentials.oauth }

  test.concurrent('that wants a password gets it, and the log does not', () =>
    inWorld(async ({ sandbox, machine }) => {
      sandbox.proxy.requireAuth('runner', PASSWORD)
      const job = machine.job({ env: withPassword(sandbox) })
      const step = await job.uses({ with: good })
      expect(step.exitCode).toBe(0)
      const [post] = await job.end()
      for (const each of [step, post]) if (each) expectHidden(each, [PASSWORD])
    }),
  )

  test.concurrent('whose password bl prints is not shown', () =>
    inWorld(async ({ sandbox, machine }) => {
      const { https_proxy } = withPassword(sandbox)
      const loginPrints = `proxyconnect tcp: ${https_proxy}, ${PASSWORD}\n`
      sandbox.github.publish({ version: '9.9.3', faults: { loginExit: 1, loginPrints } })
      const step = await machine.job({ env: withPassword(sandbox) }).uses({ with: { ...good, version: '9.9.3' } })
      expectFailure(step, ["'bl login acme' failed: exit code 1, 'proxyconnect tcp: http://runner:***@"])
      expectHidden(step, [PASSWORD, CLIENT_SECRET])
    }),
  )

  test.concurrent.each(['none', 'a wrong one'])('that wants a password and gets %s is named, once', (given) =>
    inWorld(async (world) => {
      const { sandbox, machine } = world
      sandbox.proxy.requireAuth('runner', given === 'none' ? PASSWORD : 'another')
      const step = await machine.job({ env: given === 'none' ? {} : withPassword(sandbox) }).uses({ with: good })
      expectFailure(step, [/^The proxy refused to connect to \S+ \(407\)\. /, 'put user and password into https_proxy'])
      expectHidden(step, [PASSWORD, CLIENT_SECRET])
      expectNothingStaged(world)
      expect(sandbox.requests).toEqual([])
      // The two branches ask at the same time; neither asks again.
      expect(sandbox.connects.length).toBeLessThanOrEqual(2)
    }),
  )

  test.concurrent.each([403, 502])('that refuses with %i is named, once', (status) =>
    inWorld(async (world) => {
      const { sandbox, machine } = world
      sandbox.proxy.refuseAll(status)
      const step = await machine.job().uses({ with: good })
      expectFailure(step, [new RegExp(`^The proxy refused to connect to \\S+ \\(${status}\\)\\. `), 'no_proxy'])
      expectHidden(step, [CLIENT_SECRET])
      expect(tree(machine.home)).toEqual([])
      expect(sandbox.connects.length).toBeLessThanOrEqual(2)
    }),
  )

  test.concurrent('that does not know the host of the API is named, and no credential is sent', () =>
    inWorld(async ({ sandbox, machine }) => {
      const step = await machine.job().uses({ with: { ...good, 'api-url': 'https://api.unknown.example/v0' } })
      expectFailure(step, ['The proxy refused to connect to api.unknown.example (403)', 'No credential was sent'])
      expectHidden(step, [CLIENT_SECRET])
      expect(new Set(sandbox.refused)).toEqual(new Set(['api.unknown.example:443']))
    }),
  )
})
