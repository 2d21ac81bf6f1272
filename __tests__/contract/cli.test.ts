import { spawn } from 'node:child_process'
import { mkdirSync, mkdtempSync, readFileSync, statSync, writeFileSync } from 'node:fs'
import { basename, dirname, join, resolve } from 'node:path'
import { afterAll, afterEach, beforeAll, describe, expect, test } from '@jest/globals'
import { packageCli } from '../../sandbox/cli/package.ts'
import { openSandbox, type RecordedRequest, type Sandbox } from '../../sandbox/sandbox.ts'
import { withLogins, type LoginEntry } from '../../src/login/config-document.ts'

// What the action and its users count on `bl` to do, faults included. The sandbox's stand-in must always do it, and so
// must a real CLI (0.1.95 or newer) where SETUP_BL_REAL_CLI names one.
const realCli = process.env.SETUP_BL_REAL_CLI ?? ''
if (realCli === '') process.stderr.write('SETUP_BL_REAL_CLI is not set: no real CLI is held to this contract.\n')
const clis = [
  { name: 'the stand-in', path: undefined },
  ...(realCli === '' ? [] : [{ name: `the real ${basename(realCli)}`, path: resolve(realCli) }]),
]

const KEY = 'bl_key_0123456789abcdefghij'
const OTHER_KEY = 'bl_other_0123456789abcdefgh'
const UNKNOWN_KEY = 'bl_unknown_0123456789abcdef'
/** Stands for any access token that the API has issued. */
const JWT = '<JWT>'
const SECRET = 'bl_secret_0123456789'
const PAIR = Buffer.from(`robot:${SECRET}`).toString('base64')
const QUIET = '--skip-version-warning'

/** One call of `bl`, with a HOME and a working directory of its own. */
interface Call {
  readonly title: string
  readonly args: string
  readonly env?: Readonly<Record<string, string>>
  /** config.yaml before the call. */
  readonly config?: string | undefined
  /** Files in the working directory. */
  readonly files?: Readonly<Record<string, string>>
  /** What the API answers to everything, in the place of the usual. */
  readonly status?: number
  readonly expected: {
    readonly code: number
    /** Default: nothing. */
    readonly out?: unknown
    readonly err?: unknown
    /** Every request, as `METHOD host/path <what stands in Authorization> + <in X-Blaxel-Authorization>`; default: none. */
    readonly wire?: readonly string[]
    /** config.yaml after the call; default: as before. */
    readonly config?: string
  }
}

/** config.yaml as `bl` writes it. */
function config(context: string, ...entries: readonly string[]): string {
  return `context:\n  workspace: ${context}\nworkspaces:\n${entries.join('')}tracking: false\n`
}

function entry(name: string, apiKey: string, id = name === 'beta' ? 'ws-2' : 'ws-1'): string {
  return `- name: ${name}\n  id: ${id}\n  credentials:\n    apiKey: "${apiKey}"\n`
}

/** config.yaml as the action writes it over a base, with every text in quotes. */
function withLogin(base: string | undefined, own: LoginEntry): string {
  return withLogins(base, [own], own.name)
}

const ACME: LoginEntry = { name: 'acme', id: 'ws-1', apiKey: KEY }
const HAND_WRITTEN =
  "# mine\ncontext: {workspace: beta}\nworkspaces:\n    - name: beta\n      credentials: {apiKey: 'x'}\n"

const USING_KEY = 'ℹ Using API key from environment variable BL_API_KEY\n'
const KEY_HINT =
  '⚠ Authentication is using API key from environment variable BL_API_KEY\n' +
  "  If this is unexpected, unset the variable with 'unset BL_API_KEY' or update its value.\n"
const NO_TTY = 'huh: could not open a new TTY: open /dev/tty: no such device or address'
const LIST: unknown = expect.stringMatching(/^\+-+\+.*\n\| WORKSPACE \|/)

const API = 'api.blaxel.ai/v0'

function loggedIn(workspace: string): string {
  return `${USING_KEY}✓ Successfully logged in to workspace ${workspace}\n`
}

function denied(workspace: string): string {
  return `✗ Login failed\nReason: failed to access workspace '${workspace}': permission denied for workspace "${workspace}"\n`
}

function asks(workspace: string, credential: string, times = 2): string[] {
  return Array.from({ length: times }, () => `GET ${API}/workspaces/${workspace} Bearer ${credential}`)
}

