import { describe, expect, test } from '@jest/globals'
import fc from 'fast-check'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { parse } from 'yaml'
import { SetupError } from '../../src/util/errors.ts'
import type { Credential } from '../../src/blaxel/credential.ts'
import type { CheckoutFile } from '../../src/runner/checkout.ts'
import { withheldSecretsRemedy, type RunOrigin } from '../../src/runner/event.ts'
import { readRevocationKey } from '../../src/credentials.ts'
import { readInputs, type Access, type Inputs } from '../../src/inputs.ts'
import { holds, thrownBy } from './property.ts'

type Values = Readonly<Record<string, string>>

const action = parse(readFileSync(join(import.meta.dirname, '../../action.yml'), 'utf8')) as {
  readonly inputs: Readonly<Record<string, { readonly default: string }>>
}
const DEFAULTS = Object.fromEntries(
  Object.entries(action.inputs).map(([name, input]) => [name, input.default.startsWith('${{') ? '' : input.default]),
)

interface Surroundings {
  readonly env?: Values
  readonly runOrigin?: RunOrigin
  readonly file?: CheckoutFile
  readonly isSelfHosted?: boolean
}

interface Reading {
  readonly inputs: Inputs
  readonly hidden: readonly string[]
  readonly redacted: readonly string[]
}

/** Reads inputs as a workflow gives them, the others as action.yml has them. */
function read(given: Values, surroundings: Surroundings = {}): Reading {
  const {
    env = {},
    runOrigin = 'own',
    file = { kind: 'missing', why: 'does not exist' },
    isSelfHosted = false,
  } = surroundings
  const hidden: string[] = []
  const redacted: string[] = []
  const inputs = readInputs({
    get: (name) => {
      const value = given[name] ?? DEFAULTS[name]
      if (value === undefined) throw new Error(`action.yml has no input ${name}`)
      return value.trim()
    },
    env,
    hide: (secret) => hidden.push(secret),
    redact: (secret) => redacted.push(secret),
    runOrigin: () => runOrigin,
    readCheckoutFile: () => file,
    isSelfHosted,
  })
  return { inputs, hidden, redacted: redacted.filter((secret) => secret !== '') }
}

function access(given: Values, surroundings?: Surroundings): Access {
  return read(given, surroundings).inputs.access
}

function refusal(given: Values, surroundings?: Surroundings): unknown {
  return thrownBy(() => read(given, surroundings))
}

const API_KEY = 'bl_key_0123456789abcdefghij'
const CLIENT_ID = 'sa-deployer'
const SECRET = 'bl_secret_ABCDEFGHIJ0123456789'
const pair = { 'client-id': CLIENT_ID, 'client-secret': SECRET }
const part = (value: unknown) => Buffer.from(JSON.stringify(value)).toString('base64url')
const JWT = `${part({ alg: 'RS256' })}.${part({ exp: 1_893_456_000 })}.c2lnbmF0dXJl`
const EXPIRES_AT = 1_893_456_000_000
const BASE64 = Buffer.from(`${CLIENT_ID}:${SECRET}`).toString('base64')
const LIFETIME = { text: '2h', ms: 7_200_000 }

const client = (source: string): Credential => ({ kind: 'client', source, clientId: CLIENT_ID, clientSecret: SECRET })

