import { afterEach, beforeEach, describe, expect, test } from '@jest/globals'
import { chmodSync, closeSync, lstatSync, openSync, readFileSync, rmSync, writeFileSync, writeSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { setTimeout as pause } from 'node:timers/promises'
import { parse } from 'yaml'
import type { Job, StepResult } from '../../../sandbox/job.ts'
import { abandonLogins, changeStored, databasePath, inDatabase, storedText, storeText } from '../login-store.ts'
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
const database = () => databasePath(world.config)

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

  test('is there even where the database was lost meanwhile', async () => {
    await world.config.write(own)
    const job = await began(plain)
    rmSync(database())
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
    ['no map', '- a\n', 'line 1: it is not a map'],
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

  test.each([
    ['anchors and aliases', 'base: &a {zone: eu}\ncontext: {<<: *a}\n'],
    ['a byte order mark and CRLF', '\uFEFFworkspaces:\r\n- name: acme\r\n  credentials:\r\n    apiKey: x\r\n'],
  ])('with %s is no such config: bl can log in, and it is as before after the job', async (_, text) => {
    await world.config.write(text, 0o640)
    const job = await began()
    expect((await job.run('bl token acme')).exitCode).toBe(0)
    await ended(job)
    expect([world.config.read(), world.config.mode()]).toEqual([text, 0o640])
  })

  test('that is read-only is left as it is, and named', async () => {
    await world.config.write(PRIOR)
    chmodSync(world.config.path, 0o444)
    const before = lstatSync(world.config.path)
    const step = await world.machine.job().uses({ with: oauth })
    expect(step.exitCode).toBe(1)
    expect(messages(step)).toContain(`${world.config.path} is read-only`)
    const after = lstatSync(world.config.path)
    expect([after.ino, after.mtimeMs, after.mode, after.uid]).toEqual([
      before.ino,
      before.mtimeMs,
      before.mode,
      before.uid,
    ])
    expect(world.sandbox.requests).toEqual([])
  })

  test('that is damaged when the job ends is left as it is, and the next job fixes all', async () => {
    await world.config.write(PRIOR)
    const job = await began()
    const ours = world.config.read() ?? ''
    await world.config.write('workspaces:\n- name: "acme\n')
    expect(messages(await ended(job))).toMatch(/^warning: The login to workspace acme could not be removed: .*line \d/)
    expect(world.config.read()).toBe('workspaces:\n- name: "acme\n')
    await world.config.write(ours)
    abandonLogins(world.config)
    await ended(await began({ ...oauth, workspace: 'beta' }))
    expectOnlyPrior()
  })

  test(`another process that truncates, waits and writes loses nothing in ${ROUNDS} rounds`, async () => {
    await world.config.write(PRIOR)
    let over = false
    let rounds = 0
    const other = async () => {
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
    await Promise.all([other(), jobs()])
    expect(world.config.read()).toBe(`${PRIOR}# round ${rounds}\n`)
    expect(tree(directory())).toEqual(['config.yaml'])
  })

  test('another process that writes what it has read before another job ended brings no login back', async () => {
    await world.config.write(PRIOR)
    const [first, second] = [await began(), await began({ ...oauth, workspace: 'beta' })]
    const stale = world.config.read() ?? ''
    await ended(first)
    await world.config.write(`${stale}# a line more\n`)
    await ended(second)
    expect(parse(world.config.read() ?? '')).toEqual(parse(PRIOR))
    expect(world.config.read()).toContain('# a line more')
  })
})

describe('threat 49: a database that is not to be used', () => {
  const outsider = () => join(world.machine.home, 'outside')
  // unit/login.test.ts has the others.
  const damages: [string, (text: string) => string][] = [
    ['torn', (text) => text.slice(0, -20)],
    ['with a path for an id', (text) => text.replace(/"id":"[0-9a-f]{32}"/, '"id":"../../../outside"')],
    ['with a token that ends its quotes', (text) => text.replace(/"apiKey":"/, '"apiKey":"\\"x: y')],
  ]
  test.each(damages)('%s: no byte is changed, by a step or by a post', async (_, damage) => {
    await world.config.write(PRIOR)
    writeFileSync(outsider(), 'not ours')
    const first = await began()
    const [good, config] = [storedText(world.config), world.config.read()]
    expect(damage(good)).not.toBe(good)
    storeText(world.config, damage(good))
    const bad = readFileSync(database())

    const second = world.machine.job()
    const step = await second.uses({ with: { ...oauth, workspace: 'beta' } })
    expect(step.exitCode).toBe(1)
    expect(messages(step)).toContain(`${database()} is damaged`)
    expect(messages(step)).toContain(`${database()}-journal`)
    await second.end()
    expect(messages(await ended(first))).toContain(`${database()} is damaged`)
    expect(readFileSync(database())).toEqual(bad)
    expect(world.config.read()).toBe(config)
    expect(readFileSync(outsider(), 'utf8')).toBe('not ours')

    // Repaired, it does what it would have done.
    storeText(world.config, good)
    abandonLogins(world.config)
    await ended(await began({ ...oauth, workspace: 'beta' }))
    expectOnlyPrior()
  })

  test('of a later version: named, and left alone', async () => {
    await world.config.write(PRIOR)
    const first = await began()
    const config = world.config.read()
    inDatabase(world.config, 'PRAGMA user_version = 2')
    const bad = readFileSync(database())
    const step = await world.machine.job().uses({ with: { ...oauth, workspace: 'beta' } })
    expect(step.exitCode).toBe(1)
    expect(messages(step)).toContain(`${database()} is of version 2`)
    expect(messages(await ended(first))).toContain(`${database()} is of version 2`)
    expect([readFileSync(database()), world.config.read()]).toEqual([bad, config])
  })

  test('cut off at any place: refused, or as good as none', async () => {
    await world.config.write(PRIOR)
    const job = await began()
    const [good, config] = [readFileSync(database()), world.config.read()]
    const lengths = Array.from({ length: process.env.LONG === '1' ? 40 : 2 }, () =>
      Math.ceil(Math.random() * (good.length - 1)),
    )
    for (const length of lengths) {
      const torn = good.subarray(0, length)
      writeFileSync(database(), torn)
      const step = await world.machine.job().uses({ with: { ...oauth, workspace: 'beta' } })
      expect([length, step.exitCode]).toEqual([length, 1])
      expect(messages(step)).toContain(`${database()} is damaged`)
      expect([readFileSync(database()), world.config.read()]).toEqual([torn, config])
    }
    writeFileSync(database(), good)
    await ended(job)
    expectOnlyPrior()
  })
})

describe('threat 39: a job that was killed for good', () => {
  test.each(Object.entries(credentials))(
    'with %s: the next job after its time drops its login',
    async (_, credential) => {
      await world.config.write(PRIOR)
      const step = await world.machine
        .job()
        .uses({ with: { ...oauth, 'client-id': '', 'client-secret': '', ...credential } })
      expect(step.exitCode).toBe(0)
      const token = String(step.outputs.token)
      expect(world.config.read()).toContain(token)
      changeStored(world.config, ({ logins }) => {
        for (const login of logins) {
          // A token's own time, or a day; an expired one hides the machine's login for a day more.
          expect(login.expiresAt - Date.now()).toBeGreaterThan(1.9 * 3_600_000)
          expect(login.expiresAt - Date.now()).toBeLessThanOrEqual(24 * 3_600_000)
          expect(login.dropsAt - Date.now()).toBeLessThanOrEqual(26 * 3_600_000)
          login.expiresAt = Date.now() - 1
          login.dropsAt = Date.now() - 1
        }
      })
      const next = await began({ ...oauth, workspace: 'beta' })
      expect(world.config.read()).not.toContain(token)
      expect(readFileSync(database(), 'latin1')).not.toContain(token)
      expect(world.config.read()).toContain('of-this-machine')
      await ended(next)
      expectOnlyPrior()
    },
  )

  test('a post that comes after that drops it too, and one whose login was dropped has nothing to do', async () => {
    await world.config.write(PRIOR)
    const [late, next] = [await began(), await began({ ...oauth, workspace: 'beta' })]
    changeStored(world.config, ({ logins }) => {
      for (const login of logins.slice(0, 1)) login.dropsAt = 1
    })
    await ended(next)
    expectOnlyPrior()
    expect((await ended(late)).annotations).toEqual([])
    expectOnlyPrior()
  })
})

describe('threat 37: what the database and the state say leads nowhere else', () => {
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

  // unit/state.test.ts has more.
  test.each(['../../workspaces/acme', 'x\r\ny'])(
    'a key id %j, account or name in the state makes no request',
    async (evil) => {
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
    },
  )

  test.each([
    [
      'a foreign directory',
      (state: Record<string, unknown>) => {
        state.scratch = '/etc'
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

  test('another host in the database gets no request, for it names no host that is asked', async () => {
    const job = world.machine.job()
    await job.uses({ with: minted })
    changeStored(world.config, ({ logins }) => {
      for (const login of logins) login.endpoint = 'https://evil.example/v0'
    })
    await ended(job)
    expect(world.sandbox.refused).toEqual([])
    expect(world.sandbox.blaxel.keys.size).toBe(0)
  })

  test.each(['../../workspaces/acme', 7])(
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

  test.each(['../../workspaces/acme'])('an id %j in the list of keys is not deleted', async (id) => {
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
