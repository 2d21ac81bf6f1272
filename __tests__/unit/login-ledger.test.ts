import './realm.ts'
import { afterEach, describe, expect, jest, test } from '@jest/globals'
import fc from 'fast-check'
import { execFileSync } from 'node:child_process'
import {
  chmodSync,
  existsSync,
  lstatSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
} from 'node:fs'
import { join } from 'node:path'
import { setTimeout as pause } from 'node:timers/promises'
import { parse } from 'yaml'
import { SetupError } from '../../src/util/errors.ts'
import type { Use } from '../../src/login/ledger.ts'
import { configText, WORKSPACES } from './configs.ts'
import { makeHome, makeJob, makeUse, removeHomes, type Home, type Job } from './logins.ts'
import { holdsAsync, rejectionOf } from './property.ts'

afterEach(() => {
  jest.restoreAllMocks()
  removeHomes()
})

interface Seen {
  readonly context: string
  readonly keys: Readonly<Record<string, string>>
}

/** What a reader of YAML finds in the config, every scalar as it is written. */
function seen(home: Home): Seen {
  const config = (parse((home.read() ?? '').replace(/^\uFEFF/, ''), { schema: 'failsafe' }) ?? {}) as {
    readonly context?: { readonly workspace?: string } | string
    readonly workspaces?:
      readonly { readonly name: string; readonly credentials: { readonly apiKey: string } }[] | string
  }
  const context = typeof config.context === 'object' ? (config.context.workspace ?? '') : ''
  const entries = typeof config.workspaces === 'object' ? config.workspaces : []
  return { context, keys: Object.fromEntries(entries.map(({ name, credentials }) => [name, credentials.apiKey])) }
}

/** The config as `bl login` leaves it, written as it does it: the whole file anew, without a lock. */
function blLogin(home: Home, workspace: string, key: string): void {
  const keys = { ...seen(home).keys, [workspace]: key }
  const entries = Object.entries(keys).map(
    ([name, apiKey]) => `- name: ${name}\n  credentials:\n    apiKey: "${apiKey}"\n`,
  )
  home.write(`context:\n  workspace: ${workspace}\nworkspaces:\n${entries.join('')}tracking: false\n`)
}

const TEXT =
  '# mine\ncontext:\n  workspace: beta\nworkspaces:\n- name: acme\n  credentials:\n    apiKey: "own-key-1"\n- name: beta\n  credentials:\n    apiKey: "own-key-2"\ntracking: false\n'

interface Before {
  readonly files: Readonly<Record<string, string>> | undefined
  readonly mode: number
}

/** What may stand in a home before the first job. An empty config is waited for, so it has a test of its own. */
const before: fc.Arbitrary<Before> = fc.record({
  files: fc.oneof(fc.constantFrom(undefined, {}, { version: '{}' }), {
    weight: 4,
    arbitrary: configText.filter((text) => text !== '').map((text) => ({ 'config.yaml': text })),
  }),
  mode: fc.constantFrom(0o600, 0o644, 0o640, 0o664, 0o700),
})

function homeAsBefore({ files, mode }: Before): Home {
  const home = makeHome()
  if (files !== undefined) mkdirSync(home.directory)
  for (const [name, text] of Object.entries(files ?? {})) {
    writeFileSync(join(home.directory, name), text)
    chmodSync(join(home.directory, name), mode)
  }
  return home
}

const anyUse = fc.record({ workspace: fc.constantFrom(...WORKSPACES, 'new-1'), hours: fc.integer({ min: 1, max: 3 }) })

/** Logins that begin and end in any order: the first time that a number comes up it enters, the second time it leaves. */
const comingsAndGoings = fc
  .array(anyUse, { minLength: 1, maxLength: 3 })
  .chain((uses) => fc.record({ uses: fc.constant(uses), order: shuffled(uses.flatMap((_, index) => [index, index])) }))

function shuffled<T>(values: readonly T[]): fc.Arbitrary<T[]> {
  return fc.shuffledSubarray([...values], { minLength: values.length })
}