describe('the credential', () => {
  test.each<[string, Values, Values, Credential]>([
    ['client-id and client-secret', pair, {}, client('client-id and client-secret')],
    ['BL_CLIENT_CREDENTIALS', {}, { BL_CLIENT_CREDENTIALS: BASE64 }, client('BL_CLIENT_CREDENTIALS')],
    [
      'BL_CLIENT_CREDENTIALS with blanks around',
      {},
      { BL_CLIENT_CREDENTIALS: ` ${BASE64}\n` },
      client('BL_CLIENT_CREDENTIALS'),
    ],
    [
      'api-key with service-account',
      { 'api-key': API_KEY, 'service-account': CLIENT_ID, 'token-lifetime': '1d' },
      {},
      {
        kind: 'service-account',
        source: 'api-key',
        apiKey: API_KEY,
        serviceAccount: CLIENT_ID,
        lifetime: { text: '1d', ms: 86_400_000 },
      },
    ],
    [
      'apikey with service-account, for two hours',
      { apikey: API_KEY, 'service-account': CLIENT_ID },
      {},
      { kind: 'service-account', source: 'apikey', apiKey: API_KEY, serviceAccount: CLIENT_ID, lifetime: LIFETIME },
    ],
    [
      'api-key that is a JWT',
      { 'api-key': JWT },
      {},
      { kind: 'jwt', source: 'api-key', jwt: JWT, expiresAt: EXPIRES_AT },
    ],
    [
      'BL_API_KEY that is a JWT',
      {},
      { BL_API_KEY: JWT },
      { kind: 'jwt', source: 'BL_API_KEY', jwt: JWT, expiresAt: EXPIRES_AT },
    ],
    [
      'BL_API_KEY that is BL_TOKEN, a JWT',
      {},
      { BL_API_KEY: JWT, BL_TOKEN: JWT, BL_WORKSPACE: 'acme' },
      { kind: 'earlier-session', source: 'BL_API_KEY', token: JWT, expiresAt: EXPIRES_AT, isJwt: true },
    ],
    [
      'BL_API_KEY that is BL_TOKEN, a minted key',
      {},
      { BL_API_KEY: API_KEY, BL_TOKEN: API_KEY, BL_WORKSPACE: 'acme' },
      { kind: 'earlier-session', source: 'BL_API_KEY', token: API_KEY, expiresAt: undefined, isJwt: false },
    ],
    ['api-key', { 'api-key': API_KEY }, {}, { kind: 'api-key', source: 'api-key', apiKey: API_KEY }],
    [
      'api-key with blanks around',
      { 'api-key': `  ${API_KEY}\n` },
      {},
      { kind: 'api-key', source: 'api-key', apiKey: API_KEY },
    ],
    ['apikey', { apikey: API_KEY }, {}, { kind: 'api-key', source: 'apikey', apiKey: API_KEY }],
    [
      'api-key and apikey that are the same',
      { 'api-key': API_KEY, apikey: API_KEY },
      {},
      { kind: 'api-key', source: 'api-key', apiKey: API_KEY },
    ],
    ['BL_API_KEY', {}, { BL_API_KEY: API_KEY }, { kind: 'api-key', source: 'BL_API_KEY', apiKey: API_KEY }],
    [
      'BL_API_KEY with blanks around',
      {},
      { BL_API_KEY: `\t${API_KEY}\n` },
      { kind: 'api-key', source: 'BL_API_KEY', apiKey: API_KEY },
    ],
    [
      'BL_API_KEY that is BL_TOKEN but for the blanks around',
      {},
      { BL_API_KEY: `${API_KEY}\n`, BL_TOKEN: ` ${API_KEY}`, BL_WORKSPACE: ' acme\n' },
      { kind: 'earlier-session', source: 'BL_API_KEY', token: API_KEY, expiresAt: undefined, isJwt: false },
    ],
    [
      'BL_API_KEY where BL_CLIENT_CREDENTIALS is blank',
      {},
      { BL_API_KEY: API_KEY, BL_CLIENT_CREDENTIALS: ' \n' },
      { kind: 'api-key', source: 'BL_API_KEY', apiKey: API_KEY },
    ],
    [
      'BL_API_KEY beside another BL_TOKEN',
      {},
      { BL_API_KEY: API_KEY, BL_TOKEN: JWT },
      { kind: 'api-key', source: 'BL_API_KEY', apiKey: API_KEY },
    ],
    [
      'BL_API_KEY that is BL_TOKEN, but of no workspace: no use of the action exports it so',
      {},
      { BL_API_KEY: API_KEY, BL_TOKEN: API_KEY },
      { kind: 'api-key', source: 'BL_API_KEY', apiKey: API_KEY },
    ],
    [
      'BL_CLIENT_CREDENTIALS beside another BL_WORKSPACE: no use of the action exports it',
      {},
      { BL_CLIENT_CREDENTIALS: BASE64, BL_API_KEY: API_KEY, BL_WORKSPACE: 'beta' },
      client('BL_CLIENT_CREDENTIALS'),
    ],
    [
      'an input before the environment',
      pair,
      { BL_API_KEY: API_KEY, BL_CLIENT_CREDENTIALS: 'x' },
      client('client-id and client-secret'),
    ],
    [
      'BL_CLIENT_CREDENTIALS before BL_API_KEY',
      {},
      { BL_API_KEY: API_KEY, BL_TOKEN: API_KEY, BL_CLIENT_CREDENTIALS: BASE64 },
      client('BL_CLIENT_CREDENTIALS'),
    ],
    [
      'BL_API_KEY where BL_CLIENT_CREDENTIALS is empty',
      {},
      { BL_API_KEY: API_KEY, BL_CLIENT_CREDENTIALS: '' },
      { kind: 'api-key', source: 'BL_API_KEY', apiKey: API_KEY },
    ],
  ])('is %s', (_, given, env, credential) => {
    expect(access({ workspace: 'acme', ...given }, { env })).toEqual({
      kind: 'session',
      workspace: 'acme',
      credential,
      endpoint: { url: 'https://api.blaxel.ai/v0', environment: undefined, source: 'default', isForeign: false },
      login: true,
      exportEnv: true,
      logout: true,
    })
  })
})

const ONE_WORKSPACE_MISSING =
  'bl was installed but not logged in: the environment holds a credential, but no workspace is named. Set the input workspace to log in.'
const ONE_CREDENTIAL_MISSING =
  'bl was installed but not logged in: the environment names a workspace (BL_WORKSPACE), but no credential is given. Set client-id and client-secret, or api-key, to log in.'

