import { afterEach, beforeEach, describe, expect, test } from '@jest/globals'
import { chmodSync, mkdirSync, writeFileSync } from 'node:fs'
import { basename, delimiter, join } from 'node:path'
import fc from 'fast-check'
import { expectFailure } from '../failure.ts'
import { API_KEY, CLIENT_ID, CLIENT_SECRET, credentials, inWorld, openWorld, tree, type World } from '../world.ts'

const FOREIGN_PAIR = Buffer.from('sa-stranger:bl_secret_of_a_stranger').toString('base64')

let world: World
beforeEach(async () => {
  world = await openWorld()
})
afterEach(() => world.close())

/** What every child process may see, and what `bl login` gets besides. */
const ALLOWED = [
  ...['HOME', 'USERPROFILE', 'PATH', 'SystemRoot', 'SystemDrive', 'TEMP', 'TMP', 'TMPDIR', 'RUNNER_TRACKING_ID'],
  ...['http_proxy', 'https_proxy', 'HTTP_PROXY', 'HTTPS_PROXY', 'no_proxy', 'NO_PROXY'],
  ...['SSL_CERT_FILE', 'SSL_CERT_DIR', 'NODE_EXTRA_CA_CERTS'],
  ...['CI', 'GITHUB_ACTIONS', 'BL_INSTALL_SKILLS', 'DO_NOT_TRACK'],
]
const ALLOWED_FOR_LOGIN = [...ALLOWED, 'BL_API_KEY', 'BL_API_URL', 'BL_ENV']

describe('threat 7: credentials of the job do not reach bl login:', () => {
  test.each([
    [
      'those of somebody else, and headers for every request',
      {
        BL_CLIENT_CREDENTIALS: FOREIGN_PAIR,
        BL_API_KEY: 'bl_key_of_a_stranger_0123',
        BL_WORKSPACE: 'gamma',
        BLAXEL_CUSTOM_HEADERS: 'X-Blaxel-Authorization: Bearer stranger',
      },
    ],
    ['an empty BL_CLIENT_CREDENTIALS, which would break it', { BL_CLIENT_CREDENTIALS: '' }],
  ])('%s', async (_, env) => {
    const { sandbox, machine } = world
    const job = machine.job({ env })
    const step = await job.uses({ with: { workspace: 'acme', ...credentials.oauth } })
    expect(step.exitCode).toBe(0)
    const login = sandbox.github.invocations().find(({ argv }) => argv[0] === 'login')
    expect(login?.env).toMatchObject({ BL_API_KEY: sandbox.blaxel.issued[0] })
    for (const [name, value] of Object.entries(env)) {
      if (name !== 'BL_API_KEY') expect(login?.env).not.toHaveProperty(name)
      else expect(login?.env[name]).not.toBe(value)
    }
    for (const { headers } of sandbox.requests) {
      expect(JSON.stringify(headers)).not.toMatch(new RegExp(`stranger|${FOREIGN_PAIR}`))
    }
    await job.end()
  })
})

test('threat 8: a child sees the allowed variables and no others', async () => {
  const { sandbox, machine } = world
  const secret = 'bl_another_secret_of_the_job'
  const env = {
    GITHUB_TOKEN: secret,
    GH_TOKEN: secret,
    AWS_SECRET_ACCESS_KEY: secret,
    NODE_OPTIONS: '--no-warnings',
    LD_LIBRARY_PATH: '/nowhere',
    BL_DEBUG: secret,
  }
  const job = machine.job({ env })
  const step = await job.uses({ with: { workspace: 'acme', ...credentials['service-account'] } })
  await job.end()
  expect(step.exitCode).toBe(0)
  const invocations = sandbox.github.invocations()
  expect(invocations.map(({ argv }) => argv[0])).toEqual(['version', 'login'])
  for (const { argv, env: seen, cwdEntries, stdinClosed } of invocations) {
    const allowed = argv[0] === 'login' ? ALLOWED_FOR_LOGIN : ALLOWED
    expect(Object.keys(seen).filter((name) => !allowed.includes(name))).toEqual([])
    expect(Object.values(seen).join('\n')).not.toContain(secret)
    expect([cwdEntries, stdinClosed]).toEqual([[], true])
  }
})

