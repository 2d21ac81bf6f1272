import { describe, expect, test } from '@jest/globals'
import type { Machine } from '../../sandbox/machine.ts'
import type { ReleaseOptions, Sandbox } from '../../sandbox/sandbox.ts'
import { expectFailure, expectHidden, expectNothingStaged } from './failure.ts'
import {
  API_KEY,
  CLIENT_ID,
  CLIENT_SECRET,
  configOf,
  credentials,
  inWorld,
  requestsTo,
  tree,
  type ConfigFile,
} from './world.ts'

/** What works, if nothing is added to it. */
const good = { workspace: 'acme', ...credentials.oauth } as const
const PRIOR = '# kept by hand\nworkspaces: []\n'
const JWT = ['{"alg":"HS256"}', '{"exp":4102444800}', 'signature'].map(base64url).join('.')

/** Something that the step must refuse, and what the error must say: what is wrong, and what to do. */
interface BadInput {
  readonly what: string
  readonly with?: Readonly<Record<string, string>>
  readonly env?: Readonly<Record<string, string>>
  readonly omit?: readonly string[]
  readonly runner?: Machine['runnerEnvironment']
  readonly says: readonly string[]
  /** What must not be shown, besides the credentials of all tests. */
  readonly secrets?: readonly string[]
}

/** One of each kind: unit/inputs.test.ts has the table, threats 4, 35, 42 and 51 have secrets, runners and proxies. */
const inputs: BadInput[] = [
  {
    what: 'a version that is none',
    with: { ...good, version: '0.1.108/../..' },
    says: ["The input version is '0.1.108/../..'", 'Use an exact version'],
  },
  {
    what: 'a version that is too old',
    with: { ...good, version: 'v0.1.16' },
    says: ["The input version is '0.1.16'", 'Use 0.1.18 or newer'],
  },
  {
    what: 'a checksum that is none',
    with: { ...good, checksum: 'abc123' },
    says: ["The input checksum contains 'abc123'", 'SHA-256 in hex (64 digits)'],
  },
  {
    what: 'a flag that is neither true nor false',
    with: { ...good, login: 'yes' },
    says: ["The input login is 'yes'", 'Set it to true or false'],
  },
  {
    what: 'a workspace that is no name',
    with: { ...good, workspace: 'acme\nbeta' },
    says: ["The input workspace is 'acme beta'", 'letters, digits and hyphens'],
  },
  {
    what: 'two kinds of credential',
    with: { ...good, 'api-key': API_KEY },
    says: ['Two kinds of credential are given: api-key and client-id with client-secret', 'Remove one of them'],
  },
  {
    what: 'a credential without a workspace',
    with: credentials['service-account'],
    says: ['A credential is given', 'no workspace', 'Set the input workspace'],
  },
  {
    what: 'service-account with a JWT as api-key',
    with: { workspace: 'acme', 'api-key': JWT, 'service-account': CLIENT_ID },
    says: ['service-account', 'api-key is a JWT', 'Remove service-account, or set api-key to an API key'],
    secrets: [JWT],
  },
  {
    what: 'logout: false with a plain API key on a self-hosted runner',
    with: { workspace: 'acme', 'api-key': API_KEY, logout: 'false' },
    runner: 'self-hosted',
    says: ["With 'logout: false' the API key would stay on this self-hosted runner forever", "set 'login: false'"],
  },
  {
    what: 'an API that is not called so',
    with: good,
    env: { BL_ENV: 'staging' },
    says: ["BL_ENV in the environment is 'staging'", 'Set it to prod, dev or local'],
  },
  {
    what: 'deploy, which the action before this one had',
    with: { ...good, deploy: 'true' },
    says: ['setup-bl does not deploy', "'- run: bl apply -R -f PATH'"],
  },
]

describe('refused before anything is asked or written:', () => {
  test.concurrent.each(inputs)('$what', (bad) =>
    inWorld(async (world) => {
      const { sandbox } = world
      const machine = await world.newMachine(bad.runner)
      const config = configOf(machine)
      await config.write(PRIOR, 0o640)
      const job = machine.job({ env: { ...bad.env }, omit: bad.omit ?? [] })
      const step = await job.uses({ with: { ...bad.with } })

      expectFailure(step, bad.says)
      expectHidden(step, [API_KEY, CLIENT_SECRET, ...(bad.secrets ?? [])])
      expect([sandbox.connects, sandbox.requests]).toEqual([[], []])
      expect(tree(machine.toolCache)).toEqual([])
      expectOnly(machine.home, config)
    }),
  )
})

/** The config is as it was, and nothing else is in the home. */
function expectOnly(home: string, config: ConfigFile): void {
  expect(tree(home)).toEqual(['.blaxel', '.blaxel/config.yaml'])
  expect([config.read(), config.mode()]).toEqual([PRIOR, 0o640])
}

describe('a release that is not whole:', () => {
  const releases: [string, string, ((sandbox: Sandbox) => ReleaseOptions) | undefined, string][] = [
    ['does not exist', '9.9.9', undefined, 'Release 9.9.9 of the Blaxel CLI, or its archive for'],
    [
      'has a checksum for an archive that is not there',
      '9.9.3',
      ({ github }) => ({
        version: '9.9.3',
        assets: { [github.platformFile]: null },
        checksums: `${'a'.repeat(64)}  ${github.platformFile}\n`,
      }),
      'Release 9.9.3 of the Blaxel CLI, or its archive for',
    ],
  ]
  test.concurrent.each(releases)('%s', (_, version, release, says) =>
    inWorld(async (world) => {
      const { sandbox, machine, config } = world
      if (release) sandbox.github.publish(release(sandbox))
      await config.write(PRIOR, 0o640)
      const job = machine.job()
      const step = await job.uses({ with: { ...good, version } })

      const url = `https://github.com/blaxel-ai/toolkit/releases/download/v${version}/${sandbox.github.platformFile}`
      expectFailure(step, [says, `${url} answered 404`, 'Set the input version to one listed at'])
      expectHidden(step, [CLIENT_SECRET, ...sandbox.blaxel.issued])
      expectNothingStaged(world)
      expectOnly(machine.home, config)
      // A 404 is an answer: it is not asked for again.
      expect(requestsTo(sandbox, 'github.com')).toHaveLength(2)
      const [post] = await job.end()
      expect([post?.exitCode, post?.log]).toEqual([0, ''])
    }),
  )
})

function base64url(text: string): string {
  return Buffer.from(text).toString('base64url')
}
