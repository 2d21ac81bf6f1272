import { execFileSync } from 'node:child_process'
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs'
import { isBuiltin } from 'node:module'
import { tmpdir } from 'node:os'
import { delimiter, join, resolve } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals'

/** A build takes 6 s on two cores that do nothing else. */
const BUILD_MS = 300_000
const root = resolve(import.meta.dirname, '../..')
const dist = files(join(root, 'dist'))
const scripts = [...dist].filter(([name]) => name.endsWith('.js'))

describe('dist, built once more', () => {
  const out = mkdtempSync(join(tmpdir(), 'dist-'))
  let built: Map<string, Buffer>

  beforeAll(() => {
    const { scripts } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')) as { scripts: { build: string } }
    const command = scripts.build.replaceAll(' dist/', ` ${out}/`)
    execFileSync(command, { cwd: root, shell: true, env: { ...process.env, PATH: pathWithBinaries() } })
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

test('holds one script for each step, and the licenses of what is in it', () => {
  const names = ['index.js', 'licenses.txt', 'package.json']
  expect([...dist.keys()].sort()).toEqual(
    ['cleanup', 'setup'].flatMap((step) => names.map((name) => `${step}/${name}`)),
  )
})

test('names the license of every package that is bundled', () => {
  const { dependencies } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')) as {
    dependencies: Record<string, string>
  }
  const licenses = dist.get('setup/licenses.txt')?.toString().split('\n') ?? []
  expect(Object.keys(dependencies).filter((name) => !licenses.includes(name))).toEqual([])
})

describe.each(scripts.map(([name, bytes]) => ({ name, code: bytes.toString() })))('dist/$name', ({ code }) => {
  test('names no path of the machine that built it', () => {
    const directories = ['src', 'dist', 'node_modules'].map((name) => join(root, name))
    expect(directories.filter((path) => code.includes(path))).toEqual([])
    // What the bundler puts in the place of import.meta.url where it does not know better.
    expect(code.match(/file:\/\/\/[\w/]+/g) ?? []).toEqual([])
  })

  test('is self-contained', () => {
    const imported = [...code.matchAll(/\b(?:from|import)\s*\(?"([^"]+)"/g)].map(([, name = '']) => name)
    // What is left holds `${…}`: text of a message.
    expect(imported.filter((name) => /^[\w@./:-]+$/.test(name) && !isBuiltin(name))).toEqual([])
  })

  test('is without undici', () => {
    expect(code).not.toContain('UND_ERR_')
  })
})

/** As npm sets it for a script. */
function pathWithBinaries(): string {
  return [join(root, 'node_modules', '.bin'), process.env.PATH].join(delimiter)
}

function files(directory: string): Map<string, Buffer> {
  const entries = readdirSync(directory, { recursive: true, withFileTypes: true }).filter((entry) => entry.isFile())
  const paths = entries.map((entry) => join(entry.parentPath, entry.name)).sort()
  return new Map(paths.map((path) => [path.slice(directory.length + 1).replaceAll('\\', '/'), readFileSync(path)]))
}
