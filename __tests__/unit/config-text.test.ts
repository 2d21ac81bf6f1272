import { describe, expect, test } from '@jest/globals'
import fc from 'fast-check'
import { parse } from 'yaml'
import { parseLayout } from '../../src/login/config-layout.ts'
import { ConfigTextError } from '../../src/login/config-text-error.ts'
import {
  findLogin,
  loggedInWorkspaces,
  render,
  subtract,
  type Login,
  type LoginEntry,
} from '../../src/login/config-text.ts'
import { configText, logins, ownKey } from './configs.ts'
import { holds, thrownBy } from './property.ts'

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

function entriesOf(all: readonly Login[]): LoginEntry[] {
  return all.map(({ entry }) => entry)
}

/** The login that stands for each workspace: the one that expires last, of equals the newest. */
function winners(all: readonly Login[]): Map<string, LoginEntry> {
  const byName = new Map<string, Login>()
  for (const login of all) {
    if (login.notAfter >= (byName.get(login.entry.name)?.notAfter ?? 0)) byName.set(login.entry.name, login)
  }
  return new Map([...byName].map(([name, { entry }]) => [name, entry]))
}

function spliced(base: string | undefined, all: readonly Login[]): string {
  const text = render(base, all)
  if (text === undefined) throw new Error('Nothing was rendered')
  return text
}

const login = (name: string, apiKey: string, rest: Partial<LoginEntry> & { notAfter?: number } = {}): Login => {
  const { notAfter = 1, ...fields } = rest
  return { entry: { name, apiKey, ...fields }, notAfter }
}

