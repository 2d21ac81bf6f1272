import { readFileSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { expect, test } from '@jest/globals'
import { HOLE, readMessages } from './messages.ts'

const root = resolve(import.meta.dirname, '../..')
const messages = readMessages()
/** Two of its words depend on each other, which the reading does not see. */
const IMPOSSIBLE = /^The input (client-\w+) is given without \1\.$/
const texts = messages.texts.filter((text) => !IMPOSSIBLE.test(text))
const rows = rowsOf('docs/troubleshooting.md')

interface Row {
  readonly message: string
  readonly cells: readonly string[]
}

/** The rows of every table whose first column is a message. */
function rowsOf(file: string): Row[] {
  return readFileSync(join(root, file), 'utf8')
    .split(/^\| Message .*\n/m)
    .slice(1)
    .flatMap((table) => {
      const lines = table.split('\n')
      const end = lines.findIndex((line) => !line.startsWith('|'))
      return lines.slice(1, end === -1 ? undefined : end).map(rowOf)
    })
}

function rowOf(line: string): Row {
  const cells = line.split('|').map((cell) => cell.trim())
  const message = /^`([^`]+)`$/.exec(cells[1] ?? '')?.[1]
  if (message === undefined || cells.length !== 5) throw new Error(`not a row of message, cause and remedy: ${line}`)
  return { message, cells: cells.slice(1, 4) }
}

/** Whether a row stands for a text: … for anything, and the row may leave out what follows. */
function standsFor({ message }: Row, text: string): boolean {
  const parts = message.split(HOLE).map((part) => part.replaceAll(/[.*+?^${}()|[\]\\]/g, '\\$&'))
  return new RegExp(`^${parts.join('.+')}(?: |$)`).test(text) || new RegExp(`^${parts.join('.+')}$`).test(text)
}

/** The row that says most of a text. */
function rowFor(text: string): Row | undefined {
  const wordsIn = ({ message }: Row) => message.replaceAll(HOLE, '').length
  return rows.filter((row) => standsFor(row, text)).sort((a, b) => wordsIn(b) - wordsIn(a))[0]
}

test('every message of the source has a row', () => {
  expect(texts.length).toBeGreaterThan(150)
  expect(texts.filter((text) => rowFor(text) === undefined)).toEqual([])
})

test('every row is a message of the source', () => {
  const needed = new Set(texts.map(rowFor))
  expect(rows.filter((row) => !needed.has(row)).map(({ message }) => message)).toEqual([])
})

test('no row stands for just anything', () => {
  expect(rows.filter(({ message }) => (message.match(/[A-Za-z]{2,}/g) ?? []).length < 2)).toEqual([])
})

test('every row has a cause and a remedy', () => {
  expect(rows.filter(({ cells }) => cells.includes(''))).toEqual([])
})

test('the README shows the frequent ones as they stand there', () => {
  const shown = rowsOf('README.md')
  expect(shown.length).toBeGreaterThanOrEqual(12)
  expect(rows.map(({ cells }) => cells)).toEqual(expect.arrayContaining(shown.map(({ cells }) => cells)))
})

/** Each of these hands a message on that was made elsewhere; a new one may hide a message from this test. */
test('no message escapes these tests', () => {
  expect(messages.passedOn).toEqual([
    'src/blaxel/api.ts: error.message',
    'src/inputs.ts: [...warnings, ...environmentWarnings(source.env)]',
    'src/install/install.ts: warning',
    'src/install/release-list.ts: error.message',
    'src/install/release.ts: error.message',
    'src/main-step.ts: warning',
    'src/outputs.ts: access.notice',
    'src/runner/runner.ts: clean(text)',
    'src/setup.ts: warning',
  ])
})
