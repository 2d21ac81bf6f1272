import { describe, expect, test } from '@jest/globals'
import fc from 'fast-check'
import { parse } from 'yaml'
import {
  faultOf,
  findLogin,
  hasSameMeaning,
  reconcile,
  withLogins,
  withoutLogins,
  workspacesIn,
  type LoginEntry,
  type OurLogins,
} from '../../src/login/config-document.ts'
import { configText, entries, ownKey } from './configs.ts'
import { holds } from './property.ts'

interface Plain extends Record<string, unknown> {
  readonly context?: Record<string, unknown> | string
  readonly workspaces?: readonly Record<string, unknown>[] | string
}

/** What a reader of YAML finds in the text, every scalar as it is written. */
function plain(text: string | undefined): Plain {
  return (parse((text ?? '').replace(/^\uFEFF/, ''), { schema: 'failsafe' }) ?? {}) as Plain
}

function contextOf({ context }: Plain): Record<string, unknown> {
  return typeof context === 'object' ? context : {}
}

function workspacesOf({ workspaces }: Plain): readonly Record<string, unknown>[] {
  return typeof workspaces === 'object' ? workspaces : []
}

function without<T extends object>(value: T, ...keys: readonly string[]): Partial<T> {
  return Object.fromEntries(Object.entries(value).filter(([key]) => !keys.includes(key))) as Partial<T>
}

function oursOf(all: readonly LoginEntry[]): OurLogins {
  return {
    isOurs: (name, apiKey) => all.some((entry) => entry.name === name && entry.apiKey === apiKey),
    workspaces: all.map(({ name }) => name),
  }
}

const ACME: LoginEntry = { name: 'acme', id: 'ws-1', apiKey: 'token-12345' }

describe('a config with logins', () => {
  test('has them, and everything else is as it was', () => {
    holds(
      fc.property(configText, entries, (base, all) => {
        const text = withLogins(base, all, all[0].name)
        const [was, now] = [plain(base), plain(text)]
        const names = all.map(({ name }) => name)
        expect(contextOf(now).workspace).toBe(names[0])
        expect(without(contextOf(now), 'workspace')).toEqual(without(contextOf(was), 'workspace'))
        expect(without(now, 'context', 'workspaces')).toEqual(without(was, 'context', 'workspaces'))
        const theirs = (config: Plain) => workspacesOf(config).filter(({ name }) => !names.includes(String(name)))
        expect(theirs(now)).toEqual(theirs(was))
        for (const { apiKey, ...rest } of all) {
          const found = workspacesOf(now).filter(({ name }) => name === rest.name)
          expect(found).toEqual([{ ...rest, credentials: { apiKey } }])
          expect(findLogin(text, rest.name)).toEqual({ ...rest, apiKey })
          // In one piece, where the runner's masks find it.
          expect(text).toContain(`apiKey: "${apiKey}"`)
        }
        expect(faultOf(text)).toBeUndefined()
      }),
    )
  })

  test('keeps every comment', () => {
    const base =
      '# a\ncontext: # b\n  # c\n  workspace: beta # d\n# e\nworkspaces: # f\n  # g\n  - name: acme # h\n# i\n'
    const text = withLogins(base, [ACME], 'acme')
    // Those within the entry that is replaced go with it.
    for (const comment of ['# a', '# b', '# c', '# d', '# e', '# f', '# g', '# i']) expect(text).toContain(comment)
  })

  test.each([
    ['flow style', '{workspaces: [{name: beta, credentials: {apiKey: of-beta}}], context: {workspace: beta}}\n'],
    ['CRLF and a byte order mark', '\uFEFFworkspaces:\r\n- name: beta\r\n  credentials:\r\n    apiKey: of-beta\r\n'],
    ['anchors', 'x: &x {apiKey: of-beta}\nworkspaces: [{name: beta, credentials: *x}]\n'],
    ['merge keys', 'x: &x {apiKey: of-beta}\nworkspaces: [{name: beta, credentials: {<<: *x}}]\n'],
    ['tags', 'workspaces: [!!map {name: !!str beta, credentials: {apiKey: of-beta}}]\n'],
    ['a directive', '%YAML 1.2\n---\nworkspaces: [{name: beta, credentials: {apiKey: of-beta}}]\n...\n'],
    ['keys of their own lines', '? workspaces\n: - name: beta\n    credentials:\n      ? apiKey\n      : of-beta\n'],
  ])('is made from %s too', (_, base) => {
    const text = withLogins(base, [ACME], 'acme')
    expect(workspacesIn(text)).toEqual(['beta', 'acme'])
    expect([findLogin(text, 'acme'), findLogin(text, 'beta')?.apiKey]).toEqual([ACME, 'of-beta'])
    const parsed = parse(text.replace(/^%.*\n/, '')) as Plain
    expect(contextOf(parsed)).toEqual({ workspace: 'acme' })
  })

  test.each(['0123', '1e3', '0x10', '1_0', '17'])(
    'keeps a workspace and a key called %s as they are written',
    (word) => {
      const text = withLogins(`workspaces:\n- name: ${word}\n  credentials: {apiKey: ${word}}\n`, [ACME], 'acme')
      expect(findLogin(text, word)?.apiKey).toBe(word)
      expect(text).toMatch(new RegExp(`name: ${word}\n`))
    },
  )

  test('has one entry of a workspace that had two', () => {
    const text = withLogins('workspaces:\n- name: acme\n- name: beta\n- name: acme\n', [ACME], 'acme')
    expect(workspacesOf(plain(text)).map(({ name }) => name)).toEqual(['acme', 'beta'])
  })
})

