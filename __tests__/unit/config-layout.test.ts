import { describe, expect, test } from '@jest/globals'
import fc from 'fast-check'
import { parse } from 'yaml'
import { parseLayout, type Layout } from '../../src/login/config-layout.ts'
import { ConfigTextError } from '../../src/login/config-text-error.ts'
import { configText } from './configs.ts'
import { holds, thrownBy } from './property.ts'

interface Plain {
  readonly context?: { readonly workspace?: string } | string
  readonly workspaces?: readonly { readonly name: string; readonly credentials: { readonly apiKey: string } }[] | string
}

/** What another reader finds in the text, every scalar as it is written. */
function failsafe(text: string): Plain {
  return (parse(text.replace(/^\uFEFF/, ''), { schema: 'failsafe' }) ?? {}) as Plain
}

describe('the parts of a config', () => {
  test('of the form that bl writes', () => {
    const text = [
      'context:',
      '  workspace: acme',
      'workspaces:',
      '- name: acme',
      '  id: ws-1',
      '  credentials:',
      '    apiKey: "key-1"',
      '  env: "dev"',
      '- name: 17',
      '  credentials:',
      '    apiKey: 12345678',
      'tracking: false',
      '',
    ].join('\n')
    const layout = parseLayout(text)
    expect(layout).toMatchObject({ text, eol: '\n', indent: '', firstKey: 0 })
    expect(layout.context).toEqual({
      kind: 'set',
      start: 0,
      end: text.indexOf('workspaces:'),
      workspace: 'acme',
      slot: { start: text.indexOf(' acme'), end: text.indexOf('\nworkspaces') },
      whole: { start: text.indexOf('  workspace: acme'), end: text.indexOf('workspaces:') },
      hasOtherKeys: false,
    })
    const [first, second, end] = ['- name: acme', '- name: 17', 'tracking'].map((part) => text.indexOf(part))
    expect(layout.workspaces).toEqual({
      kind: 'list',
      start: text.indexOf('workspaces:'),
      indent: '',
      items: [
        { name: 'acme', id: 'ws-1', env: 'dev', apiKey: 'key-1', start: first, end: second },
        { name: '17', id: undefined, env: undefined, apiKey: '12345678', start: second, end },
      ],
    })
  })

  test.each<[string, string, Partial<Layout>]>([
    ['nothing', '', { firstKey: 0, context: { kind: 'absent' }, workspaces: { kind: 'absent' } }],
    ['a byte order mark', '\uFEFF', { firstKey: 1, context: { kind: 'absent' }, workspaces: { kind: 'absent' } }],
    ['texts with a percent sign and three dots', 'a: 100%\nb: and so on...\n', { firstKey: 0, indent: '' }],
    ['comments', '# a\n# b\n', { firstKey: 8, context: { kind: 'absent' }, workspaces: { kind: 'absent' } }],
    ['CRLF', 'tracking: false\r\n', { eol: '\r\n', firstKey: 0 }],
    ['one CRLF among LF', 'a: 1\nb: 2\r\n', { eol: '\r\n' }],
    ['a byte order mark before a key', '\uFEFFtracking: false\n', { firstKey: 1, indent: '' }],
    ['keys that are indented', '# a\n  tracking: false\n  b: 1\n', { firstKey: 4, indent: '  ' }],
    ['a document start', '---\ntracking: false\n', { firstKey: 4 }],
    ['a context without a value', 'context:\n', { context: { kind: 'unset', start: 0, end: 9, insertion: undefined } }],
    ['a null context', 'context: null # x\n', { context: { kind: 'unset', start: 0, end: 18, insertion: undefined } }],
    ['an empty context', 'context: {}\n', { context: { kind: 'unset', start: 0, end: 12, insertion: undefined } }],
    [
      'a context with other keys',
      'context:\n    zone: eu\n',
      { context: { kind: 'unset', start: 0, end: 22, insertion: { at: 9, before: '    ', after: '\n' } } },
    ],
    [
      'a context in flow style',
      'context: {workspace: acme}\n',
      {
        context: {
          kind: 'set',
          start: 0,
          end: 27,
          workspace: 'acme',
          slot: { start: 20, end: 25 },
          whole: { start: 10, end: 25 },
          hasOtherKeys: false,
        },
      },
    ],
    [
      'a context whose workspace is empty',
      'context:\n  workspace: # x\n',
      {
        context: {
          kind: 'set',
          start: 0,
          end: 26,
          workspace: '',
          slot: { start: 21, end: 21 },
          whole: { start: 9, end: 26 },
          hasOtherKeys: false,
        },
      },
    ],
    [
      'a context whose workspace is a number, beside another key',
      'context:\n  workspace: 0x10\n  zone: eu',
      {
        context: {
          kind: 'set',
          start: 0,
          end: 37,
          workspace: '0x10',
          slot: { start: 21, end: 26 },
          whole: { start: 9, end: 27 },
          hasOtherKeys: true,
        },
      },
    ],
    [
      'a context in flow style with another key behind',
      'context: {workspace: acme, zone: eu}\n',
      {
        context: {
          kind: 'set',
          start: 0,
          end: 37,
          workspace: 'acme',
          slot: { start: 20, end: 25 },
          whole: { start: 10, end: 27 },
          hasOtherKeys: true,
        },
      },
    ],
    [
      'a context in flow style with a marked key',
      'context: {? workspace : acme}\n',
      {
        context: {
          kind: 'set',
          start: 0,
          end: 30,
          workspace: 'acme',
          slot: { start: 23, end: 28 },
          whole: { start: 12, end: 28 },
          hasOtherKeys: false,
        },
      },
    ],
    [
      'a context in flow style without a workspace',
      'context: {zone: eu}\n',
      { context: { kind: 'unset', start: 0, end: 20, insertion: { at: 10, before: '', after: ', ' } } },
    ],
    [
      'a context whose workspace is a text of several lines',
      'context:\r\n  workspace: |\r\n    acme\r\na: 1\r\n',
      {
        context: {
          kind: 'set',
          start: 0,
          end: 36,
          workspace: 'acme\n',
          slot: { start: 22, end: 34 },
          whole: { start: 10, end: 36 },
          hasOtherKeys: false,
        },
      },
    ],
    ['a document start with a comment', '--- # c\na: 1\n', { firstKey: 8 }],
    ['a document start alone', '---\n', { firstKey: 4, context: { kind: 'absent' }, workspaces: { kind: 'absent' } }],
    [
      'a workspace whose dash stands alone, and one whose credentials are a text',
      'workspaces:\n  - # c\n    name: a\n  - name: b\n    credentials: x\n    env:\n# end\n',
      {
        workspaces: {
          kind: 'list',
          start: 0,
          indent: '  ',
          items: [
            { name: 'a', apiKey: undefined, id: undefined, env: undefined, start: 12, end: 32 },
            { name: 'b', apiKey: undefined, id: undefined, env: undefined, start: 32, end: 72 },
          ],
        },
      },
    ],
    ['workspaces without a value', 'workspaces:\na: 1\n', { workspaces: { kind: 'empty', start: 0, end: 12 } }],
    ['null workspaces', 'workspaces: null\na: 1\n', { workspaces: { kind: 'empty', start: 0, end: 17 } }],
    ['no workspaces in a list', 'workspaces: []\na: 1\n', { workspaces: { kind: 'empty', start: 0, end: 15 } }],
    [
      'no workspaces in a list of two lines',
      'workspaces: [\n  ]\n',
      { workspaces: { kind: 'empty', start: 0, end: 18 } },
    ],
  ])('of %s', (_, text, expected) => {
    expect(parseLayout(text)).toMatchObject(expected)
  })

  test('are what another reader of YAML finds, and whole lines', () => {
    holds(
      fc.property(configText, (text) => {
        const { context, workspaces, firstKey, indent } = parseLayout(text)
        const plain = failsafe(text)
        const wanted = typeof plain.context === 'object' ? plain.context.workspace : undefined
        if (context.kind === 'set') expect(context.workspace).toBe(/^(~|null)?$/.test(wanted ?? '') ? '' : wanted)
        else expect(wanted).toBeUndefined()
        const found = typeof plain.workspaces === 'object' ? plain.workspaces : []
        const items = workspaces.kind === 'list' ? workspaces.items : []
        expect(items.map(({ name, apiKey }) => [name, apiKey])).toEqual(
          found.map(({ name, credentials }) => [name, credentials.apiKey]),
        )
        const startsLine = (at: number) => at === 0 || text[at - 1] === '\n' || text.slice(0, at) === '\uFEFF'
        const endsLine = (at: number) => at === text.length || text[at - 1] === '\n'
        for (const { start, end } of items)
          expect([startsLine(start), endsLine(end), start < end]).toEqual([true, true, true])
        for (const part of [context, workspaces]) {
          if (part.kind !== 'absent') expect(startsLine(part.start)).toBe(true)
          if ('end' in part) expect(endsLine(part.end)).toBe(true)
        }
        expect([startsLine(firstKey) || firstKey === text.length, indent.trim()]).toEqual([true, ''])
      }),
    )
  })
})

