import { afterEach, beforeEach, describe, expect, test } from '@jest/globals'
import { execFileSync } from 'node:child_process'
import {
  chmodSync,
  chownSync,
  existsSync,
  lstatSync,
  mkdirSync,
  readFileSync,
  readdirSync,
  writeFileSync,
} from 'node:fs'
import { dirname, join } from 'node:path'
import { parse } from 'yaml'
import type { Job, StepResult } from '../../sandbox/job.ts'
import { expectFailure } from './failure.ts'
import { changeStored, databasePath } from './login-store.ts'
import { limitedMachine, mayChangeOwner, mayMount } from './threats/limited.ts'
import { preloaded } from './threats/preload.ts'
import { API_KEY, CLIENT_ID, CLIENT_SECRET, configOf, credentials, openWorld, tree, type World } from './world.ts'

// What other people's machines are like: each of these was reported by somebody, or is what an administrator sets up.

const PRIOR = `# kept by hand
context:
  workspace: home
workspaces:
- name: home
  credentials:
    apiKey: "of-home"
- name: acme
  credentials:
    apiKey: "of-this-machine"
`
let world: World
beforeEach(async () => {
  world = await openWorld()
})
afterEach(() => world.close())

const oauth = { version: '9.9.2', workspace: 'acme', ...credentials.oauth }
const minted = { version: '9.9.2', workspace: 'acme', ...credentials['service-account'] }
const plain = { version: '9.9.2', workspace: 'acme', ...credentials['api-key'] }

async function begin(inputs: Readonly<Record<string, string>>, job = world.machine.job()): Promise<[Job, StepResult]> {
  const step = await job.uses({ with: inputs })
  expect([step.exitCode, messages(step, 'error')]).toEqual([0, ''])
  return [job, step]
}

function messages({ annotations }: StepResult, wanted: string): string {
  return annotations.flatMap(({ level, message }) => (level === wanted ? [message] : [])).join('\n')
}

/** The token that `bl` sends for a workspace. */
async function tokenOf(job: Job, workspace = 'acme'): Promise<string> {
  const { exitCode, stdout } = await job.run(`bl token ${workspace} --skip-version-warning`)
  expect(exitCode).toBe(0)
  return stdout.trim()
}

async function end(job: Job): Promise<StepResult[]> {
  const posts = await job.end()
  expect(posts.map(({ exitCode, annotations }) => [exitCode, annotations])).toEqual(posts.map(() => [0, []]))
  return posts
}

describe('a home', () => {
  const canMount = mayMount()
  if (!canMount) console.log('nothing can be mounted here: a read-only HOME is not tried')
  const testMounted = canMount ? test : test.skip
  testMounted.each([[false], [true]])(
    'on a read-only file system, with a directory of the CLI: %s: one error, at once',
    async (hasDirectory) => {
      const { machine, sandbox } = world
      await machine.job().uses({ with: { version: '9.9.2' } })
      execFileSync('mount', ['-t', 'tmpfs', 'none', machine.home])
      try {
        if (hasDirectory) mkdirSync(join(machine.home, '.blaxel'))
        execFileSync('mount', ['-o', 'remount,ro', machine.home])
        const asked = sandbox.requests.length
        const step = await machine.job().uses({ with: oauth })
        expectFailure(step, [
          `${join(machine.home, '.blaxel')} can't be written (EROFS: the file system is read-only)`,
          "'login: false'",
        ])
        expect(step.durationMs).toBeLessThan(5_000)
        expect(sandbox.requests.length).toBe(asked)
        // What needs no login does not look at it.
        for (const inputs of [{ version: '9.9.2' }, { ...oauth, login: 'false' }]) await end((await begin(inputs))[0])
      } finally {
        execFileSync('umount', ['-l', machine.home])
      }
    },
  )

  test.each(['/proc/nowhere', '/nowhere/at/all'])('that leads nowhere, as %s: one error, at once', async (HOME) => {
    const job = world.machine.job({ env: { HOME } })
    const step = await job.uses({ with: oauth })
    expectFailure(step, [`${HOME}/.blaxel can't be written (ENOENT: HOME does not exist)`, "'login: false'"])
    expect(step.durationMs).toBeLessThan(5_000)
    await end(job)
  })

  test('with a path that is too long for SQLite: an error that says so', async () => {
    const HOME = join(world.machine.home, ...Array.from({ length: 5 }, () => 'x'.repeat(100)))
    mkdirSync(HOME, { recursive: true })
    const job = world.machine.job({ env: { HOME } })
    expectFailure(await job.uses({ with: oauth }), ['setup-bl.db is longer than 504 bytes', 'Use a shorter HOME'])
    await job.end()
  })

  test('inside the checkout: a warning names the directory', async () => {
    const HOME = join(world.machine.workspace, 'home')
    mkdirSync(HOME)
    const [job, step] = await begin(oauth, world.machine.job({ env: { HOME } }))
    expect(messages(step, 'warning')).toContain(`HOME is inside the checkout: ${join(HOME, '.blaxel')}`)
    await end(job)
    const [other, quiet] = await begin(oauth)
    expect(messages(quiet, 'warning')).toBe('')
    await end(other)
  })
})