describe('threat 14: bl is told nothing secret by its arguments:', () => {
  test.each(Object.entries(credentials))('%s', async (_, credential) => {
    const job = world.machine.job()
    const step = await job.uses({ with: { workspace: 'acme', ...credential } })
    expect(step.exitCode).toBe(0)
    await job.end()
    expect(
      world.sandbox.github
        .invocations()
        .map(({ argv }) => argv.join(' '))
        .sort(),
    ).toEqual(['login acme --skip-version-warning', 'version --skip-version-warning'])
  })
})

describe('threat 15: a workspace is one word for bl, or refused:', () => {
  const good = { 'api-key': API_KEY }
  const runs = process.env.LONG === '1' ? 300 : 7
  const name = /^[A-Za-z0-9][A-Za-z0-9_-]{0,62}$/
  const hostile = fc
    .oneof(
      fc.constantFrom('$(touch hit)', '`touch hit`', '; touch hit', '| touch hit', '&& touch hit', '> hit', '--help'),
      fc.constantFrom(
        '-w',
        '-',
        '--',
        "a'b",
        'a"b',
        'a\\',
        '..',
        '../acme',
        'a/../b',
        'a?b',
        'a#b',
        '%2e%2e',
        'acme ~',
      ),
      fc.constantFrom('null', 'NULL', 'true', 'False', 'yes', 'No', 'on', 'OFF', 'y', 'N', '~', '[]', '{}', '!!str'),
      fc.constantFrom('a: b', '- a', '&a', '*a', '|', '>', '@a', 'a,b', '${{ secrets.X }}x', '%PATH%', '\u202eacme'),
      fc.string({ unit: 'binary', minLength: 1, maxLength: 80 }),
    )
    .filter((text) => !text.includes('\0') && !name.test(text.trim()) && text.trim() !== '' && text.isWellFormed())

  test('hostile ones are refused before anything runs or is asked', async () => {
    const { sandbox, machine } = world
    // unit/values.test.ts has the table.
    const examples: [string][] = [['no'], ['$(touch hit)'], ['--help'], ['../acme'], ['a\nb']]
    await fc.assert(
      fc.asyncProperty(hostile, async (workspace) => {
        // An expression would be evaluated by the runner before the action sees it.
        const step = await machine.job().uses({ with: { ...good, workspace: workspace.replaceAll('${{', '$ {{') } })
        expectFailure(step, ['The input workspace is'])
      }),
      { numRuns: runs, examples },
    )
    expect([sandbox.connects, sandbox.github.invocations()]).toEqual([[], []])
    for (const directory of [machine.home, machine.toolCache, machine.workspace]) expect(tree(directory)).toEqual([])
  })

  test('good ones reach bl and the API as they are', async () => {
    const { sandbox, machine } = world
    const names = fc.sample(fc.stringMatching(/^[A-Za-z0-9][A-Za-z0-9_-]{1,62}$/), process.env.LONG === '1' ? 60 : 1)
    for (const workspace of ['0', 'a'.repeat(63), ...names]) {
      if (/^(null|true|false|yes|no|on|off)$/i.test(workspace)) continue
      sandbox.blaxel.addWorkspace(workspace)
      sandbox.blaxel.addApiKey(API_KEY, { workspaces: [workspace] })
      const job = machine.job()
      const step = await job.uses({ with: { ...good, workspace } })
      expect([step.exitCode, step.outputs.workspace]).toEqual([0, workspace])
      expect(sandbox.github.invocations().map(({ argv }) => argv)).toContainEqual([
        'login',
        workspace,
        '--skip-version-warning',
      ])
      await job.end()
      expect(tree(machine.home)).toEqual([])
    }
  })
})

test('threat 26: nobody is told of the use, and nobody is asked for updates', async () => {
  const { sandbox, machine } = world
  const job = machine.job({ env: { DO_NOT_TRACK: '0' } })
  const step = await job.uses({ with: { workspace: 'acme', ...credentials.oauth } })
  await job.end()
  expect(step.exitCode).toBe(0)
  const hosts = new Set(sandbox.connects.map((connect) => connect.replace(':443', '')))
  expect([...hosts].sort()).toEqual(['api.blaxel.ai', 'github.com', 'release-assets.githubusercontent.com'])
  expect(sandbox.refused).toEqual([])
  for (const { argv, env } of sandbox.github.invocations()) {
    expect(argv).toContain('--skip-version-warning')
    expect(env.DO_NOT_TRACK).toBe('1')
  }
  // The trap works: without the flag bl asks for a newer release.
  await machine.job().run(`${step.outputs.path ?? ''} version`)
  expect(sandbox.connects).toContain('api.github.com:443')
})