function jobsOf(home: Home, uses: readonly { readonly workspace: string; readonly hours: number }[]): Job[] {
  const now = Date.now()
  return uses.map(({ workspace, hours }) => makeJob(home, makeUse(workspace, { notAfter: now + hours * 3_600_000 })))
}

/** What must stand in the config for these live logins, oldest first. */
function expected(live: readonly Use[]): Seen {
  const keys = new Map<string, Use>()
  for (const use of live) {
    if (use.notAfter >= (keys.get(use.entry.name)?.notAfter ?? 0)) keys.set(use.entry.name, use)
  }
  return {
    context: live.at(-1)?.entry.name ?? '',
    keys: Object.fromEntries([...keys].map(([name, { entry }]) => [name, entry.apiKey])),
  }
}

/** A job enters or, where it is among the live ones, leaves. */
async function comeOrGo(job: Job | undefined, live: readonly Job[]): Promise<readonly Job[]> {
  if (!job) throw new Error('there is no such job')
  const others = live.filter((other) => other !== job)
  if (others.length === live.length) {
    await job.enter()
    return [...live, job]
  }
  const { workspaceInUse } = await job.leave()
  expect(workspaceInUse).toBe(others.some(({ use }) => use.entry.name === job.use.entry.name))
  return others
}

/** What must stand in the config while these jobs live. */
function withLogins(live: readonly Job[], others: Seen['keys']): Seen {
  const { context, keys } = expected(live.map(({ use }) => use))
  return { context, keys: { ...others, ...keys } }
}

describe('one login', () => {
  test('without a config makes one, and leaves nothing', async () => {
    const home = makeHome()
    const job = makeJob(
      home,
      makeUse('acme', { entry: { name: 'acme', id: 'ws-1', env: 'dev', apiKey: 'token-12345' } }),
    )
    expect(await job.enter()).toEqual({ sharedWithOtherCredential: false })
    expect(home.read()).toBe(
      'context:\n  workspace: "acme"\nworkspaces:\n- name: "acme"\n  id: "ws-1"\n  env: "dev"\n  credentials:\n    apiKey: "token-12345"\n',
    )
    const modes = [home.directory, home.config, home.ledger].map((path) => lstatSync(path).mode & 0o777)
    expect(modes).toEqual([0o700, 0o600, 0o600])
    expect(await job.leave()).toEqual({ workspaceInUse: false })
    expect(home.everything()).toEqual({})
  })

  test.each(['600', '640', '644', '664', '755'])(
    'covers a config of mode %s, and puts it back as it was',
    async (mode) => {
      const home = makeHome()
      home.write(TEXT)
      chmodSync(home.config, Number.parseInt(mode, 8))
      const was = home.everything()
      const job = makeJob(home, makeUse('acme'))
      await job.enter()
      expect(lstatSync(home.config).mode & 0o777).toBe(0o600)
      expect(seen(home)).toEqual({ context: 'acme', keys: { acme: job.use.entry.apiKey, beta: 'own-key-2' } })
      await job.leave()
      expect(home.everything()).toEqual(was)
    },
  )

  test('leaves a directory that was there, and what others have put into ours', async () => {
    const home = makeHome()
    mkdirSync(home.directory, { mode: 0o755 })
    const was = home.everything()
    const first = makeJob(home, makeUse('acme'))
    await first.enter()
    await first.leave()
    expect(home.everything()).toEqual(was)

    rmSync(home.directory, { recursive: true })
    const second = makeJob(home, makeUse('acme'))
    await second.enter()
    writeFileSync(join(home.directory, 'version'), '{}')
    await second.leave()
    expect(readdirSync(home.directory)).toEqual(['version'])
  })

  test.each(['', '\uFEFF', '# mine', '---'])('puts back a config that is %j', async (text) => {
    const home = makeHome()
    home.write(text)
    const job = makeJob(home, makeUse('acme'))
    await job.enter()
    expect(seen(home)).toEqual(expected([job.use]))
    await job.leave()
    expect(home.read()).toBe(text)
  })

  test('does not lose a login of the same workspace that has the very same key', async () => {
    const home = makeHome()
    home.write(TEXT, 0o644)
    const was = home.everything()
    const job = makeJob(home, makeUse('acme', { entry: { name: 'acme', apiKey: 'own-key-1' } }))
    await job.enter()
    await job.leave()
    expect(home.everything()).toEqual(was)
  })

  test('does not lose it where another job logs in with it too, nor where the ledger is lost', async () => {
    const home = makeHome()
    home.write(TEXT)
    const entry = { name: 'acme', apiKey: 'own-key-1' }
    const jobs = [makeJob(home, makeUse('acme', { entry })), makeJob(home, makeUse('acme', { entry }))]
    for (const job of jobs) await job.enter()
    for (const job of jobs) await job.leave()
    expect(home.read()).toBe(TEXT)
    for (const job of jobs) await job.enter()
    rmSync(home.ledger)
    for (const job of jobs) await job.leave()
    expect(seen(home).keys).toEqual({ acme: 'own-key-1', beta: 'own-key-2' })
  })

  test('that has left, or never entered, leaves again without doing anything', async () => {
    const home = makeHome()
    home.write(TEXT)
    const was = home.everything()
    const [job, never] = [makeJob(home, makeUse('acme')), makeJob(home, makeUse('acme'))]
    await job.enter()
    await job.leave()
    expect(await job.leave()).toEqual({ workspaceInUse: false })
    expect(await never.leave()).toEqual({ workspaceInUse: false })
    expect(home.everything()).toEqual(was)
  })

  test('that enters again, as after a kill, counts once', async () => {
    const home = makeHome()
    const job = makeJob(home, makeUse('acme'))
    await job.enter()
    await job.enter()
    await job.leave()
    expect(home.everything()).toEqual({})
  })
})

