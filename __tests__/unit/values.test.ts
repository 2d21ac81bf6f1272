import { describe, expect, test } from '@jest/globals'
import fc from 'fast-check'
import { isEnvironmentName, isId, isLifetime, isToken, isWorkspaceName } from '../../src/blaxel/values.ts'
import { holds } from './property.ts'

const NO_TEXTS: readonly unknown[] = [undefined, null, 12_345_678, true, ['abcdefgh'], { length: 8 }]
const LONG = 'x'.repeat(8192)

interface Rule {
  readonly check: (value: unknown) => boolean
  readonly good: readonly unknown[]
  readonly bad: readonly unknown[]
}

const rules: Readonly<Record<string, Rule>> = {
  'a session token': {
    check: isToken,
    good: ['12345678', 'bl_key-1234', 'a.b.c.d.', '!#$%&()*+,-./:;<=>?@[]^_`{|}~', LONG],
    bad: [
      ...NO_TEXTS,
      ...[
        '',
        '1234567',
        `${LONG}x`,
        'token with blanks',
        'tok"token',
        "tok'token",
        'tok\\token',
        'token\n1234',
        '12345678\n',
      ],
      ...['tok\ttoken', 'tok\u0000token', 'tok\u007Ftoken', 'tökentöken', 'token\u2028token', '🔑🔑🔑🔑🔑🔑🔑🔑'],
    ],
  },
  'an id': {
    check: isId,
    good: ['a', '7', 'ak_01HX', 'sa-deployer', 'robot@acme.example', 'a.b:c@d-e_f', 'x'.repeat(256), 'a..b'],
    bad: [
      ...NO_TEXTS,
      ...[
        '',
        '.',
        '..',
        '../../workspaces/acme',
        'a/b',
        'a\\b',
        '.hidden',
        '-a',
        '_a',
        ':a',
        '@a',
        'a b',
        'a%2Fb',
        'a?b',
      ],
      ...['a#b', 'a\n', '\na', 'ä', 'a\u0000', 'x'.repeat(257)],
    ],
  },
  "a workspace's name": {
    check: isWorkspaceName,
    good: ['a', 'acme', 'Acme-2', 'acme_dev', '17', '0017', '1e3', '0x10', 'nullable', 'yes-2', 'x'.repeat(63)],
    bad: [
      ...NO_TEXTS,
      ...['', '-acme', '_acme', 'ac me', 'acme\n', 'acme/x', '..', 'a.b', 'a:b', 'a"b', 'ä', 'x'.repeat(64), '~', '{}'],
      ...['null', 'NULL', 'true', 'False', 'yes', 'No', 'on', 'OFF', 'y', 'N', '--version', '$(id)', 'a;b'],
    ],
  },
  "an environment's name": {
    check: isEnvironmentName,
    good: ['dev', 'local', 'x'.repeat(32)],
    bad: [...NO_TEXTS, '', 'Dev', 'dev-1', 'dev 1', 'dev"', 'dev\n', 'x'.repeat(33)],
  },
  'a lifetime in seconds': {
    check: isLifetime,
    good: [1, 0.5, 7200, 9_999_999_999],
    bad: [0, -1, Number.NaN, Infinity, -Infinity, 1e10, 1e308, '7200', null, undefined, [7200], 7200n],
  },
}

describe.each(Object.entries(rules))('%s', (_, { check, good, bad }) => {
  test.each(good.map((value) => [value]))('may be %j', (value) => {
    expect(check(value)).toBe(true)
  })

  test.each(bad.map((value) => [value]))('may not be %p', (value) => {
    expect(check(value)).toBe(false)
  })
})

describe('any text', () => {
  const text = fc.oneof(fc.string({ unit: 'binary' }), fc.string({ unit: 'binary-ascii', minLength: 6, maxLength: 12 }))

  test('is a token only where the CLI, YAML and a header can hold it as it is', () => {
    holds(
      fc.property(text, (value) => {
        const isPlain = value.split('').every((char) => char > ' ' && char < '\u007F' && !`"'\\`.includes(char))
        expect(isToken(value)).toBe(isPlain && value.length >= 8)
      }),
      500,
    )
  })

  test('is an id only where it stays where it stands in a path', () => {
    const path = fc.array(fc.constantFrom('.', '..', '/', '%2e', '%2F', 'a', '-', '?', '#', '\\', '@', ':', ';'), {
      maxLength: 5,
    })
    holds(
      fc.property(
        fc.oneof(
          text,
          path.map((parts) => parts.join('')),
        ),
        (value) => {
          if (!isId(value)) return
          const url = new URL(`https://api.blaxel.ai/v0/service_accounts/sa/api_keys/${value}`)
          expect(url.href).toBe(`https://api.blaxel.ai/v0/service_accounts/sa/api_keys/${value}`)
          expect(url.pathname.split('/')).toHaveLength(6)
        },
      ),
      500,
    )
  })
})