describe('workspace and credential', () => {
  test.each<[string, Values, Values, Access]>([
    ['neither is given', {}, {}, { kind: 'install-only', notice: undefined }],
    [
      'both are empty',
      { workspace: ' ', 'api-key': '' },
      { BL_WORKSPACE: ' ' },
      { kind: 'install-only', notice: undefined },
    ],
    [
      'a credential alone stands in the environment',
      {},
      { BL_API_KEY: API_KEY },
      { kind: 'install-only', notice: ONE_WORKSPACE_MISSING },
    ],
    [
      'client credentials alone stand in the environment',
      {},
      { BL_CLIENT_CREDENTIALS: BASE64 },
      { kind: 'install-only', notice: ONE_WORKSPACE_MISSING },
    ],
    [
      'a workspace alone stands in the environment',
      {},
      { BL_WORKSPACE: 'acme' },
      { kind: 'install-only', notice: ONE_CREDENTIAL_MISSING },
    ],
    [
      'a workspace alone is an input, where that may be',
      { workspace: 'acme', 'on-missing-credentials': 'skip' },
      {},
      {
        kind: 'skipped',
        notice:
          "No credential is given for the workspace 'acme'. bl was installed but not logged in, because of 'on-missing-credentials: skip'.",
      },
    ],
    ...[{ 'client-id': CLIENT_ID }, { 'service-account': CLIENT_ID }].map(
      (account): [string, Values, Values, Access] => [
        `an account's ID is an input, but the run gets no secrets: ${JSON.stringify(account)}`,
        { workspace: 'acme', 'on-missing-credentials': 'skip', ...account },
        {},
        {
          kind: 'skipped',
          notice:
            "No credential is given for the workspace 'acme'. bl was installed but not logged in, because of 'on-missing-credentials: skip'.",
        },
      ],
    ),
  ])('install only where %s', (_, given, env, expected) => {
    expect(access(given, { env })).toEqual(expected)
  })

  const SKIP = { 'on-missing-credentials': 'skip' }
  test.each<[string, Values, Values, string]>([
    ['the workspace, too', { 'client-id': CLIENT_ID }, {}, 'No credential is given.'],
    ['everything', {}, {}, 'No credential is given.'],
    ['half of the workspace', { workspace: '-prod' }, {}, "No credential is given for the workspace '-prod'."],
    ['all but BL_WORKSPACE', {}, { BL_WORKSPACE: 'acme' }, "No credential is given for the workspace 'acme'."],
    [
      'all but a key for another workspace',
      { workspace: 'beta' },
      { BL_WORKSPACE: 'acme', BL_API_KEY: API_KEY },
      "No credential is given for the workspace 'beta': BL_API_KEY in the environment is for the workspace 'acme'.",
    ],
    [
      'all but a key for another workspace that could be none',
      { workspace: 'beta', 'service-account': CLIENT_ID },
      { BL_WORKSPACE: '::x::', BL_API_KEY: 'short' },
      "No credential is given for the workspace 'beta': BL_API_KEY in the environment is for the workspace '::x::'.",
    ],
  ])('are skipped, where that may be, without %s', (_, given, env, notice) => {
    expect(access({ ...SKIP, ...given }, { env })).toEqual({
      kind: 'skipped',
      notice: `${notice} bl was installed but not logged in, because of 'on-missing-credentials: skip'.`,
    })
  })

  test.each<[string, Values, Values, string]>([
    ['inputs', { workspace: 'acme', 'api-key': API_KEY }, {}, 'acme'],
    ['the environment', {}, { BL_WORKSPACE: 'acme', BL_API_KEY: API_KEY }, 'acme'],
    ['an input and the environment', { 'api-key': API_KEY }, { BL_WORKSPACE: ' acme ' }, 'acme'],
    ['the environment and an input', { workspace: 'acme' }, { BL_API_KEY: API_KEY }, 'acme'],
    ['an input before the environment', { workspace: 'acme', 'api-key': API_KEY }, { BL_WORKSPACE: 'beta' }, 'acme'],
  ])('open a session where they come from %s', (_, given, env, workspace) => {
    expect(access(given, { env })).toMatchObject({ kind: 'session', workspace })
  })

  test.each<Values>([
    { 'api-key': API_KEY },
    { apikey: JWT },
    pair,
    { 'api-key': API_KEY, 'service-account': CLIENT_ID },
  ])('are an error where the workspace is missing to the inputs %j', (given) => {
    const source =
      given['api-key'] !== undefined ? 'api-key' : given.apikey !== undefined ? 'apikey' : 'client-id and client-secret'
    expect(refusal(given)).toEqual(
      new SetupError(
        `A credential is given (${source}) but no workspace.`,
        'Set the input workspace. If it is set, the variable it refers to is empty: check its name.',
      ),
    )
  })

  test.each<RunOrigin>(['own', 'fork', 'dependabot'])(
    'are an error where the credential is missing to a run of origin %s',
    (runOrigin) => {
      for (const given of [{ workspace: 'acme' }, { workspace: 'acme', 'api-key': ' ', 'client-secret': '' }]) {
        expect(refusal(given, { runOrigin })).toEqual(
          new SetupError(
            "No credential is given for the workspace 'acme'.",
            withheldSecretsRemedy(runOrigin, true) ??
              "Set client-id and client-secret, or api-key. If they are set, the secrets they refer to are empty: check their names and the job's environment.",
          ),
        )
      }
    },
  )
})

