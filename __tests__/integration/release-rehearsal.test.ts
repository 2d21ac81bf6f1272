import { execFileSync, spawnSync } from 'node:child_process'
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { delimiter, join, resolve } from 'node:path'
import { afterEach, beforeEach, describe, expect, test } from '@jest/globals'

const SCRIPT = resolve(import.meta.dirname, '../../scripts/release.ts')
/** A build that takes no time: dist/ is a copy of src/. */
const BUILD = `require('node:fs').cpSync('src', 'dist', { recursive: true })\n`

/** Nobody's git configuration but this. */
const ENV = {
  PATH: process.env.PATH ?? '',
  GIT_CONFIG_GLOBAL: '/dev/null',
  GIT_CONFIG_NOSYSTEM: '1',
  GIT_AUTHOR_NAME: 'Rehearsal',
  GIT_AUTHOR_EMAIL: 'rehearsal@example.com',
  GIT_COMMITTER_NAME: 'Rehearsal',
  GIT_COMMITTER_EMAIL: 'rehearsal@example.com',
}

interface Version {
  readonly version?: string
  readonly lock?: string
  readonly changelog?: string
  readonly dist?: Readonly<Record<string, string>>
}

let scratch: string
let remote: string
let clone: string

beforeEach(() => {
  scratch = mkdtempSync(join(tmpdir(), 'rehearsal-'))
  remote = join(scratch, 'remote.git')
  clone = join(scratch, 'clone')
  git(scratch, 'init', '--quiet', '--bare', '--initial-branch=main', remote)
  git(scratch, 'clone', '--quiet', remote, clone)
})
afterEach(() => {
  rmSync(scratch, { recursive: true, force: true })
})

function git(cwd: string, ...args: readonly string[]): string {
  return execFileSync('git', args, { cwd, env: ENV, encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] }).trim()
}

/** Commits a version that can be released, but for what is given, and pushes it. */
function commit({
  version = '1.0.0',
  lock = version,
  changelog = sectionFor(version),
  dist = {},
}: Version = {}): string {
  const shipped = { 'index.js': `version('${version}')\n`, ...dist }
  write('package.json', JSON.stringify({ version, scripts: { build: 'node build.js' } }))
  write('package-lock.json', JSON.stringify({ version: lock }))
  write('CHANGELOG.md', `# Changelog\n\n## [Unreleased]\n\n${changelog}\n[Unreleased]: https://example.com\n`)
  write('build.js', BUILD)
  write('src/index.js', `version('${version}')\n`)
  for (const [name, text] of Object.entries(shipped)) write(`dist/${name}`, text)
  git(clone, 'add', '--all')
  git(clone, 'commit', '--quiet', '--allow-empty', '--message', version)
  git(clone, 'push', '--quiet', 'origin', 'HEAD')
  return git(clone, 'rev-parse', 'HEAD')
}

function sectionFor(version: string): string {
  return `## [${version}] - 2026-02-28\n\n### Added\n\n- What is new in ${version}.\n`
}

function write(name: string, text: string): void {
  const file = join(clone, name)
  mkdirSync(resolve(file, '..'), { recursive: true })
  writeFileSync(file, text)
}

/** Sets a release's tag on what is checked out, as a maintainer does. */
function tag(name: string, ...options: readonly string[]): void {
  git(clone, 'tag', ...options, name)
  git(clone, 'push', '--quiet', 'origin', `refs/tags/${name}`)
}

function run(command: string, ...args: readonly string[]): { code: number | null; output: string; outputs: string } {
  const file = join(scratch, 'outputs')
  writeFileSync(file, '')
  const env = { ...ENV, PATH: `${join(scratch, 'bin')}${delimiter}${ENV.PATH}`, GITHUB_OUTPUT: file }
  const ended = spawnSync(process.execPath, [SCRIPT, command, ...args], { cwd: clone, env, encoding: 'utf8' })
  return { code: ended.status, output: ended.stdout + ended.stderr, outputs: readFileSync(file, 'utf8') }
}

/** Everything that the remote has, and everything in the checkout that is not committed. */
function state(): { remote: string; checkout: string } {
  return { remote: git(remote, 'for-each-ref'), checkout: git(clone, 'status', '--porcelain') }
}

function tagged(name: string): string | undefined {
  // Quiet, since the tag may not be there.
  const { status, stdout } = spawnSync('git', ['rev-parse', '--quiet', '--verify', `refs/tags/${name}`], {
    cwd: remote,
    env: ENV,
    encoding: 'utf8',
  })
  return status === 0 ? stdout.trim() : undefined
}

