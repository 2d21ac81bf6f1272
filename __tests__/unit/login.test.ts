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
import { DatabaseSync } from 'node:sqlite'
import { join } from 'node:path'
import { setTimeout as pause } from 'node:timers/promises'
import { parse, stringify } from 'yaml'
import type { NewLogin } from '../../src/login/login.ts'
import { SetupError } from '../../src/util/errors.ts'
import { configText, WORKSPACES } from './configs.ts'
import { makeHome, makeJob, makeLogin, removeHomes, type Home, type Job } from './logins.ts'
import { holdsAsync, rejectionOf } from './property.ts'
import { shownMode, testWith } from './system.ts'

afterEach(() => {
  jest.restoreAllMocks()
  removeHomes()
})

/** Lets time pass for the code under test. */
function pass(ms: number): void {
  const later = Date.now() + ms
  jest.spyOn(Date, 'now').mockImplementation(() => later)
}

interface Seen {
  readonly context: string
  readonly keys: Readonly<Record<string, string>>
}

/** What a reader of YAML finds in the config, every scalar as it is written. */
function seen(home: Home): Seen {
  const config = (parse(text(home), { schema: 'failsafe' }) ?? {}) as {
    readonly context?: { readonly workspace?: string } | string
    readonly workspaces?:
      readonly { readonly name: string; readonly credentials: { readonly apiKey: string } }[] | string
  }
  const context = typeof config.context === 'object' ? (config.context.workspace ?? '') : ''
  const entries = typeof config.workspaces === 'object' ? config.workspaces : []
  return { context, keys: Object.fromEntries(entries.map(({ name, credentials }) => [name, credentials.apiKey])) }
}

/** The config as a program reads it. */
function text(home: Home): string {
  return (home.read() ?? '').replace(/^\uFEFF/, '')
}

/** The config as `bl` leaves it, written as it does it: the whole file anew, without a lock. */
function blWrites(home: Home, { context, keys }: Seen): void {
  const entries = Object.entries(keys).map(
    ([name, apiKey]) => `- name: ${name}\n  credentials:\n    apiKey: "${apiKey}"\n`,
  )
  home.write(`context:\n  workspace: ${context}\nworkspaces:\n${entries.join('')}tracking: false\n`)
}

function blLogin(home: Home, workspace: string, key: string): void {
  blWrites(home, { context: workspace, keys: { ...seen(home).keys, [workspace]: key } })
}

