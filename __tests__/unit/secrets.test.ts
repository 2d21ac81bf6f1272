import { afterEach, beforeEach, describe, expect, test } from '@jest/globals'
import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join, sep } from 'node:path'
import type { Job, StepResult, UsesStep } from '../../sandbox/job.ts'
import type { Machine } from '../../sandbox/machine.ts'
import type { CliInvocation } from '../../sandbox/sandbox.ts'
import { createSecretScan, encodingsOf, type SecretScan } from '../integration/secrets.ts'
import { rejectionOf, thrownBy } from './property.ts'
import { testWith } from './system.ts'

const KEY = 'bl_key?~+/=0123456789"abc\\def'
const forms = encodingsOf(KEY, 'sa-deployer')

/** What a step has done, as the runner tells it, and what lies on the machine afterwards. */
interface Traces {
  raw: string
  readonly files: Record<string, string>
  readonly invocations: CliInvocation[]
}

let root: string
let traces: Traces
let scan: SecretScan
let job: Job
beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), 'scan-'))
  traces = {
    raw: '',
    files: { GITHUB_ENV: '', GITHUB_OUTPUT: '', GITHUB_STATE: '', GITHUB_PATH: '', GITHUB_STEP_SUMMARY: '' },
    invocations: [],
  }
  scan = createSecretScan(() => traces.invocations)
  scan.add(KEY)
  const host = { home: path('home'), toolCache: path('tools'), workspace: path('checkout'), temp: path('temp') }
  for (const directory of Object.values(host)) mkdirSync(directory)
  const machine: Machine = {
    ...host,
    env: {},
    runnerEnvironment: 'github-hosted',
    job: () => jobOf(host.temp, host.workspace),
  }
  job = scan.watch(machine).job()
})
afterEach(() => {
  rmSync(root, { recursive: true })
})

function path(...parts: string[]): string {
  return join(root, ...parts)
}

/** A job whose steps do nothing but leave the traces. */
function jobOf(temp: string, workspace: string): Job {
  const result = () => ({ ...traces, exitCode: 0, annotations: [], outputs: {}, env: {} }) as unknown as StepResult
  const running = <T>(value: T) => ({ result: Promise.resolve(value) })
  const job = {
    ...{ temp, workspace, env: {} },
    start: (step: UsesStep) => running({ ...result(), header: Object.keys(step).join() }),
    uses: (step: UsesStep) => job.start(step).result,
    startEnd: () => running([result()]),
    end: () => job.startEnd().result,
  }
  return job as unknown as Job
}

function write(file: string, text: string): void {
  mkdirSync(dirname(path(file)), { recursive: true })
  writeFileSync(path(file), text)
}

function call(change: Partial<CliInvocation>): void {
  const cwd = path('temp', 'setup-bl-0', 'home')
  const plain = { version: '1.0.0', argv: ['login', 'acme'], env: { PATH: '/bin' }, cwd, cwdEntries: [] }
  traces.invocations.push({ ...plain, stdinClosed: true, pid: 1, at: 0, ...change })
}

/** Each place, and how a text gets there. */
const places: Record<string, (text: string) => void> = {
  log: (text) => {
    traces.raw = `one\ntwo ${text} three\n`
  },
  ...Object.fromEntries(
    ['GITHUB_ENV', 'GITHUB_OUTPUT', 'GITHUB_STATE', 'GITHUB_PATH', 'GITHUB_STEP_SUMMARY'].map((name) => [
      name,
      (text: string) => {
        traces.files[name] = `name=${text}\n`
      },
    ]),
  ),
  ...Object.fromEntries(
    [
      ['RUNNER_TEMP/left/file', 'temp/left/file'],
      ['RUNNER_TEMP/_runner_file_commands/set_output_0', 'temp/_runner_file_commands/set_output_0'],
      ['RUNNER_TEMP/setup-bl-0/home/.blaxel/config.yaml', 'temp/setup-bl-0/home/.blaxel/config.yaml'],
      ['HOME/.blaxel/config.yaml', 'home/.blaxel/config.yaml'],
      ['HOME/.blaxel/setup-bl.db', 'home/.blaxel/setup-bl.db'],
      ['HOME/.bashrc', 'home/.bashrc'],
      ['tool cache/bl/1.0.0/setup-bl.json', 'tools/bl/1.0.0/setup-bl.json'],
      ['checkout/.env', 'checkout/.env'],
    ].map(([place = '', file = '']) => [
      place,
      (text: string) => {
        write(file, `  apiKey: "${text}"\n`)
      },
    ]),
  ),
  'HOME/link': (text) => {
    symlinkSync(text, path('home', 'link'))
  },
  'argv of bl': (text) => {
    call({ argv: ['login', text] })
  },
  'directory of bl': (text) => {
    call({ cwd: `${path('temp')}${sep}${text}` })
  },
  'environment of bl: BL_API_KEY': (text) => {
    call({ env: { BL_API_KEY: text } })
  },
  'environment of bl: INPUT_API-KEY': (text) => {
    call({ cwd: path('checkout'), env: { GITHUB_ACTION: 'x', GITHUB_ACTION_REPOSITORY: 'x', 'INPUT_API-KEY': text } })
  },
}

const oauth = { with: { 'client-id': 'sa-deployer', 'client-secret': 'something' } }
const minted = { with: { 'api-key': KEY, 'service-account': 'sa-deployer' } }
const plain = { with: { 'api-key': KEY } }
/** Every form in one place, and every place with one form. */
const cases = [
  ...Object.keys(forms).map((form) => ({ place: 'HOME/.bashrc', form })),
  ...Object.keys(places).map((place) => ({ place, form: 'hex' })),
]

