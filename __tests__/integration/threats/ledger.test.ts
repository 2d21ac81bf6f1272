import { afterEach, beforeEach, describe, expect, test } from '@jest/globals'
import {
  chmodSync,
  chownSync,
  closeSync,
  existsSync,
  lstatSync,
  openSync,
  readFileSync,
  readlinkSync,
  rmSync,
  symlinkSync,
  writeFileSync,
  writeSync,
} from 'node:fs'
import { dirname, join } from 'node:path'
import { setTimeout as pause } from 'node:timers/promises'
import type { Job, StepResult } from '../../../sandbox/job.ts'
import { CLIENT_ID, credentials, openWorld, tree, type World } from '../world.ts'

const PRIOR = `context:
  workspace: acme
workspaces:
- name: acme
  credentials:
    apiKey: "of-this-machine"
tracking: false
`
const ROUNDS = process.env.LONG === '1' ? 200 : 20

let world: World
beforeEach(async () => {
  world = await openWorld()
})
afterEach(() => world.close())

const oauth = { version: '9.9.2', workspace: 'acme', ...credentials.oauth }
const directory = () => dirname(world.config.path)
const ledgerPath = () => join(directory(), 'setup-bl.json')
const lockPath = () => join(directory(), 'setup-bl.lock')

async function began(inputs: Readonly<Record<string, string>> = oauth): Promise<Job> {
  const job = world.machine.job()
  const step = await job.uses({ with: inputs })
  expect([step.exitCode, step.annotations.filter(({ level }) => level !== 'notice')]).toEqual([0, []])
  return job
}

async function ended(job: Job): Promise<StepResult> {
  const [post] = await job.end()
  if (!post) throw new Error('there was no post step')
  expect(post.exitCode).toBe(0)
  return post
}

function expectOnlyPrior(): void {
  expect(world.config.read()).toBe(PRIOR)
  expect(tree(directory())).toEqual(['config.yaml'])
}

function messages(step: StepResult | undefined): string {
  return (step?.annotations ?? []).map(({ level, message }) => `${level}: ${message}`).join('\n')
}

interface StoredLedger {
  base: { kind: string; text?: string; mode?: number }
  uses: { id: string; notAfter: number; origin: string; entry: Record<string, unknown> }[]
  [field: string]: unknown
}

function changeLedger(change: (ledger: StoredLedger) => void): void {
  const ledger = JSON.parse(readFileSync(ledgerPath(), 'utf8')) as StoredLedger
  change(ledger)
  writeFileSync(ledgerPath(), JSON.stringify(ledger))
}

describe("threat 17: the machine's own login with the very same key", () => {
  const KEY = 'bl_key_of_this_machine_0123'
  const own = PRIOR.replace('of-this-machine', KEY)
  const plain = { version: '9.9.2', workspace: 'acme', 'api-key': KEY }
  beforeEach(() => {
    world.sandbox.blaxel.addApiKey(KEY, { workspaces: ['acme'] })
  })

  test('is there after the job, byte for byte', async () => {
    await world.config.write(own, 0o644)
    await ended(await began(plain))
    expect([world.config.read(), world.config.mode()]).toEqual([own, 0o644])
  })

  test('is there even where the ledger was lost meanwhile', async () => {
    await world.config.write(own)
    const job = await began(plain)
    rmSync(ledgerPath())
    await ended(job)
    expect(world.config.read()).toContain(KEY)
  })

  test('is there where the step never came to write its own', async () => {
    await world.config.write(own)
    world.sandbox.blaxelDev.addWorkspace('acme')
    world.sandbox.blaxelDev.addApiKey(KEY, { workspaces: ['acme'] })
    const first = await began()
    const second = world.machine.job({ env: { BL_ENV: 'dev' } })
    const refused = await second.uses({ with: plain })
    expect(refused.exitCode).toBe(1)
    await second.end()
    await ended(first)
    expect(world.config.read()).toBe(own)
  })
})

