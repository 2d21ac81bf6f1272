import { describe, expect, test } from '@jest/globals'
import fc from 'fast-check'
import { directoryNames, parseState, type KeyState, type LoginState, type State } from '../../src/state.ts'
import { holds } from './property.ts'

const USE = '0123456789abcdef'.repeat(2)
const HASH = 'a1'.repeat(32)

const login: LoginState = { directory: '/home/runner/.blaxel', workspace: 'acme', tokenHash: HASH }
const key: KeyState = {
  origin: 'https://api.blaxel.ai/v0',
  workspace: 'acme',
  serviceAccount: 'sa-deployer',
  name: `setup-bl-${USE}`,
  id: 'ak_01',
  expiresAt: 1_893_456_000_000,
  credential: HASH,
}
const state: State = {
  schema: 1,
  invocation: USE,
  scratch: `/runner/_work/_temp/setup-bl-${USE}`,
  staging: `/opt/tools/bl/.setup-bl-${USE}`,
  login,
  key,
}

const without = (value: object, name: string) =>
  Object.fromEntries(Object.entries(value).filter(([field]) => field !== name))

describe('a saved state', () => {
  const hex = (length: number) => fc.stringMatching(new RegExp(`^[0-9a-f]{${length}}$`))
  const segment = fc.stringMatching(/^[A-Za-z0-9 ._-]{1,12}$/).filter((text) => !/^\.+$/.test(text))
  const directory = fc.array(segment, { maxLength: 4 }).map((parts) => ['', ...parts].join('/'))
  const id = fc.stringMatching(/^[A-Za-z0-9][A-Za-z0-9._:@-]{0,30}$/)
  const workspace = fc.stringMatching(/^[a-z0-9][a-z0-9-]{4,20}$/).filter((name) => name !== 'false')
  const anyState = fc
    .record(
      {
        invocation: hex(32),
        temp: directory,
        toolCache: directory,
        login: fc.record({
          directory: directory.map((home) => `${home}/.blaxel`),
          workspace,
          tokenHash: hex(64),
        }),
        key: fc.record(
          {
            origin: fc.constantFrom(
              'https://api.blaxel.ai/v0',
              'https://blaxel.corp.example:8443',
              'http://localhost:8080/v0',
            ),
            workspace,
            serviceAccount: id,
            name: id,
            id,
            expiresAt: fc.nat({ max: 8.64e15 }),
            credential: hex(64),
          },
          { requiredKeys: ['origin', 'workspace', 'serviceAccount', 'name', 'expiresAt', 'credential'] },
        ),
      },
      { requiredKeys: ['invocation', 'temp', 'toolCache'] },
    )
    .map(({ invocation, temp, toolCache, ...rest }) => ({
      schema: 1,
      invocation,
      scratch: `${temp}/${directoryNames.scratch(invocation)}`,
      staging: `${toolCache}/${directoryNames.staging(invocation)}`,
      ...rest,
    }))

  test('is read as it was saved', () => {
    holds(
      fc.property(anyState, (saved) => {
        expect(parseState(JSON.stringify(saved))).toEqual(saved)
      }),
    )
  })

  test('may lack what was not done', () => {
    for (const saved of [without(state, 'login'), without(state, 'key'), { ...state, key: without(key, 'id') }]) {
      expect(parseState(JSON.stringify(saved))).toEqual(saved)
    }
  })

  test.each([
    ['a login that stood there before', { ...state, login: { ...login, wasThere: true } }],
    ['the last moment that a Date can hold', { ...state, key: { ...key, expiresAt: 8.64e15 } }],
  ])('may have %s', (_, saved) => {
    expect(parseState(JSON.stringify(saved))).toEqual(saved)
  })
})

const NOTHING: readonly unknown[] = [undefined, null, 17, true, [], {}, '']
const HEX: readonly unknown[] = [
  ...NOTHING,
  HASH.slice(1),
  `${HASH}a`,
  HASH.toUpperCase(),
  `g${HASH.slice(1)}`,
  `${HASH.slice(1)}\n`,
]
const IDS: readonly unknown[] = [
  null,
  17,
  '',
  '../../workspaces/acme',
  'a/b',
  '.',
  '-a',
  'a b',
  'a\n',
  'a%2Fb',
  'x'.repeat(257),
]
const NAMES: readonly unknown[] = [...NOTHING, '../x', 'a b', '-a', 'null', 'a\nb', 'x'.repeat(64)]