describe('logins spliced into a config', () => {
  test('are what a reader of YAML finds there, and everything else is as it was', () => {
    holds(
      fc.property(configText, logins, (base, all) => {
        const [was, now] = [plain(base), plain(render(base, all))]
        const ours = winners(all)
        expect(contextOf(now).workspace).toBe(all.at(-1)?.entry.name)
        expect(without(contextOf(now), 'workspace')).toEqual(without(contextOf(was), 'workspace'))
        expect(without(now, 'context', 'workspaces')).toEqual(without(was, 'context', 'workspaces'))
        const theirs = (config: Plain) => workspacesOf(config).filter(({ name }) => !ours.has(String(name)))
        expect(theirs(now)).toEqual(theirs(was))
        const found = workspacesOf(now).filter(({ name }) => ours.has(String(name)))
        expect(found).toHaveLength(ours.size)
        for (const entry of found) {
          const { apiKey, ...rest } = ours.get(String(entry.name)) ?? { apiKey: '' }
          expect(entry).toEqual({ ...rest, credentials: { apiKey } })
        }
      }),
    )
  })

  test('leave every line of the base where it was, but those of what they cover', () => {
    holds(
      fc.property(configText, logins, (base, all) => {
        const ours = winners(all)
        const { context, workspaces } = parseLayout(base)
        const items = workspaces.kind === 'list' ? workspaces.items : []
        const replaced = [
          ...(context.kind === 'absent' ? [] : [context]),
          ...(workspaces.kind === 'empty' ? [workspaces] : items.filter(({ name }) => ours.has(name))),
        ]
        const kept = base.split(/(?<=\n)/).filter((line, index, lines) => {
          const start = lines.slice(0, index).join('').length
          return !replaced.some((part) => part.start < start + line.length && start < part.end)
        })
        const lines = spliced(base, all)
          .split('\n')
          .map((line) => line.trim())
        let at = -1
        for (const line of kept) {
          at = lines.indexOf(line.trim(), at + 1)
          expect([line, at >= 0]).toEqual([line, true])
        }
      }),
    )
  })

  test('make a config that can be changed again, with the line ends that it had', () => {
    holds(
      fc.property(configText, logins, (base, all) => {
        const text = spliced(base, all)
        expect(() => parseLayout(text)).not.toThrow()
        expect(text.startsWith('\uFEFF')).toBe(base.startsWith('\uFEFF'))
        if (base.includes('\r\n')) expect(text).not.toMatch(/[^\r]\n/)
        else expect(text).not.toContain('\r')
      }),
    )
  })

  test.each<[string, string | undefined, Login[], string]>([
    [
      'no file',
      undefined,
      [login('acme', 'token-1', { id: 'ws-1', env: 'dev' })],
      'context:\n  workspace: "acme"\nworkspaces:\n- name: "acme"\n  id: "ws-1"\n  env: "dev"\n  credentials:\n    apiKey: "token-1"\n',
    ],
    [
      'an entry to cover, another to keep, and one to add',
      'context:\n  workspace: acme # mine\nworkspaces:\n  - name: acme\n    credentials:\n      apiKey: "old"\n  - name: beta # kept\n    credentials: {}\ntracking: false\n',
      [login('new', 'token-1'), login('acme', 'token-2')],
      'context:\n  workspace: "acme" # mine\nworkspaces:\n  - name: "acme"\n    credentials:\n      apiKey: "token-2"\n  - name: beta # kept\n    credentials: {}\n  - name: "new"\n    credentials:\n      apiKey: "token-1"\ntracking: false\n',
    ],
    [
      'two logins of one workspace, of which the older one lives longer',
      undefined,
      [login('acme', 'token-1', { notAfter: 9 }), login('acme', 'token-2', { notAfter: 8 })],
      'context:\n  workspace: "acme"\nworkspaces:\n- name: "acme"\n  credentials:\n    apiKey: "token-1"\n',
    ],
    [
      'CRLF and no line end at the end',
      '\uFEFFtracking: false',
      [login('17', 'token-1')],
      '\uFEFFcontext:\n  workspace: "17"\ntracking: false\nworkspaces:\n- name: "17"\n  credentials:\n    apiKey: "token-1"\n',
    ],
  ])('with %s', (_, base, all, expected) => {
    expect(render(base, all)).toBe(expected)
  })

  test('stand behind the last of those that were there', () => {
    const base = `workspaces:\n${['a', 'b', 'c'].map((name) => `- name: ${name}\n`).join('')}after: 1\n`
    const text = spliced(base, [{ entry: { name: 'acme', apiKey: 'token-of-acme' }, notAfter: 1 }])
    expect(workspacesOf(plain(text)).map(({ name }) => name)).toEqual(['a', 'b', 'c', 'acme'])
  })

  test('are none where there is no login: the base is as it was', () => {
    holds(
      fc.property(fc.option(fc.string(), { nil: undefined }), (base) => {
        expect(render(base, [])).toBe(base)
      }),
    )
  })

  test('are refused where the base is of a form that can not be changed', () => {
    const error = thrownBy(() => render('workspaces: [{name: acme}]\n', [login('acme', 'token-1')]))
    expect(error).toBeInstanceOf(ConfigTextError)
  })
})

