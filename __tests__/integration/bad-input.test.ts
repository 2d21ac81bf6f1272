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

const versions: BadInput[] = ['newest', '0.1.108/../..', '0.1.108.2', '$(id)', 'latest stable'].map((version) => ({
  what: `version '${version}'`,
  with: { ...good, version },
  says: [`The input version is '${version}'`, 'Use an exact version'],
}))

const oldVersions: BadInput[] = ['0.1.17', 'v0.1.16', '0.1.18-rc1', '0.0.99'].map((version) => ({
  what: `version '${version}', which is too old`,
  with: { ...good, version },
  says: [`The input version is '${version.replace('v', '')}'`, 'Use 0.1.18 or newer'],
}))

const combinations: BadInput[] = [
  {
    what: 'client-id without client-secret',
    with: { workspace: 'acme', 'client-id': CLIENT_ID },
    says: ['The input client-id is given without client-secret', 'Set both'],
  },
  {
    what: 'client-secret without client-id',
    with: { workspace: 'acme', 'client-secret': CLIENT_SECRET },
    says: ['The input client-secret is given without client-id', 'Set both'],
  },
  {
    what: 'api-key and a pair of client credentials',
    with: { ...good, 'api-key': API_KEY },
    says: ['Two kinds of credential are given: api-key and client-id with client-secret', 'Remove one of them'],
  },
  {
    what: 'apikey and a pair of client credentials',
    with: { ...good, apikey: API_KEY },
    says: ['Two kinds of credential are given: apikey and client-id with client-secret', 'Remove one of them'],
  },
  {
    what: 'api-key and another apikey',
    with: { workspace: 'acme', 'api-key': API_KEY, apikey: 'bl_another_key_0123456789' },
    says: ['The inputs api-key and apikey differ', 'Remove apikey'],
    secrets: ['bl_another_key_0123456789'],
  },
  ...Object.entries(credentials).map(([kind, credential]) => ({
    what: `a credential (${kind}) without workspace`,
    with: credential,
    says: ['A credential is given', 'no workspace', 'Set the input workspace'],
  })),
  {
    what: 'service-account without api-key',
    with: { workspace: 'acme', 'service-account': CLIENT_ID },
    says: ['The input service-account is given without api-key', 'Set api-key to an API key that may create keys'],
  },
  {
    what: 'service-account with client credentials',
    with: { ...good, 'service-account': CLIENT_ID },
    says: ['service-account', 'api-key'],
  },
  {
    what: 'service-account with a JWT as api-key',
    with: { workspace: 'acme', 'api-key': JWT, 'service-account': CLIENT_ID },
    says: ['service-account', 'api-key is a JWT', 'Remove service-account, or set api-key to an API key'],
    secrets: [JWT],
  },
  {
    what: 'service-account that is no id',
    with: { workspace: 'acme', 'api-key': API_KEY, 'service-account': '../../workspaces/acme' },
    says: ["The input service-account is '../../workspaces/acme'", 'client ID'],
  },
  {
    what: 'logout: false with a plain API key on a self-hosted runner',
    with: { workspace: 'acme', 'api-key': API_KEY, logout: 'false' },
    runner: 'self-hosted',
    says: ["With 'logout: false' the API key would stay on this self-hosted runner forever", "set 'login: false'"],
  },
]

const workspaces: BadInput[] = [
  ...['two words', '-acme', '--help', 'a/b', '../acme', 'acme\nbeta', 'ac"me', 'ac:me', 'äcme', 'a'.repeat(64)],
  ...['null', 'True', 'no', '~', '{}'],
].map((workspace) => ({
  what: `workspace ${JSON.stringify(workspace)}`,
  with: { ...good, workspace },
  says: [`The input workspace is '${workspace.replace('\n', ' ')}'`, 'letters, digits and hyphens'],
}))

const environmentWorkspace: BadInput = {
  what: 'BL_WORKSPACE that is no name',
  with: credentials.oauth,
  env: { BL_WORKSPACE: 'two words' },
  says: ["BL_WORKSPACE in the environment is 'two words'", 'letters, digits and hyphens'],
}

