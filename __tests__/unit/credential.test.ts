import { describe, expect, test } from '@jest/globals'
import fc from 'fast-check'
import {
  decodeClientCredentials,
  encodeClientCredentials,
  hashSecret,
  parseJwt,
  parseLifetime,
  secretOf,
  type Credential,
} from '../../src/blaxel/credential.ts'
import { holds } from './property.ts'

const HOUR = 3_600_000

describe('a lifetime', () => {
  test.each([
    ['1h', HOUR],
    ['2h', 2 * HOUR],
    ['36h', 36 * HOUR],
    ['1d', 24 * HOUR],
    ['1w', 7 * 24 * HOUR],
    ['9999w', 9999 * 7 * 24 * HOUR],
  ])('%s is understood', (text, ms) => {
    expect(parseLifetime(text)).toEqual({ text, ms })
  })

  test.each([
    '',
    'h',
    '2',
    '0h',
    '02h',
    '-1h',
    '1.5h',
    '2H',
    '2 h',
    ' 2h',
    '2h ',
    '2m',
    '90s',
    '2h30',
    '10000h',
    '1e3h',
    '２h',
    '2h\n',
  ])('%j is none', (text) => {
    expect(parseLifetime(text)).toBeUndefined()
  })
})

describe('client credentials', () => {
  const id = fc.string({ unit: 'grapheme', minLength: 1 }).filter((text) => !text.includes(':'))
  const secret = fc.string({ unit: 'grapheme', minLength: 1 })

  test('are what they were after they were encoded, whatever the secret holds', () => {
    holds(
      fc.property(id, secret, (clientId, clientSecret) => {
        const encoded = encodeClientCredentials(clientId, clientSecret)
        expect(decodeClientCredentials(encoded)).toEqual({ clientId, clientSecret })
      }),
    )
  })

  test('have the form of HTTP Basic', () => {
    expect(encodeClientCredentials('Aladdin', 'open sesame')).toBe('QWxhZGRpbjpvcGVuIHNlc2FtZQ==')
  })

  test.each([
    ['nothing', ''],
    ['text that is no base64', 'id:secret'],
    ['base64url', 'c2E6Pz8_Pz8-'],
    ['a line break', 'c2E6\nc2VjcmV0'],
    ['no colon', Buffer.from('no colon').toString('base64')],
    ['no id', Buffer.from(':secret').toString('base64')],
    ['no secret', Buffer.from('id:').toString('base64')],
  ])('of %s are none', (_, text) => {
    expect(decodeClientCredentials(text)).toBeUndefined()
  })
})

describe('a JSON Web Token', () => {
  const part = (value: unknown) => Buffer.from(JSON.stringify(value)).toString('base64url')
  const token = (payload: unknown, header: unknown = { alg: 'RS256' }) => `${part(header)}.${part(payload)}.c2ln`

  test('says when it expires', () => {
    holds(
      fc.property(fc.integer({ min: 1, max: 8_000_000_000 }), (exp) => {
        expect(parseJwt(token({ iat: 1, exp }))).toEqual({ expiresAt: exp * 1000 })
      }),
    )
  })

  test.each<[string, unknown]>([
    ['without one', {}],
    ['that is a text', { exp: '1893456000' }],
    ['of zero', { exp: 0 }],
    ['below zero', { exp: -5 }],
    ['that no clock knows', { exp: 1e300 }],
    ['that is null', { exp: null }],
  ])('with an expiry %s is one all the same', (_, payload) => {
    expect(parseJwt(token(payload))).toEqual({ expiresAt: undefined })
  })

  test.each([
    ['an API key', 'bl_key_0123456789abcdefghij'],
    ['a key with two dots', 'bl.key.0123456789'],
    ['two parts', 'e30.e30'],
    ['four parts', `${token({ exp: 1 })}.x`],
    ['a header without algorithm', token({ exp: 1 }, { typ: 'JWT' })],
    ['a header that is a list', token({ exp: 1 }, ['alg'])],
    ['a payload that is a text', token('x')],
    ['a payload that is null', token(null)],
    ['a payload that is a list', token([1])],
    ['a payload that is no JSON', `${part({ alg: 'none' })}.eyJ.c2ln`],
  ])('is not %s', (_, text) => {
    expect(parseJwt(text)).toBeUndefined()
  })

  test('is none, and no error, in any other text', () => {
    holds(
      fc.property(
        fc.oneof(
          fc.string(),
          fc.array(fc.base64String()).map((parts) => parts.join('.')),
        ),
        (text) => {
          expect(parseJwt(text)).toBeUndefined()
        },
      ),
    )
  })

  test('with any expiry has one that is a date, or none', () => {
    holds(
      fc.property(fc.jsonValue(), (exp) => {
        const { expiresAt } = parseJwt(token({ exp })) ?? {}
        if (expiresAt !== undefined) expect(new Date(expiresAt).toJSON()).not.toBeNull()
      }),
    )
  })
})

test('a secret is recognised by its SHA-256', () => {
  expect(hashSecret('abc')).toBe('ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad')
})

test.each<Credential>([
  { kind: 'client', source: '', clientId: 'id', clientSecret: 'the secret' },
  { kind: 'service-account', source: '', apiKey: 'the secret', serviceAccount: 'sa', lifetime: { text: '2h', ms: 1 } },
  { kind: 'jwt', source: '', jwt: 'the secret', expiresAt: undefined },
  { kind: 'earlier-session', source: '', token: 'the secret', expiresAt: undefined, isJwt: false },
  { kind: 'api-key', source: '', apiKey: 'the secret' },
])('the secret of a credential of kind $kind is its one secret', (credential) => {
  expect(secretOf(credential)).toBe('the secret')
})