function release(version: Version & { readonly version: string }): string {
  const hash = commit(version)
  tag(`v${version.version}`)
  const { code, output } = run('move-major', '--tag', `v${version.version}`)
  expect({ code, output }).toEqual({ code: 0, output })
  return hash
}

describe('a good tag', () => {
  test.each([{ kind: 'plain' }, { kind: 'annotated', options: ['--annotate', '--message=one'] }])(
    'passes, has its notes, and v1 is set to its commit ($kind)',
    ({ options = [] }) => {
      const hash = commit()
      tag('v1.0.0', ...options)
      expect(run('check', '--tag', 'v1.0.0')).toEqual({
        code: 0,
        output: 'v1.0.0 can be released\n',
        outputs: 'prerelease=false\n',
      })
      expect(run('notes', '--tag', 'v1.0.0').output).toBe('### Added\n\n- What is new in 1.0.0.\n')
      expect(run('move-major', '--tag', 'v1.0.0').output).toBe(`Moved v1 from nowhere to ${hash} (v1.0.0)\n`)
      expect(tagged('v1')).toBe(hash)
      expect(git(remote, 'cat-file', '-t', 'v1')).toBe('commit')
      expect(state().checkout).toBe('')
    },
  )

  test('moves v1 on from the last release', () => {
    const first = release({ version: '1.0.0' })
    const second = release({ version: '1.1.0' })
    expect(tagged('v1')).toBe(second)
    expect(second).not.toBe(first)
  })

  test('of the next major version gets a tag of its own, and v1 stays', () => {
    const one = release({ version: '1.0.0' })
    const two = release({ version: '2.0.0' })
    expect([tagged('v1'), tagged('v2')]).toEqual([one, two])
  })

  test('can be released again after a failure half-way', () => {
    const hash = release({ version: '1.0.0' })
    expect(run('check', '--tag', 'v1.0.0').code).toBe(0)
    expect(run('move-major', '--tag', 'v1.0.0')).toMatchObject({
      code: 0,
      output: 'The tag of the major version stays: v1 is there already\n',
    })
    expect(tagged('v1')).toBe(hash)
  })

  test('v1 as an annotated tag, as somebody may have set it by hand, is moved too', () => {
    commit()
    tag('v1', '--annotate', '--message=by hand')
    const hash = release({ version: '1.0.1' })
    expect(tagged('v1')).toBe(hash)
  })
})

describe('v1 stays', () => {
  test('where an older version is mended', () => {
    const old = release({ version: '1.0.0' })
    const newest = release({ version: '1.1.0' })
    git(clone, 'switch', '--quiet', '--create', 'v1.0', old)
    release({ version: '1.0.1' })
    expect(tagged('v1')).toBe(newest)
    expect(run('move-major', '--tag', 'v1.0.1').output).toContain('v1.1.0 is newer than v1.0.1')
  })

  test('where the tenth version is compared with the ninth', () => {
    release({ version: '1.9.0' })
    const tenth = release({ version: '1.10.0' })
    expect(tagged('v1')).toBe(tenth)
  })

  test('for a prerelease, which is marked as one', () => {
    const stable = release({ version: '1.0.0' })
    release({ version: '1.1.0-rc.1' })
    expect(run('check', '--tag', 'v1.1.0-rc.1')).toMatchObject({ code: 0, outputs: 'prerelease=true\n' })
    expect(tagged('v1')).toBe(stable)
    const next = release({ version: '1.1.0' })
    expect(tagged('v1')).toBe(next)
  })

  test('where the tag is not what is checked out', () => {
    const first = release({ version: '1.0.0' })
    commit({ version: '1.1.0' })
    tag('v1.1.0')
    commit({ version: '1.1.0', dist: { 'index.js': 'something else' } })
    expect(run('move-major', '--tag', 'v1.1.0')).toMatchObject({
      code: 1,
      output: 'release: v1.1.0 of origin is not what is checked out\n',
    })
    expect(tagged('v1')).toBe(first)
  })
})