describe('logins that come and go in any order', () => {
  test('are all there while they live, and leave every byte, mode and absence as it was', async () => {
    await holdsAsync(
      fc.asyncProperty(before, comingsAndGoings, async (start, { uses, order }) => {
        const home = homeAsBefore(start)
        const was = home.everything()
        const own = seen(home)
        const jobs = jobsOf(home, uses)
        let live: readonly Job[] = []
        for (const number of order) {
          live = await comeOrGo(jobs[number], live)
          if (live.length > 0) expect(seen(home)).toEqual(withLogins(live, own.keys))
        }
        expect(home.everything()).toEqual(was)
        rmSync(home.path, { recursive: true })
      }),
    )
  })

  test('twenty at once, and twenty that leave at once', async () => {
    const home = makeHome()
    home.write(TEXT, 0o644)
    const was = home.everything()
    const jobs = Array.from({ length: 20 }, (_, index) => makeJob(home, makeUse(`ws-${index}`)))
    await Promise.all(jobs.map((job) => job.enter()))
    expect(Object.keys(seen(home).keys).sort()).toEqual(
      ['acme', 'beta', ...jobs.map(({ use }) => use.entry.name)].sort(),
    )
    await Promise.all(jobs.map((job) => job.leave()))
    expect(home.everything()).toEqual(was)
  })

  test('those that come while the last one goes', async () => {
    const home = makeHome()
    for (let round = 0; round < 10; round += 1) {
      const [first, second, third] = ['acme', 'beta', 'acme'].map((name) => makeJob(home, makeUse(name)))
      if (!first || !second || !third) throw new Error('unreachable')
      await first.enter()
      await Promise.all([first.leave(), second.enter(), third.enter()])
      expect(seen(home).keys).toEqual({ beta: second.use.entry.apiKey, acme: third.use.entry.apiKey })
      await Promise.all([second.leave(), third.leave()])
      expect(home.read()).toBeUndefined()
    }
  })
})

type Stranger =
  | { readonly kind: 'logs in'; readonly workspace: string }
  | { readonly kind: 'comments' }
  | { readonly kind: 'removes the config' }

/** What is in the config that is not ours. */
interface Theirs {
  readonly keys: Seen['keys']
  /** Undefined where nobody can say who wanted it. */
  readonly context: string | undefined
  readonly comments: readonly string[]
  readonly isThere: boolean
}