describe('every other input', () => {
  const session = { workspace: 'acme', 'api-key': API_KEY }

  test('has the value that action.yml says', () => {
    expect(read({}).inputs).toEqual({
      install: { version: { kind: 'latest' }, checksum: undefined, source: { kind: 'github', token: undefined } },
      access: { kind: 'install-only', notice: undefined },
      warnings: [],
    })
  })

  test.each<[string, Values, Partial<Access>]>([
    ['login', { login: 'false' }, { login: false }],
    ['export-env', { 'export-env': 'FALSE' }, { exportEnv: false }],
    ['logout', { logout: 'False' }, { logout: false }],
    ['login in capitals', { login: 'TRUE' }, { login: true }],
    ['login with a capital', { login: ' True ' }, { login: true }],
    [
      'api-url',
      { 'api-url': 'https://api.blaxel.dev/v0/' },
      {
        endpoint: {
          url: 'https://api.blaxel.dev/v0',
          environment: undefined,
          source: 'the input api-url',
          isForeign: false,
        },
      },
    ],
  ])('%s is taken over', (_, given, expected) => {
    expect(access({ ...session, ...given })).toMatchObject(expected)
  })

  test.each<[string, Values, Partial<Inputs['install']>]>([
    ['an exact version', { version: 'v0.1.108' }, { version: { kind: 'exact', version: '0.1.108' } }],
    ['a range', { version: '^0.1.90' }, { version: { kind: 'range', range: '^0.1.90' } }],
    ['a checksum', { checksum: 'A'.repeat(64) }, { checksum: { kind: 'one', sha256: 'a'.repeat(64) } }],
    [
      'a mirror',
      { 'mirror-url': 'https://mirror.example/bl/' },
      { source: { kind: 'mirror', url: 'https://mirror.example/bl' } },
    ],
    [
      'a token for GitHub',
      { 'github-token': 'ghs_0123456789' },
      { source: { kind: 'github', token: 'ghs_0123456789' } },
    ],
    [
      'a mirror before a token for GitHub',
      { 'mirror-url': 'https://mirror.example', 'github-token': 'ghs_0123456789' },
      { source: { kind: 'mirror', url: 'https://mirror.example' } },
    ],
  ])('%s is taken over', (_, given, expected) => {
    expect(read(given).inputs.install).toMatchObject(expected)
  })

  test('a token of another server is not for GitHub', () => {
    const token = { 'github-token': 'ghs_0123456789' }
    for (const [GITHUB_SERVER_URL, expected] of [
      ['https://github.com', 'ghs_0123456789'],
      ['https://ghes.example', undefined],
      ['https://github.com.evil.example', undefined],
    ] as const) {
      expect(read(token, { env: { GITHUB_SERVER_URL } }).inputs.install.source).toEqual({
        kind: 'github',
        token: expected,
      })
    }
  })

  test('the environment names the API where no input does', () => {
    const env = { BL_API_URL: ' https://api.blaxel.dev/v0 ', BL_ENV: 'prod' }
    expect(access(session, { env })).toMatchObject({ endpoint: { url: 'https://api.blaxel.dev/v0' } })
    expect(access(session, { env: { BL_ENV: ' dev' } })).toMatchObject({
      endpoint: { url: 'https://api.blaxel.dev/v0', environment: 'dev' },
    })
    expect(access(session, { env: { BL_API_URL: ' \n', BL_ENV: 'dev\t' } })).toMatchObject({
      endpoint: { url: 'https://api.blaxel.dev/v0', environment: 'dev' },
    })
  })

  test('an API that can not be used is no matter where only the CLI is installed', () => {
    expect(access({}, { env: { BL_API_URL: 'http://evil.example', BL_ENV: 'x' } })).toMatchObject({
      kind: 'install-only',
    })
  })
})

describe('a version file', () => {
  const text = (content: string): Surroundings => ({ file: { kind: 'text', text: content } })

  test('names the version', () => {
    expect(read({ 'version-file': '.bl-version' }, text('v0.1.90\n')).inputs.install.version).toEqual({
      kind: 'exact',
      version: '0.1.90',
    })
    expect(
      read({ 'version-file': 'a/.tool-versions' }, text('node 24\nblaxel 0.1.90\n')).inputs.install.version,
    ).toEqual({
      kind: 'exact',
      version: '0.1.90',
    })
  })

  test('is an error beside a version', () => {
    expect(refusal({ version: 'latest', 'version-file': '.bl-version' }, text('0.1.90'))).toEqual(
      new SetupError('Both inputs version and version-file are given.', 'Remove one of them.'),
    )
  })

  test.each<CheckoutFile>([
    { kind: 'missing', why: 'does not exist' },
    { kind: 'unusable', why: 'is a symbolic link' },
  ])('is an error where it $why', (file) => {
    expect(refusal({ 'version-file': 'x/.bl-version' }, { file })).toEqual(
      new SetupError(
        `The input version-file names x/.bl-version, which ${file.kind === 'text' ? '' : file.why}.`,
        'Name a file of the checkout, and run actions/checkout before this step.',
      ),
    )
  })

  test.each([
    ['pull_request_target', '0.1.94', 1],
    ['pull_request_target', '0.1.95', 0],
    ['pull_request', '0.1.94', 0],
    ['push', '0.1.94', 0],
  ])('on %s that names %s: %d warnings', (GITHUB_EVENT_NAME, version, count) => {
    const { warnings } = read(
      { 'version-file': '.bl-version' },
      { ...text(version), env: { GITHUB_EVENT_NAME } },
    ).inputs
    expect(warnings).toHaveLength(count)
    for (const warning of warnings)
      expect(warning).toContain('anybody may have changed that file. Set the input version instead')
  })
})

const PASTED = 'Store the secret again: whole, alone and on one line.'
const halfOf = (missing: string) =>
  `Set both. If ${missing} is set, the secret or variable it refers to is empty: check its name and the job's environment.`