/** Secrets that can't be masked or sent, by what is wrong with them. */
const badSecrets = [
  ['a line break', 'firsthalf-0123\nsecondhalf-0123', 'contains a line break'],
  ['a carriage return', 'firsthalf-0123\rsecondhalf-0123', 'contains a line break'],
  ['a tab', 'firsthalf-0123\tsecondhalf-0123', 'contains a space, a control character'],
  ['an escape character', 'firsthalf-0123\x1bsecondhalf-0123', 'contains a space, a control character'],
  ['a blank', 'firsthalf-0123 secondhalf-0123', 'contains a space'],
  [
    'a letter outside ASCII',
    'firsthalf-0123äsecondhalf-0123',
    'contains a space, a control character or a non-ASCII character',
  ],
  ['7 characters', 'Zq7xW9k', 'is shorter than 8 characters'],
] as const

const secrets: BadInput[] = badSecrets.flatMap(([fault, secret, says]) => {
  const pair = Buffer.from(`${CLIENT_ID}:${secret}`).toString('base64')
  const ways = [
    ['The input api-key', { 'api-key': secret }, {}],
    ['The input apikey', { apikey: secret }, {}],
    ['The input client-secret', { 'client-id': CLIENT_ID, 'client-secret': secret }, {}],
    ['BL_API_KEY in the environment', {}, { BL_API_KEY: secret }],
    ['The secret in BL_CLIENT_CREDENTIALS', {}, { BL_CLIENT_CREDENTIALS: pair }],
  ] as const
  return ways.map(([name, inputs, env]) => ({
    what: `${name} with ${fault}`,
    with: { workspace: 'acme', ...inputs },
    env,
    says: [`${name} ${says}`, 'Store the secret again: whole, alone and on one line'],
    secrets: [pair, ...secret.split(/[^!-~]/)],
  }))
})

const otherSecrets: BadInput[] = [
  {
    what: 'api-key in quotes',
    with: { workspace: 'acme', 'api-key': '"bl_quoted_key_0123456789"' },
    says: ['The input api-key contains a quote or a backslash', 'without quotes'],
    secrets: ['bl_quoted_key_0123456789'],
  },
  {
    what: 'a client ID with a colon',
    with: { workspace: 'acme', 'client-id': 'sa:deployer', 'client-secret': CLIENT_SECRET },
    says: ['The client ID in client-id and client-secret', 'colon', 'Copy it again'],
  },
  {
    what: 'BL_CLIENT_CREDENTIALS that is no base64',
    with: { workspace: 'acme' },
    env: { BL_CLIENT_CREDENTIALS: `${CLIENT_ID}:${CLIENT_SECRET}` },
    says: ['BL_CLIENT_CREDENTIALS in the environment is not the base64', 'set the inputs client-id and client-secret'],
  },
]

const options: BadInput[] = [
  ...['login', 'export-env', 'logout'].flatMap((name) =>
    ['yes', '1', 'tRuE'].map((value) => ({
      what: `${name}: '${value}'`,
      with: { ...good, [name]: value },
      says: [`The input ${name} is '${value}'`, 'Set it to true or false'],
    })),
  ),
  ...['ignore', 'Skip'].map((value) => ({
    what: `on-missing-credentials: '${value}'`,
    with: { ...good, 'on-missing-credentials': value },
    says: [`The input on-missing-credentials is '${value}'`, 'Set it to fail or skip'],
  })),
  ...['90m', '2', '0h', '1.5h', '2 hours', '7200s', '-1h'].map((value) => ({
    what: `token-lifetime: '${value}'`,
    with: { workspace: 'acme', ...credentials['service-account'], 'token-lifetime': value },
    says: [`The input token-lifetime is '${value}'`, 'hours, days or weeks, such as 2h, 1d or 1w'],
  })),
  ...['abc123', 'g'.repeat(64), 'a'.repeat(63), `sha512:${'a'.repeat(64)}`, `${'a'.repeat(64)} -`].map((checksum) => ({
    what: `checksum: '${checksum}'`,
    with: { ...good, checksum },
    says: [`The input checksum contains '${checksum}'`, 'SHA-256 in hex (64 digits)'],
  })),
  {
    what: 'deploy, which the action before this one had',
    with: { ...good, deploy: 'true' },
    says: ['setup-bl does not deploy', "'- run: bl apply -R -f PATH'"],
  },
]