function lists(credential: string, host = API): string {
  return `GET ${host}/agents?limit=200 Bearer ${credential}`
}

const CONTRACT: Readonly<Record<string, readonly Call[]>> = {
  login: [
    {
      title: 'stores the key and makes the workspace the current one',
      args: `login acme ${QUIET}`,
      env: { BL_API_KEY: KEY },
      expected: { code: 0, out: loggedIn('acme'), wire: asks('acme', KEY), config: config('acme', entry('acme', KEY)) },
    },
    {
      title: 'adds a second workspace behind the first',
      args: `login beta ${QUIET}`,
      env: { BL_API_KEY: OTHER_KEY },
      config: config('acme', entry('acme', KEY)),
      expected: {
        code: 0,
        out: loggedIn('beta'),
        wire: asks('beta', OTHER_KEY),
        config: config('beta', entry('acme', KEY), entry('beta', OTHER_KEY)),
      },
    },
    {
      title: 'replaces the key of a workspace that is there',
      args: `login acme ${QUIET}`,
      env: { BL_API_KEY: OTHER_KEY },
      config: config('acme', entry('acme', KEY)),
      expected: {
        code: 0,
        out: loggedIn('acme'),
        wire: asks('acme', OTHER_KEY),
        config: config('acme', entry('acme', OTHER_KEY)),
      },
    },
    {
      title: 'reads an invalid config as empty and erases it',
      args: `login acme ${QUIET}`,
      env: { BL_API_KEY: KEY },
      config: 'workspaces: [\n',
      expected: { code: 0, out: loggedIn('acme'), wire: asks('acme', KEY), config: config('acme', entry('acme', KEY)) },
    },
    {
      title: 'escapes nothing: a key with a quote in it empties the list of workspaces',
      args: `login beta ${QUIET}`,
      env: { BL_API_KEY: 'a"b' },
      config: config('acme', entry('acme', KEY)),
      status: 200,
      expected: { code: 0, out: loggedIn('beta'), wire: asks('beta', 'a"b'), config: config('beta') },
    },
    {
      title: 'takes an OAuth token for a key',
      args: `login acme ${QUIET}`,
      env: { BL_API_KEY: JWT },
      expected: { code: 0, out: loggedIn('acme'), wire: asks('acme', JWT), config: config('acme', entry('acme', JWT)) },
    },
    {
      title: 'stores the environment where it is not prod',
      args: `login acme ${QUIET}`,
      env: { BL_API_KEY: KEY, BL_ENV: 'dev', BL_API_URL: `https://${API}` },
      expected: {
        code: 0,
        out: loggedIn('acme'),
        wire: asks('acme', KEY),
        config: config('acme', `${entry('acme', KEY)}  env: "dev"\n`),
      },
    },
    {
      title: 'fails with 1 on 401',
      args: `login acme ${QUIET}`,
      env: { BL_API_KEY: UNKNOWN_KEY },
      expected: { code: 1, out: USING_KEY, err: denied('acme') + KEY_HINT, wire: asks('acme', UNKNOWN_KEY, 1) },
    },
    {
      title: 'fails with 1 on 403, in the same words',
      args: `login gamma ${QUIET}`,
      env: { BL_API_KEY: KEY },
      expected: { code: 1, out: USING_KEY, err: denied('gamma') + KEY_HINT, wire: asks('gamma', KEY, 1) },
    },
    {
      title: 'fails with 1 on 404, in the same words',
      args: `login nowhere ${QUIET}`,
      env: { BL_API_KEY: KEY },
      expected: { code: 1, out: USING_KEY, err: denied('nowhere'), wire: asks('nowhere', KEY, 1) },
    },
    {
      title: 'asks three times on 500, then fails with 1 in the same words',
      args: `login acme ${QUIET}`,
      env: { BL_API_KEY: KEY },
      status: 500,
      expected: { code: 1, out: USING_KEY, err: denied('acme'), wire: asks('acme', KEY, 3) },
    },
    {
      title: 'exits 0 on two words, having done nothing',
      args: `login two words ${QUIET}`,
      env: { BL_API_KEY: KEY },
      expected: { code: 0, err: '⚠ Login failed: did you mean bl login two-words ?\n' },
    },
    {
      title: 'opens a menu without a credential, which needs a terminal',
      args: `login acme ${QUIET}`,
      expected: { code: 1, err: `✗ Login failed\nReason: ${NO_TTY}\n` },
    },
  ],

  logout: [
    {
      title: 'of the current workspace leaves no current one',
      args: `logout beta ${QUIET}`,
      config: config('beta', entry('acme', KEY), entry('beta', OTHER_KEY)),
      expected: {
        code: 0,
        out: '✓ Logged out from workspace beta\n',
        config: config('', entry('acme', KEY)),
      },
    },
    {
      title: 'of another workspace keeps the current one',
      args: `logout acme ${QUIET}`,
      config: config('beta', entry('acme', KEY), entry('beta', OTHER_KEY)),
      expected: {
        code: 0,
        out: '✓ Logged out from workspace acme\n',
        config: config('beta', entry('beta', OTHER_KEY)),
      },
    },
    {
      title: 'of the last workspace leaves the file with a null for the list',
      args: `logout acme ${QUIET}`,
      config: config('acme', entry('acme', KEY)),
      expected: { code: 0, out: '✓ Logged out from workspace acme\n', config: config('') },
    },
    {
      title: 'of a workspace that is not there exits 0',
      args: `logout gamma ${QUIET}`,
      config: config('acme', entry('acme', KEY)),
      expected: { code: 0, out: '✓ Logged out from workspace gamma\n' },
    },
    {
      title: 'without a name and with several workspaces opens a menu, which needs a terminal',
      args: `logout ${QUIET}`,
      config: config('beta', entry('acme', KEY), entry('beta', OTHER_KEY)),
      expected: { code: 1, err: `✗ Logout failed\nReason: error selecting workspace: ${NO_TTY}\n` },
    },
  ],

  token: [
    {
      title: 'asks the API, then prints the key of the current workspace',
      args: 'token',
      config: config('acme', entry('acme', KEY)),
      expected: { code: 0, out: `${KEY}\n`, wire: asks('acme', KEY, 1) },
    },
    {
      title: 'prints the key of the workspace that it is asked for',
      args: 'token acme',
      config: config('beta', entry('acme', KEY), entry('beta', OTHER_KEY)),
      expected: { code: 0, out: `${KEY}\n`, wire: asks('acme', KEY, 1) },
    },
    {
      title: 'prints an OAuth token that was stored as a key',
      args: 'token',
      config: config('acme', entry('acme', JWT)),
      expected: { code: 0, out: `${JWT}\n`, wire: asks('acme', JWT, 1) },
    },
    {
      title: 'prints nothing that stands in the environment alone',
      args: 'token',
      env: { BL_API_KEY: KEY, BL_WORKSPACE: 'acme' },
      expected: {
        code: 1,
        err: "✗ token failed\nReason: no valid credentials found for workspace 'acme'. Please run 'bl login acme'\n",
        wire: asks('acme', KEY, 1),
      },
    },
  ],

  'version and workspaces': [
    {
      title: 'version prints it in a line of its own',
      args: `version ${QUIET}`,
      expected: {
        code: 0,
        out: expect.stringMatching(/^ℹ Blaxel CLI\nVersion: \d+\.\d+\.\d+\S*\nCommit: \S+\nDate: \S+\n$/),
      },
    },
    {
      title: 'version without the flag asks GitHub for a newer one, with no token',
      args: 'version',
      expected: {
        code: 0,
        out: expect.stringContaining('Version: '),
        err: expect.any(String),
        wire: ['GET api.github.com/repos/blaxel-ai/toolkit/releases'],
      },
    },
    {
      title: 'workspaces --current prints the name alone',
      args: `workspaces --current ${QUIET}`,
      config: config('acme', entry('acme', KEY)),
      expected: { code: 0, out: 'acme\n' },
    },
    {
      title: 'workspaces --current prints an empty line where there is none',
      args: `workspaces --current ${QUIET}`,
      expected: { code: 0, out: '\n' },
    },
  ],

  '.env in the working directory': [
    {
      title: 'gives the key',
      args: `login acme ${QUIET}`,
      files: { '.env': `BL_API_KEY=${KEY}\n` },
      expected: { code: 0, out: loggedIn('acme'), wire: asks('acme', KEY), config: config('acme', entry('acme', KEY)) },
    },
    {
      title: 'loses against a variable that exists',
      args: `login acme ${QUIET}`,
      env: { BL_API_KEY: KEY },
      files: { '.env': `BL_API_KEY=${UNKNOWN_KEY}\n` },
      expected: { code: 0, out: loggedIn('acme'), wire: asks('acme', KEY), config: config('acme', entry('acme', KEY)) },
    },
    {
      title: 'loses even against one that is empty',
      args: `login acme ${QUIET}`,
      env: { BL_API_KEY: '' },
      files: { '.env': `BL_API_KEY=${KEY}\n` },
      expected: { code: 1, err: `✗ Login failed\nReason: ${NO_TTY}\n` },
    },
    {
      title: 'sends the key to any server that it names, and bl is content with what that says',
      args: `login acme ${QUIET}`,
      env: { BL_API_KEY: KEY },
      files: { '.env': 'BL_API_URL=https://evil.example/v0\n' },
      expected: {
        code: 0,
        out: loggedIn('acme'),
        wire: asks('acme', KEY).map((line) => line.replace('api.blaxel.ai', 'evil.example')),
        config: config('acme', entry('acme', KEY)).replace('  id: ws-1\n', ''),
      },
    },
  ],

  BL_CLIENT_CREDENTIALS: [
    {
      title: 'when empty makes login with a good key fail before it asks anything',
      args: `login acme ${QUIET}`,
      env: { BL_API_KEY: KEY, BL_CLIENT_CREDENTIALS: '' },
      expected: { code: 1, out: USING_KEY, err: denied('acme') + KEY_HINT },
    },
    {
      title: 'when empty makes later calls fail, whatever the config says',
      args: `get agents ${QUIET}`,
      env: { BL_CLIENT_CREDENTIALS: '' },
      config: config('acme', entry('acme', KEY)),
      expected: { code: 1, out: expect.stringContaining('failed to decode client credentials') },
    },
    {
      title: 'beats BL_API_KEY at login, is sent, and is stored on disk',
      args: `login acme ${QUIET}`,
      env: { BL_API_KEY: KEY, BL_CLIENT_CREDENTIALS: PAIR },
      expected: {
        code: 0,
        out: 'Successfully stored client credentials\n',
        wire: [`POST ${API}/oauth/token Basic ${PAIR}`, ...asks('acme', `${KEY} + Bearer ${JWT}`)],
        config: config('acme', entry('acme', PAIR).replace('apiKey', 'client_credentials')),
      },
    },
    {
      title: 'is sent again by later calls, beside what the config says',
      args: `get agents ${QUIET}`,
      env: { BL_CLIENT_CREDENTIALS: PAIR, BL_API_KEY: OTHER_KEY, BL_WORKSPACE: 'acme' },
      config: config('acme', entry('acme', KEY)),
      expected: {
        code: 0,
        out: LIST,
        wire: [`POST ${API}/oauth/token Basic ${PAIR}`, lists(`${KEY} + Bearer ${JWT}`)],
      },
    },
  ],

  'later calls': [
    {
      title: 'work with an OAuth token in BL_API_KEY alone',
      args: `get agents ${QUIET}`,
      env: { BL_API_KEY: JWT, BL_WORKSPACE: 'acme' },
      expected: { code: 0, out: LIST, wire: [lists(JWT)] },
    },
    {
      title: "take the config's entry before BL_API_KEY for its workspace",
      args: `get agents ${QUIET}`,
      env: { BL_API_KEY: OTHER_KEY, BL_WORKSPACE: 'acme' },
      config: config('acme', entry('acme', KEY)),
      expected: { code: 0, out: LIST, wire: [lists(KEY)] },
    },
    {
      title: 'take BL_API_KEY for a workspace without an entry, and BL_WORKSPACE before the context',
      args: `get agents ${QUIET}`,
      env: { BL_API_KEY: OTHER_KEY, BL_WORKSPACE: 'beta' },
      config: config('acme', entry('acme', KEY)),
      expected: { code: 0, out: LIST, wire: [lists(OTHER_KEY)] },
    },
    {
      title: 'take the workspace of blaxel.toml before BL_WORKSPACE',
      args: `get agents ${QUIET}`,
      env: { BL_WORKSPACE: 'acme' },
      config: config('acme', entry('acme', KEY), entry('beta', OTHER_KEY)),
      files: { 'blaxel.toml': 'workspace = "beta"\n' },
      expected: { code: 0, out: LIST, wire: [lists(OTHER_KEY)] },
    },
    {
      title: "go where the entry's environment says",
      args: `get agents ${QUIET}`,
      config: config('acme', `${entry('acme', KEY)}  env: "dev"\n`),
      expected: { code: 0, out: LIST, wire: [lists(KEY, 'api.blaxel.dev/v0')] },
    },
    {
      title: 'go where BL_ENV says before that',
      args: `get agents ${QUIET}`,
      env: { BL_ENV: 'prod' },
      config: config('acme', `${entry('acme', KEY)}  env: "dev"\n`),
      expected: { code: 0, out: LIST, wire: [lists(KEY)] },
    },
  ],

  'an entry that the action has written': [
    ...[
      { over: 'nothing', base: undefined },
      { over: "bl's own form", base: config('beta', entry('beta', OTHER_KEY)) },
      { over: 'an entry of the same workspace', base: config('acme', entry('acme', OTHER_KEY)) },
      { over: 'an empty list', base: 'workspaces: []\n' },
      { over: 'what a logout leaves', base: config('') },
      { over: 'lines with CRLF', base: config('beta', entry('beta', OTHER_KEY)).replaceAll('\n', '\r\n') },
      { over: 'a byte order mark', base: `\uFEFF${config('beta', entry('beta', OTHER_KEY))}` },
      { over: 'a file written by hand', base: HAND_WRITTEN },
    ].map(({ over, base }) => ({
      title: `over ${over} is the current workspace's`,
      args: 'token',
      config: withLogin(base, ACME),
      expected: { code: 0, out: `${KEY}\n`, wire: asks('acme', KEY, 1) },
    })),
    {
      title: 'may have a number for a name',
      args: 'token',
      config: withLogin(undefined, { name: '123', id: 'ws-4', apiKey: KEY }),
      expected: { code: 0, out: `${KEY}\n`, wire: asks('123', KEY, 1) },
    },
    {
      title: 'holds an OAuth token',
      args: `get agents ${QUIET}`,
      config: withLogin(undefined, { ...ACME, apiKey: JWT }),
      expected: { code: 0, out: LIST, wire: [lists(JWT)] },
    },
    {
      title: 'names its environment',
      args: `get agents ${QUIET}`,
      config: withLogin(undefined, { ...ACME, env: 'dev' }),
      expected: { code: 0, out: LIST, wire: [lists(KEY, 'api.blaxel.dev/v0')] },
    },
    {
      title: 'is the current workspace',
      args: `workspaces --current ${QUIET}`,
      config: withLogin(HAND_WRITTEN, ACME),
      expected: { code: 0, out: 'acme\n' },
    },
    {
      title: 'is kept by a login beside it, in the form of bl',
      args: `login beta ${QUIET}`,
      env: { BL_API_KEY: OTHER_KEY },
      config: withLogin(undefined, ACME),
      expected: {
        code: 0,
        out: loggedIn('beta'),
        wire: asks('beta', OTHER_KEY),
        config: config('beta', entry('acme', KEY), entry('beta', OTHER_KEY)),
      },
    },
    {
      title: 'is found by logout',
      args: `logout acme ${QUIET}`,
      config: withLogin(config('beta', entry('beta', OTHER_KEY)), ACME),
      expected: {
        code: 0,
        out: '✓ Logged out from workspace acme\n',
        config: config('', entry('beta', OTHER_KEY)),
      },
    },
  ],
}