describe('a file system', () => {
  const without = (what: string, source: string) =>
    preloaded(
      world,
      what,
      `import fs from 'node:fs'
import { syncBuiltinESMExports } from 'node:module'
const fail = (code) => { throw Object.assign(new Error(code), { code, syscall: 'injected' }) }
${source}
syncBuiltinESMExports()
`,
    )

  test('without hard links works', async () => {
    await world.config.write(PRIOR)
    const env = without('links', "fs.linkSync = () => fail('EPERM')")
    const [job, step] = await begin(oauth, world.machine.job({ env }))
    expect(world.config.read()).toContain(step.outputs.token)
    await end(job)
    expect(world.config.read()).toBe(PRIOR)
  })

  test("that makes every file somebody else's, and lets nobody change that, works", async () => {
    await world.config.write(PRIOR)
    const env = without(
      'owners',
      `for (const name of ['statSync', 'lstatSync', 'fstatSync']) {
  const real = fs[name]
  fs[name] = (...args) => {
    const stats = real(...args)
    if (!stats) return stats
    const of = (id) => (typeof stats.uid === 'bigint' ? BigInt(id) : id)
    return Object.assign(stats, { uid: of(12345), gid: of(12345) })
  }
}
for (const name of ['chownSync', 'fchownSync', 'lchownSync', 'fchmodSync']) fs[name] = () => fail('EPERM')`,
    )
    const [job, step] = await begin(oauth, world.machine.job({ env }))
    expect(world.config.read()).toContain(step.outputs.token)
    await end(job)
    expect(world.config.read()).toBe(PRIOR)
  })

  test('without file locks: an error says so, and the config is as it was', async () => {
    await world.config.write(PRIOR)
    const env = preloaded(
      world,
      'locks',
      `import { DatabaseSync } from 'node:sqlite'
const { exec } = DatabaseSync.prototype
DatabaseSync.prototype.exec = function (sql) {
  if (sql !== 'BEGIN EXCLUSIVE') return exec.call(this, sql)
  throw Object.assign(new Error('database is locked'), { code: 'ERR_SQLITE_ERROR', errcode: 5 })
}`,
    )
    const job = world.machine.job({ env })
    const step = await job.uses({ with: oauth })
    expectFailure(step, [`${dirname(world.config.path)} is on a file system without file locks`, "'login: false'"])
    expect(step.durationMs).toBeLessThan(10_000)
    await end(job)
    expect(world.config.read()).toBe(PRIOR)
    expect(tree(dirname(world.config.path))).toEqual(['config.yaml'])
  })

  test.each(['EBUSY'])(
    'on which Windows holds the config (%s) when the last job leaves: it is removed then',
    async (code) => {
      const [job] = await begin(oauth)
      const held = without(
        'held',
        `const { unlinkSync: real } = fs
let count = 0
fs.unlinkSync = (path) => {
  if (!String(path).endsWith('config.yaml') || count++ > 1) return real(path)
  const { platform } = process
  // Whoever catches this error sees Windows, until the next turn.
  Object.defineProperty(process, 'platform', { value: 'win32', configurable: true })
  setImmediate(() => Object.defineProperty(process, 'platform', { value: platform, configurable: true }))
  fs.appendFileSync(${JSON.stringify(join(world.machine.temp, 'held'))}, 'x')
  fail('${code}')
}`,
      )
      Object.assign(job.env, held)
      await end(job)
      expect(readFileSync(join(world.machine.temp, 'held'), 'utf8')).toBe('xx')
      expect(world.config.read()).toBeUndefined()
    },
  )
})

