import './realm.ts'
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals'
import fc from 'fast-check'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { SetupError } from '../../src/util/errors.ts'
import { blaxelDirectory, readMachine, requireBlaxelDirectory, type Machine } from '../../src/runner/runner-env.ts'
import { holds, thrownBy } from './property.ts'

type Environment = Record<string, string | undefined>

let root: string
let runner: Environment
beforeAll(() => {
  root = mkdtempSync(join(tmpdir(), 'machine-'))
  const file = join(root, 'file')
  writeFileSync(file, '')
  runner = {
    GITHUB_ENV: file,
    GITHUB_OUTPUT: file,
    GITHUB_STATE: file,
    GITHUB_PATH: file,
    HOME: '/home/runner',
    RUNNER_TEMP: '/runner/_work/_temp',
    RUNNER_TOOL_CACHE: '/opt/tools',
    GITHUB_WORKSPACE: '/runner/_work/app/app',
    RUNNER_ENVIRONMENT: 'github-hosted',
  }
})
afterAll(() => {
  rmSync(root, { recursive: true, force: true })
})

const machine = (changes: Environment = {}, os = 'linux'): Machine => readMachine({ ...runner, ...changes }, os)

const UNATTENDED = { CI: 'true', GITHUB_ACTIONS: 'true', BL_INSTALL_SKILLS: 'false', DO_NOT_TRACK: '1' }

describe('a machine', () => {
  test('is what the runner says of it', () => {
    expect(machine()).toEqual({
      home: '/home/runner',
      temp: '/runner/_work/_temp',
      toolCache: '/opt/tools',
      checkout: '/runner/_work/app/app',
      isSelfHosted: false,
      childEnv: UNATTENDED,
    })
    expect(blaxelDirectory(machine())).toBe(join('/home/runner', '.blaxel'))
  })

  test('has its home where USERPROFILE says on Windows', () => {
    expect(machine({ USERPROFILE: '/users/runner' }, 'win32').home).toBe('/users/runner')
    expect(machine({}, 'win32').home).toEqual(
      new SetupError('USERPROFILE is not set.', "Set it in the runner's environment, or set 'login: false'."),
    )
  })

  test.each([[undefined], [''], ['self-hosted'], ['GitHub-hosted']])(
    'of RUNNER_ENVIRONMENT %p is self-hosted',
    (value) => {
      expect(machine({ RUNNER_ENVIRONMENT: value }).isSelfHosted).toBe(true)
    },
  )

  test.each([[undefined], ['']])('has no checkout where GITHUB_WORKSPACE is %p', (value) => {
    expect(machine({ GITHUB_WORKSPACE: value }).checkout).toBeUndefined()
  })

  test.each<[string, (machine: () => Machine) => unknown]>([
    ['RUNNER_TEMP', (read) => read()],
    ['RUNNER_TOOL_CACHE', (read) => read()],
    // Only for a login.
    ['HOME', (read) => requireBlaxelDirectory(read())],
  ])('needs %s', (name, use) => {
    const remedy = `Set it in the runner's environment${name === 'HOME' ? ", or set 'login: false'" : ''}.`
    const errorFor = (value: string | undefined) => thrownBy(() => use(() => machine({ [name]: value })))
    for (const value of [undefined, '']) expect(errorFor(value)).toEqual(new SetupError(`${name} is not set.`, remedy))
    for (const value of ['relative/path', '~', '$HOME']) {
      expect(errorFor(value)).toEqual(new SetupError(`${name} is not an absolute path.`, remedy))
    }
  })

  test('without a home is one all the same', () => {
    expect(machine({ HOME: undefined })).toMatchObject({ temp: '/runner/_work/_temp' })
  })

  test.each(['GITHUB_ENV', 'GITHUB_OUTPUT', 'GITHUB_STATE', 'GITHUB_PATH'])('needs the file %s', (name) => {
    const remedy = 'Run setup-bl as a step of GitHub Actions, on runner 2.327.1 or newer, which creates this file.'
    for (const value of [undefined, '']) {
      expect(thrownBy(() => machine({ [name]: value }))).toEqual(new SetupError(`${name} is not set.`, remedy))
    }
    expect(thrownBy(() => machine({ [name]: join(root, 'nowhere') }))).toEqual(
      new SetupError(`${name} names a file that does not exist or is not writable.`, remedy),
    )
  })
})

describe('the environment of a child', () => {
  const ALLOWED = [
    ...['PATH', 'SystemRoot', 'SystemDrive', 'TEMP', 'TMP', 'TMPDIR', 'RUNNER_TRACKING_ID'],
    ...['SSL_CERT_FILE', 'SSL_CERT_DIR', 'NODE_EXTRA_CA_CERTS'],
  ]

  test('is an allowlist: a variable that nobody thought of does not pass', () => {
    const name = fc.oneof(
      fc.string({ minLength: 1 }),
      fc.constantFrom(
        'BL_API_KEY',
        'BL_CLIENT_CREDENTIALS',
        'BL_ENV',
        'BL_API_URL',
        'INPUT_API-KEY',
        'ACTIONS_RUNTIME_TOKEN',
      ),
      fc.constantFrom(
        'GITHUB_TOKEN',
        'NODE_OPTIONS',
        'LD_PRELOAD',
        'BLAXEL_CUSTOM_HEADERS',
        'ALL_PROXY',
        'AWS_SECRET_KEY',
      ),
      fc.constantFrom(...ALLOWED),
    )
    holds(
      fc.property(fc.dictionary(name, fc.string()), (env) => {
        const expected = Object.entries(env).filter(([key, value]) => ALLOWED.includes(key) && value !== '')
        expect(readMachine({ ...env, ...runner }, 'linux').childEnv).toEqual({
          ...Object.fromEntries(expected),
          ...UNATTENDED,
        })
      }),
    )
  })

  test.each(['linux', 'win32'])('has the proxies as they were read, in both spellings, on %s', (os) => {
    const proxies = { HTTPS_PROXY: 'proxy:1\r', Https_Proxy: 'proxy:1\r', http_proxy: 'ftp://x', NO_PROXY: 'a ,B' }
    expect(machine({ USERPROFILE: '/users/runner', ...proxies }, os).childEnv).toEqual({
      ...UNATTENDED,
      https_proxy: 'http://proxy:1',
      HTTPS_PROXY: 'http://proxy:1',
      no_proxy: 'a,b',
      NO_PROXY: 'a,b',
    })
  })

  test('has PATH on Windows, where it is called Path', () => {
    const { childEnv } = machine({ USERPROFILE: '/users/runner', Path: 'C:\\Windows\\system32' }, 'win32')
    expect(Object.entries(childEnv)).toContainEqual([expect.stringMatching(/^path$/i), 'C:\\Windows\\system32'])
  })
})