describe('a config that is refused', () => {
  test.each<[string, string, number, string]>([
    ['text that is no YAML', 'context:\n  workspace: acme\n bad\n', 3, 'it is not valid YAML'],
    ['a torn file', 'context:\n  workspace: "ac', 2, 'it is not valid YAML'],
    ['a key that occurs twice', 'a: 1\nb: 2\na: 3\n', 3, 'it is not valid YAML'],
    ['tabs for indentation', 'context:\n\tworkspace: acme\n', 2, 'it is not valid YAML'],
    ['several documents', 'a: 1\n---\nb: 2\n', 3, 'it holds several documents'],
    ['a document end marker', 'a: 1\n...\n', 2, 'it holds a document end marker'],
    ['a document end marker alone', '# a\n...\n', 2, 'it holds a document end marker'],
    ['a document end marker behind a byte order mark', '\uFEFF...\n', 1, 'it holds a document end marker'],
    ['an anchor', 'a: 1\nb: &x 2\n', 2, 'it uses anchors'],
    ['an anchor and an alias', 'a: &x 1\nc: *x\n', 1, 'it uses anchors'],
    ['a directive', '%YAML 1.2\n---\na: 1\n', 1, 'it holds a directive'],
    ['a directive behind a byte order mark', '\uFEFF# a\n%YAML 1.2\n---\na: 1\n', 2, 'it holds a directive'],
    ['a tag that nobody knows', 'a: 1\nb: !!x 2\n', 2, 'it is not valid YAML'],
    ['a map behind a document start', 'a: 1\n---\n', 2, 'it holds several documents'],
    ['a document end marker behind a text', 'a: |\n  x\n...\n', 3, 'it holds a document end marker'],
    ['an anchor in a workspace', 'workspaces:\n- name: a\n  credentials: &x {}\n', 3, 'it uses anchors'],
    ['a marked key', 'a: 1\n? b\n: 2\n', 2, 'it has a key that does not start its line'],
    ['a marked key in the context', 'context:\n  ? workspace\n  : a\n', 2, 'it has a key that does not start its line'],
    ['a key that is a list', 'a: 1\n[b]: 2\n', 2, 'it has a key that is no word'],
    ['a key that is a map', 'a: 1\n{b: 1}: 2\n', 2, 'it has a key that is no word'],
    ['a key that is null', 'a: 1\nnull: 2\n', 2, 'it has a key that is no word'],
    ['a key that is nothing', 'a: 1\n: 2\n', 2, 'it has a key that is no word'],
    ['a key of the context that is a list', 'context:\n  [x]: y\n', 2, 'it has a key that is no word'],
    ['a key of a context in flow style that is a list', 'a: 1\ncontext: {[x]: y}\n', 2, 'it has a key that is no word'],
    ['a workspace in a list in the list', 'workspaces:\n- name: a\n- - name: b\n', 3, 'a workspace is not a block map'],
    ['a text', 'hello\n', 1, 'it is not a block map'],
    ['a number', '17\n', 1, 'it is not a block map'],
    ['a list', '- a\n- b\n', 1, 'it is not a block map'],
    ['a map in flow style', '# a\n{workspaces: []}\n', 2, 'it is not a block map'],
    ['a context that is a text', 'a: 1\ncontext: acme\n', 2, 'its context is not a map'],
    ['a context that is a list', 'context:\n- acme\n', 2, 'its context is not a map'],
    ['workspaces in flow style', 'a: 1\nworkspaces: [{name: acme}]\n', 2, 'its workspaces are not a block sequence'],
    ['workspaces as a map', 'workspaces:\n  acme: {}\n', 2, 'its workspaces are not a block sequence'],
    ['workspaces as a text', 'workspaces: acme\n', 1, 'its workspaces are not a block sequence'],
    ['a workspace in flow style', 'workspaces:\n- name: a\n- {name: acme}\n', 3, 'a workspace is not a block map'],
    ['a workspace that is a text', 'workspaces:\n- acme\n', 2, 'a workspace is not a block map'],
    ['a workspace that is null', 'workspaces:\n- name: a\n-\n', 3, 'a workspace is not a block map'],
    ['a workspace without a name', 'workspaces:\n- id: ws-1\n', 2, 'a workspace has no name'],
    ['a workspace with an empty name', 'workspaces:\n- name: a\n- name:\n  id: x\n', 3, 'a workspace has no name'],
    ['a name that occurs twice', 'workspaces:\n- name: a\n- name: b\n- name: "a"\n', 4, 'it names a workspace twice'],
    ['a number that occurs twice', 'workspaces:\n- name: 17\n- name: "17"\n', 3, 'it names a workspace twice'],
  ])('is %s', (_, text, line, message) => {
    for (const eol of ['\n', '\r\n']) {
      const error = thrownBy(() => parseLayout(text.replaceAll('\n', eol)))
      expect(error).toBeInstanceOf(ConfigTextError)
      expect(error).toMatchObject({ line, message })
    }
  })

  test('is refused with a line of its own, and nothing else is thrown, whatever the text is', () => {
    const piece = fc.constantFrom(
      ...[
        'context:',
        'workspaces:',
        'workspace: acme',
        '- name: acme',
        '- name: 17',
        'name: acme',
        'credentials:',
        'a: |',
      ],
      ...[
        'apiKey: "k"',
        'b: >-',
        '# c',
        '',
        '- x',
        '[]',
        '{}',
        '{a: 1}',
        'null',
        '~',
        '---',
        '...',
        '-',
        '&a',
        '*a',
        '!!map',
      ],
      ...[
        '"q',
        'q"',
        '? k',
        ': v',
        '- ? name',
        '%YAML 1.2',
        '\tx',
        'workspaces: [',
        ']',
        'context: # x',
        '- {name: acme}',
      ],
    )
    const line = fc.tuple(fc.constantFrom('', '', '', '  ', '    ', '\t'), piece).map((parts) => parts.join(''))
    const text = fc
      .tuple(fc.constantFrom('', '\uFEFF'), fc.array(line, { maxLength: 9 }), fc.constantFrom('\n', '\r\n'))
      .map(([mark, lines, eol]) => mark + lines.join(eol))
    holds(
      fc.property(fc.oneof({ weight: 4, arbitrary: text }, fc.string()), (hostile) => {
        try {
          expect(parseLayout(hostile).text).toBe(hostile)
        } catch (error) {
          expect(error).toBeInstanceOf(ConfigTextError)
          const { line: at } = error as ConfigTextError
          expect(at).toBeGreaterThanOrEqual(1)
          expect(at).toBeLessThanOrEqual(hostile.split('\n').length)
        }
      }),
      500,
    )
  })
})