const PASSWORD = 'url-passw0rd'
const NOT_HTTPS = 'is not an https URL'
const urls = [
  ['http://api.blaxel.ai/v0', NOT_HTTPS],
  ['http://127.evil.example/v0', NOT_HTTPS],
  ['http://127.0.0.1.evil.example/v0', NOT_HTTPS],
  ['http://localhost.evil.example/v0', NOT_HTTPS],
  ['http://evil.example/127.0.0.1', NOT_HTTPS],
  ['http://[::2]/v0', NOT_HTTPS],
  ['ftp://api.blaxel.ai/v0', NOT_HTTPS],
  ['api.blaxel.ai/v0', 'is not a URL'],
  ['https://', 'is not a URL'],
  ['https://api.blaxel.ai/v0?x=1', 'has a query or a fragment'],
  [`https://user:${PASSWORD}@api.blaxel.ai/v0`, 'holds a user or a password'],
  [`https://${PASSWORD}@api.blaxel.ai/v0`, 'holds a user or a password'],
  [`http://user:${PASSWORD}@127.0.0.1/v0`, 'holds a user or a password'],
] as const

const origins: BadInput[] = [
  ...urls.flatMap(([url, says]) => [
    {
      what: `api-url ${url}`,
      with: { ...good, 'api-url': url },
      says: [`The input api-url ${says}`, 'such as https://api.blaxel.ai/v0'],
      secrets: [PASSWORD],
    },
    {
      what: `BL_API_URL ${url} in the environment`,
      with: good,
      env: { BL_API_URL: url },
      says: [`BL_API_URL in the environment ${says}`, 'such as https://api.blaxel.ai/v0'],
      secrets: [PASSWORD],
    },
  ]),
  ...['evil.example', 'api.blaxel.ai.evil.example', 'evilblaxel.ai', 'localhost.evil.example'].map((host) => ({
    what: `BL_API_URL in the environment names ${host}`,
    with: good,
    env: { BL_API_URL: `https://${host}/v0` },
    says: [`BL_API_URL in the environment names ${host}`, 'set the input api-url. Otherwise unset BL_API_URL'],
  })),
  ...['staging', 'PROD', 'production'].map((value) => ({
    what: `BL_ENV '${value}'`,
    with: good,
    env: { BL_ENV: value },
    says: [`BL_ENV in the environment is '${value}'`, 'Set it to prod, dev or local'],
  })),
]

const machines: BadInput[] = [
  ...['HOME', 'RUNNER_TEMP', 'RUNNER_TOOL_CACHE'].flatMap((name) => [
    {
      what: `no ${name}`,
      with: good,
      omit: [name],
      says: [`${name} is not set`, "Set it in the runner's environment"],
    },
  ]),
  {
    what: 'a HOME that is no absolute path',
    with: good,
    env: { HOME: 'home' },
    says: ['HOME is not an absolute path', "Set it in the runner's environment"],
  },
  ...['GITHUB_ENV', 'GITHUB_OUTPUT', 'GITHUB_STATE', 'GITHUB_PATH'].map((name) => ({
    what: `no ${name}`,
    with: good,
    omit: [name],
    says: [`${name} is not set`, 'as a step of GitHub Actions'],
  })),
  ...['https_proxy', 'HTTPS_PROXY'].flatMap((name) =>
    [
      `http://user:${PASSWORD}@[broken`,
      `http://user:${PASSWORD}@proxy.example:port`,
      'socks5://proxy.example:1080',
    ].map((proxy) => ({
      what: `${name} ${proxy}`,
      with: good,
      env: { https_proxy: '', HTTPS_PROXY: '', [name]: proxy },
      says: [`${name} is not the URL of an http proxy`, "such as 'http://proxy.example:3128', or unset it"],
      secrets: [PASSWORD],
    })),
  ),
]

const checkedFirst = [
  ...[versions, oldVersions, combinations, workspaces, [environmentWorkspace], secrets, otherSecrets, options],
  ...[origins, machines],
].flat()