describe('a config', () => {
  const canChown = process.geteuid?.() === 0
  if (!canChown) console.log('only root can give files away: owners are not tried')

  test.each(
    canChown
      ? [
          [0, 54321],
          [54321, 54321],
        ]
      : [],
  )('of user %i and group %i keeps them, and its mode', async (uid, gid) => {
    await world.config.write(PRIOR, 0o640)
    chownSync(world.config.path, uid, gid)
    const owner = () => [lstatSync(world.config.path).uid, lstatSync(world.config.path).gid, world.config.mode()]
    const [job] = await begin(oauth)
    expect(owner()).toEqual([uid, gid, 0o640])
    await end(job)
    expect([owner(), world.config.read()]).toEqual([[uid, gid, 0o640], PRIOR])
  })

  test('that everybody may read is not for everybody while a token is in it', async () => {
    await world.config.write(PRIOR, 0o644)
    const [job] = await begin(oauth)
    expect(world.config.mode()).toBe(0o640)
    await end(job)
    expect(world.config.mode()).toBe(0o644)
  })

  const testAsRoot = mayChangeOwner ? test : test.skip
  testAsRoot.each([[false], [true]])(
    "in a user's HOME that root works in, with a config: %s: works, and the user's own jobs still do",
    async (hasConfig) => {
      const limited = await limitedMachine(world)
      const config = configOf(limited)
      const { uid } = lstatSync(limited.home)
      expect(uid).not.toBe(0)
      if (hasConfig) {
        await config.write(PRIOR, 0o600)
        execFileSync('chown', ['-R', `${uid}:${uid}`, limited.home])
      }
      const asRoot = () => world.machine.job({ env: { HOME: limited.home } })
      const owners = () =>
        readdirSync(limited.home, { recursive: true, encoding: 'utf8' }).map(
          (path) => lstatSync(join(limited.home, path)).uid,
        )
      const [job] = await begin(oauth, asRoot())
      expect(new Set(owners())).toEqual(new Set([uid]))
      const [own] = await begin({ ...oauth, workspace: 'beta' }, limited.job())
      await end(job)
      await end(own)
      expect(new Set(owners())).toEqual(new Set([uid]))
      expect(config.read()).toBe(hasConfig ? PRIOR : undefined)
    },
  )

  test('is not touched by a job that leaves without changing anything', async () => {
    const [older] = await begin(oauth)
    const [newer] = await begin(oauth)
    const stats = () => lstatSync(world.config.path, { bigint: true })
    const { ino, mtimeNs } = stats()
    await end(older)
    expect(stats()).toMatchObject({ ino, mtimeNs })
    await end(newer)
  })

  test('whose context is another workspace has it again after bl logout in a step', async () => {
    await world.config.write(PRIOR)
    const [job] = await begin(oauth)
    expect((await job.run('bl logout acme --skip-version-warning')).exitCode).toBe(0)
    expect(parse(world.config.read() ?? '')).toMatchObject({ context: { workspace: null } })
    await end(job)
    expect(world.config.read()).toBe(PRIOR)
  })
})