describe("somebody else's change", () => {
  const BASE = '# mine\ncontext:\n  workspace: home\nworkspaces:\n- name: home\n  credentials:\n    apiKey: of-home\n'
  const ours = oursOf([ACME])
  const ourConfig = withLogins(BASE, [ACME], 'acme')

  test('that is none gives the base', () => {
    holds(
      fc.property(configText, entries, (base, all) => {
        expect(reconcile(withLogins(base, all, all[0].name), base, oursOf(all))).toBe(base)
      }),
    )
    expect(reconcile(ourConfig, BASE, ours)).toBe(BASE)
    expect(reconcile(withLogins(undefined, [ACME], 'acme'), undefined, ours)).toBeUndefined()
  })

  test('of any value stays, and nothing of ours', () => {
    holds(
      fc.property(configText, entries, (base, all) => {
        const changed = `${withLogins(base, all, all[0].name).replace(/\n?(\.\.\.\n)?$/, '\n')}theirs: 1\n`
        fc.pre(faultOf(changed) === undefined)
        const after = reconcile(changed, base, oursOf(all))
        expect(after).not.toContain('session-token')
        const names = (text: string | undefined) => workspacesOf(plain(text)).map(({ name }) => name)
        expect(names(after)).toEqual(names(base))
        expect(without(plain(after), 'context', 'workspaces')).toEqual({
          ...without(plain(base), 'context', 'workspaces'),
          theirs: '1',
        })
        for (const name of names(base)) expect(findLogin(after ?? '', String(name))?.apiKey).toBe(ownKey(String(name)))
      }),
    )
  })

  test.each<[string, string, string | undefined, string | undefined]>([
    ['an empty one', '', BASE, ''],
    [
      'bl logout of ours',
      'context:\n  workspace: \nworkspaces:\n- name: home\n  credentials:\n    apiKey: of-home\ntracking: false\n',
      BASE,
      BASE,
    ],
    [
      'what old versions of bl add',
      ourConfig.replace('credentials:', 'access_token: ""\n    expires_in: 0\n    credentials:'),
      BASE,
      BASE,
    ],
    [
      'bl logout where there was no file',
      'context:\n  workspace: \nworkspaces:\ntracking: false\n',
      undefined,
      undefined,
    ],
  ])('%s', (_, text, base, after) => {
    expect(reconcile(text, base, ours)).toBe(after)
  })

  const contextAfter = (text: string, base = BASE) => contextOf(plain(reconcile(text, base, ours))).workspace

  test('of the context stays, but for one that names our login', () => {
    expect(contextAfter(ourConfig.replace('workspace: "acme"', 'workspace: other'))).toBe('other')
    expect(contextAfter(`${ourConfig}theirs: 1\n`)).toBe('home')
    // bl logout of the machine's own workspace
    const without = (name: string) =>
      `context:\n  workspace: \nworkspaces:\n- name: ${name}\n  credentials: {apiKey: x}\n`
    expect(contextAfter(without('beta'))).toBe('')
    expect(contextAfter(`${without('home')}theirs: 1\n`)).toBe('home')
    // The machine's context never had an entry.
    expect(contextAfter(`${without('beta')}theirs: 1\n`, 'context: {workspace: elsewhere}\n')).toBe('elsewhere')
  })

  test('that logs in to our workspace again stays, with its context', () => {
    const base = `${BASE}- name: acme\n  credentials:\n    apiKey: of-acme\n`
    const text = ourConfig.replace('token-12345', 'their-key')
    const after = reconcile(text, base, ours) ?? ''
    expect(findLogin(after, 'acme')?.apiKey).toBe('their-key')
    expect(contextOf(plain(after)).workspace).toBe('acme')
  })

  test('that logs out of our workspace brings the entry back that ours had replaced', () => {
    const base = `${BASE}- name: acme\n  credentials:\n    apiKey: of-acme\n`
    const text = 'context:\n  workspace: \nworkspaces:\n- name: home\n  credentials: {apiKey: of-home}\ntheirs: 1\n'
    expect(findLogin(reconcile(text, base, ours) ?? '', 'acme')?.apiKey).toBe('of-acme')
    expect(reconcile(text.replace('theirs: 1\n', ''), base, ours)).toBe(base)
  })

  test('by a comment stays, wherever it is', () => {
    const lines = ourConfig.split('\n')
    for (let at = 0; at < lines.length; at += 1) {
      // Within our entry, it goes with that.
      const own = lines.findIndex((line) => line.includes('name: "acme"'))
      if (at > own && at < own + 4) continue
      const text = lines.toSpliced(at, 0, '# theirs').join('\n')
      expect([at, reconcile(text, BASE, ours)]).toEqual([at, expect.stringContaining('# theirs')])
    }
  })
})