/** What the system or an action might look up in PATH, and what a checkout might hold by these names. */
const PROGRAMS = [
  ...['tar', 'gtar', 'bsdtar', 'unzip', '7z', 'gzip', 'gunzip', 'zcat', 'taskkill', 'pwsh', 'powershell', 'cmd'],
  ...['sh', 'bash', 'env', 'node', 'bl', 'blaxel', 'chmod', 'cp', 'mv', 'ln', 'rm', 'mkdir', 'uname', 'git', 'curl'],
  ...['openssl', 'sha256sum', 'shasum', 'which', 'where', 'id', 'getconf', 'ldd', 'sqlite3', 'kill', 'ps'],
]

describe('threat 43: no program of the PATH or the checkout is run:', () => {
  test.each(['first in PATH', 'in the checkout, with . in PATH'])('%s', async (where) => {
    const { sandbox, machine } = world
    const directory = where === 'first in PATH' ? join(machine.temp, 'traps') : machine.workspace
    const hit = join(machine.temp, 'hit')
    mkdirSync(directory, { recursive: true })
    for (const program of PROGRAMS.flatMap((name) => [name, `${name}.exe`])) {
      writeFileSync(join(directory, program), `#!/bin/sh\necho "$0" >> '${hit}'\n/usr/bin/env >> '${hit}'\nexit 0\n`)
      chmodSync(join(directory, program), 0o755)
    }
    const PATH = [where === 'first in PATH' ? directory : '.', machine.env.PATH].join(delimiter)
    const job = machine.job({ env: { PATH } })
    const step = await job.uses({ with: { workspace: 'acme', ...credentials['service-account'] } })
    const posts = await job.end()
    expect([step, ...posts].map(({ exitCode, annotations }) => [exitCode, annotations])).toEqual([
      [0, []],
      [0, []],
    ])
    expect(tree(machine.temp).map((path) => basename(path))).not.toContain('hit')
    expect(sandbox.blaxel.keys.size).toBe(0)
    // The trap works.
    await machine.job({ env: { PATH } }).run('tar --version')
    expect(tree(machine.temp).map((path) => basename(path))).toContain('hit')
  })
})

describe('threat 45: bl version', () => {
  test('does nothing of what it does on its own: no .env, no call home, no ~/.blaxel', async () => {
    const { sandbox, machine } = world
    const trap = await sandbox.trap()
    const proxy = trap.url
    writeFileSync(
      join(machine.workspace, '.env'),
      `BL_API_URL=${trap.url}\nHTTPS_PROXY=${proxy}\nhttps_proxy=${proxy}\nHTTP_PROXY=${proxy}\n`,
    )
    const job = machine.job()
    const step = await job.uses()
    expect(step.exitCode).toBe(0)
    await job.end()
    expect(sandbox.github.invocations()).toHaveLength(1)
    expect(tree(machine.home)).toEqual([])
    expect(sandbox.connects).not.toContain('api.github.com:443')
    expect(trap.requests).toEqual([])
    const [{ cwd, env } = { cwd: '', env: {} as Record<string, string> }] = sandbox.github.invocations()
    expect(env.HOME).toBe(cwd)
    expect(cwd.startsWith(job.temp)).toBe(true)

    // The trap works: left to itself, it does all of that.
    await machine.job().run(`${step.outputs.path ?? ''} version`)
    expect(tree(machine.home)).toContain('.blaxel')
    expect(sandbox.connects).toContain('api.github.com:443')
  })

  test('is not asked of a version that knows no flag against it', () =>
    inWorld(async ({ sandbox, machine }) => {
      sandbox.github.publish({ version: '0.1.17' })
      const step = await machine.job().uses({
        with: { version: '0.1.17', workspace: 'acme', 'client-id': CLIENT_ID, 'client-secret': CLIENT_SECRET },
      })
      expectFailure(step, ['Use 0.1.18 or newer'])
      expect([sandbox.connects, sandbox.github.invocations()]).toEqual([[], []])
    }))
})