describe.each(clis)('$name', ({ path }) => {
  let sandbox: Sandbox
  let bl: string
  let jwt: string

  beforeAll(async () => {
    sandbox = await openSandbox()
    const { blaxel, blaxelDev } = sandbox
    blaxel.addWorkspace('123')
    blaxel.addApiKey(KEY, { workspaces: ['acme', 'beta', '123'] })
    blaxel.addApiKey(OTHER_KEY, { workspaces: ['acme', 'beta'] })
    blaxel.addClient('robot', SECRET, { workspaces: ['acme'] })
    blaxelDev.addApiKey(KEY, { workspaces: ['acme'] })
    sandbox.addHost('evil.example', () => ({ status: 200, body: {} }))
    jwt = await issueToken(sandbox)
    bl = path ?? standIn(sandbox)
  })
  afterEach(() => {
    expect(sandbox.refused).toEqual([])
  })
  afterAll(() => sandbox.close())

  describe.each(Object.entries(CONTRACT))('%s', (_, calls) => {
    test.each(calls)('$title', async ({ expected, ...given }) => {
      const { code, out, err, wire, after } = await call(given)
      expect({ code, out, err, wire, config: after }).toEqual({
        ...{ out: '', err: '', wire: [], config: given.config },
        ...expected,
      })
    })
  })

  test('login keeps the config from other users', async () => {
    const { file } = await call({ args: `login acme ${QUIET}`, env: { BL_API_KEY: KEY } })
    expect(statSync(file).mode & 0o777).toBe(0o600)
  })

  async function call(given: Omit<Call, 'title' | 'expected'>) {
    const home = mkdtempSync(join(sandbox.root, 'home-'))
    const directory = join(home, 'work')
    const file = join(home, '.blaxel', 'config.yaml')
    mkdirSync(directory)
    if (given.config !== undefined) {
      mkdirSync(dirname(file))
      writeFileSync(file, withToken(given.config))
    }
    for (const [name, text] of Object.entries(given.files ?? {})) writeFileSync(join(directory, name), text)
    const variables = Object.entries(given.env ?? {}).map(([name, value]) => [name, withToken(value)] as const)
    const env = { HOME: home, DO_NOT_TRACK: '1', ...sandbox.env, ...Object.fromEntries(variables) }
    const stopAnswering = given.status === undefined ? () => undefined : alwaysAnswer(given.status)
    const before = sandbox.requests.length
    const { code, out, err } = await run(bl, given.args.split(' '), directory, env)
    stopAnswering()
    const wire = sandbox.requests.slice(before).map((request) => withoutTokens(describeRequest(request)))
    return { file, code, out: withoutTokens(out), err: withoutTokens(err), wire, after: textOf(file) }
  }

  function alwaysAnswer(status: number): () => void {
    const answer = { kind: 'respond', status, headers: { 'retry-after': '0.01' }, body: { code: status } } as const
    return sandbox.intercept({ host: 'api.blaxel.ai', path: /^/, answer })
  }

  function textOf(file: string): string | undefined {
    try {
      return withoutTokens(readFileSync(file, 'utf8'))
    } catch {
      return undefined
    }
  }

  function withToken(text: string): string {
    return text.replaceAll(JWT, jwt)
  }

  function withoutTokens(text: string): string {
    return sandbox.blaxel.issued.reduce((rest, token) => rest.replaceAll(token, JWT), text)
  }
})