describe('two steps of one job for one workspace', () => {
  test('with different credentials: bl uses the last one, and nothing is said of another job', async () => {
    const job = world.machine.job()
    await begin(plain, job)
    const [, second] = await begin(oauth, job)
    expect(await tokenOf(job)).toBe(second.outputs.token)
    expect(messages(second, 'warning')).not.toContain('nother job')
    await end(job)
    expect(world.config.read()).toBeUndefined()
  })

  test('with a service account each: both keys are revoked', async () => {
    const job = world.machine.job()
    await begin(minted, job)
    await begin(minted, job)
    expect(world.sandbox.blaxel.keys.size).toBe(2)
    await end(job)
    expect(world.sandbox.blaxel.keys.size).toBe(0)
  })

  test('of which the second keeps the key of the first: it is not revoked, and nothing is said of another job', async () => {
    const job = world.machine.job()
    await begin(minted, job)
    await begin({ version: '9.9.2', workspace: 'acme', logout: 'false' }, job)
    const posts = await job.end()
    expect(posts.map(({ exitCode }) => exitCode)).toEqual([0, 0])
    const notices = posts.map((post) => messages(post, 'notice')).join('')
    expect(notices).toMatch(
      /^The key setup-bl-\w+ was not revoked: another login on this machine may use it\. It expires/,
    )
    expect(world.config.read()).toContain('acme')
  })
})

describe('login: false', () => {
  const withoutLogin = { ...oauth, login: 'false' }

  test.each(['the machine', 'another job'])(
    'on a machine where %s is logged in: a warning names that login',
    async (who) => {
      await world.config.write(who === 'the machine' ? PRIOR : '')
      const other = who === 'the machine' ? undefined : (await begin(plain))[0]
      const before = world.config.read()
      const [job, step] = await begin(withoutLogin)
      expect(messages(step, 'warning')).toContain(`bl uses the login to workspace 'acme' in ${world.config.path}`)
      expect(world.config.read()).toBe(before)
      if (who === 'the machine') expect(existsSync(databasePath(world.config))).toBe(false)
      await end(job)
      await other?.end()
    },
  )

  test('on a machine that is logged in to another workspace: nothing is said', async () => {
    await world.config.write(PRIOR)
    const [job, step] = await begin({ ...withoutLogin, workspace: 'beta' })
    expect(messages(step, 'warning')).toBe('')
    await end(job)
  })

  test('on a machine with a config that is not valid: nothing is said, and it is left as it is', async () => {
    await world.config.write('workspaces: [')
    const [job, step] = await begin(withoutLogin)
    expect(messages(step, 'warning')).toBe('')
    await end(job)
    expect(world.config.read()).toBe('workspaces: [')
  })
})