describe('a state that was tampered with', () => {
  const tampered: Readonly<Record<string, [object, (value: unknown) => object, readonly unknown[]]>> = {
    schema: [state, (schema) => ({ ...state, schema }), [...NOTHING, 0, 2, '1']],
    invocation: [
      state,
      (invocation) => ({ ...state, invocation }),
      [...NOTHING, '../../etc', USE.slice(1), USE.toUpperCase(), 'f'.repeat(32)],
    ],
    scratch: [
      state,
      (scratch) => ({ ...state, scratch }),
      [
        ...NOTHING,
        '/',
        '/home/runner',
        `setup-bl-${USE}`,
        `./setup-bl-${USE}`,
        `/tmp/setup-bl-${'f'.repeat(32)}`,
        `/tmp/setup-bl-${USE}/x`,
        `/tmp/setup-bl-${USE}/..`,
      ],
    ],
    staging: [
      state,
      (staging) => ({ ...state, staging }),
      [...NOTHING, '/', `.setup-bl-${USE}`, `/opt/setup-bl-${USE}`, `/opt/.setup-bl-${USE}/..`, '/opt/tools/bl'],
    ],
    login: [state, (value) => ({ ...state, login: value }), [null, 17, 'x', [], {}]],
    'login.directory': [
      login,
      (directory) => ({ ...state, login: { ...login, directory } }),
      [...NOTHING, '.blaxel', './.blaxel', '/home/runner', '/etc/ssh', '/home/.blaxel/..', '/home/x.blaxel'],
    ],
    'login.wasThere': [
      login,
      (wasThere) => ({ ...state, login: { ...login, wasThere } }),
      [null, false, 'true', 1, {}],
    ],
    'login.workspace': [login, (workspace) => ({ ...state, login: { ...login, workspace } }), NAMES],
    'login.tokenHash': [login, (tokenHash) => ({ ...state, login: { ...login, tokenHash } }), HEX],
    key: [state, (value) => ({ ...state, key: value }), [null, 17, 'x', [], {}]],
    'key.origin': [
      key,
      (origin) => ({ ...state, key: { ...key, origin } }),
      [
        ...NOTHING,
        ['https://api.blaxel.ai/v0'],
        ...[
          'api.blaxel.ai',
          'http://api.blaxel.ai/v0',
          'http://127.evil.example/v0',
          'http://localhost.evil.example/v0',
        ],
        ...['https://user:pw@api.blaxel.ai/v0', 'file:///etc/passwd', 'javascript:1'],
      ],
    ],
    'key.workspace': [key, (workspace) => ({ ...state, key: { ...key, workspace } }), NAMES],
    'key.serviceAccount': [
      key,
      (serviceAccount) => ({ ...state, key: { ...key, serviceAccount } }),
      [undefined, ...IDS],
    ],
    'key.name': [key, (name) => ({ ...state, key: { ...key, name } }), [undefined, ...IDS]],
    'key.id': [key, (id) => ({ ...state, key: { ...key, id } }), IDS],
    'key.expiresAt': [
      key,
      (expiresAt) => ({ ...state, key: { ...key, expiresAt } }),
      [undefined, null, '1893456000000', true, {}, [1], 8.64e15 + 1000, 1e300],
    ],
    'key.credential': [key, (credential) => ({ ...state, key: { ...key, credential } }), HEX],
  }

  test.each(Object.keys(tampered))('in %s is none', (name) => {
    const [, change, values] = tampered[name] ?? [{}, () => ({}), []]
    for (const value of values) expect([value, parseState(JSON.stringify(change(value)))]).toEqual([value, undefined])
  })

  test('is none where it is something else', () => {
    for (const text of ['', '{', 'null', '[]', '17', '"x"', JSON.stringify([state]), `${JSON.stringify(state)}x`]) {
      expect([text, parseState(text)]).toEqual([text, undefined])
    }
  })

  test('never leads to another place, whatever was changed', () => {
    const fields = ['schema', 'invocation', 'scratch', 'staging'] as const
    const value = fc.oneof(
      fc.jsonValue(),
      fc.stringMatching(/^[/.a-z0-9-]{0,40}$/),
      fc.constantFrom('/', '/etc', USE, '..'),
    )
    holds(
      fc.property(fc.dictionary(fc.constantFrom(...fields), value), (changes) => {
        const parsed = parseState(JSON.stringify({ ...state, ...changes }))
        if (!parsed) return
        expect(parsed.invocation).toMatch(/^[0-9a-f]{32}$/)
        expect(parsed.scratch).toMatch(new RegExp(`^/.*setup-bl-${parsed.invocation}/*$`, 's'))
        expect(parsed.staging).toMatch(new RegExp(`^/.*\\.setup-bl-${parsed.invocation}/*$`, 's'))
      }),
    )
  })
})
