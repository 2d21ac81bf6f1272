import './realm.ts'
import { afterEach, beforeEach, describe, expect, test } from '@jest/globals'
import fc from 'fast-check'
import { lstatSync, mkdirSync, mkdtempSync, readdirSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { SetupError } from '../../src/util/errors.ts'
import { fingerprint } from '../../src/login/config-file.ts'
import { parseLedger, readLedger, removeLedger, writeLedger, type Ledger, type Use } from '../../src/login/ledger.ts'
import { configText } from './configs.ts'
import { holds, holdsAsync, thrownBy } from './property.ts'

let root: string
let path: string
beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), 'ledger-'))
  path = join(root, 'setup-bl.json')
})
afterEach(() => {
  rmSync(root, { recursive: true, force: true })
})

const use: Use = {
  id: '0123456789abcdef',
  origin: 'https://api.blaxel.ai/v0',
  entry: { name: 'acme', id: 'ws-1', env: 'dev', apiKey: 'session-token-1' },
  credential: 'a'.repeat(64),
  notAfter: 1_893_456_000_000.5,
}
const ledger: Ledger = {
  base: { kind: 'present', text: 'workspaces: []\n', mode: 0o640 },
  written: 'b'.repeat(64),
  previous: 'absent',
  madeDirectory: true,
  uses: [use],
  gone: [{ workspace: 'beta', tokenHash: 'c'.repeat(64), until: 1_893_456_000_000 }],
}