/** Lets a stranger do something, and says what is theirs then. */
function meddle(stranger: Stranger, home: Home, mark: number, theirs: Theirs): Theirs {
  switch (stranger.kind) {
    case 'logs in': {
      const { workspace } = stranger
      blLogin(home, workspace, `their-key-${mark}`)
      const context = workspace.startsWith('theirs') ? workspace : undefined
      return { keys: { ...theirs.keys, [workspace]: `their-key-${mark}` }, context, comments: [], isThere: true }
    }
    case 'comments': {
      const text = home.read()
      if (text === undefined) return theirs
      const comment = `# stranger ${mark}`
      home.write(`${text}${/[^\n]$/.test(text) ? '\n' : ''}${comment}\n`)
      return { ...theirs, comments: [...theirs.comments, comment], isThere: true }
    }
    case 'removes the config':
      rmSync(home.config, { force: true })
      return { keys: {}, context: '', comments: [], isThere: false }
  }
}

describe('strangers between the logins', () => {
  const loggingIn = (workspaces: fc.Arbitrary<string>) =>
    workspaces.map((workspace): Stranger => ({ kind: 'logs in', workspace }))
  const stranger = fc.oneof(
    { weight: 3, arbitrary: loggingIn(fc.constantFrom('theirs-1', 'theirs-2')) },
    { weight: 2, arbitrary: loggingIn(fc.constantFrom(...WORKSPACES, 'new-1')) },
    { weight: 2, arbitrary: fc.constant<Stranger>({ kind: 'comments' }) },
    { weight: 1, arbitrary: fc.constant<Stranger>({ kind: 'removes the config' }) },
  )
  const story = fc
    .tuple(fc.array(anyUse, { minLength: 1, maxLength: 2 }), fc.array(stranger, { minLength: 1, maxLength: 3 }))
    .chain(([uses, strangers]) =>
      fc.record({
        uses: fc.constant(uses),
        order: shuffled<number | Stranger>([...uses.flatMap((_, index) => [index, index]), ...strangers]),
      }),
    )
  const plainContext = (context: string) => context.replace(/^(~|null)$/, '')

  test('lose nothing of theirs, and nothing of ours stays', async () => {
    await holdsAsync(
      fc.asyncProperty(before, story, async (start, { uses, order }) => {
        const home = homeAsBefore(start)
        let theirs: Theirs = { ...seen(home), comments: [], isThere: existsSync(home.config) }
        const jobs = jobsOf(home, uses)
        let live: readonly Job[] = []
        for (const [mark, event] of order.entries()) {
          if (typeof event === 'number') {
            live = await comeOrGo(jobs[event], live)
            if (live.length > 0) expect(seen(home)).toEqual(withLogins(live, theirs.keys))
          } else {
            theirs = meddle(event, home, mark, theirs)
          }
        }
        const after = home.read() ?? ''
        expect(existsSync(home.config)).toBe(theirs.isThere)
        expect(seen(home).keys).toEqual(theirs.keys)
        if (theirs.context !== undefined) expect(plainContext(seen(home).context)).toBe(plainContext(theirs.context))
        expect(after).not.toContain('session-token')
        expect(after.split(/\r?\n/).filter((line) => line.startsWith('# stranger'))).toEqual(theirs.comments)
        const files = existsSync(home.directory) ? readdirSync(home.directory) : []
        expect(files.filter((name) => !['config.yaml', 'version'].includes(name))).toEqual([])
        rmSync(home.path, { recursive: true })
      }),
    )
  })

  test('one that writes what he has read before a login ended does not bring it back', async () => {
    const home = makeHome()
    home.write(TEXT)
    const [ended, other] = [makeJob(home, makeUse('acme')), makeJob(home, makeUse('gamma'))]
    await ended.enter()
    await other.enter()
    const read = home.read() ?? ''
    await ended.leave()
    home.write(`${read}# theirs\n`)
    await other.leave()
    expect(home.read()).toBe(`${TEXT}# theirs\n`)
  })

  test('one that sets the config back by himself is taken at his word', async () => {
    const home = makeHome()
    home.write(TEXT)
    const job = makeJob(home, makeUse('acme'))
    await job.enter()
    home.write(TEXT)
    await job.leave()
    expect(home.read()).toBe(TEXT)
  })

  test('one that logs out of our workspace ends our login only', async () => {
    const home = makeHome()
    const [acme, beta] = [makeJob(home, makeUse('acme')), makeJob(home, makeUse('beta'))]
    await acme.enter()
    await beta.enter()
    home.write(
      `context:\n  workspace: \nworkspaces:\n- name: beta\n  credentials:\n    apiKey: "${beta.use.entry.apiKey}"\ntracking: false\n`,
    )
    await acme.leave()
    expect(seen(home)).toEqual(expected([beta.use]))
    await beta.leave()
    expect(seen(home)).toEqual({ context: '', keys: {} })
    expect(home.read()).toContain('tracking: false')
  })

  test('one that truncates the config and writes it 100 ms later is waited for', async () => {
    const home = makeHome()
    const own = makeJob(home, makeUse('acme'))
    home.write('')
    const [first] = await Promise.all([
      own.enter(),
      pause(100).then(() => {
        home.write(TEXT)
      }),
    ])
    expect(first.sharedWithOtherCredential).toBe(false)
    expect(seen(home).keys).toEqual({ acme: own.use.entry.apiKey, beta: 'own-key-2' })
    const rendered = home.read() ?? ''
    home.write('')
    await Promise.all([
      own.leave(),
      pause(100).then(() => {
        home.write(`${rendered}# theirs\n`)
      }),
    ])
    expect(home.read()).toBe(`${TEXT}# theirs\n`)
  })
})