describe('threat 33: a config that can not be changed safely', () => {
  test('that is empty for a moment is read again', async () => {
    await world.config.write(PRIOR)
    const file = openSync(world.config.path, 'w')
    const job = world.machine.job()
    const running = job.start({ with: oauth })
    await pause(400)
    writeSync(file, PRIOR)
    closeSync(file)
    expect((await running.result).exitCode).toBe(0)
    await ended(job)
    expectOnlyPrior()
  })

  test.each([
    ['invalid', 'workspaces:\n- name: "acme\n', 'line '],
    ['of several documents', 'context: {}\n---\ncontext: {}\n', 'several documents'],
    ['with anchors', 'context: &a {}\nother: *a\n', 'line 1: it uses anchors'],
    ['with a name twice', 'workspaces:\n- name: acme\n- name: acme\n', 'line 3: it names a workspace twice'],
    ['in flow style', 'workspaces: [{name: acme}]\n', 'line 1: its workspaces are not a block sequence'],
    ['no map', '- a\n', 'line 1: it is not a block map'],
  ])('that is %s is left as it is, and named, before any request', async (_, text, says) => {
    await world.config.write(text, 0o640)
    const step = await world.machine.job().uses({ with: oauth })
    expect(step.exitCode).toBe(1)
    expect(messages(step)).toContain(world.config.path)
    expect(messages(step)).toContain(says)
    expect([world.config.read(), world.config.mode()]).toEqual([text, 0o640])
    expect(tree(directory())).toEqual(['config.yaml'])
    expect(world.sandbox.requests).toEqual([])
  })

  const unfit: [string, string, (path: string) => void][] = [
    [
      'read-only',
      'is read-only',
      (path) => {
        chmodSync(path, 0o444)
      },
    ],
    [
      "another user's",
      'belongs to another user',
      (path) => {
        chownSync(path, 65_534, 65_534)
      },
    ],
  ]
  const canChown = process.geteuid?.() === 0
  test.each(unfit.slice(0, canChown ? 2 : 1))('that is %s is left as it is, and named', async (_, says, make) => {
    await world.config.write(PRIOR)
    make(world.config.path)
    const before = lstatSync(world.config.path)
    const step = await world.machine.job().uses({ with: oauth })
    expect(step.exitCode).toBe(1)
    expect(messages(step)).toContain(`${world.config.path} ${says}`)
    const after = lstatSync(world.config.path)
    expect([after.ino, after.mtimeMs, after.mode, after.uid]).toEqual([
      before.ino,
      before.mtimeMs,
      before.mode,
      before.uid,
    ])
    expect(world.sandbox.requests).toEqual([])
  })

  test('that is damaged when the job ends is left as it is, and the next job mends all', async () => {
    await world.config.write(PRIOR)
    const job = await began()
    const ours = world.config.read() ?? ''
    await world.config.write('workspaces:\n- name: "acme\n')
    expect(messages(await ended(job))).toMatch(
      /^warning: The login to workspace acme could not be taken back: .*line \d/,
    )
    expect(world.config.read()).toBe('workspaces:\n- name: "acme\n')
    await world.config.write(ours)
    changeLedger(({ uses }) => {
      for (const use of uses) use.notAfter = 1
    })
    await ended(await began({ ...oauth, workspace: 'beta' }))
    expectOnlyPrior()
  })

  test(`a stranger who truncates, waits and writes loses nothing in ${ROUNDS} rounds`, async () => {
    await world.config.write(PRIOR)
    let over = false
    let rounds = 0
    const stranger = async () => {
      while (!over || rounds < ROUNDS) {
        const file = openSync(world.config.path, 'w')
        await pause(process.env.LONG === '1' ? 100 : 30)
        rounds += 1
        writeSync(file, `${PRIOR}# round ${rounds}\n`)
        closeSync(file)
        await pause(Math.random() * 60)
      }
    }
    const jobs = async () => {
      while (rounds < ROUNDS) {
        const job = await began()
        await ended(job)
      }
      over = true
    }
    await Promise.all([stranger(), jobs()])
    expect(world.config.read()).toBe(`${PRIOR}# round ${rounds}\n`)
    expect(tree(directory())).toEqual(['config.yaml'])
  })

  test('a stranger who writes what it has read before another job ended brings no login back', async () => {
    await world.config.write(PRIOR)
    const [first, second] = [await began(), await began({ ...oauth, workspace: 'beta' })]
    const stale = world.config.read() ?? ''
    await ended(first)
    await world.config.write(`${stale}# a line more\n`)
    await ended(second)
    expect(world.config.read()).toBe(`${PRIOR}# a line more\n`)
  })
})