const OTHER_HALF: Values = {
  'client-id': 'client-secret',
  'client-secret': 'client-id',
  'service-account': 'api-key',
}
const KEY_OF_ACCOUNT =
  "Set api-key to an API key that may create keys for it. If it is set, the secret it refers to is empty: check its name and the job's environment."
const CONSOLE = 'Copy the name from the address of the Blaxel console: letters, digits and hyphens.'
const API_REMEDY = "Use the API's base URL with its path, such as https://api.blaxel.ai/v0."
const MIRROR_REMEDY = 'Use the base URL of the mirror, such as https://mirror.example/toolkit.'

describe('a bad input', () => {
  const acme = { workspace: 'acme' }
  test.each<[Values, string, string]>([
    [
      { deploy: 'true' },
      'setup-bl does not deploy, so the input deploy is not supported.',
      "Remove it and add a step of your own: '- run: bl apply -R -f PATH'.",
    ],
    [{ login: 'yes' }, "The input login is 'yes'.", 'Set it to true or false.'],
    [{ login: '1' }, "The input login is '1'.", 'Set it to true or false.'],
    [{ login: 'tRue' }, "The input login is 'tRue'.", 'Set it to true or false.'],
    [{ 'export-env': 'on' }, "The input export-env is 'on'.", 'Set it to true or false.'],
    [{ logout: 'no' }, "The input logout is 'no'.", 'Set it to true or false.'],
    [
      { 'on-missing-credentials': 'ignore' },
      "The input on-missing-credentials is 'ignore'.",
      'Set it to fail or skip.',
    ],
    [
      { 'token-lifetime': '90m' },
      "The input token-lifetime is '90m'.",
      'Set it to a whole number of hours, days or weeks, such as 2h, 1d or 1w.',
    ],
    [
      { version: '0.1.17' },
      "The input version is '0.1.17', but versions before 0.1.18 can't run unattended.",
      'Use 0.1.18 or newer: older ones have no --skip-version-warning and wait for api.github.com without a time-out.',
    ],
    [
      { checksum: 'abc' },
      "The input checksum contains 'abc', which is not a SHA-256.",
      "Use the archive's SHA-256 in hex (64 digits), or lines '<64 hex digits>  <file name>' for several archives.",
    ],
    [{ 'mirror-url': 'mirror.example' }, 'The input mirror-url is not a URL.', MIRROR_REMEDY],
    [
      { 'mirror-url': 'http://mirror.example' },
      'The input mirror-url is not an https URL (http is for loopback addresses only).',
      MIRROR_REMEDY,
    ],
    [
      { 'mirror-url': 'https://jane:hunter22@mirror.example' },
      'The input mirror-url holds a user or a password.',
      MIRROR_REMEDY,
    ],
    [
      { 'mirror-url': 'https://mirror.example?x=hunter22' },
      'The input mirror-url has a query or a fragment.',
      MIRROR_REMEDY,
    ],
    [{ workspace: 'ac me' }, "The input workspace is 'ac me', which is not a valid workspace name.", CONSOLE],
    [{ workspace: '--help' }, "The input workspace is '--help', which is not a valid workspace name.", CONSOLE],
    [{ workspace: '../acme' }, "The input workspace is '../acme', which is not a valid workspace name.", CONSOLE],
    [{ workspace: 'null' }, "The input workspace is 'null', which is not a valid workspace name.", CONSOLE],
    [{ workspace: 'Yes' }, "The input workspace is 'Yes', which is not a valid workspace name.", CONSOLE],
    [
      { workspace: 'acme\n::add-path::/x' },
      "The input workspace is 'acme ::add-path::/x', which is not a valid workspace name.",
      CONSOLE,
    ],
    [
      { ...acme, 'client-id': CLIENT_ID },
      'The input client-id is given without client-secret.',
      halfOf('client-secret'),
    ],
    [{ 'client-secret': SECRET }, 'The input client-secret is given without client-id.', halfOf('client-id')],
    [
      { ...acme, 'client-secret': SECRET, 'on-missing-credentials': 'skip' },
      'The input client-secret is given without client-id.',
      halfOf('client-id'),
    ],
    [
      { ...acme, ...pair, 'service-account': CLIENT_ID, 'on-missing-credentials': 'skip' },
      'The input service-account is given without api-key.',
      KEY_OF_ACCOUNT,
    ],
    [
      { ...acme, ...pair, 'api-key': API_KEY },
      'Two kinds of credential are given: api-key and client-id with client-secret.',
      'Remove one of them.',
    ],
    [
      { ...acme, ...pair, apikey: JWT },
      'Two kinds of credential are given: apikey and client-id with client-secret.',
      'Remove one of them.',
    ],
    [
      { ...acme, ...pair, 'service-account': CLIENT_ID },
      'The input service-account is given without api-key.',
      KEY_OF_ACCOUNT,
    ],
    [{ ...acme, 'service-account': CLIENT_ID }, 'The input service-account is given without api-key.', KEY_OF_ACCOUNT],
    [
      { ...acme, 'api-key': JWT, 'service-account': CLIENT_ID },
      'The input service-account is given, but api-key is a JWT, which is short-lived already.',
      'Remove service-account, or set api-key to an API key.',
    ],
    [
      { ...acme, 'api-key': API_KEY, 'service-account': '../x' },
      "The input service-account is '../x', which is not a valid client ID.",
      "Set it to the service account's client ID.",
    ],
    [
      { 'api-key': API_KEY, apikey: `${API_KEY}2` },
      'The inputs api-key and apikey differ.',
      'Remove apikey: it is the old name of api-key.',
    ],
    [{ ...acme, 'api-key': 'hunter2' }, 'The input api-key is shorter than 8 characters.', PASTED],
    [{ ...acme, apikey: 'hunter2' }, 'The input apikey is shorter than 8 characters.', PASTED],
    [{ ...acme, 'api-key': 'hunter22\nhunter22' }, 'The input api-key contains a line break.', PASTED],
    [{ ...acme, 'api-key': 'hunter22\rhunter22' }, 'The input api-key contains a line break.', PASTED],
    [
      { ...acme, 'api-key': 'hunter22 x' },
      'The input api-key contains a space, a control character or a non-ASCII character.',
      PASTED,
    ],
    [
      { ...acme, 'api-key': 'hunter22\u0000x' },
      'The input api-key contains a space, a control character or a non-ASCII character.',
      PASTED,
    ],
    [
      { ...acme, 'api-key': 'hünter22' },
      'The input api-key contains a space, a control character or a non-ASCII character.',
      PASTED,
    ],
    ...[`${API_KEY}"`, `${API_KEY}'`, `"${API_KEY}"`, `${API_KEY}\\`, 'k'.repeat(8193)].map(
      (key): [Values, string, string] => [
        { ...acme, 'api-key': key },
        'The input api-key contains a quote or a backslash or is longer than 8,192 characters, so it is not a Blaxel key.',
        'Store the key again: whole, alone and without quotes around it.',
      ],
    ),
    [{ ...acme, ...pair, 'client-secret': 'hunter2' }, 'The input client-secret is shorter than 8 characters.', PASTED],
    [{ ...acme, ...pair, 'client-secret': 'hunter22\nx' }, 'The input client-secret contains a line break.', PASTED],
    [
      { ...acme, ...pair, 'client-id': 'sa deployer' },
      'The client ID in client-id and client-secret contains a space, a colon or another invalid character.',
      'Copy it again from the Blaxel console.',
    ],
    [
      { ...acme, ...pair, 'client-id': 'sa:deployer' },
      'The client ID in client-id and client-secret contains a space, a colon or another invalid character.',
      'Copy it again from the Blaxel console.',
    ],
    [
      { ...acme, ...pair, 'api-url': 'http://api.blaxel.ai/v0' },
      'The input api-url is not an https URL (http is for loopback addresses only).',
      API_REMEDY,
    ],
  ])('%j is an error that names it and what to do', (given, what, remedy) => {
    expect(refusal(given)).toEqual(new SetupError(what, remedy))
  })

  test.each<[Values, string, string]>([
    [
      { BL_WORKSPACE: 'a/b' },
      "BL_WORKSPACE in the environment is 'a/b', which is not a valid workspace name.",
      CONSOLE,
    ],
    [{ BL_API_KEY: 'hunter2' }, 'BL_API_KEY in the environment is shorter than 8 characters.', PASTED],
    [{ BL_API_KEY: 'hunter22\nx' }, 'BL_API_KEY in the environment contains a line break.', PASTED],
    [
      { BL_CLIENT_CREDENTIALS: 'hunter22:hunter22' },
      'BL_CLIENT_CREDENTIALS in the environment is not the base64 of id:secret.',
      'Remove the variable, and set the inputs client-id and client-secret instead.',
    ],
    [
      { BL_CLIENT_CREDENTIALS: Buffer.from('sa:hunter2').toString('base64') },
      'The secret in BL_CLIENT_CREDENTIALS is shorter than 8 characters.',
      PASTED,
    ],
    [
      { BL_CLIENT_CREDENTIALS: Buffer.from('s a:hunter22').toString('base64') },
      'The client ID in BL_CLIENT_CREDENTIALS contains a space, a colon or another invalid character.',
      'Copy it again from the Blaxel console.',
    ],
    [
      { BL_API_KEY: API_KEY, BL_ENV: 'x' },
      "BL_ENV in the environment is 'x'.",
      'Set it to prod, dev or local, or unset it.',
    ],
    [
      { BL_API_KEY: API_KEY, BL_API_URL: 'https://evil.example/v0' },
      'BL_API_URL in the environment names evil.example, which is not a Blaxel host.',
      'To send credentials there, set the input api-url. Otherwise unset BL_API_URL.',
    ],
  ])('in the environment, %j, is an error that names it and what to do', (env, what, remedy) => {
    expect(refusal({}, { env: { BL_WORKSPACE: 'acme', ...env } })).toEqual(new SetupError(what, remedy))
  })

  test.each<RunOrigin>(['fork', 'dependabot'])(
    'that is half a pair says why it may be in a run of origin %s',
    (origin) => {
      for (const half of [{ 'client-id': CLIENT_ID }, { 'client-secret': SECRET }, { 'service-account': CLIENT_ID }]) {
        const given = Object.keys(half).join()
        expect(refusal({ ...acme, ...half }, { runOrigin: origin })).toEqual(
          new SetupError(
            `The input ${given} is given without ${OTHER_HALF[given] ?? ''}.`,
            withheldSecretsRemedy(origin, given !== 'client-secret') ?? '',
          ),
        )
      }
    },
  )

  test('of a secret is never shown', () => {
    const bad = fc.oneof(
      // In capitals: no word of a message is.
      fc.stringMatching(/^[A-Z0-9]{4,7}$/),
      fc
        .tuple(fc.stringMatching(/^[A-Za-z0-9]{8,20}$/), fc.constantFrom('\n', '\r\n', ' ', '\t', 'ü', '\u0000'))
        .map(([a, b]) => a + b + a),
    )
    holds(
      fc.property(bad, fc.constantFrom('api-key', 'apikey', 'client-secret'), (value, name) => {
        const given = { workspace: 'w', ...(name === 'client-secret' ? { 'client-id': 'i' } : {}), [name]: value }
        const { message } = refusal(given) as SetupError
        expect(message).toContain(`The input ${name} `)
        for (const piece of value.split(/[^A-Za-z0-9]+/)) expect(message).not.toContain(piece)
      }),
    )
  })
})