describe('a login that is over', () => {
  /** Lets time pass for the code under test. */
  function pass(ms: number): void {
    const later = Date.now() + ms
    jest.spyOn(Date, 'now').mockImplementation(() => later)
  }

  test('and was never taken out, since its job was killed, is dropped by the next one that comes', async () => {
    const home = makeHome()
    home.write(TEXT)
    const was = home.everything()
    const [killed, next] = [
      makeJob(home, makeUse('acme')),
      makeJob(home, makeUse('gamma', { notAfter: Date.now() + 9e6 })),
    ]
    await killed.enter()
    pass(4_000_000)
    await next.enter()
    expect(seen(home)).toEqual({
      context: 'gamma',
      keys: { acme: 'own-key-1', beta: 'own-key-2', gamma: next.use.entry.apiKey },
    })
    expect(await next.leave()).toEqual({ workspaceInUse: false })
    expect(home.everything()).toEqual(was)
  })

  test('is dropped by the next one that goes, of the same workspace too', async () => {
    const home = makeHome()
    const [killed, other] = [
      makeJob(home, makeUse('acme')),
      makeJob(home, makeUse('acme', { notAfter: Date.now() + 9e6 })),
    ]
    await killed.enter()
    await other.enter()
    pass(4_000_000)
    expect(await other.leave()).toEqual({ workspaceInUse: false })
    expect(home.everything()).toEqual({})
  })

  test('does not stand in the way of another API', async () => {
    const home = makeHome()
    await makeJob(home, makeUse('acme')).enter()
    pass(4_000_000)
    const dev = makeJob(home, makeUse('acme', { origin: 'https://api.blaxel.dev/v0' }))
    expect(await dev.enter()).toEqual({ sharedWithOtherCredential: false })
    expect(seen(home)).toEqual(expected([dev.use]))
  })
})

