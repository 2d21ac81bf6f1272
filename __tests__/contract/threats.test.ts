import { existsSync, globSync, readFileSync } from 'node:fs'
import { join, posix, resolve } from 'node:path'
import { describe, expect, test } from '@jest/globals'

const root = resolve(import.meta.dirname, '../..')
const PAGE = 'docs/threat-model.md'
const page = readFileSync(join(root, PAGE), 'utf8')
/** The rows that there must be. */
const NUMBERS = [...Array.from({ length: 52 }, (_, index) => String(index + 1)), '17b']

interface Row {
  readonly number: string
  readonly cells: readonly string[]
  readonly tests: readonly { readonly file: string; readonly title: string }[]
}

/** The rows of the table: a number, the threat, what is done, and the tests as `[name](file): title`, one a line. */
const rows: Row[] = page.split('\n').flatMap((line) => {
  const [, number, ...cells] = line.split(/(?<!\\)\|/).map((cell) => cell.trim())
  if (number === undefined || !/^\d+b?$/.test(number)) return []
  const tests = (cells[2] ?? '').split('<br>').map((entry) => {
    const [, file = '', title = ''] = /^\[[^\]]+\]\(([^)]+)\): (.+)$/.exec(entry.trim()) ?? []
    return { file: posix.join(posix.dirname(PAGE), file), title }
  })
  return [{ number, cells: cells.slice(0, 3), tests }]
})

/** The numbers in the titles of tests, with the files in which they stand. */
const titles = globSync('__tests__/**/*.ts', { cwd: root }).flatMap((file) => {
  const source = readFileSync(join(root, file), 'utf8')
  return [...source.matchAll(/['"`]threat (\w+): /g)].map(([, number = '']) => ({ number, file }))
})

test(`${PAGE} has one row for each threat`, () => {
  expect(rows.map(({ number }) => number).sort()).toEqual([...NUMBERS].sort())
})

test('every row says what the threat is and what is done', () => {
  expect(rows.filter(({ cells }) => cells.length < 3 || cells.includes(''))).toEqual([])
})

test('every title of a test names a row', () => {
  const known = new Set(rows.map(({ number }) => number))
  expect(titles.filter(({ number }) => !known.has(number))).toEqual([])
})

test(`every test file that ${PAGE} names is there`, () => {
  const named = [...page.matchAll(/__tests__\/[\w./-]+\.ts/g)].map(([path]) => path)
  expect(named.length).toBeGreaterThan(0)
  expect(named.filter((path) => !existsSync(join(root, path)))).toEqual([])
})

describe.each(rows)('threat $number', ({ number, tests }) => {
  test('has a test that carries its number', () => {
    expect(titles.map((title) => title.number)).toContain(number)
  })

  test('names its tests as they are called', () => {
    const wrong = tests.filter(({ file, title }) => !sourceOf(file).includes(`threat ${number}: ${title}`))
    expect(wrong).toEqual([])
  })
})

/** A test file, with … in the place of what its titles have inserted. */
function sourceOf(file: string): string {
  return existsSync(join(root, file)) ? readFileSync(join(root, file), 'utf8').replaceAll(/\$\{[^}]*\}/g, '…') : ''
}