function blLogout(home: Home, workspace: string): void {
  const { context, keys } = seen(home)
  const others = Object.entries(keys).filter(([name]) => name !== workspace)
  blWrites(home, { context: context === workspace ? '' : context, keys: Object.fromEntries(others) })
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

const anyLogin = fc.record({
  workspace: fc.constantFrom(...WORKSPACES, 'new-1'),
  hours: fc.integer({ min: 1, max: 3 }),
})
interface AnyLogin {
  readonly workspace: string
  readonly hours: number
}

/** Logins that begin and end in any order: the first time that a number comes up it is added, the second time removed. */
const comingsAndGoings = fc.array(anyLogin, { minLength: 1, maxLength: 3 }).chain((logins) =>
  fc.record({
    logins: fc.constant(logins),
    order: shuffled(logins.flatMap((_, index) => [index, index])),
  }),
)

function shuffled<T>(values: readonly T[]): fc.Arbitrary<T[]> {
  return fc.shuffledSubarray([...values], { minLength: values.length })
}

function jobsOf(home: Home, logins: readonly AnyLogin[]): Job[] {
  const now = Date.now()
  return logins.map(({ workspace, hours }) =>
    makeJob(home, makeLogin(workspace, { expiresAt: now + hours * 3_600_000 })),
  )
}

/** What must stand in the config for these live logins, oldest first: the newest of each workspace. */
function expected(live: readonly NewLogin[]): Seen {
  return {
    context: live.at(-1)?.entry.name ?? '',
    keys: Object.fromEntries(live.map(({ entry }) => [entry.name, entry.apiKey])),
  }
}

/** A job logs in or, where it is among the live ones, logs out. */
async function comeOrGo(job: Job | undefined, live: readonly Job[]): Promise<readonly Job[]> {
  if (!job) throw new Error('there is no such job')
  const others = live.filter((other) => other !== job)
  if (others.length === live.length) {
    await job.add()
    return [...live, job]
  }
  const { isTokenInUse } = await job.remove()
  expect(isTokenInUse).toBe(others.some(({ login }) => login.entry.name === job.login.entry.name))
  return others
}

/** What must stand in the config while these jobs live. */
function withLogins(live: readonly Job[], others: Seen['keys']): Seen {
  const { context, keys } = expected(live.map(({ login }) => login))
  return { context, keys: { ...others, ...keys } }
}

describe('one login', () => {
  test('without a config makes one, and leaves nothing of it', async () => {
    const home = makeHome()
    const job = makeJob(
      home,
      makeLogin('acme', { entry: { name: 'acme', id: 'ws-1', env: 'dev', apiKey: 'token-12345' } }),
    )
    expect(await job.add()).toEqual([])
    expect(parse(home.read() ?? '')).toEqual({
      context: { workspace: 'acme' },
      workspaces: [{ name: 'acme', id: 'ws-1', env: 'dev', credentials: { apiKey: 'token-12345' } }],
    })
    const modes = [home.directory, home.config, home.database].map((path) => lstatSync(path).mode & 0o777)
    expect(modes).toEqual([0o700, 0o600, 0o600].map(shownMode))
    expect(await job.remove()).toEqual({ isTokenInUse: false })
    expect(home.everything()).toEqual({})
    expect(readdirSync(home.directory)).toEqual(['setup-bl.db'])
    expect(readFileSync(home.database, 'latin1')).not.toContain('token-12345')
  })

  test.each(['600', '640', '644', '664', '755'])(
    'replaces an entry of a config of mode %s, and puts it back as it was',
    async (mode) => {
      const home = makeHome()
      home.write(TEXT)
      chmodSync(home.config, Number.parseInt(mode, 8))
      const was = home.everything()
      const job = makeJob(home, makeLogin('acme'))
      await job.add()
      // The group keeps what it had; a token is nothing for others.
      expect(lstatSync(home.config).mode & 0o777).toBe(shownMode(Number.parseInt(mode, 8) & 0o770))
      expect(seen(home)).toEqual({ context: 'acme', keys: { acme: job.login.entry.apiKey, beta: 'own-key-2' } })
      await job.remove()
      expect(home.everything()).toEqual(was)
    },
  )

  test('leaves what others have put into the directory', async () => {
    const home = makeHome()
    const job = makeJob(home, makeLogin('acme'))
    await job.add()
    writeFileSync(join(home.directory, 'version'), '{}')
    await job.remove()
    expect(readdirSync(home.directory)).toEqual(['setup-bl.db', 'version'])
  })

  test.each(['', '\uFEFF', '# mine', '---'])('puts back a config that is %j', async (config) => {
    const home = makeHome()
    home.write(config)
    const job = makeJob(home, makeLogin('acme'))
    await job.add()
    expect(seen(home)).toEqual(expected([job.login]))
    await job.remove()
    expect(home.read()).toBe(config)
  })

  test('does not lose a login of the same workspace that has the very same key', async () => {
    const home = makeHome()
    home.write(TEXT, 0o644)
    const was = home.everything()
    const job = makeJob(home, makeLogin('acme', { entry: { name: 'acme', apiKey: 'own-key-1' } }))
    await job.add()
    await job.remove()
    expect(home.everything()).toEqual(was)
  })

  test('does not lose it where another job logs in with it too, nor where the database is lost', async () => {
    const home = makeHome()
    home.write(TEXT)
    const entry = { name: 'acme', apiKey: 'own-key-1' }
    const jobs = [makeJob(home, makeLogin('acme', { entry })), makeJob(home, makeLogin('acme', { entry }))]
    for (const job of jobs) await job.add()
    for (const job of jobs) await job.remove()
    expect(home.read()).toBe(TEXT)
    for (const job of jobs) await job.add()
    rmSync(home.database)
    for (const job of jobs) await job.remove()
    expect(seen(home).keys).toEqual({ acme: 'own-key-1', beta: 'own-key-2' })
  })

  test('that was removed, or never added, is removed again without doing anything', async () => {
    const home = makeHome()
    home.write(TEXT)
    const was = home.everything()
    const [job, never] = [makeJob(home, makeLogin('acme')), makeJob(home, makeLogin('acme'))]
    await job.add()
    await job.remove()
    expect(await job.remove()).toEqual({ isTokenInUse: false })
    expect(await never.remove()).toEqual({ isTokenInUse: false })
    expect(home.everything()).toEqual(was)
  })

  test('that is removed where nothing is leaves nothing', async () => {
    const home = makeHome()
    expect(await makeJob(home, makeLogin('acme')).remove()).toEqual({ isTokenInUse: false })
    expect(readdirSync(home.path)).toEqual([])
  })

  test('that is added again, as after a kill, counts once', async () => {
    const home = makeHome()
    const job = makeJob(home, makeLogin('acme'))
    await job.add()
    await job.add()
    await job.remove()
    expect(home.everything()).toEqual({})
  })
})

describe('logins that come and go in any order', () => {
  test('are all there while they live, and leave every byte, mode and absence as it was', async () => {
    await holdsAsync(
      fc.asyncProperty(before, comingsAndGoings, async (start, { logins, order }) => {
        const home = homeAsBefore(start)
        const was = home.everything()
        const own = seen(home)
        const jobs = jobsOf(home, logins)
        let live: readonly Job[] = []
        for (const number of order) {
          live = await comeOrGo(jobs[number], live)
          if (live.length > 0) expect(seen(home)).toEqual(withLogins(live, own.keys))
        }
        expect(home.everything()).toEqual(was)
        expectNoToken(home)
        rmSync(home.path, { recursive: true })
      }),
      60,
    )
  })

  test('twenty at once, and twenty that leave at once', async () => {
    const home = makeHome()
    home.write(TEXT, 0o644)
    const was = home.everything()
    const jobs = Array.from({ length: 20 }, (_, index) => makeJob(home, makeLogin(`ws-${index}`)))
    await Promise.all(jobs.map((job) => job.add()))
    expect(Object.keys(seen(home).keys).sort()).toEqual(
      ['acme', 'beta', ...jobs.map(({ login }) => login.entry.name)].sort(),
    )
    await Promise.all(jobs.map((job) => job.remove()))
    expect(home.everything()).toEqual(was)
    expectNoToken(home)
  })

  test('those that come while the last one goes', async () => {
    const home = makeHome()
    for (let round = 0; round < 10; round += 1) {
      const [first, second, third] = ['acme', 'beta', 'acme'].map((name) => makeJob(home, makeLogin(name)))
      if (!first || !second || !third) throw new Error('unreachable')
      await first.add()
      await Promise.all([first.remove(), second.add(), third.add()])
      expect(seen(home).keys).toEqual({ beta: second.login.entry.apiKey, acme: third.login.entry.apiKey })
      await Promise.all([second.remove(), third.remove()])
      expect(home.read()).toBeUndefined()
    }
  })

  test('one that leaves without changing anything does not touch the config', async () => {
    const home = makeHome()
    home.write(TEXT)
    const [older, newer] = [makeJob(home, makeLogin('acme')), makeJob(home, makeLogin('acme'))]
    await older.add()
    await newer.add()
    const { ino, mtimeNs } = lstatSync(home.config, { bigint: true })
    await older.remove()
    expect(lstatSync(home.config, { bigint: true })).toMatchObject({ ino, mtimeNs })
    // Nor where bl has written the same in its own way.
    const latest = makeJob(home, makeLogin('acme'))
    await latest.add()
    home.write(stringify(parse(text(home))))
    const written = lstatSync(home.config, { bigint: true })
    await newer.remove()
    expect(lstatSync(home.config, { bigint: true }).ino).toBe(written.ino)
    await latest.remove()
    expect(home.read()).toBe(TEXT)
  })
})

/** No token of ours is in the database, nor in a journal of it. */
function expectNoToken(home: Home): void {
  const names = readdirSync(home.directory).filter((name) => name.startsWith('setup-bl'))
  expect(names).toEqual(['setup-bl.db'])
  expect(readFileSync(home.database, 'latin1')).not.toContain('session-token')
}

type Change =
  | { readonly kind: 'logs in' | 'logs out'; readonly workspace: string }
  | { readonly kind: 'comments' }
  | { readonly kind: 'removes the config' }

/** What is in the config that is not ours. */
interface Theirs {
  readonly keys: Seen['keys']
  /** Undefined where nobody can say who wanted it. */
  readonly context: string | undefined
  readonly comments: readonly string[]
  /** Undefined where a file that says nothing is as good as none. */
  readonly isThere: boolean | undefined
}

/**
 * Another process changes the config; what is theirs then.
 * @param hidden the machine's own keys that ours had replaced: they come back where the entry is gone
 */
function changed(
  action: Change,
  home: Home,
  mark: number,
  theirs: Theirs,
  hidden: ReadonlyMap<string, string>,
): Theirs {
  const after = change(action, home, mark, theirs)
  if (home.read() === undefined) return after
  const restored = [...hidden].filter(([name]) => !(name in seen(home).keys))
  if (restored.length === 0) return after
  return { ...after, keys: { ...after.keys, ...Object.fromEntries(restored) }, isThere: true }
}

function change(action: Change, home: Home, mark: number, theirs: Theirs): Theirs {
  switch (action.kind) {
    case 'logs in': {
      const { workspace } = action
      blLogin(home, workspace, `their-key-${mark}`)
      const context = workspace.startsWith('theirs') ? workspace : undefined
      return { keys: { ...theirs.keys, [workspace]: `their-key-${mark}` }, context, comments: [], isThere: true }
    }
    case 'logs out': {
      const { workspace } = action
      blLogout(home, workspace)
      const keys = Object.fromEntries(Object.entries(theirs.keys).filter(([name]) => name !== workspace))
      return { keys, context: undefined, comments: [], isThere: Object.keys(keys).length > 0 ? true : undefined }
    }
    case 'comments': {
      const config = home.read()
      if (config === undefined) return theirs
      const comment = `# another ${mark}`
      home.write(`${config}${/[^\n]$/.test(config) ? '\n' : ''}${comment}\n`)
      return { ...theirs, comments: [...theirs.comments, comment], isThere: true }
    }
    case 'removes the config':
      rmSync(home.config, { force: true })
      return { keys: {}, context: '', comments: [], isThere: false }
  }
}

describe('another process that changes the config between the logins', () => {
  const action = fc.oneof(
    ...(['logs in', 'logs out'] as const).map((kind) => ({
      weight: 3,
      arbitrary: fc.constantFrom('theirs-1', 'theirs-2').map((workspace): Change => ({ kind, workspace })),
    })),
    ...(['logs in', 'logs out'] as const).map((kind) => ({
      weight: 2,
      arbitrary: fc.constantFrom(...WORKSPACES, 'new-1').map((workspace): Change => ({ kind, workspace })),
    })),
    { weight: 3, arbitrary: fc.constant<Change>({ kind: 'comments' }) },
    { weight: 1, arbitrary: fc.constant<Change>({ kind: 'removes the config' }) },
  )
  const story = fc
    .tuple(fc.array(anyLogin, { minLength: 1, maxLength: 2 }), fc.array(action, { minLength: 1, maxLength: 3 }))
    .chain(([logins, actions]) =>
      fc.record({
        logins: fc.constant(logins),
        order: shuffled<number | Change>([...logins.flatMap((_, index) => [index, index]), ...actions]),
      }),
    )
  const plainContext = (context: string) => context.replace(/^(~|null)$/, '')

  test('loses nothing, and nothing of ours stays', async () => {
    await holdsAsync(
      fc.asyncProperty(before, story, async (start, { logins, order }) => {
        const home = homeAsBefore(start)
        let theirs: Theirs = { ...seen(home), comments: [], isThere: existsSync(home.config) }
        const jobs = jobsOf(home, logins)
        let live: readonly Job[] = []
        let hidden = new Map<string, string>()
        for (const [mark, event] of order.entries()) {
          if (typeof event === 'number') {
            live = await comeOrGo(jobs[event], live)
            if (live.length > 0) expect(seen(home)).toEqual(withLogins(live, theirs.keys))
            const names = live.map(({ login }) => login.entry.name)
            hidden = new Map(Object.entries(theirs.keys).filter(([name]) => names.includes(name)))
          } else {
            theirs = changed(event, home, mark, theirs, hidden)
          }
        }
        const after = home.read() ?? ''
        if (theirs.isThere !== undefined) expect(existsSync(home.config)).toBe(theirs.isThere)
        expect(seen(home).keys).toEqual(theirs.keys)
        if (theirs.context !== undefined) expect(plainContext(seen(home).context)).toBe(plainContext(theirs.context))
        expect(after).not.toContain('session-token')
        // Those that bl has dropped may come back with the base.
        expect(after.match(/# another \d+/g) ?? []).toEqual(expect.arrayContaining([...theirs.comments]))
        expectNoToken(home)
        rmSync(home.path, { recursive: true })
      }),
      100,
    )
  })

  test('by writing what it has read before a login ended does not bring it back', async () => {
    const home = makeHome()
    home.write(TEXT)
    const [ended, other] = [makeJob(home, makeLogin('acme')), makeJob(home, makeLogin('gamma'))]
    await ended.add()
    await other.add()
    const read = home.read() ?? ''
    await ended.remove()
    home.write(`${read}# theirs\n`)
    await other.remove()
    expect(parse(text(home))).toEqual(parse(TEXT))
    expect(home.read()).toContain('# mine')
    expect(home.read()).toContain('# theirs')
  })

  test('by writing what it has read before the last login ended does not keep it for long', async () => {
    const home = makeHome()
    home.write(TEXT)
    const ended = makeJob(home, makeLogin('gamma'))
    await ended.add()
    const read = home.read() ?? ''
    await ended.remove()
    home.write(`${read}# theirs\n`)
    const next = makeJob(home, makeLogin('delta'))
    await next.add()
    await next.remove()
    expect(home.read()).not.toContain('session-token')
    expect(seen(home).keys).toEqual({ acme: 'own-key-1', beta: 'own-key-2' })
  })

  test('back to what it was is taken at its word', async () => {
    const home = makeHome()
    home.write(TEXT)
    const job = makeJob(home, makeLogin('acme'))
    await job.add()
    home.write(TEXT)
    await job.remove()
    expect(home.read()).toBe(TEXT)
  })

  test('as bl logout does brings the entry and the context back that ours had replaced', async () => {
    const home = makeHome()
    home.write(TEXT)
    const job = makeJob(home, makeLogin('acme'))
    await job.add()
    blLogout(home, 'acme')
    await job.remove()
    expect(home.read()).toBe(TEXT)
  })

  test('as bl logout does ends our login only', async () => {
    const home = makeHome()
    const [acme, beta] = [makeJob(home, makeLogin('acme')), makeJob(home, makeLogin('beta'))]
    await acme.add()
    await beta.add()
    blLogout(home, 'acme')
    await acme.remove()
    expect(seen(home)).toEqual(expected([beta.login]))
    await beta.remove()
    expect(home.read()).toBeUndefined()
  })

  test('by truncating it and writing it 100 ms later is waited for', async () => {
    const home = makeHome()
    const own = makeJob(home, makeLogin('acme'))
    home.write('')
    await Promise.all([
      own.add(),
      pause(100).then(() => {
        home.write(TEXT)
      }),
    ])
    expect(seen(home).keys).toEqual({ acme: own.login.entry.apiKey, beta: 'own-key-2' })
    const rendered = home.read() ?? ''
    home.write('')
    await Promise.all([
      own.remove(),
      pause(100).then(() => {
        home.write(`${rendered}# theirs\n`)
      }),
    ])
    expect(parse(text(home))).toEqual(parse(TEXT))
    expect(home.read()).toContain('# theirs')
  })

  test('of its mode is kept', async () => {
    const home = makeHome()
    home.write(TEXT, 0o644)
    const job = makeJob(home, makeLogin('acme'))
    await job.add()
    chmodSync(home.config, 0o600)
    home.write(`${home.read() ?? ''}# theirs\n`)
    await job.remove()
    expect(lstatSync(home.config).mode & 0o777).toBe(shownMode(0o600))
  })
})

describe('a login that has expired', () => {
  const later = (ms: number) => ({ expiresAt: Date.now() + ms })

  test("still hides the machine's own login, and bl uses a live one of the workspace first", async () => {
    const home = makeHome()
    home.write(TEXT)
    const [lasting, expired] = [makeJob(home, makeLogin('acme', later(9e6))), makeJob(home, makeLogin('acme'))]
    await lasting.add()
    await expired.add()
    expect(seen(home).keys.acme).toBe(expired.login.entry.apiKey)
    pass(4_000_000)
    await makeJob(home, makeLogin('gamma', later(9e6))).add()
    expect(seen(home).keys.acme).toBe(lasting.login.entry.apiKey)
    await lasting.remove()
    expect(seen(home).keys.acme).toBe(expired.login.entry.apiKey)
    await expired.remove()
    expect(seen(home).keys.acme).toBe('own-key-1')
  })

  test('is dropped a day later, where its job was killed and never removed it', async () => {
    const home = makeHome()
    home.write(TEXT)
    const was = home.everything()
    const killed = makeJob(home, makeLogin('acme'))
    await killed.add()
    pass(3_600_000 + 86_400_000)
    const next = makeJob(home, makeLogin('gamma', later(9e6)))
    await next.add()
    expect(seen(home)).toEqual({
      context: 'gamma',
      keys: { acme: 'own-key-1', beta: 'own-key-2', gamma: next.login.entry.apiKey },
    })
    expect(await next.remove()).toEqual({ isTokenInUse: false })
    expect(home.everything()).toEqual(was)
    expect(await killed.remove()).toEqual({ isTokenInUse: false })
    expect(home.everything()).toEqual(was)
  })

  test('without an expiry counts for a day', async () => {
    const home = makeHome()
    const killed = makeJob(home, makeLogin('acme', { expiresAt: undefined }))
    await killed.add()
    pass(86_400_000 - 10_000)
    const next = makeJob(home, makeLogin('beta', later(9e6)))
    await next.add()
    expect(Object.keys(seen(home).keys)).toEqual(['acme', 'beta'])
    pass(20_000)
    await next.remove()
    expect(home.everything()).toEqual({})
  })

  test('by a clock that is wrong is as good as one without an expiry', async () => {
    const home = makeHome()
    const job = makeJob(home, makeLogin('acme', later(-5_000)))
    await job.add()
    const [stored] = home.store().logins
    expect(stored?.expiresAt).toBeGreaterThan(Date.now() + 80_000_000)
  })

  test('does not stand in the way of another API, nor of revoking a key', async () => {
    const home = makeHome()
    await makeJob(home, makeLogin('acme')).add()
    pass(4_000_000)
    const dev = makeJob(home, makeLogin('acme', { endpoint: 'https://api.blaxel.dev/v0', ...later(9e6) }))
    expect(await dev.add()).toEqual([])
    expect(seen(home)).toEqual(expected([dev.login]))
    expect(await dev.remove()).toEqual({ isTokenInUse: false })
  })
})

describe('another job of the same workspace', () => {
  test('at another API is refused, and nothing changes', async () => {
    const home = makeHome()
    home.write(TEXT)
    const first = makeJob(home, makeLogin('acme'))
    await first.add()
    const was = [home.everything(), home.store()]
    const other = makeJob(home, makeLogin('acme', { endpoint: 'https://api.blaxel.dev/v0' }))
    expect(await rejectionOf(other.add())).toEqual(
      new SetupError(
        "Another job on this machine is logged in to workspace 'acme' at https://api.blaxel.ai/v0, not at https://api.blaxel.dev/v0.",
        "Run one after the other, give each runner its own HOME, or set 'login: false'.",
      ),
    )
    expect([home.everything(), home.store()]).toEqual(was)
    await other.remove()
    expect(seen(home).keys).toEqual({ acme: first.login.entry.apiKey, beta: 'own-key-2' })
    await makeJob(home, makeLogin('beta', { endpoint: 'https://api.blaxel.dev/v0' })).add()
  })

  test('may use the token of one that leaves; another step of the same job does not count', async () => {
    const home = makeHome()
    const [one, two, other] = [
      makeLogin('acme', { job: '/one' }),
      makeLogin('acme', { job: '/one' }),
      makeLogin('acme', { job: '/other' }),
    ].map((login) => makeJob(home, login))
    await one?.add()
    await two?.add()
    expect(await two?.remove()).toEqual({ isTokenInUse: false })
    await other?.add()
    expect(await one?.remove()).toEqual({ isTokenInUse: true })
    expect(await other?.remove()).toEqual({ isTokenInUse: false })
  })

  test('or step that has the very same token needs it', async () => {
    const home = makeHome()
    const entry = { name: 'acme', apiKey: 'session-token-shared' }
    const [one, two] = [makeLogin('acme', { job: '/one', entry }), makeLogin('acme', { job: '/one', entry })].map(
      (login) => makeJob(home, login),
    )
    await one?.add()
    await two?.add()
    expect(await one?.remove()).toEqual({ isTokenInUse: true })
    expect(seen(home).keys).toEqual({ acme: 'session-token-shared' })
    expect(await two?.remove()).toEqual({ isTokenInUse: false })
    expect(home.everything()).toEqual({})
  })

  test.each(['first', 'second'])('keeps its login where the %s goes first', async (which) => {
    const home = makeHome()
    home.write(TEXT)
    const jobs = [makeJob(home, makeLogin('acme')), makeJob(home, makeLogin('acme'))]
    for (const job of jobs) await job.add()
    const [goes, stays] = which === 'first' ? jobs : jobs.toReversed()
    expect(await goes?.remove()).toEqual({ isTokenInUse: true })
    expect(seen(home).keys.acme).toBe(stays?.login.entry.apiKey)
    expect(await stays?.remove()).toEqual({ isTokenInUse: false })
    expect(home.read()).toBe(TEXT)
  })
})

describe('a login that is kept', () => {
  test('becomes part of the config, and the database forgets it', async () => {
    const home = makeHome()
    home.write(TEXT, 0o644)
    const job = makeJob(home, makeLogin('gamma', { isKept: true }))
    await job.add()
    expect(seen(home)).toEqual({
      context: 'gamma',
      keys: { acme: 'own-key-1', beta: 'own-key-2', gamma: job.login.entry.apiKey },
    })
    expect(lstatSync(home.config).mode & 0o777).toBe(shownMode(0o644))
    expectNoToken(home)
  })

  test('makes a private config where there was none', async () => {
    const home = makeHome()
    const job = makeJob(home, makeLogin('acme', { isKept: true }))
    await job.add()
    expect(seen(home)).toEqual(expected([job.login]))
    const modes = [home.directory, home.config].map((path) => lstatSync(path).mode & 0o777)
    expect(modes).toEqual([0o700, 0o600].map(shownMode))
  })

  test('is used at once, and stays while others come and go, of the same workspace too', async () => {
    const home = makeHome()
    const [before, kept, after] = [
      makeJob(home, makeLogin('acme')),
      makeJob(home, makeLogin('acme', { isKept: true })),
      makeJob(home, makeLogin('beta')),
    ]
    await before.add()
    await kept.add()
    expect(seen(home)).toEqual(expected([kept.login]))
    await after.add()
    await before.remove()
    await after.remove()
    expect(seen(home)).toEqual(expected([kept.login]))
    expectNoToken(home)
  })
})

describe('a database', () => {
  async function homeWithLogin(): Promise<{ home: Home; job: Job }> {
    const home = makeHome()
    home.write(TEXT)
    const job = makeJob(home, makeLogin('gamma'))
    await job.add()
    return { home, job }
  }
  const emptied: Readonly<Record<string, (home: Home) => void>> = {
    'was deleted': (home) => {
      rmSync(home.database)
    },
    'was truncated': (home) => {
      truncateSync(home.database)
    },
    'was emptied': (home) => {
      const connection = new DatabaseSync(home.database)
      connection.exec('PRAGMA secure_delete = ON; DELETE FROM store')
      connection.close()
    },
  }

  test.each(Object.keys(emptied))('that %s keeps no login from being removed', async (name) => {
    const { home, job } = await homeWithLogin()
    emptied[name]?.(home)
    await job.remove()
    expect(seen(home).keys).toEqual({ acme: 'own-key-1', beta: 'own-key-2' })
    expect(home.read()).toContain('# mine')
    expectNoToken(home)
  })

  test('with a journal that a killed job has left has none after the next removal, whatever that has to do', async () => {
    const home = makeHome()
    const [job, never] = [makeJob(home, makeLogin('acme')), makeJob(home, makeLogin('acme'))]
    await job.add()
    await job.remove()
    // As SQLite leaves it in exclusive mode: without a header, but with pages.
    writeFileSync(`${home.database}-journal`, `${'\0'.repeat(512)}session-token-of-page`)
    await never.remove()
    expectNoToken(home)
  })

  test('that was deleted with its directory is no error', async () => {
    const { home, job } = await homeWithLogin()
    rmSync(home.directory, { recursive: true })
    expect(await job.remove()).toEqual({ isTokenInUse: false })
    expect(existsSync(home.directory)).toBe(false)
  })

  test('that is lost between two logins leaves none of both', async () => {
    const { home, job } = await homeWithLogin()
    rmSync(home.database)
    const second = makeJob(home, makeLogin('delta'))
    await second.add()
    expect(Object.keys(seen(home).keys)).toEqual(['acme', 'beta', 'gamma', 'delta'])
    await job.remove()
    await second.remove()
    expect(seen(home).keys).toEqual({ acme: 'own-key-1', beta: 'own-key-2' })
  })

  const inDatabase = (sql: string) => (home: Home) => {
    const connection = new DatabaseSync(home.database)
    connection.exec(sql)
    connection.close()
  }
  const damage: Readonly<Record<string, readonly [(home: Home) => void, RegExp]>> = {
    'is a text': [
      (home) => {
        writeFileSync(home.database, 'mine\n'.repeat(1000))
      },
      /is damaged/,
    ],
    'is cut off': [
      (home) => {
        truncateSync(home.database, 5000)
      },
      /is damaged/,
    ],
    'is of another version': [inDatabase('PRAGMA user_version = 2'), /is of version 2/],
    'has other tables': [inDatabase('DROP TABLE store; CREATE TABLE other (id)'), /is damaged/],
    'holds no JSON': [inDatabase("UPDATE store SET value = '{'"), /is damaged/],
    'holds a token that would be two lines': [
      (home) => {
        home.changeStore((value) => value.replaceAll('session-token', 'x\\nworkspaces: []\\n'))
      },
      /is damaged/,
    ],
    'holds a name that leads elsewhere': [
      (home) => {
        home.changeStore((value) => value.replaceAll('"gamma"', '"../../gamma"'))
      },
      /is damaged/,
    ],
    'holds a base that is no config': [
      (home) => {
        home.changeStore((value) => value.replace(/"text":"[^"]*/, '"text":"- a'))
      },
      /is damaged/,
    ],
    'is a link': [
      (home) => {
        writeFileSync(join(home.path, 'elsewhere'), readFileSync(home.database))
        rmSync(home.database)
        symlinkSync(join(home.path, 'elsewhere'), home.database)
      },
      /is a symbolic link/,
    ],
    'is a link to nothing': [
      (home) => {
        rmSync(home.database)
        symlinkSync('/nowhere', home.database)
      },
      /is a symbolic link/,
    ],
    'is a directory': [
      (home) => {
        rmSync(home.database)
        mkdirSync(home.database)
      },
      /is not a regular file/,
    ],
  }

  const neverWritten = async (name: string) => {
    const { home, job } = await homeWithLogin()
    const [spoil, fault] = damage[name] ?? [() => undefined, /./]
    spoil(home)
    const bytes = () => (lstatSync(home.database).isFile() ? readFileSync(home.database, 'latin1') : '')
    const was = [home.everything(), bytes()]
    for (const error of [await rejectionOf(makeJob(home, makeLogin('delta')).add()), await rejectionOf(job.remove())]) {
      expect(error).toBeInstanceOf(SetupError)
      expect((error as SetupError).message).toMatch(fault)
      expect((error as SetupError).message).toContain(home.database)
    }
    expect([home.everything(), bytes()]).toEqual(was)
  }
  const links = ['is a link', 'is a link to nothing']
  const others = Object.keys(damage).filter((name) => !links.includes(name))
  test.each(others)('that %s is never written, and the config neither', neverWritten)
  testWith('symbolic links').each(links)('that %s is never written, and the config neither', neverWritten)
})

describe('a config that can not be changed', () => {
  const REFUSED = 'since it is %s is refused and left alone'
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

  const refused = async (name: string) => {
    const home = makeHome()
    mkdirSync(home.directory, { mode: 0o755 })
    const [make, fault] = special[name] ?? [() => undefined, '']
    make(home)
    const was = home.everything()
    const error = await rejectionOf(makeJob(home, makeLogin('acme')).add())
    expect(error).toBeInstanceOf(SetupError)
    expect((error as SetupError).message).toContain(`${home.config} ${fault}`)
    expect(home.everything()).toEqual(was)
  }
  test.each(['a directory', 'a file that nobody may write', 'a file of more than 4 MB'])(REFUSED, refused)
  testWith('symbolic links').each(['a symbolic link', 'a link to nothing'])(REFUSED, refused)
  testWith('FIFOs').each(['a FIFO'])(REFUSED, refused)

  // Each of them gets 2 s to become whole, so all of them wait together.
  const unfit: Readonly<Record<string, readonly [string, string]>> = {
    'no YAML': ['context:\n  workspace: acme\n bad\n', 'line 3: it is not valid YAML'],
    torn: ['context:\n  workspace: "acm', 'it is not valid YAML'],
    'a key twice': ['a: 1\na: 2\n', 'line 2: it has a key twice'],
    'an alias of nothing': ['a: *b\n', "an alias that can't be resolved"],
    'workspaces that are no list': ['a: 1\nworkspaces: {a: b}\n', 'line 2: its workspaces are not a list'],
    'a context that is no map': ['context: acme\n', 'line 1: its context is not a map'],
    'several documents': ['a: 1\n---\nb: 2\n', 'line 3: it holds several documents'],
    'no map': ['- a\n', 'line 1: it is not a map'],
    'no UTF-8': ['a: \xFF\n', 'is not UTF-8'],
  }

  test('since it holds no YAML of a form that can be changed is refused with its line, and left alone', async () => {
    const outcomes = await Promise.all(
      Object.values(unfit).map(async ([text, fault]) => {
        const home = makeHome()
        home.write('')
        writeFileSync(home.config, text, 'latin1')
        const was = home.everything()
        const error = await rejectionOf(makeJob(home, makeLogin('acme')).add())
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
    const job = makeJob(home, makeLogin('acme'))
    await job.add()
    const rendered = home.read() ?? ''
    const torn = `${rendered}\n  torn: "`
    home.write(torn)
    expect(await rejectionOf(job.remove())).toBeInstanceOf(SetupError)
    expect(home.read()).toBe(torn)
    home.write(`${rendered}# fixed\n`)
    await job.remove()
    expect(parse(text(home))).toEqual(parse(TEXT))
    expect(home.read()).toContain('# fixed')
  })
})

test('a job that is cancelled while it waits ends with the reason, and nothing changes', async () => {
  const home = makeHome()
  home.write(TEXT)
  const was = home.everything()
  const reason = new Error('cancelled')
  expect(await rejectionOf(makeJob(home, makeLogin('acme'), AbortSignal.abort(reason)).add())).toBe(reason)
  expect(home.everything()).toEqual(was)
})