describe('logins taken out again', () => {
  test('leave the bytes that were there before', () => {
    holds(
      fc.property(configText, logins, (base, all) => {
        expect(subtract(spliced(base, all), base, entriesOf(all))).toBe(base)
      }),
      300,
    )
  })

  test.each([
    ['no file', undefined],
    ['an empty file', ''],
    ['a byte order mark', '\uFEFF'],
    ['blanks', '  '],
    ['a line end', '\n'],
    ['CRLF', '\r\n'],
    ['a comment', '# mine\n'],
    ['a comment without a line end', '# mine'],
    ['a document start', '---\n'],
    ['a document start without a line end', '---'],
    ['a key without a line end', 'tracking: false'],
    ['null', 'null\n'],
    ['a tilde', '~'],
    ['null workspaces without a line end', 'workspaces:'],
    ['a context without a line end', 'context: {}'],
    ['a list without a line end', 'workspaces:\n- name: acme'],
    ['a context of two lines', 'context:\n  workspace: |\n    acme\n'],
    ['a context that is empty but for a comment', 'context:\n  workspace: # none\n'],
    ['a directive', '%YAML 1.2\n---\na: 1\n'],
    ['a key in explicit form', '? context\n: workspace: acme\n? workspaces\n: - name: acme\n'],
    ['a workspace key in explicit form', 'context:\n  ? workspace\n  : acme\n'],
    ['an explicit key in the context', 'context:\n  ? zone\n'],
    ['a value on a line of its own', 'context: {}\n   : x\n'],
  ])('leave %s, or such a config is refused from the start', (_, base) => {
    try {
      parseLayout(base ?? '')
    } catch (error) {
      expect(error).toBeInstanceOf(ConfigTextError)
      return
    }
    const all = [login('acme', 'token-1'), login('new', 'token-2')]
    const text = spliced(base, all)
    expect(loggedInWorkspaces(text)).toEqual(['acme', 'new'])
    expect(contextOf(plain(text)).workspace).toBe('new')
    expect(subtract(text, base, entriesOf(all))).toBe(base)
  })

  test('leave the bytes of any text that was not refused', () => {
    const piece = fc.constantFrom(
      ...[
        'context:',
        'workspaces:',
        'workspace: acme',
        'workspace:',
        '- name: acme',
        '- name: 17',
        'name: acme',
        '{}',
        '[]',
      ],
      ...[
        'apiKey: "k"',
        'credentials:',
        'id: 1',
        'a: |',
        'b: >-',
        '# c',
        '',
        'null',
        '~',
        '---',
        '...',
        '-',
        '!!map',
        '{a: 1}',
      ],
      ...[
        'context: # x',
        'workspaces: # x',
        'tracking: false',
        '? k',
        ': v',
        '%YAML 1.2',
        'workspaces: [',
        ']',
        '{workspace: x}',
      ],
    )
    const line = fc.tuple(fc.constantFrom('', '', '', '  ', '    '), piece).map((parts) => parts.join(''))
    const text = fc
      .tuple(
        fc.constantFrom('', '\uFEFF'),
        fc.array(line, { maxLength: 8 }),
        fc.constantFrom('\n', '\r\n'),
        fc.boolean(),
      )
      .map(([mark, lines, eol, isClosed]) => mark + lines.join(eol) + (isClosed ? eol : ''))
    holds(
      fc.property(text, logins, (base, all) => {
        fc.pre(isAccepted(base))
        const now = spliced(base, all)
        expect(isAccepted(now)).toBe(true)
        expect(subtract(now, base, entriesOf(all))).toBe(base)
      }),
    )
  })

  test('are recognised by name and token: another login of that workspace stays', () => {
    holds(
      fc.property(configText, logins, (base, all) => {
        const theirs = render(base, all)?.replaceAll('session-token-', 'other-token-')
        const after = subtract(theirs ?? '', base, entriesOf(all))
        expect(workspacesOf(plain(after))).toEqual(workspacesOf(plain(theirs)))
      }),
    )
  })

  test('leave nothing where there was no file, nor a stranger since', () => {
    holds(
      fc.property(logins, (all) => {
        expect(subtract(spliced(undefined, all), undefined, entriesOf(all))).toBeUndefined()
      }),
    )
  })

  describe('from a file of our own making', () => {
    const acme = { name: 'acme', apiKey: 'token-of-acme' }
    const own = spliced(undefined, [{ entry: acme, notAfter: 1 }])
    const context = '  workspace: "acme"\n'
    const namesake = '- name: other\n  credentials:\n    apiKey: "token-of-acme"\n'

    test.each<[string, string, string | undefined]>([
      ['leave a comment of a stranger', `${own}# mine\n`, '# mine\n'],
      ['leave no file of blanks', `${own}\n \n`, undefined],
      [
        'leave what a stranger added to the context',
        own.replace(context, `${context}  theirs: kept\n`),
        'context:\n  theirs: kept\n',
      ],
      ['leave our token under the name of a stranger', own + namesake, `workspaces:\n${namesake}`],
    ])('%s', (_, current, after) => {
      expect(subtract(current, undefined, [acme])).toBe(after)
    })
  })

  test('leave what is not ours where the base is lost', () => {
    holds(
      fc.property(configText, logins, (base, all) => {
        // What stands behind the context would become part of such a text in front of it.
        fc.pre(!/# (deep|c)\b|[|>]\+/.test(base))
        const after = plain(subtract(spliced(base, all), '', entriesOf(all)))
        const ours = winners(all)
        expect(workspacesOf(after)).toEqual(workspacesOf(plain(base)).filter(({ name }) => !ours.has(String(name))))
        expect(without(after, 'context', 'workspaces')).toEqual(without(plain(base), 'context', 'workspaces'))
        expect(contextOf(after).workspace ?? '').toBe('')
      }),
    )
  })
})

function isAccepted(text: string): boolean {
  try {
    parseLayout(text)
    return true
  } catch {
    return false
  }
}

describe("a stranger's change", () => {
  /** Changes of lines that we do not touch: they come out the same in the base and in what we make of it. */
  const changes: Readonly<Record<string, (text: string) => string>> = {
    'a comment at the start': (text) => text.replace(/^\uFEFF?/, (mark) => `${mark}# stranger\n`),
    'a comment at the end': (text) => `${text}# stranger\n`,
    'another key': (text) => text.replace('tracking: false', 'tracking: true'),
    'the key of another workspace': (text) => text.replace(ownKey('beta'), 'another-key'),
    'fields of other workspaces': (text) =>
      text.replaceAll('labels:', 'labels: # stranger').replaceAll('x: 1', 'y: 22'),
    'the names of other workspaces': (text) => text.replaceAll(/name: (acme|beta)/g, 'name: not-$1'),
  }

  test.each(Object.keys(changes))('of %s survives to the byte', (name) => {
    const change = changes[name] ?? String
    const ours = [login('new-1', 'session-token-1'), login('new-2', 'session-token-2')]
    holds(
      fc.property(configText, (base) => {
        fc.pre(base.endsWith('\n') && change(base) !== base && isAccepted(change(base)))
        expect(subtract(change(spliced(base, ours)), base, entriesOf(ours))).toBe(change(base))
      }),
    )
  })

  test('of the context stays, and is no reason to keep anything of ours', () => {
    holds(
      fc.property(configText, logins, (base, all) => {
        const text = spliced(base, all)
        const { context } = parseLayout(text)
        if (context.kind !== 'set') throw new Error('no context was set')
        const { start, end } = context.slot
        const after = plain(subtract(`${text.slice(0, start)} stranger${text.slice(end)}`, base, entriesOf(all)))
        expect(contextOf(after).workspace).toBe('stranger')
        expect(workspacesOf(after)).toEqual(workspacesOf(plain(base)))
        expect(without(after, 'context', 'workspaces')).toEqual(without(plain(base), 'context', 'workspaces'))
      }),
    )
  })

  test('that adds a workspace stays, wherever it stands in the list', () => {
    holds(
      fc.property(configText, logins, fc.nat(), (base, all, nth) => {
        const text = spliced(base, all)
        const { workspaces, eol } = parseLayout(text)
        if (workspaces.kind !== 'list') throw new Error('no list was made')
        const { items, indent } = workspaces
        const at = items[nth % items.length]?.start ?? 0
        const entry = ['- name: stranger', '  credentials:', '    apiKey: theirs']
          .map((line) => indent + line + eol)
          .join('')
        const after = workspacesOf(plain(subtract(text.slice(0, at) + entry + text.slice(at), base, entriesOf(all))))
        expect(after).toContainEqual({ name: 'stranger', credentials: { apiKey: 'theirs' } })
        expect(after.filter(({ name }) => name !== 'stranger')).toEqual(workspacesOf(plain(base)))
      }),
    )
  })

  describe('by bl, which writes the whole file anew,', () => {
    const keys = (config: Plain): Record<string, string> =>
      Object.fromEntries(
        workspacesOf(config).map(({ name, credentials }) => [String(name), (credentials as LoginEntry).apiKey]),
      )

    /** What stays of a config that we have changed, and then somebody with `bl`. */
    function afterBl(base: string, all: readonly Login[], context: string): Plain {
      const now = keys(plain(spliced(base, all)))
      return plain(subtract(asBlWrites(context, { ...now, stranger: 'theirs' }), base, entriesOf(all)))
    }

    test('stays, and what we covered comes back', () => {
      holds(
        fc.property(configText, logins, (base, all) => {
          const after = afterBl(base, all, 'stranger')
          expect(contextOf(after)).toEqual({ workspace: 'stranger' })
          expect(keys(after)).toEqual({ ...keys(plain(base)), stranger: 'theirs' })
          expect(after.tracking).toBe('false')
        }),
      )
    })

    test('and leaves our context, does not keep the one before from coming back', () => {
      const named = (context: unknown) => (typeof context === 'string' ? context.replace(/^(~|null)$/, '') : '').trim()
      holds(
        fc.property(configText, logins, (base, all) => {
          const after = afterBl(base, all, all.at(-1)?.entry.name ?? '')
          expect(named(contextOf(after).workspace)).toBe(named(contextOf(plain(base)).workspace))
          expect(keys(after)).toEqual({ ...keys(plain(base)), stranger: 'theirs' })
          expect(after.tracking).toBe('false')
        }),
      )
    })
  })
})

/** The form of the file in which `bl` of today leaves it. */
function asBlWrites(context: string, keys: Readonly<Record<string, string>>): string {
  const list = Object.entries(keys)
    .map(([name, apiKey]) => `- name: ${name}\n  credentials:\n    apiKey: "${apiKey}"\n`)
    .join('')
  return `context:\n  workspace: ${context}\nworkspaces:\n${list}tracking: false\n`
}

describe('the login that bl has written', () => {
  const text = (entry: string) => `context:\n  workspace: acme\nworkspaces:\n- name: other\n${entry}tracking: false\n`

  test.each<[string, string, LoginEntry | undefined]>([
    [
      'is found by its name',
      '- name: acme\n  id: ws-1\n  credentials:\n    apiKey: "k-1"\n',
      { name: 'acme', id: 'ws-1', apiKey: 'k-1' },
    ],
    [
      'has its environment',
      '- name: acme\n  credentials:\n    apiKey: "k-1"\n  env: "dev"\n',
      { name: 'acme', env: 'dev', apiKey: 'k-1' },
    ],
    [
      'has the form of before 0.1.60',
      '- name: acme\n  credentials:\n    apiKey: k-1\n    access_token: ""\n    expires_in: 0\n  env: ""\n',
      { name: 'acme', apiKey: 'k-1' },
    ],
    [
      'loses an id that could leave its place',
      '- name: acme\n  id: ../ws\n  credentials:\n    apiKey: k-1\n',
      { name: 'acme', apiKey: 'k-1' },
    ],
    [
      'loses an environment that is none',
      '- name: acme\n  env: "a b"\n  credentials:\n    apiKey: k-1\n',
      { name: 'acme', apiKey: 'k-1' },
    ],
    ['is none without a key', '- name: acme\n  credentials:\n    client_credentials: "x"\n', undefined],
    ['is none where there is no such name', '- name: acme-2\n  credentials:\n    apiKey: k-1\n', undefined],
  ])('%s', (_, entry, expected) => {
    expect(findLogin(text(entry), 'acme')).toEqual(expected)
  })

  test('is found under a name that looks like a number', () => {
    expect(findLogin('workspaces:\n- name: 0017\n  credentials:\n    apiKey: k-1\n', '0017')).toEqual({
      name: '0017',
      apiKey: 'k-1',
    })
  })

  test('is none, and the list of names is empty, in a text that can not be read', () => {
    holds(
      fc.property(fc.string(), (hostile) => {
        fc.pre(!hostile.includes('name'))
        expect(findLogin(hostile, 'acme')).toBeUndefined()
        expect(loggedInWorkspaces(hostile)).toEqual([])
      }),
    )
    expect(findLogin('- name: acme\n  bad', 'acme')).toBeUndefined()
    for (const text of ['', 'context:\n  workspace: acme\n', 'workspaces: []\n', 'a: [']) {
      expect([text, loggedInWorkspaces(text)]).toStrictEqual([text, []])
    }
  })

  test('is found in every config that we have written', () => {
    holds(
      fc.property(configText, logins, (base, all) => {
        const now = spliced(base, all)
        const ours = winners(all)
        for (const [name, entry] of ours) expect(findLogin(now, name)).toEqual(entry)
        expect(loggedInWorkspaces(now)).toEqual(workspacesOf(plain(now)).map(({ name }) => name))
      }),
    )
  })
})