describe('threat 49: a ledger that is not to be used', () => {
  const outsider = () => join(world.machine.home, 'outside')
  const damages: [string, string, (text: string) => string | Buffer][] = [
    ['of a later version', 'is of version 2', (text) => text.replace('"schema":1', '"schema":2')],
    ['of no version', 'is damaged', (text) => text.replace('"schema":1,', '')],
    ['empty', 'is damaged', () => ''],
    ['of another kind', 'is damaged', () => '[]\n'],
    ['binary', 'is damaged', () => Buffer.from('SQLite format 3\0')],
    [
      'with a base that is no text',
      'is damaged',
      (text) => text.replace(/"base":\{[^}]*\}/, '"base":{"kind":"present","text":7,"mode":384}'),
    ],
    [
      'with a base that is no config',
      'is damaged',
      (text) => text.replace(/"base":\{[^}]*\}/, '"base":{"kind":"present","text":"- a\\n","mode":384}'),
    ],
    ['with a mode that sets the user', 'is damaged', (text) => text.replace(/"mode":\d+/, '"mode":2541')],
    ['with a path for an id', 'is damaged', (text) => text.replace(/"id":"[0-9a-f]{32}"/, '"id":"../../../outside"')],
    ['with a workspace of two lines', 'is damaged', (text) => text.replace('"name":"acme"', '"name":"acme\\nx: y"')],
    ['with a token that ends its quotes', 'is damaged', (text) => text.replace(/"apiKey":"/, '"apiKey":"\\"x: y')],
    ['with an origin that is none', 'is damaged', (text) => text.replace('https://api.blaxel.ai/v0', 'nowhere')],
    ['with a time that is none', 'is damaged', (text) => text.replace(/"notAfter":\d+/, '"notAfter":"soon"')],
  ]
  test.each(damages)('%s: no byte is changed, by a step or by a post', async (_, says, damage) => {
    await world.config.write(PRIOR)
    writeFileSync(outsider(), 'not ours')
    const first = await began()
    const [good, config] = [readFileSync(ledgerPath(), 'utf8'), world.config.read()]
    const bad = Buffer.from(damage(good))
    expect(bad.toString()).not.toBe(good)
    writeFileSync(ledgerPath(), bad)

    const second = world.machine.job()
    const step = await second.uses({ with: { ...oauth, workspace: 'beta' } })
    expect(step.exitCode).toBe(1)
    expect(messages(step)).toContain(`${ledgerPath()} ${says}`)
    const posts = [...(await second.end()), await ended(first)]
    for (const post of posts) expect(messages(post)).toContain(`${ledgerPath()} ${says}`)
    expect(readFileSync(ledgerPath())).toEqual(bad)
    expect(world.config.read()).toBe(config)
    expect(readFileSync(outsider(), 'utf8')).toBe('not ours')

    // Mended, it does what it would have done.
    writeFileSync(ledgerPath(), good)
    changeLedger(({ uses }) => {
      for (const use of uses) use.notAfter = 1
    })
    await ended(await began({ ...oauth, workspace: 'beta' }))
    expectOnlyPrior()
  })

  test('torn at any place: refused', async () => {
    await world.config.write(PRIOR)
    const job = await began()
    const [good, config] = [readFileSync(ledgerPath(), 'utf8'), world.config.read()]
    const lengths = Array.from(
      { length: process.env.LONG === '1' ? 40 : 5 },
      (_, n) => Math.floor(Math.random() * (good.length - 2)) * Math.min(n, 1),
    )
    for (const length of lengths) {
      const torn = good.slice(0, length)
      writeFileSync(ledgerPath(), torn)
      const step = await world.machine.job().uses({ with: { ...oauth, workspace: 'beta' } })
      expect([length, step.exitCode]).toEqual([length, 1])
      expect(messages(step)).toContain(`${ledgerPath()} is damaged`)
      expect([readFileSync(ledgerPath(), 'utf8'), world.config.read()]).toEqual([torn, config])
    }
    writeFileSync(ledgerPath(), good)
    await ended(job)
    expectOnlyPrior()
  })

  describe.each([
    ['ledger', ledgerPath],
    ['lock', lockPath],
  ])('a %s', (name, path) => {
    test.each([
      ['that is there', true],
      ['that is not there', false],
    ])('that is a link to a file %s: not followed', async (_, isThere) => {
      await world.config.write(PRIOR)
      if (isThere) writeFileSync(outsider(), 'not ours')
      symlinkSync(outsider(), path())
      const job = world.machine.job()
      const step = await job.uses({ with: oauth })
      expect(step.exitCode).toBe(1)
      expect(messages(step)).toContain(`${path()} is a symbolic link`)
      await job.end()
      expect(readlinkSync(path())).toBe(outsider())
      expect(existsSync(outsider())).toBe(isThere)
      expect(world.config.read()).toBe(PRIOR)
      if (isThere) expect(readFileSync(outsider(), 'utf8')).toBe('not ours')
    })

    // Only root can give a file away.
    if (process.geteuid?.() === 0) {
      test("that is another user's: left alone", async () => {
        await world.config.write(PRIOR)
        const first = await began()
        const [text, config] = [readFileSync(path()), world.config.read()]
        chownSync(path(), 65_534, 65_534)
        const step = await world.machine.job().uses({ with: { ...oauth, workspace: 'beta' } })
        expect(step.exitCode).toBe(1)
        expect(messages(step)).toContain(`${path()} belongs to another user`)
        expect(messages(await ended(first))).toContain(`${path()} belongs to another user`)
        expect([readFileSync(path()), world.config.read()]).toEqual([text, config])
      })
    }

    test('that is damaged: named, and left alone', async () => {
      await world.config.write(PRIOR)
      writeFileSync(path(), 'something else\n'.repeat(300), { mode: 0o600 })
      const step = await world.machine.job().uses({ with: oauth })
      expect(step.exitCode).toBe(1)
      expect(messages(step)).toContain(`${path()} is damaged`)
      expect(readFileSync(path(), 'utf8')).toBe('something else\n'.repeat(300))
      expect(world.config.read()).toBe(PRIOR)
      expect(name).toBeDefined()
    })
  })
})