describe('a config of which no base is known', () => {
  test('loses ours, and nothing else', () => {
    holds(
      fc.property(configText, entries, (base, all) => {
        const names = all.map(({ name }) => name)
        const after = withoutLogins(withLogins(base, all, all[0].name), oursOf(all).isOurs)
        expect(after ?? '').not.toContain('session-token')
        const theirs = workspacesOf(plain(base)).filter(({ name }) => !names.includes(String(name)))
        expect(workspacesOf(plain(after))).toEqual(theirs)
        expect(contextOf(plain(after)).workspace).toBeUndefined()
      }),
    )
  })

  test('is the very same text where none of ours is in it', () => {
    holds(
      fc.property(configText, entries, (base, all) => {
        expect(withoutLogins(base, oursOf(all).isOurs)).toBe(base)
      }),
    )
  })
})

describe('two configs', () => {
  test.each([
    ['a: 1\nb: 2\n', '{b: "2", a: 1}\n', true],
    ['workspaces: [{name: a}, {name: b}]\n', 'workspaces:\n- name: b\n- name: a\ntracking: false\n', true],
    ['workspaces: [{name: a, credentials: {expires_in: 0, x: ""}}]\n', 'workspaces: [{name: a}]\n', true],
    ['', 'context:\n  workspace: ~\nworkspaces:\n', true],
    ['tracking: true\n', '', false],
    ['expires_in: 1\n', '', false],
    ['name: 0123\n', 'name: 123\n', false],
    ['list: [a, b]\n', 'list: [b, a]\n', false],
  ])('%j and %j: %s', (a, b, same) => {
    expect(hasSameMeaning(a, b)).toBe(same)
  })
})