const anyUse: fc.Arbitrary<Use> = fc.record({
  id: fc.stringMatching(/^[0-9a-f]{32}$/),
  origin: fc.constantFrom('https://api.blaxel.ai/v0', 'http://localhost:8080/v0'),
  entry: fc
    .record(
      {
        name: fc.constantFrom('acme', '17', 'a_b-C'),
        id: fc.stringMatching(/^[A-Za-z0-9][A-Za-z0-9._:@-]{0,20}$/),
        env: fc.constantFrom('dev', 'local'),
        apiKey: fc.stringMatching(/^[!#-&(-[\]-~]{8,40}$/),
      },
      { requiredKeys: ['name', 'apiKey'] },
    )
    .map((entry) => entry as Use['entry']),
  credential: fc.stringMatching(/^[0-9a-f]{64}$/),
  notAfter: fc.double({ min: 0, max: 1e13, noNaN: true }),
})
const anyLedger: fc.Arbitrary<Ledger> = fc.record({
  base: fc.oneof(
    fc.constant({ kind: 'absent' } as const),
    fc.record({ kind: fc.constant('present' as const), text: configText, mode: fc.nat({ max: 0o777 }) }),
  ),
  written: fc.stringMatching(/^[0-9a-f]{64}$/),
  previous: fc.constantFrom('', 'absent'),
  madeDirectory: fc.boolean(),
  uses: fc.array(anyUse, { maxLength: 3 }),
  gone: fc.array(
    fc.record({
      workspace: fc.constantFrom('acme', '17'),
      tokenHash: fc.stringMatching(/^[0-9a-f]{64}$/),
      until: fc.nat(),
    }),
    { maxLength: 2 },
  ),
})

describe('a ledger', () => {
  test('is read as it was written, private, with nothing beside it', async () => {
    await holdsAsync(
      fc.asyncProperty(anyLedger, async (written) => {
        await writeLedger(path, 'use-1', written)
        // JSON knows no negative zero.
        expect(readLedger(path)).toEqual(JSON.parse(JSON.stringify(written)))
      }),
    )
    expect(lstatSync(path).mode & 0o777).toBe(0o600)
    expect(readdirSync(root)).toEqual(['setup-bl.json'])
  })

  test('replaces what was there, and a file that a killed job has left', async () => {
    await writeLedger(path, 'use-1', ledger)
    writeFileSync(`${path}.use-2`, 'half')
    await writeLedger(path, 'use-2', { ...ledger, uses: [] })
    expect(readLedger(path)).toEqual({ ...ledger, uses: [] })
    expect(readdirSync(root)).toEqual(['setup-bl.json'])
  })

  test('is none where there is none', async () => {
    expect(readLedger(path)).toBeUndefined()
    await writeLedger(path, 'use-1', ledger)
    removeLedger(path)
    removeLedger(path)
    expect(readLedger(path)).toBeUndefined()
  })

  test.each<[string, () => void, string]>([
    [
      'a link',
      () => {
        symlinkSync('/dev/null', path)
      },
      'is a symbolic link',
    ],
    [
      'a link to nothing',
      () => {
        symlinkSync('/nowhere', path)
      },
      'is a symbolic link',
    ],
    [
      'a directory',
      () => {
        mkdirSync(path)
      },
      'is not a regular file',
    ],
    [
      'damaged',
      () => {
        writeFileSync(path, '{"schema":1')
      },
      'is damaged',
    ],
    [
      'empty',
      () => {
        writeFileSync(path, '')
      },
      'is damaged',
    ],
    [
      'of an older version',
      () => {
        writeFileSync(path, '{"schema":0}')
      },
      'is of version 0, which this setup-bl does not know',
    ],
    [
      'of a newer version',
      () => {
        writeFileSync(path, '{"schema":7,"new":true}')
      },
      'is of version 7, which this setup-bl does not know',
    ],
  ])('that is %s is an error that names the file', (_, make, fault) => {
    make()
    const error = thrownBy(() => readLedger(path))
    expect(error).toBeInstanceOf(SetupError)
    expect((error as SetupError).message).toMatch(
      new RegExp(
        `^${path} ${fault}, and was left as it is; it is the ledger in which setup-bl keeps what to undo\\. \\S+`,
      ),
    )
  })
})

describe("a ledger's text", () => {
  const text = (changes: object) => JSON.stringify({ schema: 1, baseFingerprint, ...ledger, ...changes })
  const baseFingerprint = fingerprint(ledger.base)
  const known = 'workspaces: []\n'
  const digits = Array.from(baseFingerprint)
  const withUse = (changes: object) => text({ uses: [use, { ...use, ...changes }] })
  const withEntry = (changes: object) => withUse({ entry: { ...use.entry, ...changes } })

  test('is known as it was written', () => {
    expect(parseLedger(text({}))).toEqual({ kind: 'known', ledger })
    for (const mode of [0, 0o777]) {
      expect(parseLedger(text({ base: { ...ledger.base, mode } }))).toMatchObject({ kind: 'known' })
    }
  })

  const NOTHING = [undefined, null, 17, true, [], {}, '']
  const NO_IDS = [null, 17, '../../workspaces/acme', 'a/b', '.a', 'a b', 'a\nb: c', 'x'.repeat(257)]
  test.each<[string, (value: unknown) => string, readonly unknown[]]>([
    ['everything', (value) => JSON.stringify(value), [null, 17, 'x', [], {}, [ledger]]],
    ['schema', (schema) => text({ schema }), [undefined, null, '1', true]],
    ['base', (base) => text({ base }), [...NOTHING, { kind: 'x' }, { kind: 'present' }, { ...ledger.base, kind: 'x' }]],
    [
      'base.text',
      (config) => text({ base: { kind: 'present', text: config, mode: 0o600 } }),
      [undefined, null, 17, [known], '', ` ${known}`, known.trim()],
    ],
    [
      'baseFingerprint',
      (print) => text({ baseFingerprint: print }),
      [undefined, null, 17, '', 'absent', digits, digits.reverse().join('')],
    ],
    [
      'base.mode',
      (mode) => text({ base: { kind: 'present', text: known, mode } }),
      [undefined, null, '420', -1, 0.5, 0o1000, 0o4755, 1e300],
    ],
    ['written', (written) => text({ written }), [undefined, null, 17, {}]],
    ['previous', (previous) => text({ previous }), [undefined, null, 17, {}]],
    ['madeDirectory', (madeDirectory) => text({ madeDirectory }), [undefined, null, 1, 'true']],
    ['uses', (uses) => text({ uses }), [undefined, null, 17, {}, 'x', [null], [[]], [17]]],
    ['gone', (gone) => text({ gone }), [undefined, null, 17, {}, 'x', [null], [[]], [17], [{}]]],
    [
      'a login that is gone: workspace',
      (workspace) => text({ gone: [{ ...ledger.gone[0], workspace }] }),
      [...NOTHING, '../x', 'a b'],
    ],
    [
      'a login that is gone: tokenHash',
      (tokenHash) => text({ gone: [{ ...ledger.gone[0], tokenHash }] }),
      [undefined, null, 17, {}],
    ],
    [
      'a login that is gone: until',
      (until) => text({ gone: [{ ...ledger.gone[0], until }] }),
      [undefined, null, '17', {}],
    ],
    ['a use: id', (id) => withUse({ id }), [undefined, '', ...NO_IDS]],
    ['a use: origin', (origin) => withUse({ origin }), [...NOTHING, 'api.blaxel.ai', [use.origin]]],
    ['a use: credential', (credential) => withUse({ credential }), [undefined, null, 17, {}]],
    ['a use: notAfter', (notAfter) => withUse({ notAfter }), [undefined, null, '1893456000000', {}, true]],
    ['a use: entry', (entry) => withUse({ entry }), [...NOTHING]],
    ['an entry: name', (name) => withEntry({ name }), [...NOTHING, '../acme', 'a b', 'a\nb', 'null', '-a']],
    ['an entry: id', (id) => withEntry({ id }), NO_IDS],
    ['an entry: env', (env) => withEntry({ env }), [null, 17, 'Dev', 'a b', 'dev"\n']],
    [
      'an entry: apiKey',
      (apiKey) => withEntry({ apiKey }),
      [...NOTHING, 'short', 'two words!', 'quote"quote', "quote'quote", 'back\\slash', 'line\nline1', 'x'.repeat(8193)],
    ],
  ])('that was tampered with in %s is damaged', (_, change, values) => {
    for (const value of values) expect([value, parseLedger(change(value))]).toEqual([value, { kind: 'damaged' }])
  })

  test('that is cut off anywhere is damaged', () => {
    holds(
      fc.property(anyLedger, fc.nat(), (written, at) => {
        const whole = JSON.stringify({ schema: 1, baseFingerprint: fingerprint(written.base), ...written })
        expect(parseLedger(whole).kind).toBe('known')
        expect(parseLedger(whole.slice(0, at % whole.length))).toEqual({ kind: 'damaged' })
      }),
    )
  })

  test('is never taken for a ledger where it is something else', () => {
    holds(
      fc.property(fc.oneof(fc.string(), fc.json()), (other) => {
        expect(parseLedger(other)).toEqual({ kind: 'damaged' })
      }),
    )
  })
})