describe('another job of the same workspace', () => {
  test('of another API is refused, and nothing changes', async () => {
    const home = makeHome()
    home.write(TEXT)
    const first = makeJob(home, makeUse('acme'))
    await first.enter()
    const was = home.everything()
    const other = makeJob(home, makeUse('acme', { origin: 'https://api.blaxel.dev/v0' }))
    expect(await rejectionOf(other.enter())).toEqual(
      new SetupError(
        "Another job on this machine is logged in to the workspace 'acme' of https://api.blaxel.ai/v0, not of https://api.blaxel.dev/v0; bl can keep only one of them.",
        "Run one after the other, give each runner its own HOME, or set 'login: false'.",
      ),
    )
    expect(home.everything()).toEqual(was)
    await other.leave()
    expect(seen(home).keys).toEqual({ acme: first.use.entry.apiKey, beta: 'own-key-2' })
    await makeJob(home, makeUse('beta', { origin: 'https://api.blaxel.dev/v0' })).enter()
  })

  test('with another credential is told of', async () => {
    const home = makeHome()
    await makeJob(home, makeUse('acme')).enter()
    const [same, other, elsewhere] = [
      makeUse('acme'),
      makeUse('acme', { credential: 'other' }),
      makeUse('beta', { credential: 'other' }),
    ]
    expect(await makeJob(home, same).enter()).toEqual({ sharedWithOtherCredential: false })
    expect(await makeJob(home, other).enter()).toEqual({ sharedWithOtherCredential: true })
    expect(await makeJob(home, elsewhere).enter()).toEqual({ sharedWithOtherCredential: false })
  })

  test.each(['first', 'second'])('keeps its login where the %s goes first', async (which) => {
    const home = makeHome()
    home.write(TEXT)
    const jobs = [makeJob(home, makeUse('acme')), makeJob(home, makeUse('acme'))]
    for (const job of jobs) await job.enter()
    const [goes, stays] = which === 'first' ? jobs : jobs.toReversed()
    expect(await goes?.leave()).toEqual({ workspaceInUse: true })
    expect(seen(home).keys.acme).toBe(stays?.use.entry.apiKey)
    expect(await stays?.leave()).toEqual({ workspaceInUse: false })
    expect(home.read()).toBe(TEXT)
  })
})

describe('a login that is kept', () => {
  test('becomes part of the config, and nothing else stays', async () => {
    const home = makeHome()
    home.write(TEXT, 0o640)
    const job = makeJob(home, makeUse('gamma'))
    await job.enter({ keep: true })
    expect(seen(home)).toEqual({
      context: 'gamma',
      keys: { acme: 'own-key-1', beta: 'own-key-2', gamma: job.use.entry.apiKey },
    })
    expect(readdirSync(home.directory)).toEqual(['config.yaml'])
    expect(lstatSync(home.config).mode & 0o777).toBe(0o640)
  })

  test('makes a private config where there was none', async () => {
    const home = makeHome()
    const job = makeJob(home, makeUse('acme'))
    await job.enter({ keep: true })
    expect(seen(home)).toEqual(expected([job.use]))
    expect([home.directory, home.config].map((path) => lstatSync(path).mode & 0o777)).toEqual([0o700, 0o600])
    expect(readdirSync(home.directory)).toEqual(['config.yaml'])
  })

  test('stays while others come and go, of the same workspace too', async () => {
    const home = makeHome()
    const [before, kept, after] = [
      makeJob(home, makeUse('acme')),
      makeJob(home, makeUse('acme')),
      makeJob(home, makeUse('beta')),
    ]
    await before.enter()
    await kept.enter({ keep: true })
    await after.enter()
    await before.leave()
    await after.leave()
    expect(seen(home)).toEqual(expected([kept.use]))
    expect(readdirSync(home.directory)).toEqual(['config.yaml'])
  })
})