describe('a key that does not expire', () => {
  const given = { workspace: 'acme', 'api-key': API_KEY, logout: 'false' }
  const lasting = new SetupError(
    "With 'logout: false' the API key would stay on this self-hosted runner forever.",
    "Remove logout, set 'login: false', or use a credential that expires: client-id and client-secret.",
  )

  test('does not stay on a self-hosted runner', () => {
    expect(refusal(given, { isSelfHosted: true })).toEqual(lasting)
    const env = { BL_WORKSPACE: 'acme', BL_API_KEY: API_KEY }
    expect(refusal({ logout: 'false' }, { isSelfHosted: true, env })).toEqual(lasting)
  })

  test.each<[string, Values, Surroundings]>([
    ['on a runner of GitHub', given, { isSelfHosted: false }],
    ['where it is not written', { ...given, login: 'false' }, { isSelfHosted: true }],
    ['where it is a JWT', { ...given, 'api-key': JWT }, { isSelfHosted: true }],
    ['where it only mints one', { ...given, 'service-account': CLIENT_ID }, { isSelfHosted: true }],
    ['where it is taken back', { ...given, logout: 'true' }, { isSelfHosted: true }],
  ])('may stay %s', (_, values, surroundings) => {
    expect(access(values, surroundings)).toMatchObject({ kind: 'session' })
  })
})