describe('two jobs', () => {
  test("one of which outlives its token: bl does not get the machine's own login", async () => {
    await world.config.write(PRIOR)
    const [job, step] = await begin(oauth)
    changeStored(world.config, ({ logins }) => {
      for (const login of logins) login.expiresAt = Date.now() - 1
    })
    const [other] = await begin({ ...oauth, workspace: 'beta' })
    expect(await tokenOf(job)).toBe(step.outputs.token)
    expect(world.config.read()).not.toContain('of-this-machine')
    await end(other)
    await end(job)
    expect(world.config.read()).toBe(PRIOR)
  })

  test('one with logout: false beside a live one: its own login is used, and kept', async () => {
    const [live] = await begin(oauth)
    const [keeping, step] = await begin({ ...oauth, logout: 'false' })
    expect(await tokenOf(keeping)).toBe(step.outputs.token)
    await end(keeping)
    expect(await tokenOf(live)).toBe(step.outputs.token)
    await end(live)
    expect(world.config.read()).toContain(step.outputs.token)
    expect(readFileSync(databasePath(world.config), 'latin1')).not.toContain(step.outputs.token)
  })

  test('after one with logout: false, whose job goes on: another API is an error, another credential a warning', async () => {
    world.sandbox.blaxelDev.addWorkspace('acme')
    world.sandbox.blaxelDev.addClient(CLIENT_ID, CLIENT_SECRET, { workspaces: ['acme'] })
    const [keeping, kept] = await begin(
      { ...oauth, logout: 'false' },
      world.machine.job({ env: { BL_ENV: 'dev', BL_API_URL: '' } }),
    )
    const other = await world.machine.job().uses({ with: plain })
    expectFailure(other, ["Another job on this machine is logged in to workspace 'acme' at https://api.blaxel.dev/v0"])
    expect(await tokenOf(keeping)).toBe(kept.outputs.token)
    const again = world.machine.job({ env: { BL_ENV: 'dev', BL_API_URL: '' } })
    world.sandbox.blaxelDev.addApiKey(API_KEY, { workspaces: ['acme'] })
    const [second, step] = await begin(plain, again)
    expect(messages(step, 'warning')).toContain('with another credential')
    await end(second)
    expect(readFileSync(databasePath(world.config), 'latin1')).not.toContain(kept.outputs.token)
  })

  test('after one with logout: false that somebody has logged out: it counts no more', async () => {
    world.sandbox.blaxelDev.addWorkspace('acme')
    world.sandbox.blaxelDev.addClient(CLIENT_ID, CLIENT_SECRET, { workspaces: ['acme'] })
    const [keeping] = await begin({ ...oauth, logout: 'false' }, world.machine.job({ env: { BL_ENV: 'dev' } }))
    expect((await keeping.run('bl logout acme --skip-version-warning')).exitCode).toBe(0)
    const [second] = await begin(plain)
    await end(second)
  })

  test('for two workspaces, the second with export-env: false: a warning names --workspace', async () => {
    const [first, quiet] = await begin(oauth)
    const [second, step] = await begin({ ...oauth, workspace: 'beta', 'export-env': 'false' })
    expect(messages(quiet, 'warning')).toBe('')
    expect(messages(step, 'warning')).toContain("pass '--workspace beta' to bl")
    await end(first)
    await end(second)
  })

  test('for two workspaces, the first with export-env: false: the second says what it changes', async () => {
    const [first] = await begin({ ...oauth, 'export-env': 'false' })
    const [second, step] = await begin({ ...oauth, workspace: 'beta' })
    expect(messages(step, 'warning')).toMatch(/uses the current workspace .* now 'beta' instead of 'acme'/)
    await end(first)
    await end(second)
  })

  test('for two workspaces with a bl that ignores BL_WORKSPACE: the second is warned', async () => {
    const version = '0.1.60'
    world.sandbox.github.publish({ version })
    const old = { ...oauth, version, checksum: world.sandbox.github.sha256(version) }
    const [first] = await begin(old)
    const [second, step] = await begin({ ...old, workspace: 'beta' })
    expect(messages(step, 'warning')).toContain("pass '--workspace beta' to bl")
    await end(second)
    await end(first)
  })

  test('for one workspace, the second with a key that expires first: it is warned', async () => {
    const [first] = await begin({ ...minted, 'token-lifetime': '2d' })
    const [second, step] = await begin({ ...minted, 'token-lifetime': '1h' })
    expect(messages(step, 'warning')).toContain("This login to workspace 'acme' expires before that of another job")
    await second.end()
    await first.end()
  })

  test('for one workspace with keys of a service account: the first is left to expire, the last is revoked', async () => {
    const [first, one] = await begin(minted)
    const [second] = await begin(minted)
    const [post] = await first.end()
    expect(post?.annotations).toEqual([
      {
        level: 'notice',
        message: expect.stringMatching(/was not revoked: another login .* may use it\. It expires/) as unknown,
      },
    ])
    await end(second)
    expect([...world.sandbox.blaxel.keys.values()].map(({ apiKey }) => apiKey)).toEqual([one.outputs.token])
    expect(one.outputs.token).not.toBe(API_KEY)
  })
})

test('nothing stays but a database without tokens, which only its owner may read', async () => {
  const { sandbox, machine, config } = world
  const [job, step] = await begin(minted)
  const umask = lstatSync(databasePath(config)).mode & 0o777
  expect(readFileSync(databasePath(config), 'latin1')).toContain(step.outputs.token)
  await end(job)
  expect(umask).toBe(0o600)
  expect(readdirSync(machine.home, { recursive: true, encoding: 'utf8' }).sort()).toEqual([
    '.blaxel',
    '.blaxel/setup-bl.db',
  ])
  for (const token of sandbox.blaxel.issued) expect(readFileSync(databasePath(config), 'latin1')).not.toContain(token)
  chmodSync(databasePath(config), 0o600)
  writeFileSync(join(machine.home, '.blaxel', 'version'), '{}')
  await end((await begin(minted))[0])
  expect(readdirSync(join(machine.home, '.blaxel')).sort()).toEqual(['setup-bl.db', 'version'])
})