describe('the ledger', () => {
  async function homeWithLogin(): Promise<{ home: Home; job: Job }> {
    const home = makeHome()
    home.write(TEXT)
    const job = makeJob(home, makeUse('gamma'))
    await job.enter()
    return { home, job }
  }

  test('that is lost keeps nobody from taking his own login out', async () => {
    const { home, job } = await homeWithLogin()
    rmSync(home.ledger)
    await job.leave()
    expect(seen(home).keys).toEqual({ acme: 'own-key-1', beta: 'own-key-2' })
    expect(home.read()).toContain('# mine')
    expect(readdirSync(home.directory)).toEqual(['config.yaml'])
  })

  test('that is lost with its directory is no error', async () => {
    const { home, job } = await homeWithLogin()
    rmSync(home.directory, { recursive: true })
    expect(await job.leave()).toEqual({ workspaceInUse: false })
    expect(home.everything()).toEqual({})
  })

  test('that is lost between two logins leaves none of both', async () => {
    const { home, job } = await homeWithLogin()
    rmSync(home.ledger)
    const second = makeJob(home, makeUse('delta'))
    await second.enter()
    expect(Object.keys(seen(home).keys)).toEqual(['acme', 'beta', 'gamma', 'delta'])
    await job.leave()
    await second.leave()
    expect(seen(home).keys).toEqual({ acme: 'own-key-1', beta: 'own-key-2' })
  })

  const damage: Readonly<Record<string, readonly [(home: Home) => void, RegExp]>> = {
    'is empty': [
      (home) => {
        truncateSync(home.ledger)
      },
      /is damaged/,
    ],
    'is no JSON': [
      (home) => {
        writeFileSync(home.ledger, 'SQLite format 3\0')
      },
      /is damaged/,
    ],
    'is of another version': [
      (home) => {
        writeFileSync(home.ledger, readFileSync(home.ledger, 'utf8').replace('"schema":1', '"schema":2'))
      },
      /is of version 2, which this setup-bl does not know/,
    ],
    'holds a token that would be two lines': [
      (home) => {
        writeFileSync(
          home.ledger,
          readFileSync(home.ledger, 'utf8').replaceAll('session-token', 'x\\nworkspaces: []\\n'),
        )
      },
      /is damaged/,
    ],
    'holds a name that leads elsewhere': [
      (home) => {
        writeFileSync(home.ledger, readFileSync(home.ledger, 'utf8').replaceAll('"gamma"', '"../../gamma"'))
      },
      /is damaged/,
    ],
    'is a link': [
      (home) => {
        writeFileSync(join(home.path, 'elsewhere'), readFileSync(home.ledger))
        rmSync(home.ledger)
        symlinkSync(join(home.path, 'elsewhere'), home.ledger)
      },
      /is a symbolic link/,
    ],
    'is a link to nothing': [
      (home) => {
        rmSync(home.ledger)
        symlinkSync('/nowhere', home.ledger)
      },
      /is a symbolic link/,
    ],
    'is a directory': [
      (home) => {
        rmSync(home.ledger)
        mkdirSync(home.ledger)
      },
      /is not a regular file/,
    ],
  }

  test.each(Object.keys(damage))('that %s is never written, and the config neither', async (name) => {
    const { home, job } = await homeWithLogin()
    const [spoil, fault] = damage[name] ?? [() => undefined, /./]
    spoil(home)
    const was = withoutLock(home)
    for (const error of [await rejectionOf(makeJob(home, makeUse('delta')).enter()), await rejectionOf(job.leave())]) {
      expect(error).toBeInstanceOf(SetupError)
      expect((error as SetupError).message).toMatch(fault)
      expect((error as SetupError).message).toContain(home.ledger)
    }
    expect(withoutLock(home)).toEqual(was)
  })

  test('that is cut off anywhere is never written, and the config neither', async () => {
    const { home, job } = await homeWithLogin()
    const whole = readFileSync(home.ledger)
    await holdsAsync(
      // The last byte is a line end.
      fc.asyncProperty(fc.nat({ max: whole.length - 2 }), async (length) => {
        writeFileSync(home.ledger, whole.subarray(0, length))
        const was = withoutLock(home)
        expect(await rejectionOf(job.leave())).toBeInstanceOf(SetupError)
        expect(withoutLock(home)).toEqual(was)
      }),
      50,
    )
    writeFileSync(home.ledger, whole)
    await job.leave()
    expect(home.read()).toBe(TEXT)
  })
})

/** The lock tells nothing, and its file may come and go. */
function withoutLock(home: Home): Record<string, string> {
  return Object.fromEntries(Object.entries(home.everything()).filter(([name]) => !name.endsWith('setup-bl.lock')))
}

