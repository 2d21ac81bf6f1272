import { describe, expect, test } from '@jest/globals'
import { existsSync } from 'node:fs'
import { lstat, readFile, readlink, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { tarGz } from '../../sandbox/archive.ts'
import type { Machine } from '../../sandbox/machine.ts'
import type { CliFaults, Sandbox } from '../../sandbox/sandbox.ts'
import { expectFailure, expectHidden, expectNoPart, expectNothingStaged } from './failure.ts'
import { API_KEY, CLIENT_SECRET, credentials, inWorld, requestsTo, tree, type World } from './world.ts'

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

  test.concurrent('an exact version asks for no other', () =>
    inWorld(async ({ sandbox, machine }) => {
      const step = await machine.job().uses({ with: { version: 'v9.9.1' } })
      expect(step.outputs).toMatchObject({ version: '9.9.1', 'cache-hit': 'false' })
      expect(tree(machine.toolCache)).toEqual(whole('9.9.1').sort())
      expect(asked(sandbox)).not.toContain('GET /latest')
    }),
  )

  test.concurrent('a checksum that is right decides alone', () =>
    inWorld(async ({ sandbox, machine }) => {
      const checksum = sandbox.github.sha256('9.9.2')
      const step = await machine.job().uses({ with: { version: '9.9.2', checksum } })
      expect(step.outputs).toMatchObject({ 'verified-by': 'checksum-input', 'cache-hit': 'false' })
      expect(asked(sandbox)).toEqual([`GET /download/v9.9.2/${sandbox.github.platformFile}`, 'asset'])
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
  readonly publish: (sandbox: Sandbox) => void
  readonly says: readonly (string | RegExp)[]
}

/** Threats 28, 31 and 32 have the archives whose sum is wrong. */
const unverified: Unverified[] = [
  {
    what: 'an archive that was truncated before its sum was taken',
    publish: ({ github }) => {
      github.publish({ version: '9.9.3', assets: { [github.platformFile]: github.archive('9.9.2').subarray(0, -100) } })
    },
    says: ['The archive of the Blaxel CLI is damaged', 'not installed'],
  },
  {
    what: 'a release without a checksums file',
    publish: ({ github }) => {
      github.publish({ version: '9.9.3', checksums: null })
    },
    says: [
      'There is no checksum for bl 9.9.3',
      'blaxel_9.9.3_checksums.txt does not exist,',
      "setup-bl does not install what it can't verify",
      'input checksum',
    ],
  },
  {
    what: 'a program that does not run',
    publish: ({ github }) => {
      github.publish({ version: '9.9.3', faults: { versionBroken: true } })
    },
    says: ['The downloaded bl 9.9.3 does not run on this runner', 'Nothing was installed'],
  },
  {
    what: 'a program that ends with an error',
    publish: ({ github }) => {
      github.publish({ version: '9.9.3', faults: { versionExit: 3 } })
    },
    says: ['The downloaded bl 9.9.3 does not run on this runner: exit code 3', 'Nothing was installed'],
  },
]

describe('is not installed, and the tool cache stays as it was:', () => {
  test.concurrent.each(unverified)('$what', (bad) =>
    inWorld(async (world) => {
      const { sandbox, machine } = world
      await machine.job().uses({ with: { version: '9.9.1' } })
      const ranBefore = sandbox.github.invocations().length
      bad.publish(sandbox)
      const step = await machine.job().uses({ with: { version: '9.9.3' } })
      expectFailure(step, bad.says)
      // The place of a version may be made, but nothing that looks like an entry.
      const left = tree(machine.toolCache).filter((path) => path !== 'bl/9.9.3')
      expect(left).toEqual(whole('9.9.1').sort())
      expectNothingStaged(world)
      if (!bad.what.startsWith('a program')) expect(sandbox.github.invocations()).toHaveLength(ranBefore)
    }),
  )
})

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

  test.concurrent('exits 0 and writes nothing is not believed', () =>
    inWorld((world) =>
      expectNoLogin(world, { loginWritesNothing: true }, [
        "'bl login acme' reported success but did not store the login",
        'Set the input version',
      ]),
    ),
  )

  const entries: [string, string][] = [
    ['another workspace', `workspaces:\n- name: beta\n  credentials:\n    apiKey: "${API_KEY}"\n`],
    ['no YAML', `workspaces:\n- name: acme\n  credentials: {apiKey: "${API_KEY}"\n`],
  ]
  test.concurrent.each(entries)('exits 0 and writes %s is not believed', (_, loginEntry) =>
    inWorld((world) => expectNoLogin(world, { loginEntry }, ["'bl login acme' reported success but did not store"])),
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
        "The Blaxel API accepts the credential, but 'bl login acme' failed: exit code 1",
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

  test.concurrent('that does not know the host of the API is named, and no credential is sent', () =>
    inWorld(async ({ sandbox, machine }) => {
      const step = await machine.job().uses({ with: { ...good, 'api-url': 'https://api.unknown.example/v0' } })
      expectFailure(step, ['The proxy refused to connect to api.unknown.example (403)', 'No credential was sent'])
      expectHidden(step, [CLIENT_SECRET])
      expect(new Set(sandbox.refused)).toEqual(new Set(['api.unknown.example:443']))
    }),
  )
})