describe('a tag is refused', () => {
  test.each([
    {
      what: 'a version in package.json that is another',
      given: { version: '1.0.1' },
      says: 'package.json has version',
    },
    { what: 'a version in the lock file that is another', given: { lock: '0.9.0' }, says: 'package-lock.json has ver' },
    { what: 'no section in the changelog', given: { changelog: sectionFor('0.9.0') }, says: 'no section ## [1.0.0]' },
    { what: 'a section without a date', given: { changelog: '## [1.0.0]\n\n- New.\n' }, says: 'no section ## [1.0.0]' },
    {
      what: 'a date that no calendar has',
      given: { changelog: '## [1.0.0] - 2026-02-30\n\n- New.\n' },
      says: 'no section ## [1.0.0]',
    },
    {
      what: 'an empty section',
      given: { changelog: `## [1.0.0] - 2026-02-28\n\n${sectionFor('0.9.0')}` },
      says: 'CHANGELOG.md says nothing about 1.0.0',
    },
    { what: 'a file of dist that is another', given: { dist: { 'index.js': 'old' } }, says: 'dist/index.js is not' },
    { what: 'a file of dist that is too many', given: { dist: { 'old.js': 'old' } }, says: 'dist/old.js is not' },
  ])('for $what', ({ given, says }) => {
    commit(given)
    tag('v1.0.0')
    const before = state()
    const { code, output, outputs } = run('check', '--tag', 'v1.0.0')
    expect({ code, output, outputs }).toEqual({
      code: 1,
      output: expect.stringContaining(says) as unknown,
      outputs: '',
    })
    expect(output).toContain("release: v1.0.0 can't be released")
    expect(state()).toEqual(before)
  })

  test('for a file of dist that is missing', () => {
    write('src/second.js', '')
    commit()
    tag('v1.0.0')
    expect(run('check', '--tag', 'v1.0.0')).toMatchObject({
      code: 1,
      output: expect.stringContaining('dist/second.js is not') as unknown,
    })
  })

  test('where it names another commit, or none', () => {
    commit()
    expect(run('check', '--tag', 'v1.0.0').output).toContain('The remote has no tag v1.0.0')
    tag('v1.0.0')
    commit({ dist: { 'note.txt': '' } })
    expect(run('check', '--tag', 'v1.0.0').output).toMatch(/v1\.0\.0 is commit [0-9a-f]{40}, but [0-9a-f]{40} is/)
  })

  test.each(['v1.0', '1.0.0', 'v01.0.0', 'v1.0.0+build', 'v1.0.0-', 'main'])('for its form: %s', (name) => {
    commit()
    expect(run('check', '--tag', name)).toMatchObject({
      code: 1,
      output: expect.stringContaining(`${name} is not a tag of the form vX.Y.Z`) as unknown,
    })
  })
})

describe('a dry run', () => {
  test('says what would happen, and changes nothing', () => {
    const first = release({ version: '1.0.0' })
    const second = commit({ version: '1.1.0' })
    const before = state()
    expect(run('check', '--tag', '')).toMatchObject({ code: 0, output: 'v1.1.0 can be released: set the tag\n' })
    expect(run('notes').output).toContain('What is new in 1.1.0.')
    expect(run('move-major').output).toBe(`Would move v1 from ${first} to ${second} (v1.1.0)\n`)
    expect(state()).toEqual(before)
  })

  test('refuses a version that is out', () => {
    release({ version: '1.0.0' })
    commit({ dist: { 'index.js': 'newer' } })
    const { code, output } = run('check')
    expect(code).toBe(1)
    expect(output).toContain('v1.0.0 is taken: give package.json a new version.')
    expect(output).toContain('dist/index.js is not as src/ builds it')
  })
})

test('whoever moves v1 at the same time wins, and the release says so', () => {
  const first = release({ version: '1.0.0' })
  const second = commit({ version: '1.1.0' })
  tag('v1.1.0')
  const other = git(clone, 'commit-tree', '-m', 'elsewhere', `${second}^{tree}`)
  git(clone, 'push', '--quiet', 'origin', `${other}:refs/heads/elsewhere`)
  // A git that lets somebody else be quicker: v1 is moved after it was read, and before it is pushed.
  const real = git(clone, '--exec-path')
  const shim = `#!/bin/sh\n[ "$1" != push ] || '${real}/git' -C '${remote}' update-ref refs/tags/v1 ${other}\nexec '${real}/git' "$@"\n`
  mkdirSync(join(scratch, 'bin'))
  writeFileSync(join(scratch, 'bin', 'git'), shim, { mode: 0o755 })
  expect(tagged('v1')).toBe(first)
  expect(run('move-major', '--tag', 'v1.1.0')).toMatchObject({
    code: 1,
    output: expect.stringContaining('stale info') as unknown,
  })
  expect(tagged('v1')).toBe(other)
})

test('an unknown command is an error that names those that there are', () => {
  commit()
  expect(run('publish')).toMatchObject({ code: 1, output: 'release: which of check, notes, move-major, sbom?\n' })
})