describe('threat 39: a job that was killed for good', () => {
  test.each(Object.entries(credentials))(
    'with %s: the next use after its time drops its login',
    async (_, credential) => {
      await world.config.write(PRIOR)
      const step = await world.machine
        .job()
        .uses({ with: { ...oauth, 'client-id': '', 'client-secret': '', ...credential } })
      expect(step.exitCode).toBe(0)
      const token = String(step.outputs.token)
      expect(world.config.read()).toContain(token)
      changeLedger(({ uses }) => {
        for (const use of uses) {
          // A token's own time, or a day.
          expect(use.notAfter - Date.now()).toBeGreaterThan(1.9 * 3_600_000)
          expect(use.notAfter - Date.now()).toBeLessThanOrEqual(24 * 3_600_000)
          use.notAfter = Date.now() - 1
        }
      })
      const next = await began({ ...oauth, workspace: 'beta' })
      expect(world.config.read()).not.toContain(token)
      expect(readFileSync(ledgerPath(), 'utf8')).not.toContain(token)
      expect(world.config.read()).toContain('of-this-machine')
      await ended(next)
      expectOnlyPrior()
    },
  )

  test('a post that comes after that drops it too, and one whose login was dropped has nothing to do', async () => {
    await world.config.write(PRIOR)
    const [late, next] = [await began(), await began({ ...oauth, workspace: 'beta' })]
    changeLedger(({ uses }) => {
      for (const use of uses.slice(0, 1)) use.notAfter = 1
    })
    await ended(next)
    expectOnlyPrior()
    expect((await ended(late)).annotations).toEqual([])
    expectOnlyPrior()
  })
})

