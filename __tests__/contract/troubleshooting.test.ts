import { globSync, readFileSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { expect, test } from '@jest/globals'

const root = resolve(import.meta.dirname, '../..')
const source = globSync('src/**/*.ts', { cwd: root })
  .map((file) => readFileSync(join(root, file), 'utf8'))
  .join('\n')

/** The messages in the first column of every table with such a heading; … stands for what differs. */
function quoted(file: string): string[] {
  return readFileSync(join(root, file), 'utf8')
    .split(/^\| Message .*\n/m)
    .slice(1)
    .flatMap((table) => table.split(/^[^|]/m)[0]?.split('\n') ?? [])
    .flatMap((line) => [...(line.split(' | ')[0] ?? '').matchAll(/`([^`]+)`/g)].map(([, message = '']) => message))
}

/** What differs, and what a template puts beside it. */
const HOLE = /['"(.:,]*(?:…|HOME|\b\d{3}\b)['").:,]*/

test.each(['docs/troubleshooting.md', 'README.md'])('every message that %s quotes occurs in src', (file) => {
  const messages = quoted(file)
  expect(messages.length).toBeGreaterThanOrEqual(8)
  const partsOf = (message: string) => message.split(HOLE).map((part) => part.trim().replace(/\.$/, ''))
  expect(messages.filter((message) => partsOf(message).join('').length < 10)).toEqual([])
  expect(messages.filter((message) => !partsOf(message).every((part) => source.includes(part)))).toEqual([])
})