/** A test of each row; that of a link only where there are links. */
function eachOf<Row extends { place: string }>(rows: Row[], name: string, work: (row: Row) => Promise<void>): void {
  const isLink = ({ place }: Row) => place === 'HOME/link'
  test.each(rows.filter((row) => !isLink(row)))(name, work)
  testWith('symbolic links').each(rows.filter(isLink))(name, work)
}

function plant(place: string, form: string): void {
  places[place]?.(forms[form] ?? '')
}

function expectClean(): void {
  expect(() => {
    scan.assertClean()
  }).not.toThrow()
}

describe('the scan of a step finds', () => {
  eachOf(cases, '$form in $place', async ({ place, form }) => {
    plant(place, form)
    const error = await rejectionOf(job.uses(minted))
    expect(String(error)).toContain(`${place} holds`)
    expect(String(error)).not.toContain(KEY)
    expect(
      thrownBy(() => {
        scan.assertClean()
      }),
    ).toMatchObject({ message: expect.stringContaining(`${place} holds`) as unknown })
  })

  test('it in the name of a file', async () => {
    write(`home/${Buffer.from(KEY).toString('hex')}`, '')
    expect(String(await rejectionOf(job.uses(oauth)))).toContain('name of HOME')
  })

  const inPlace = Object.keys(places).map((place) => ({ place }))
  eachOf(inPlace, 'it in $place after the post step', async ({ place }) => {
    plant(place, 'as it is')
    expect(String(await rejectionOf(job.end()))).toContain(`${place} holds`)
  })

  test('it though nobody waits for the step', async () => {
    plant('log', 'hex')
    job.start(minted)
    await new Promise(setImmediate)
    expect(
      thrownBy(() => {
        scan.assertClean()
      }),
    ).toMatchObject({ message: expect.stringContaining('log holds bl_key…, hex') as unknown })
  })
})

test('what holds no secret passes', async () => {
  for (const put of Object.values(places)) put('nothing_of_it')
  traces.raw = `::add-mask::${KEY}\nInstalled\n`
  await job.uses(minted)
  await job.end()
  expectClean()
})

test('a script of the workflow may give bl what it likes', async () => {
  call({ cwd: path('checkout'), env: { GITHUB_ACTION: '__run', BL_CLIENT_CREDENTIALS: KEY } })
  await job.uses(oauth)
  expectClean()
})

describe('a place that a test has allowed', () => {
  test('passes, and no other does', async () => {
    scan.allow('checkout/.env', 'the test plants it there')
    plant('checkout/.env', 'as it is')
    await job.uses(oauth)
    plant('HOME/.bashrc', 'as it is')
    const error = String(await rejectionOf(job.uses(oauth)))
    expect(error).toContain('HOME/.bashrc')
    expect(error).not.toContain('checkout')
  })

  test('needs a reason', () => {
    expect(() => {
      scan.allow('log', '')
    }).toThrow('for a reason')
  })
})

describe('a plain API key, which is its own session token,', () => {
  const own: Record<string, () => void> = {
    'the output token': () => {
      traces.files.GITHUB_OUTPUT = `version<<e\n1.0.0\ne\ntoken<<ghad\n${KEY}\nghad\n`
      write('temp/_runner_file_commands/set_output_1', traces.files.GITHUB_OUTPUT)
    },
    'BL_API_KEY in GITHUB_ENV': () => {
      traces.files.GITHUB_ENV = `BL_API_KEY<<ghad\n${KEY}\nghad\n`
      write('temp/_runner_file_commands/set_env_1', traces.files.GITHUB_ENV)
    },
    'the config': () => {
      plant('HOME/.blaxel/config.yaml', 'as it is')
    },
    'the database': () => {
      plant('HOME/.blaxel/setup-bl.db', 'as it is')
    },
    'the environment of bl': () => {
      plant('environment of bl: BL_API_KEY', 'as it is')
    },
  }
  const names = Object.keys(own)

  test.each(names)('may stand in %s, whether it comes from an input or the environment', async (name) => {
    own[name]?.()
    await job.uses(plain)
    await job.uses({ env: { BL_API_KEY: KEY } })
    expectClean()
  })

  test.each(names)('may not stand in %s where it mints a key', async (name) => {
    own[name]?.()
    expect(String(await rejectionOf(job.uses(minted)))).toContain('A secret was left behind')
  })

  test.each(names)('may not stand in %s where another key is the credential', async (name) => {
    own[name]?.()
    const step = { with: { 'api-key': 'bl_another_0123456789' } }
    expect(String(await rejectionOf(job.uses(step)))).toContain('A secret was left behind')
  })

  test.each(['the config', 'the database'])('may not stand in %s once its job has ended', async (name) => {
    own[name]?.()
    await job.uses(plain)
    expect(String(await rejectionOf(job.end()))).toContain('A secret was left behind')
  })

  test('may stay in the config where logout: false says so', async () => {
    own['the config']?.()
    await job.uses({ with: { ...plain.with, logout: 'false' } })
    await job.end()
    expectClean()
  })

  // In the config of a private home and as one of a pair it may.
  const elsewhere = cases.filter(
    ({ place, form }) => !place.startsWith('RUNNER_TEMP/setup-bl-') && !['id:secret', 'secret:id'].includes(form),
  )
  eachOf(elsewhere, 'may not stand, $form, in $place', async ({ place, form }) => {
    plant(place, form)
    expect(String(await rejectionOf(job.uses(plain)))).toContain(`${place} holds`)
  })

  test.each(['BL_TOKEN', 'OTHER'])('may not be exported as %s', async (name) => {
    traces.files.GITHUB_ENV = `${name}<<ghad\n${KEY}\nghad\n`
    expect(String(await rejectionOf(job.uses(plain)))).toContain('GITHUB_ENV holds')
  })
})