describe('a text that is no config', () => {
  test.each<[string, number, string]>([
    ['a: 1\n---\nb: 2\n', 3, 'it holds several documents'],
    ['- a\n', 1, 'it is not a map'],
    ['word\n', 1, 'it is not a map'],
    ['a: 1\nb: 2\na: 3\n', 3, 'it has a key twice'],
    ['a: *b\n', 1, "it has an alias that can't be resolved"],
    ['a: 1\ncontext: acme\n', 2, 'its context is not a map'],
    ['a: 1\nworkspaces: {a: b}\n', 2, 'its workspaces are not a list'],
    ['a: 1\n  b: 2\n', 1, 'it is not valid YAML'],
    ['\uFEFFa: 1\nb: "\n', 3, 'it is not valid YAML'],
  ])('%j: line %d, %s', (text, line, why) => {
    expect(faultOf(text)).toMatchObject({ line, message: why })
    expect(findLogin(text, 'a')).toBeUndefined()
    expect(workspacesIn(text)).toEqual([])
  })

  test('such as one with a million aliases is none, at once', () => {
    const level = (name: string, of: string) => `${name}: &${name} [${Array.from({ length: 9 }, () => of).join()}]\n`
    const bomb = 'bcdefgh'
      .split('')
      .reduce((text, name, at) => text + level(name, at === 0 ? 'x' : `*${'abcdefgh'[at] ?? ''}`), '')
    expect(faultOf(bomb)?.message).toBe("it has an alias that can't be resolved")
  })

  test('throws nothing else, whatever it is, and quotes nothing of it', () => {
    const words = fc.constantFrom(
      'a',
      ': ',
      '- ',
      '\n',
      '  ',
      '"',
      "'",
      '{',
      '}',
      '[',
      ']',
      '&x',
      '*x',
      '!t ',
      '---\n',
      '#',
      '|',
      '?',
      'SECRET',
    )
    holds(
      fc.property(fc.array(words, { maxLength: 30 }), (parts) => {
        const fault = faultOf(parts.join(''))
        if (!fault) return
        expect(Number.isInteger(fault.line) && fault.line > 0).toBe(true)
        expect(fault.message).not.toContain('SECRET')
      }),
      1000,
    )
  })
})

describe('the login that bl has written', () => {
  test.each<[string, string, LoginEntry | undefined]>([
    ['as it does', 'workspaces:\n- name: acme\n  id: ws-1\n  credentials:\n    apiKey: "token-12345"\n', ACME],
    [
      'with an environment',
      'workspaces:\n- name: acme\n  env: "dev"\n  credentials:\n    apiKey: t-1\n',
      { name: 'acme', env: 'dev', apiKey: 't-1' },
    ],
    [
      'with an id that is a path',
      'workspaces:\n- name: acme\n  id: ../x\n  credentials:\n    apiKey: t-1\n',
      { name: 'acme', apiKey: 't-1' },
    ],
    [
      'folded',
      'workspaces:\n- name: acme\n  credentials:\n    apiKey: >-\n      t-1\n',
      { name: 'acme', apiKey: 't-1' },
    ],
    ['without a key', 'workspaces:\n- name: acme\n  credentials: {}\n', undefined],
    ['of another workspace', 'workspaces:\n- name: beta\n  credentials: {apiKey: t-1}\n', undefined],
    ['nowhere', '', undefined],
  ])('%s', (_, text, entry) => {
    expect(findLogin(text, 'acme')).toEqual(entry)
  })
})