describe('a config that can not be changed', () => {
  const special: Readonly<Record<string, readonly [(home: Home) => void, string]>> = {
    'a symbolic link': [
      (home) => {
        writeFileSync(join(home.path, 'elsewhere'), TEXT)
        symlinkSync(join(home.path, 'elsewhere'), home.config)
      },
      'is a symbolic link',
    ],
    'a link to nothing': [
      (home) => {
        symlinkSync('/nowhere', home.config)
      },
      'is a symbolic link',
    ],
    'a directory': [
      (home) => {
        mkdirSync(home.config)
      },
      'is not a regular file',
    ],
    'a FIFO': [
      (home) => {
        execFileSync('mkfifo', [home.config])
      },
      'is not a regular file',
    ],
    'a file that nobody may write': [
      (home) => {
        home.write(TEXT)
        chmodSync(home.config, 0o400)
      },
      'is read-only',
    ],
    'a file of more than 4 MB': [
      (home) => {
        home.write(`# ${'x'.repeat(4_000_000)}\n`)
      },
      'is larger than 4 MB',
    ],
  }

  test.each(Object.keys(special))('since it is %s is refused and left alone', async (name) => {
    const home = makeHome()
    mkdirSync(home.directory, { mode: 0o755 })
    const [make, fault] = special[name] ?? [() => undefined, '']
    make(home)
    const was = home.everything()
    const error = await rejectionOf(makeJob(home, makeUse('acme')).enter())
    expect(error).toBeInstanceOf(SetupError)
    expect((error as SetupError).message).toContain(`${home.config} ${fault}`)
    expect(home.everything()).toEqual(was)
  })

  // Each of them gets 2 s to become whole, so all of them wait together.
  const unfit: Readonly<Record<string, readonly [string, string]>> = {
    'no YAML': ['context:\n  workspace: acme\n bad\n', 'line 3: it is not valid YAML'],
    torn: ['context:\n  workspace: "acm', 'line 2: it is not valid YAML'],
    anchors: ['a: 1\nb: &x 1\n', 'line 2: it uses anchors'],
    'workspaces in flow style': [
      'a: 1\nb: 2\nworkspaces: [{name: acme}]\n',
      'line 3: its workspaces are not a block sequence',
    ],
    'a name twice': ['workspaces:\n- name: a\n- name: a\n', 'line 3: it names a workspace twice'],
    'several documents': ['a: 1\n---\nb: 2\n', 'line 3: it holds several documents'],
    'no map': ['- a\n', 'line 1: it is not a block map'],
    'no UTF-8': ['a: \xFF\n', 'is not UTF-8'],
  }

  test('since it holds no YAML of a form that can be changed is refused with its line, and left alone', async () => {
    const outcomes = await Promise.all(
      Object.values(unfit).map(async ([text, fault]) => {
        const home = makeHome()
        home.write('')
        writeFileSync(home.config, text, 'latin1')
        const was = home.everything()
        const error = await rejectionOf(makeJob(home, makeUse('acme')).enter())
        return {
          fault,
          message: error instanceof SetupError ? error.message : '',
          config: home.config,
          was,
          is: home.everything(),
        }
      }),
    )
    for (const { fault, message, config, was, is } of outcomes) {
      expect(message).toContain(fault)
      expect(message).toContain(config)
      expect(is).toEqual(was)
    }
  })

  test('any more when a job leaves is an error, and is left alone until it can be', async () => {
    const home = makeHome()
    home.write(TEXT)
    const job = makeJob(home, makeUse('acme'))
    await job.enter()
    const rendered = home.read() ?? ''
    const torn = `${rendered}\n  torn: "`
    home.write(torn)
    expect(await rejectionOf(job.leave())).toBeInstanceOf(SetupError)
    expect(home.read()).toBe(torn)
    home.write(`${rendered}# mended\n`)
    await job.leave()
    expect(home.read()).toBe(`${TEXT}# mended\n`)
  })
})

test('a job that is cancelled while it waits ends with the reason, and nothing changes', async () => {
  const home = makeHome()
  home.write(TEXT)
  const was = home.everything()
  const reason = new Error('cancelled')
  expect(await rejectionOf(makeJob(home, makeUse('acme'), AbortSignal.abort(reason)).enter())).toBe(reason)
  expect(home.everything()).toEqual(was)
})
