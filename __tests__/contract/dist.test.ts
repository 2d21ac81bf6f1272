import { execFileSync } from 'node:child_process'
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs'
import { isBuiltin } from 'node:module'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals'

/** A build takes 15 s on two cores that do nothing else. */
const BUILD_MS = 300_000
const root = resolve(import.meta.dirname, '../..')
const dist = files(join(root, 'dist'))
const scripts = [...dist].filter(([name]) => name.endsWith('.js'))

describe('dist, built once more', () => {
  const out = mkdtempSync(join(tmpdir(), 'dist-'))
  let built: Map<string, Buffer>

  beforeAll(() => {
    execFileSync(process.execPath, [join(root, 'scripts', 'build.ts'), '--out', out])
    built = files(out)
  }, BUILD_MS)
  afterAll(() => {
    rmSync(out, { recursive: true, force: true })
  })

  test('has the same files', () => {
    expect([...built.keys()]).toEqual([...dist.keys()])
  })

  test('has the same bytes', () => {
    const changed = [...dist].filter(([name, bytes]) => built.get(name)?.equals(bytes) !== true)
    expect(changed.map(([name]) => name)).toEqual([])
  })
})

interface Recorded {
  readonly sizes: readonly { readonly name: string; readonly goal: number; readonly bytes: number }[]
}

describe('the scripts of a folder', () => {
  const { sizes } = JSON.parse(readFileSync(join(root, 'docs', 'bench', 'bench.json'), 'utf8')) as Recorded

  test.each([...sizes])('$name are as large as recorded, within 5 %', ({ name, goal, bytes }) => {
    const now = scripts
      .filter(([path]) => `dist/${path}`.startsWith(`${name}/`))
      .reduce((sum, [, { length }]) => sum + length, 0)
    expect(Math.abs(now - bytes) / bytes).toBeLessThan(0.05)
    expect(now).toBeLessThanOrEqual(goal)
  })

  test('are recorded for every folder', () => {
    const folders = [...dist.keys()].map((path) => `dist/${path.split('/')[0] ?? ''}`)
    expect(sizes.map(({ name }) => name).sort()).toEqual([...new Set(folders)].sort())
  })
})

test('holds the two entries that action.yml names', () => {
  expect([...dist.keys()]).toEqual(expect.arrayContaining(['setup/index.js', 'cleanup/index.js']))
})

describe.each(scripts.map(([name, bytes]) => ({ name, code: bytes.toString() })))('dist/$name', ({ code }) => {
  test('names no path of the machine that built it', () => {
    const directories = ['src', 'dist', 'node_modules'].map((name) => join(root, name))
    expect(directories.filter((path) => code.includes(path))).toEqual([])
    // What the bundler puts in the place of import.meta.url where it does not know better.
    expect(code.match(/file:\/\/\/[\w/]+/g) ?? []).toEqual([])
  })

  test('is minified', () => {
    // The line ends that are left are those of texts; as the bundler leaves it, a line has some 35 characters.
    expect((code.trimEnd().split('\n').length - 1) * 500).toBeLessThan(code.length)
  })

  test("imports none of Node's own modules, whose getters would be read", () => {
    const imported = [...code.matchAll(/\b(?:from|import)\s*"([^"]+)"/g)].map(([, name = '']) => name)
    expect(imported.filter((name) => isBuiltin(name))).toEqual([])
  })

  test('is without undici', () => {
    expect(code).not.toContain('UND_ERR_')
  })
})

function files(directory: string): Map<string, Buffer> {
  const entries = readdirSync(directory, { recursive: true, withFileTypes: true }).filter((entry) => entry.isFile())
  const paths = entries.map((entry) => join(entry.parentPath, entry.name)).sort()
  return new Map(paths.map((path) => [path.slice(directory.length + 1).replaceAll('\\', '/'), readFileSync(path)]))
}