describe('what is hidden', () => {
  test.each<[string, Values, Values, string[]]>([
    ['nothing', {}, {}, []],
    ['an API key', { workspace: 'acme', 'api-key': API_KEY, 'service-account': CLIENT_ID }, {}, [API_KEY]],
    ['a pair', { workspace: 'acme', ...pair }, {}, [SECRET, `${CLIENT_ID}:${SECRET}`]],
    ['the environment', {}, { BL_API_KEY: API_KEY, BL_TOKEN: JWT }, [API_KEY, JWT]],
    ['a pair in the environment', {}, { BL_CLIENT_CREDENTIALS: BASE64 }, [SECRET, `${CLIENT_ID}:${SECRET}`]],
    ['a pair in the environment that is none', {}, { BL_CLIENT_CREDENTIALS: 'not-base64' }, ['not-base64']],
    [
      'the environment with blanks around',
      {},
      { BL_API_KEY: ` ${API_KEY}\n`, BL_TOKEN: `\t${JWT} `, BL_CLIENT_CREDENTIALS: ' not-base64\n' },
      [API_KEY, JWT, 'not-base64'],
    ],
    [
      'a pair in the environment with blanks around',
      {},
      { BL_CLIENT_CREDENTIALS: `\n${BASE64} ` },
      [SECRET, `${CLIENT_ID}:${SECRET}`],
    ],
  ])('of %s is every secret, and neither workspace nor client ID nor version', (_, given, env, expected) => {
    expect([...read(given, { env }).hidden].sort()).toEqual([...expected].sort())
  })

  /** What was hidden by the time the inputs were refused. */
  function hiddenBefore(given: Values, env: Values = {}): { hidden: string[]; message: string } {
    const hidden: string[] = []
    const error = thrownBy(() =>
      readInputs({
        get: (name) => ({ ...DEFAULTS, ...given })[name] ?? '',
        env,
        hide: (secret) => hidden.push(secret),
        redact: () => undefined,
        runOrigin: () => 'own',
        readCheckoutFile: () => ({ kind: 'missing', why: '' }),
        isSelfHosted: true,
      }),
    )
    return { hidden, message: (error as SetupError).message }
  }

  const QUOTED = `${API_KEY}"`
  const ENDLESS = 'k'.repeat(8193)
  const OTHER = 'bl_key_another_0123456789'
  const WHOLE = `${CLIENT_ID}:${SECRET}`
  test.each<[string, Values, Values, string[]]>([
    ['beside deploy', { 'api-key': API_KEY, deploy: 'x' }, {}, [API_KEY]],
    ['beside another bad input', { ...pair, login: 'perhaps' }, {}, [SECRET, WHOLE]],
    ['with a quote in it', { workspace: 'acme', 'api-key': QUOTED }, {}, [QUOTED]],
    ['with a quote in it, by its old name', { workspace: 'acme', apikey: QUOTED }, {}, [QUOTED]],
    ['that is too long', { workspace: 'acme', 'api-key': ENDLESS }, {}, [ENDLESS]],
    ['that differs from another', { 'api-key': API_KEY, apikey: OTHER }, {}, [API_KEY, OTHER]],
    ['of two kinds', { ...pair, 'api-key': API_KEY }, {}, [API_KEY, SECRET, WHOLE]],
    ['without its client ID', { 'client-secret': SECRET }, {}, [SECRET]],
    ['with a bad client ID', { workspace: 'acme', ...pair, 'client-id': 'a b' }, {}, [SECRET]],
    ['without a workspace', { 'api-key': API_KEY }, {}, [API_KEY]],
    ['for a bad workspace', { workspace: '../x', 'api-key': API_KEY }, {}, [API_KEY]],
    ['for a bad service account', { workspace: 'w', 'api-key': API_KEY, 'service-account': '/' }, {}, [API_KEY]],
    ['that is a JWT for a service account', { workspace: 'w', apikey: JWT, 'service-account': 's' }, {}, [JWT]],
    ['that would stay', { workspace: 'acme', 'api-key': API_KEY, logout: 'false' }, {}, [API_KEY]],
    ['of the environment with a quote in it', { workspace: 'acme' }, { BL_API_KEY: QUOTED }, [QUOTED]],
    ['of the environment that is no pair', { workspace: 'acme' }, { BL_CLIENT_CREDENTIALS: OTHER }, [OTHER]],
    [
      'of the environment with a bad client ID',
      { workspace: 'acme' },
      { BL_CLIENT_CREDENTIALS: Buffer.from(`a b:${SECRET}`).toString('base64') },
      [SECRET],
    ],
    [
      'of the environment for a strange API',
      { workspace: 'acme' },
      { BL_API_KEY: API_KEY, BL_TOKEN: JWT, BL_API_URL: 'https://evil.example' },
      [API_KEY, JWT],
    ],
  ])('is a secret %s, before it is refused', (_, given, env, expected) => {
    const { hidden, message } = hiddenBefore(given, env)
    expect(hidden.toSorted()).toEqual(expected.toSorted())
    for (const secret of expected) expect(message).not.toContain(secret)
  })

  test('is no token of GitHub, which is redacted all the same', () => {
    const { hidden, redacted } = read({ 'github-token': 'ghs_0123456789' })
    expect({ hidden, redacted }).toEqual({ hidden: [], redacted: ['ghs_0123456789'] })
  })

  test('is no word that is too short or of several lines: it would garble the log', () => {
    for (const value of ['short', '1234567', 'two\nlines', 'two words', 'zwölf Boxkämpfer']) {
      expect(hiddenBefore({ workspace: 'acme', 'api-key': value }).hidden).toEqual([])
      expect(hiddenBefore({ workspace: 'acme', ...pair, 'client-secret': value }).hidden).toEqual([])
      expect(hiddenBefore({ workspace: 'acme' }, { BL_API_KEY: value }).hidden).toEqual([])
      const inBase64 = Buffer.from(`${CLIENT_ID}:${value}`).toString('base64')
      expect(hiddenBefore({ workspace: 'acme' }, { BL_CLIENT_CREDENTIALS: inBase64 }).hidden).toEqual([])
    }
  })
})