// Threat 21 rests on it.
test.each(['0.1.30', '0.1.94'])(
  'the stand-in of %s says that a refused login succeeded, and stores it',
  async (version) => {
    const sandbox = await openSandbox()
    const env = { HOME: sandbox.root, BL_API_KEY: UNKNOWN_KEY, ...sandbox.env }
    const { code } = await run(standIn(sandbox, version), ['login', 'acme', QUIET], sandbox.root, env)
    const stored = readFileSync(join(sandbox.root, '.blaxel', 'config.yaml'), 'utf8')
    expect([code, stored]).toEqual([0, expect.stringContaining(UNKNOWN_KEY)])
    await sandbox.close()
  },
)

function standIn({ root }: Sandbox, version = '9.9.2'): string {
  const file = join(root, 'bl')
  writeFileSync(file, packageCli({ version, dumpFile: join(root, 'invocations.jsonl') }), { mode: 0o755 })
  return file
}

async function issueToken({ blaxel }: Sandbox): Promise<string> {
  const headers = { authorization: `Basic ${PAIR}` }
  const body = JSON.stringify({ grant_type: 'client_credentials' })
  await fetch(`${await blaxel.loopbackUrl()}/oauth/token`, { method: 'POST', headers, body })
  return blaxel.issued[0] ?? ''
}

function describeRequest({ method, host, path, headers }: RecordedRequest): string {
  const credentials = [headers.authorization, headers['x-blaxel-authorization']].filter((value) => value !== undefined)
  return `${method} ${host}${path} ${credentials.join(' + ')}`.trimEnd()
}

interface Ended {
  readonly code: number | null
  readonly out: string
  readonly err: string
}

/** Without standard input, and in a session of its own: in a terminal the CLI would open its menus there. */
function run(file: string, args: readonly string[], cwd: string, env: Record<string, string>): Promise<Ended> {
  const child = spawn(file, args, { cwd, env, stdio: ['ignore', 'pipe', 'pipe'], detached: true })
  const texts = { out: '', err: '' }
  child.stdout.setEncoding('utf8').on('data', (text: string) => (texts.out += text))
  child.stderr.setEncoding('utf8').on('data', (text: string) => (texts.err += text))
  return new Promise((resolveEnd, reject) => {
    child.on('error', reject)
    child.on('close', (code) => {
      resolveEnd({ code, ...texts })
    })
  })
}