describe('threat 37: what the ledger and the state say leads nowhere else', () => {
  const minted = { version: '9.9.2', workspace: 'acme', ...credentials['service-account'] }
  const deletes = () => world.sandbox.requests.filter(({ method }) => method === 'DELETE')
  const own = new RegExp(`^/v0/service_accounts/${CLIENT_ID}/api_keys/ak_[\\w-]+$`)

  async function endedWith(change: (state: Record<string, Record<string, unknown>>) => void): Promise<StepResult> {
    const job = world.machine.job()
    const step = await job.uses({ id: 'bl', with: minted })
    expect(step.exitCode).toBe(0)
    const state = job.stateOf('bl')
    const [name, text] = Object.entries(state).find(([, value]) => value.startsWith('{')) ?? []
    const value = JSON.parse(text ?? '') as Record<string, Record<string, unknown>>
    change(value)
    state[String(name)] = JSON.stringify(value)
    return ended(job)
  }

  test('untouched, the one DELETE is that of its own key', async () => {
    const post = await endedWith(() => undefined)
    expect(post.annotations).toEqual([])
    expect(deletes().map(({ path }) => path)).toEqual([expect.stringMatching(own)])
  })

  test.each([
    '../../workspaces/acme',
    '../../../workspaces/acme',
    '..',
    '.',
    'a/b',
    'a%2F..',
    'a?b',
    'a#b',
    '',
    'x\r\ny',
  ])('a key id %j, account or name in the state makes no request', async (evil) => {
    for (const field of ['id', 'serviceAccount', 'name']) {
      const before = world.sandbox.requests.length
      const post = await endedWith(({ key }) => {
        Object.assign(key ?? {}, { [field]: evil })
      })
      expect(messages(post)).toContain('warning: The state that the main step has saved was changed')
      expect(world.sandbox.requests.slice(before).filter(({ method }) => method === 'DELETE')).toEqual([])
      expect((await world.machine.job().run('true')).exitCode).toBe(0)
    }
    expect(await workspaceIsThere()).toBe(true)
  })

  test.each([
    [
      'a foreign directory',
      (state: Record<string, unknown>) => {
        state.scratch = '/etc'
      },
    ],
    [
      'a directory that is not absolute',
      (state: Record<string, unknown>) => {
        state.staging = '.'
      },
    ],
    [
      'a use that is a path',
      (state: Record<string, unknown>) => {
        state.use = '../../x'
      },
    ],
    [
      'another place for the config',
      (state: Record<string, unknown>) => {
        ;(state.login as Record<string, unknown>).directory = '/etc'
      },
    ],
    [
      'plain http to another host',
      (state: Record<string, unknown>) => {
        ;(state.key as Record<string, unknown>).origin = 'http://evil.example/v0'
      },
    ],
  ])('%s in the state: nothing is done, with a warning', async (_, change) => {
    const post = await endedWith(change)
    expect(messages(post)).toContain('warning: The state that the main step has saved was changed')
    expect(deletes()).toEqual([])
    expect(world.sandbox.refused).toEqual([])
  })

  test("another host in the ledger's entry gets no request, for the ledger names no host that is asked", async () => {
    const job = world.machine.job()
    await job.uses({ with: minted })
    changeLedger(({ uses }) => {
      for (const use of uses) use.origin = 'https://evil.example/v0'
    })
    await ended(job)
    expect(world.sandbox.refused).toEqual([])
    expect(world.sandbox.blaxel.keys.size).toBe(0)
  })

  test.each(['../../workspaces/acme', '..', 'a/b', '.hidden', 7, null])(
    'an id %j in the answer to a mint is refused, and nothing but the key deleted',
    async (id) => {
      world.sandbox.intercept({
        host: 'api.blaxel.ai',
        method: 'POST',
        path: /api_keys$/,
        answer: {
          kind: 'respond',
          status: 200,
          body: { id, name: 'x', apiKey: 'bl_0123456789abcdef', expires_in: '2h' },
        },
      })
      const job = world.machine.job()
      const step = await job.uses({ with: minted })
      expect(step.exitCode).toBe(1)
      await ended(job)
      expect(deletes().filter(({ path }) => !own.test(path))).toEqual([])
      expect(await workspaceIsThere()).toBe(true)
    },
  )

  test.each(['../../workspaces/acme', '..', 'a/b'])('an id %j in the list of keys is not deleted', async (id) => {
    world.sandbox.intercept({
      host: 'api.blaxel.ai',
      method: 'POST',
      path: /api_keys$/,
      times: 1,
      answer: { kind: 'process-then-reset' },
    })
    world.sandbox.intercept({
      host: 'api.blaxel.ai',
      method: 'GET',
      path: /api_keys$/,
      answer: {
        kind: 'handle',
        handle: () => ({
          status: 200,
          body: [...world.sandbox.blaxel.keys.values()].map(({ name }) => ({ id, name })),
        }),
      },
    })
    const job = world.machine.job()
    expect((await job.uses({ with: minted })).exitCode).toBe(1)
    await ended(job)
    expect(deletes()).toEqual([])
    expect(await workspaceIsThere()).toBe(true)
  })

  async function workspaceIsThere(): Promise<boolean> {
    const job = world.machine.job()
    const step = await job.uses({ with: { ...oauth, login: 'false' } })
    await job.end()
    return step.exitCode === 0
  }
})