describe('refused before anything is asked or written:', () => {
  test.concurrent.each(checkedFirst)('$what', (bad) =>
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

describe('a config that no login can be added to is refused before anything is asked:', () => {
  const configs = [
    ['no YAML', 'context:\n  workspace: acme\nworkspaces: [\n', 4],
    ['a tab as indent', 'workspaces:\n\t- name: acme\n', 2],
    ['a key twice', 'workspaces:\n- name: acme\n  name: beta\n', 3],
    ['no map', '- acme\n', 1],
  ] as const
  test.concurrent.each(configs)('%s', (_, text, line) =>
    inWorld(async ({ sandbox, machine, config }) => {
      await config.write(text, 0o640)
      const step = await machine.job().uses({ with: good })
      expectFailure(step, [`${config.path}, line ${line}: `, 'Fix or remove that file', 'login: false'])
      expectHidden(step, [CLIENT_SECRET])
      expect(sandbox.connects).toEqual([])
      expect(tree(machine.toolCache)).toEqual([])
      expect([config.read(), config.mode()]).toEqual([text, 0o640])
    }),
  )
})

describe('a release that is not whole:', () => {
  const releases: [string, string, ((sandbox: Sandbox) => ReleaseOptions) | undefined, string][] = [
    ['does not exist', '9.9.9', undefined, 'Release 9.9.9 of the Blaxel CLI, or its archive for'],
    [
      'has no archive for this runner',
      '9.9.3',
      ({ github }) => ({ version: '9.9.3', assets: { [github.platformFile]: null } }),
      'Release 9.9.3 of the Blaxel CLI, or its archive for',
    ],
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

test('another live job with the same workspace of another API: refused, and the login of that job stays', () =>
  inWorld(async (world) => {
    const { sandbox, machine, config } = world
    sandbox.blaxelDev.addWorkspace('acme')
    sandbox.blaxelDev.addApiKey('bl_key_of_dev_0123456789', { workspaces: ['acme'] })
    const first = machine.job({ env: { BL_ENV: 'dev' } })
    await first.uses({ with: { workspace: 'acme', 'api-key': 'bl_key_of_dev_0123456789' } })
    const before = config.read()
    expect(before).toContain('bl_key_of_dev_0123456789')

    const second = machine.job()
    const step = await second.uses({ with: good })
    expectFailure(step, [
      "workspace 'acme' at https://api.blaxel.dev/v0, not at https://api.blaxel.ai/v0",
      "set 'login: false'",
    ])
    expectHidden(step, [CLIENT_SECRET, 'bl_key_of_dev_0123456789', ...sandbox.blaxel.issued])
    expectNothingStaged(world)
    expect(config.read()).toBe(before)
    await second.end()
    expect(config.read()).toBe(before)
    await first.end()
    expect(tree(machine.home)).toEqual([])
  }))

describe('loopback is taken over http:', () => {
  const names = ['127.0.0.1', 'localhost']
  test.concurrent.each(names)('api-url at %s', (name) =>
    inWorld(async ({ sandbox, machine }) => {
      const url = (await sandbox.blaxel.loopbackUrl()).replace('127.0.0.1', name)
      const step = await machine.job().uses({ with: { ...good, 'api-url': url } })
      expect(step.exitCode).toBe(0)
      expect(step.env).toMatchObject({ BL_API_URL: url })
    }),
  )
  test.concurrent.each(names)('BL_API_URL at %s', (name) =>
    inWorld(async ({ sandbox, machine }) => {
      const url = (await sandbox.blaxel.loopbackUrl()).replace('127.0.0.1', name)
      const step = await machine.job({ env: { BL_API_URL: url } }).uses({ with: good })
      expect(step.exitCode).toBe(0)
      expect(requestsTo(sandbox, 'api.blaxel.ai')).toEqual([])
    }),
  )
})

test('a foreign host is taken from the input alone, over https, and named', () =>
  inWorld(async ({ sandbox, machine }) => {
    sandbox.addHost('blaxel.corp.example', () => ({ status: 401, body: { code: 401, error: 'unauthorized' } }))
    const step = await machine.job().uses({ with: { ...good, 'api-url': 'https://blaxel.corp.example/v0' } })
    expectFailure(step, ['rejected client-id and client-secret (401: unauthorized)'])
    expect(step.annotations).toContainEqual({
      level: 'warning',
      message: expect.stringContaining('The credential is sent to blaxel.corp.example') as unknown,
    })
    expect(requestsTo(sandbox, 'blaxel.corp.example')).toEqual(['POST /v0/oauth/token'])
    expect(requestsTo(sandbox, 'api.blaxel.ai')).toEqual([])
  }))

function base64url(text: string): string {
  return Buffer.from(text).toString('base64url')
}
