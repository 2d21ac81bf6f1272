import fc from 'fast-check'
import type { LoginEntry } from '../../src/login/config-document.ts'

type Lines = readonly string[]

/** Names of workspaces; YAML takes some of them for numbers where they stand unquoted. */
export const WORKSPACES = ['acme', 'beta', 'gamma-2', '17', '0017', '1e3', '0x10', '1_0'] as const

/** The key that a workspace has in a generated config, before anybody logs in. */
export const ownKey = (workspace: string): string => `key-of-${workspace}-1`

const comment = fc.constantFrom('', '', '', ' # note', '  # a: b', ' #')
const noise = fc.constantFrom<Lines>([], [], [], [''], ['# line'], ['', '# a', ''], ['      # deep'])
const indentation = fc.constantFrom('  ', '    ', ' ')

function inQuotesOrNot(value: string): fc.Arbitrary<string> {
  return fc.constantFrom(value, `"${value}"`, `'${value}'`)
}

function indented(lines: Lines, by: string): string[] {
  return lines.map((line) => (line === '' ? '' : by + line))
}

function credentials(workspace: string): fc.Arbitrary<Lines> {
  const key = ownKey(workspace)
  const rest = fc.subarray(['client_credentials: ""', 'access_token: ""', 'expires_in: 0'])
  return fc.oneof(
    fc.tuple(inQuotesOrNot(key), comment, indentation, rest, fc.boolean()).map(([value, note, by, others, first]) => {
      const apiKey = `apiKey: ${value}${note}`
      return [`credentials:${note}`, ...indented(first ? [apiKey, ...others] : [...others, apiKey], by)]
    }),
    fc.constantFrom<Lines>([`credentials: {apiKey: "${key}"}`], ['credentials: {', `    apiKey: ${key}`, '  }']),
  )
}

const OTHER_FIELDS: readonly Lines[] = [
  ['id: ws-1'],
  ['env: "dev"'],
  ['labels:', '  - a', '  - b: c'],
  ['note: |', '  two', '', '  lines'],
  ['folded: >+', '  x', ''],
  ['flow: [a, {b: c}]'],
  ['long: some words', '  that go on'],
  ['quoted: "a', '  b"'],
  ['empty:'],
  ['# between', 'x: 1'],
  ['"q": y'],
]

/** One workspace's entry, its dash in the first column. */
function entry(name: string): fc.Arbitrary<Lines> {
  const dash = fc.constantFrom('- ', '- ', '-   ', '-', '- # note')
  const others = fc.shuffledSubarray([...OTHER_FIELDS])
  return fc
    .tuple(inQuotesOrNot(name), comment, credentials(name), others, fc.nat(), dash)
    .map(([text, note, login, fields, at, first]) => {
      const rest = [login, ...fields]
      const lines = rest.toSpliced(at % (rest.length + 1), 0, [`name: ${text}${note}`]).flat()
      // A comment can't follow the dash as the first line of a map.
      if (first.trim() !== '-' || first === '-' || lines[0]?.startsWith('#') === true) {
        return [first.trim(), ...indented(lines, '  ')]
      }
      const [head = '', ...tail] = lines
      return [first + head, ...indented(tail, ' '.repeat(first.length))]
    })
}

const workspaces: fc.Arbitrary<readonly Lines[]> = fc.oneof(
  { weight: 1, arbitrary: fc.constant([]) },
  {
    weight: 2,
    arbitrary: fc
      .constantFrom<Lines>(
        ['workspaces:'],
        ['workspaces: []'],
        ['workspaces: [ ] # none'],
        ['workspaces: null'],
        ['workspaces: ~ # none'],
        ['"workspaces":'],
        ['workspaces :'],
        ['workspaces: # none'],
        ['workspaces:', '  []'],
        ['workspaces: [', '  ]'],
        ['workspaces:', '  # none', '  null'],
        ['workspaces:', '# gone:', '#- name: x'],
      )
      .map((lines) => [lines]),
  },
  {
    weight: 5,
    arbitrary: fc
      .tuple(
        fc.constantFrom('', '', '  ', '    ', ' '),
        fc.shuffledSubarray([...WORKSPACES], { minLength: 1, maxLength: 4 }),
        comment,
      )
      .chain(([by, names, note]) =>
        fc
          .tuple(...names.map((name) => fc.tuple(noise, entry(name))))
          .map((entries) => [
            [`workspaces:${note}`, ...entries.flatMap(([before, own]) => [...before, ...indented(own, by)])],
          ]),
      ),
  },
)

