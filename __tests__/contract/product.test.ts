import { execFileSync } from 'node:child_process'
import { existsSync, readFileSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { describe, expect, test } from '@jest/globals'

const root = resolve(import.meta.dirname, '../..')
const LOCK = 'package-lock.json'

/** Every text file that git tracks and that is there, without the lock file. */
const tracked = execFileSync('git', ['ls-files', '-z'], { cwd: root, encoding: 'utf8' })
  .split('\0')
  .filter((name) => name !== '' && name !== LOCK && existsSync(join(root, name)))
  .map((name) => ({ name, bytes: readFileSync(join(root, name)) }))
  .filter(({ bytes }) => !bytes.includes(0))
  .map(({ name, bytes }) => ({ name, text: bytes.toString() }))

describe('what git tracks', () => {
  test.each([
    // Put together here, so that this file does not name them.
    { what: 'the directory beside the checkout', pattern: new RegExp(String.raw`\.\.[\\/]${'shared'}\b`) },
    { what: 'the host of an npm registry', pattern: new RegExp(String.raw`\bregistry\.[a-z0-9-]+\.[a-z]{2,}`, 'i') },
  ])('does not name $what', ({ pattern }) => {
    expect(tracked.length).toBeGreaterThan(0)
    expect(tracked.filter(({ text }) => pattern.test(text)).map(({ name }) => name)).toEqual([])
  })
})

test('the lock file says what to install, but not from which host', () => {
  const lock = JSON.parse(readFileSync(join(root, LOCK), 'utf8')) as {
    readonly packages: Readonly<Record<string, { readonly resolved?: string; readonly integrity?: string }>>
  }
  const packages = Object.entries(lock.packages)
  expect(packages.filter(([, { resolved = '' }]) => resolved.includes('://'))).toEqual([])
  expect(packages.filter(([, { integrity }]) => integrity !== undefined).length).toBeGreaterThan(0)
})
