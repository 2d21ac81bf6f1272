import { afterEach, beforeEach, expect, test } from '@jest/globals'
import { execFile } from 'node:child_process'
import { readFileSync, writeFileSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { promisify } from 'node:util'
import { openSandbox, type Sandbox } from '../../sandbox/sandbox.ts'

const SCRIPT = resolve(import.meta.dirname, '../../scripts/known-checksums.ts')
const IN_TAP = [
  'blaxel_Darwin_x86_64.tar.gz',
  'blaxel_Darwin_arm64.tar.gz',
  'blaxel_Linux_x86_64.tar.gz',
  'blaxel_Linux_arm64.tar.gz',
]
const NOT_IN_TAP = [
  'blaxel_Linux_i386.tar.gz',
  'blaxel_Windows_x86_64.zip',
  'blaxel_Windows_arm64.zip',
  'blaxel_Windows_i386.zip',
]

type Sums = Record<string, string>

let sandbox: Sandbox
let table: string
beforeEach(async () => {
  sandbox = await openSandbox()
  table = join(sandbox.root, 'table.json')
})
afterEach(() => sandbox.close())

function sumsOf(version: string, files: readonly string[]): Sums {
  return Object.fromEntries(files.map((file) => [file, sandbox.github.sha256(version, file)]))
}

/** The tap's history, newest first, and the digests that GitHub's REST API gives. */
function serve(history: readonly { version: string; sums: Sums }[], digests: Record<string, Sums> = {}): void {
  const commits = history.map((formula, index) => ({ ...formula, sha: String(index).padStart(40, 'a') }))
  sandbox.addHost('raw.githubusercontent.com', ({ path }) => {
    const commit = commits.find(({ sha }) => path === `/blaxel-ai/homebrew-blaxel/${sha}/blaxel.rb`)
    return commit ? { status: 200, body: formulaText(commit.version, commit.sums) } : { status: 404, body: '' }
  })
  const api = (path: RegExp, body: (path: string) => object) => {
    sandbox.intercept({
      host: 'api.github.com',
      path,
      answer: { kind: 'handle', handle: (request) => ({ status: 200, body: body(request.path) }) },
    })
  }
  api(/homebrew-blaxel\/commits/, () => commits.map(({ sha }) => ({ sha })))
  api(/releases\/tags\//, (path) => {
    const version = path.slice(path.lastIndexOf('/v') + 2)
    const sums = digests[version] ?? sumsOf(version, [...IN_TAP, ...NOT_IN_TAP])
    return { assets: Object.entries(sums).map(([name, sum]) => ({ name, digest: `sha256:${sum}` })) }
  })
}

function formulaText(version: string, sums: Sums): string {
  const archives = Object.entries(sums).map(
    ([file, sum]) =>
      `    url "https://github.com/blaxel-ai/toolkit/releases/download/v${version}/${file}"\n    sha256 "${sum}"\n`,
  )
  return `class Blaxel < Formula\n  version "${version}"\n${archives.join('')}end\n`
}

async function run(before: object): Promise<{ code: number; output: string; after: Record<string, unknown> }> {
  writeFileSync(table, JSON.stringify(before))
  const env = { ...sandbox.env, PATH: process.env.PATH ?? '', NODE_USE_ENV_PROXY: '1' }
  const ended = await promisify(execFile)(process.execPath, [SCRIPT, '--table', table], { env }).then(
    ({ stdout }) => ({ code: 0, output: stdout }),
    (error: unknown) => {
      const { code, stderr } = error as { code: number; stderr: string }
      return { code, output: stderr }
    },
  )
  return { ...ended, after: JSON.parse(readFileSync(table, 'utf8')) as Record<string, unknown> }
}

test('new releases are added in order, with what the tap lacks marked as the release’s own', async () => {
  serve(
    ['9.9.2', '9.9.1', '9.9.0'].map((version) => ({
      version,
      sums: version === '9.9.0' ? { 'blaxel_Linux_x86_64.tar.gz': '0'.repeat(64) } : sumsOf(version, IN_TAP),
    })),
  )
  const known = { '9.9.0': { 'blaxel_Linux_x86_64.tar.gz': '0'.repeat(64) } }
  const { code, output, after } = await run(known)
  expect({ code, output }).toEqual({ code: 0, output: 'Added 9.9.1, 9.9.2\n' })
  expect(Object.keys(after)).toEqual(['9.9.0', '9.9.1', '9.9.2'])
  expect(after['9.9.0']).toEqual(known['9.9.0'])
  const marked = Object.fromEntries(
    Object.entries(sumsOf('9.9.2', NOT_IN_TAP)).map(([file, sha256]) => [file, { sha256, from: 'release' }]),
  )
  expect(after['9.9.2']).toEqual({ ...sumsOf('9.9.2', IN_TAP), ...marked })
})

test('nothing new changes nothing', async () => {
  serve([{ version: '9.9.2', sums: sumsOf('9.9.2', IN_TAP) }])
  const known = { '9.9.2': sumsOf('9.9.2', IN_TAP) }
  const { code, output, after } = await run(known)
  expect({ code, output }).toEqual({ code: 0, output: expect.stringContaining('Nothing new') as unknown })
  expect(after).toEqual(known)
})

test('an existing line is never changed', async () => {
  serve([{ version: '9.9.2', sums: sumsOf('9.9.2', IN_TAP) }])
  const known = { '9.9.2': { 'blaxel_Linux_x86_64.tar.gz': '0'.repeat(64) } }
  const { code, output, after } = await run(known)
  expect({ code, output }).toEqual({ code: 1, output: expect.stringContaining('refusing to change it') as unknown })
  expect(after).toEqual(known)
})

test('a tap and a release that disagree add nothing', async () => {
  serve([{ version: '9.9.2', sums: { ...sumsOf('9.9.2', IN_TAP), 'blaxel_Linux_x86_64.tar.gz': '1'.repeat(64) } }])
  const { code, output, after } = await run({})
  expect({ code, output }).toEqual({ code: 1, output: expect.stringContaining('the tap says 1111') as unknown })
  expect(after).toEqual({})
})

test("a release and GitHub's digests that disagree add nothing", async () => {
  serve([{ version: '9.9.2', sums: sumsOf('9.9.2', IN_TAP) }], {
    '9.9.2': { 'blaxel_Windows_x86_64.zip': '2'.repeat(64) },
  })
  const { code, output, after } = await run({})
  expect({ code, output }).toEqual({ code: 1, output: expect.stringContaining("GitHub's digest is 2222") as unknown })
  expect(after).toEqual({})
})