const contextName = fc.constantFrom('acme', 'beta', 'other', '"acme"', "'17'", '17', '', '""', '~', 'null')

const context: fc.Arbitrary<readonly Lines[]> = fc.oneof(
  fc.constant([]),
  fc
    .tuple(fc.constantFrom('context:', 'context: null', 'context: ~', 'context: {}', 'context: { }'), comment)
    .map(([text, note]) => [[text + note]]),
  fc
    .tuple(fc.constantFrom('acme', '"17"', '~'), comment)
    .map(([name, note]) => [[`context: {workspace: ${name}}${note}`]]),
  fc.constantFrom<readonly Lines[]>(
    [['context:', '  {workspace: acme,', '   zone: eu}']],
    [['context: {zone: eu}']],
    [['context: { zone: eu } # note']],
    [['context:', '  {', '    zone: eu,', '  }']],
    [['context: {zone: eu, workspace: acme}']],
    [['context:', '  workspace:', '    acme']],
    [['context:', '  workspace: >-', '    acme', '  zone: eu']],
    [['context:', '  workspace: |', '    acme']],
    [['context:', '  workspace: # none']],
    [['context:', '  "workspace": acme']],
    [['context:', '  workspace : acme']],
    [['context:', '  zone: eu']],
  ),
  fc
    .tuple(
      contextName,
      comment,
      indentation,
      fc.shuffledSubarray<Lines>([['zone: eu'], ['list:', '  - a'], ['# c'], [''], ['text: |', '  x']]),
      fc.nat(),
    )
    .map(([name, note, by, others, at]) => {
      const lines = others.toSpliced(at % (others.length + 1), 0, [`workspace: ${name}${note}`]).flat()
      return [[`context:${note}`, ...indented(lines, by)]]
    }),
)

const otherKeys = fc.subarray<Lines>([
  ['tracking: false'],
  ['defaults:', '  region: us', '  list:', '  - a', '  - b'],
  ['note: |', '  some', '', '  text'],
  ['kept: |+', '  x', '', ''],
  ['"quoted key": 1'],
  ['flow: {a: [1, 2]}'],
  ['words: a', '  b'],
  ['nothing:'],
])

/**
 * The text of a config.yaml of a form that people and programs write: with and without a byte order mark, comments,
 * fields that nobody knows and a line end at its end; LF and CRLF; lists of any indent; sections in any order.
 */
export const configText: fc.Arbitrary<string> = fc
  .record({
    mark: fc.constantFrom('', '', '\uFEFF'),
    eol: fc.constantFrom('\n', '\n', '\r\n'),
    by: fc.constantFrom('', '', '', '  '),
    opening: fc.constantFrom<Lines>([], [], ['---'], ['# yaml', '---']),
    sections: fc.tuple(context, workspaces, otherKeys).chain((groups) => {
      const all = groups.flat()
      return fc.shuffledSubarray(all, { minLength: all.length })
    }),
    noises: fc.array(noise, { minLength: 11, maxLength: 11 }),
    isClosed: fc.boolean(),
  })
  .map(({ mark, eol, by, opening, sections, noises, isClosed }) => {
    const body = sections.flatMap((lines, index) => [...(noises[index] ?? []), ...indented(lines, by)])
    const lines = [...opening, ...body, ...(noises.at(-1) ?? [])]
    return mark + lines.join(eol) + (isClosed && lines.length > 0 ? eol : '')
  })

/** Entries of ours, of workspaces that a generated config may have or not; no two of the same workspace. */
export const entries: fc.Arbitrary<readonly [LoginEntry, ...LoginEntry[]]> = fc
  .shuffledSubarray([...WORKSPACES, 'new-1'], { minLength: 1, maxLength: 4 })
  .chain((names) => fc.tuple(fc.constant(names), fc.boolean()))
  .map(([names, isDev]) =>
    names.map((name) => ({
      name,
      id: 'ws-9',
      ...(isDev ? { env: 'dev' } : {}),
      apiKey: `session-token-of-${name}`,
    })),
  )
  .map((all) => all as unknown as readonly [LoginEntry, ...LoginEntry[]])