describe('what will trip later calls of bl', () => {
  test.each<[string, Values, RegExp[]]>([
    ['nothing', {}, []],
    [
      'an empty BL_CLIENT_CREDENTIALS',
      { BL_CLIENT_CREDENTIALS: '' },
      [/^BL_CLIENT_CREDENTIALS is set but empty.*Remove it from env:/],
    ],
    [
      'BL_CLIENT_CREDENTIALS',
      { BL_CLIENT_CREDENTIALS: BASE64 },
      [/^BL_CLIENT_CREDENTIALS is set in this job.*Remove it from env: and set client-id and client-secret in with:/],
    ],
    ['an empty BL_API_KEY', { BL_API_KEY: '' }, [/^BL_API_KEY is set but empty.*Remove it from env:/]],
    [
      'both empty',
      { BL_CLIENT_CREDENTIALS: '', BL_API_KEY: '' },
      [/^BL_CLIENT_CREDENTIALS is set but empty/, /^BL_API_KEY is set but empty/],
    ],
    ['BL_API_KEY', { BL_API_KEY: API_KEY, BL_WORKSPACE: 'acme' }, []],
  ])('%s is a warning each', (_, env, expected) => {
    const { warnings } = read({}, { env }).inputs
    expect(warnings).toHaveLength(expected.length)
    for (const [index, pattern] of expected.entries()) expect(warnings[index]).toMatch(pattern)
  })
})

describe('the key with which the post step revokes', () => {
  const revocation = (given: Values) => {
    const hidden: string[] = []
    const key = readRevocationKey({ get: (name) => given[name] ?? '', hide: (secret) => hidden.push(secret) })
    return { key, hidden }
  }

  test.each<[string, Values, string | undefined]>([
    ['api-key', { 'api-key': API_KEY }, API_KEY],
    ['apikey', { apikey: API_KEY }, API_KEY],
    ['nothing where it is empty', { 'api-key': '' }, undefined],
    ['nothing where it can not be a key', { 'api-key': 'two words' }, undefined],
    ['nothing of the environment', { BL_API_KEY: API_KEY }, undefined],
  ])('is %s, and is hidden first', (_, given, key) => {
    expect(revocation(given)).toEqual({ key, hidden: key === undefined ? [] : [key] })
  })
})
