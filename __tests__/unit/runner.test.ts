import { afterEach, beforeEach, describe, expect, test } from '@jest/globals'
import { spawn } from 'node:child_process'
import { mkdir, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { delimiter, dirname, join } from 'node:path'
import { evaluateTemplate } from '../../sandbox/expression.ts'
import { createMachine, type Machine } from '../../sandbox/machine.ts'
import { Masker } from '../../sandbox/masker.ts'
import { testWith } from './system.ts'

const ACTION = `
name: fake
inputs:
  name: { default: nobody }
  token: { default: "\${{ github.server_url == 'https://github.com' && github.token || '' }}" }
  flag: { default: true }
  old: { deprecationMessage: Use name. }
runs: { using: node24, main: main.js, post: post.js, post-if: always() }
`

let root: string
let machine: Machine

beforeEach(async () => {
  root = await mkdtemp(join(tmpdir(), 'runner-'))
})

afterEach(async () => {
  await rm(root, { recursive: true, force: true })
})

/** A machine with an action that is made of two scripts. */
async function machineWith(main: string, post = ''): Promise<Machine> {
  const action = join(root, 'action')
  await mkdir(action)
  await writeFile(join(action, 'action.yml'), ACTION)
  const prelude = "const { appendFileSync: append } = require('node:fs'), { env } = process;"
  await writeFile(join(action, 'main.js'), prelude + main)
  await writeFile(join(action, 'post.js'), prelude + post)
  return createMachine({ root: join(root, 'machines'), env: { FROM_SANDBOX: 'yes' }, action })
}

const PRINT_ENV = 'console.log(JSON.stringify(env))'
const HOME = process.platform === 'win32' ? 'USERPROFILE' : 'HOME'

function printed(log: { readonly raw: string }): Record<string, string> {
  return JSON.parse(log.raw) as Record<string, string>
}

describe('what a step gets', () => {
  test("inputs, given or by default, and the runner's variables, but nothing of our environment", async () => {
    machine = await machineWith(PRINT_ENV)
    const job = machine.job({ secrets: { KEY: 'hush-hush' }, debug: true, event: { number: 7 }, omit: ['GITHUB_SHA'] })
    const result = await job.uses({
      with: { name: '${{ secrets.KEY }}', other: 'x' },
      env: { MINE: 'a${{ runner.os }}' },
    })
    const env = printed(result)
    expect(env).toMatchObject({
      INPUT_NAME: 'hush-hush',
      INPUT_FLAG: 'true',
      INPUT_OLD: '',
      INPUT_OTHER: 'x',
      FROM_SANDBOX: 'yes',
      [HOME]: machine.home,
      RUNNER_TEMP: job.temp,
      RUNNER_DEBUG: '1',
      GITHUB_ACTION: '__blaxel-ai_setup-bl',
      MINE: `a${env.RUNNER_OS ?? ''}`,
    })
    expect(env.INPUT_TOKEN).toMatch(/^ghs_/)
    expect(env.GITHUB_SHA).toBeUndefined()
    expect(Object.keys(env).filter((name) => /^(npm|JEST|NODE)_/i.test(name))).toEqual([])
    expect(JSON.parse(await readFile(env.GITHUB_EVENT_PATH ?? '', 'utf8'))).toEqual({ number: 7 })
    expect(result.log).not.toContain('hush-hush')
    expect(result.header).toContain('  name: ***\n')
    expect(result.annotations.map(({ message }) => message)).toEqual([
      "Unexpected input(s) 'other', valid inputs are ['name', 'token', 'flag', 'old']",
    ])
  })

  test('step beats GITHUB_ENV beats job; PATH grows at its front; scripts get no inputs', async () => {
    machine = await machineWith(`
      append(env.GITHUB_ENV, 'A=file\\nB<<END\\nfile\\nmore\\nEND\\n')
      append(env.GITHUB_PATH, '/one\\n/two\\n')
      append(env.GITHUB_OUTPUT, 'token-type=oauth\\n')
      append(env.GITHUB_STEP_SUMMARY, '# hello')`)
    const job = machine.job({ env: { A: 'job', B: 'job', C: '${{ vars.c }}' }, vars: { C: 'var' } })
    const result = await job.uses({ id: 'it', with: { old: 'x' } })
    expect(result).toMatchObject({ env: { A: 'file', B: 'file\nmore' }, paths: ['/one', '/two'], summary: '# hello' })
    expect(result.annotations[0]?.message).toBe("Input 'old' has been deprecated with message: Use name.")
    const print = join(root, 'print.js')
    await writeFile(print, PRINT_ENV.replace('env', 'process.env'))
    const later = await job.run(`node "${print}"`, {
      env: { A: 'step', TYPE: '${{ steps.it.outputs.token-type }}' },
    })
    const env = printed(later)
    expect(env).toMatchObject({ A: 'step', B: 'file\nmore', C: 'var', TYPE: 'oauth' })
    expect(env.PATH?.split(delimiter).slice(0, 2)).toEqual(['/two', '/one'])
    expect(Object.keys(env).filter((name) => /^(INPUT|ACTIONS|STATE)_/.test(name))).toEqual([])
  })

  test('posts run last first, with state, and with inputs evaluated again', async () => {
    machine = await machineWith(
      "append(env.GITHUB_STATE, 'name=' + env.INPUT_NAME); process.exit(1)",
      'console.log(env.STATE_name, env.INPUT_NAME)',
    )
    const job = machine.job({ env: { WHO: 'first' } })
    const step = { with: { name: '${{ env.WHO }}' } }
    expect((await job.uses(step)).outcome).toBe('failure')
    await job.uses({ with: { name: 'second' } })
    job.env.WHO = 'changed'
    expect((await job.end()).map(({ raw }) => raw)).toEqual(['second second\n', 'first changed\n'])
    expect(await job.end()).toEqual([])
  })
})

describe('what a step prints', () => {
  test('commands on both streams are obeyed, also those that GitHub has retired', async () => {
    machine = await machineWith(`
      console.log('::add-mask::line-one%0Aline-two\\nline-one line-two ' + Buffer.from('xline-two').toString('base64'))
      console.error('  ::error title=T%2C,file=f::50%25 off\\rpart ::error::no')
      console.log('text ##[set-output name=token]x')
      console.log('::set-env name=E::e\\n##[add-path]/evil\\n::debug::d\\n::unknown::u')
      console.log('::stop-commands::halt\\n::error::quiet\\n::halt::\\n::warning::loud')`)
    const job = machine.job()
    const result = await job.uses()
    expect(result.masks).toEqual(['line-one\nline-two'])
    expect(job.masks.at(-1)).toBe('line-one\nline-two')
    expect(result.annotations).toEqual(
      expect.arrayContaining([
        { level: 'error', message: '50% off', title: 'T,' },
        { level: 'warning', message: 'loud' },
      ]),
    )
    expect(result.annotations).toHaveLength(2)
    expect(result).toMatchObject({ outputs: { token: 'x' }, paths: ['/evil'], debug: ['d'] })
    expect(job.env.E).toBe('e')
    expect(result.log).toContain('*** *** eGxp***\n')
    expect(result.log).toContain('::error::quiet\n')
    expect(result.log).toContain('part ::error::no\n')
    expect(result.stdout).toContain('line-one line-two')
    expect(result.raw).toHaveLength(result.stdout.length + result.stderr.length)
  })

  test.each([
    ['GITHUB_ENV', 'no-equals-sign', "Invalid format 'no-equals-sign'"],
    ['GITHUB_ENV', 'NODE_OPTIONS=x', "Can't store NODE_OPTIONS output parameter using '$GITHUB_ENV' command."],
    ['GITHUB_OUTPUT', 'a<<END\nb', "Invalid value. Matching delimiter not found 'END'"],
  ])('a malformed %s fails the step: %j', async (file, text, message) => {
    machine = await machineWith(`append(env.${file}, ${JSON.stringify(text)})`)
    const result = await machine.job().uses()
    expect(result).toMatchObject({ exitCode: 0, outcome: 'failure' })
    expect(result.annotations.at(-1)).toEqual({ level: 'error', message })
  })
})

describe('how a step ends', () => {
  testWith('signals that can be handled')('a cancelled step gets a SIGINT, and its post still runs', async () => {
    machine = await machineWith(
      "process.on('SIGINT', () => process.exit(7)); console.log('ready'); setInterval(() => {}, 1000)",
      "console.log('post')",
    )
    const job = machine.job()
    const step = job.start()
    while (!step.outputSoFar().includes('ready')) await new Promise((resolve) => setTimeout(resolve, 10))
    step.cancel()
    expect(await step.result).toMatchObject({ outcome: 'cancelled', exitCode: 7, signal: null })
    expect((await job.end()).map(({ raw }) => raw)).toEqual(['post\n'])
  })

  testWith('a POSIX shell')('what a job leaves running is killed at its end, and nothing else is', async () => {
    const stranger = spawn(process.execPath, ['-e', 'setInterval(() => {}, 1000)'])
    machine = await machineWith('')
    const job = machine.job()
    const { raw } = await job.run('sleep 60 >/dev/null 2>&1 &\necho $!')
    await job.end()
    const strangersEnd = stranger.exitCode ?? stranger.signalCode
    stranger.kill()
    expect(job.orphans).toEqual(process.platform === 'linux' ? [Number(raw)] : [])
    expect(strangersEnd).toBeNull()
  })

  testWith('a POSIX shell')(
    'what a job leaves running is killed also when its environment cannot be seen yet',
    async () => {
      machine = await machineWith('')
      const job = machine.job()
      const busy = 'i=0; while [ "$i" -lt 10000 ]; do i=$((i + 1)); done'
      const { raw } = await job.run(
        `env -i sh -c '${busy}; RUNNER_TRACKING_ID="$0" exec sleep 60' "$RUNNER_TRACKING_ID" >/dev/null 2>&1 &\necho $!`,
      )
      await new Promise((resolve) => setTimeout(resolve, 5))
      await job.end()
      expect(job.orphans).toEqual(process.platform === 'linux' ? [Number(raw)] : [])
    },
  )

  test('jobs of one machine share home and tool cache, not the temporary directory', async () => {
    machine = await machineWith(PRINT_ENV)
    const [one, two] = await Promise.all([machine.job().uses(), machine.job().uses()]).then((all) => all.map(printed))
    expect([one?.[HOME], two?.[HOME]]).toEqual([machine.home, machine.home])
    expect(one?.RUNNER_TOOL_CACHE).toBe(machine.toolCache)
    expect(one?.RUNNER_TEMP).not.toBe(two?.RUNNER_TEMP)
    expect(dirname(one?.RUNNER_TEMP ?? '')).toBe(machine.temp)
    expect(await readdir(machine.workspace)).toEqual([])
  })
})

describe('expressions', () => {
  const contexts = {
    vars: { NAME: 'acme' },
    steps: { 'my-step': { outputs: { 'token-type': 'oauth' } } },
    github: { event: { pull_request: { number: 3 } } },
  }

  test.each([
    ['plain $ { text', 'plain $ { text'],
    ['<${{vars.name}}|${{ vars.missing }}|${{ vars.a.b.c }}>', '<acme||>'],
    ['${{ steps.my-step.outputs.token-type }}', 'oauth'],
    ['${{ github.event.pull_request.number }}', '3'],
    ["${{ vars.NAME != '' }} ${{ vars.missing != '' }}", 'true false'],
    ["${{ vars.NAME == 'ACME' && vars.NAME || 'none' }}", 'acme'],
    ["${{ vars.NAME == 'beta' && vars.NAME || 'none' }}", 'none'],
    ["${{ vars.missing == '' && vars.missing || 'none' }}", 'none'],
  ])('%s', (template, value) => {
    expect(evaluateTemplate(template, contexts)).toBe(value)
  })

  test.each(['${{ }}', '${{ nowhere.x }}', '${{ toJSON(vars) }}', "${{ vars.NAME == 'acme' }}"])(
    'not of these: %s',
    (template) => {
      expect(() => evaluateTemplate(template, contexts)).toThrow('Not an expression that the sandbox knows')
    },
  )
})

test('the masker knows the forms that the real one knows, and not the others', () => {
  const masker = new Masker()
  const secret = 'k"e&y/with+odd?chars'
  masker.add(secret)
  const known = [
    secret,
    JSON.stringify(secret),
    encodeURIComponent(secret),
    ...['', 'x', 'xy'].map((before) => Buffer.from(before + secret).toString('base64')),
  ]
  for (const form of known) expect(masker.mask(`<${form}>`)).toMatch(/^<[^<>]{0,4}\*\*\*"?>$/)
  const hex = Buffer.from(secret).toString('hex')
  expect(masker.mask(hex)).toBe(hex)
  expect(masker.mask(secret + secret)).toBe('***')
})
