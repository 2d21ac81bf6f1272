import { describe, expect, test } from '@jest/globals'
import fc from 'fast-check'
import { SetupError } from '../../src/util/errors.ts'
import { isLoopback, isTrustworthyUrl, parseBaseUrl } from '../../src/util/url.ts'
import { holds, thrownBy } from './property.ts'

describe('this machine', () => {
  test.each(['localhost', 'LOCALHOST', '127.0.0.1', '127.255.3.4', '127.1', '0x7f000001', '[::1]', '[0:0::1]'])(
    'is %s',
    (host) => {
      expect(isLoopback(new URL(`http://${host}:8080/v0`).hostname)).toBe(true)
    },
  )

  test.each([
    '127.evil.example',
    '127.0.0.1.evil.example',
    'localhost.evil.example',
    'evil-localhost',
    'localhost.',
    '128.0.0.1',
    '0.0.0.0',
    '10.0.0.1',
    '[::]',
    '[::ffff:127.0.0.1]',
    'api.blaxel.ai',
  ])('is not %s', (host) => {
    expect(isLoopback(new URL(`http://${host}:8080/v0`).hostname)).toBe(false)
  })

  test('is no name that anybody can register', () => {
    const label = fc.stringMatching(/^[a-z0-9]([a-z0-9-]{0,8}[a-z0-9])?$/)
    holds(
      fc.property(fc.constantFrom('127.', 'localhost.', '127.0.0.1.', '127.0.0.', '-'), label, label, (start, a, b) => {
        expect(isLoopback(`${start}${a}.${b}.example`)).toBe(false)
        expect(isLoopback(`${a}127.0.0.1`)).toBe(false)
      }),
    )
  })
})

describe('an address', () => {
  test.each([
    'https://api.blaxel.ai/v0',
    'https://10.0.0.1',
    'http://localhost:8080/v0',
    'http://127.9.9.9',
    'http://[::1]/',
  ])('may be %s', (url) => {
    expect(isTrustworthyUrl(new URL(url))).toBe(true)
  })

  test.each([
    'http://api.blaxel.ai/v0',
    'http://127.evil.example/v0',
    'http://localhost.evil.example/v0',
    'http://localhost@evil.example/',
    'https://user@api.blaxel.ai/v0',
    'https://user:password@api.blaxel.ai/v0',
    'https://:password@api.blaxel.ai/v0',
    'http://user@localhost:8080/v0',
    'ftp://localhost/',
    'file:///etc/passwd',
    'ws://localhost/',
    'data:text/plain,x',
    'javascript:alert(1)',
  ])('may not be %s', (url) => {
    expect(isTrustworthyUrl(new URL(url))).toBe(false)
  })
})

describe('an address to which paths are appended', () => {
  test.each([
    ['https://api.blaxel.ai/v0', 'https://api.blaxel.ai/v0'],
    ['https://api.blaxel.ai/v0/', 'https://api.blaxel.ai/v0'],
    ['https://mirror.example//', 'https://mirror.example'],
    ['HTTPS://Mirror.Example:8443/a/b', 'https://mirror.example:8443/a/b'],
    ['http://127.0.0.1:8080', 'http://127.0.0.1:8080'],
  ])('%s is read as %s', (text, base) => {
    expect(parseBaseUrl(text, 'The address', 'Mend it.')).toEqual({ url: new URL(text), base })
  })

  test.each([
    ['nonsense', 'is not a URL'],
    ['//api.blaxel.ai/v0', 'is not a URL'],
    ['http://mirror.example', 'is not an https URL (http is for loopback addresses only)'],
    ['ftp://localhost/', 'is not an https URL (http is for loopback addresses only)'],
    ['https://jane:hunter22@mirror.example', 'holds a user or a password'],
    ['http://jane@mirror.example', 'holds a user or a password'],
    ['https://:hunter22@mirror.example', 'holds a user or a password'],
    ['https://mirror.example/?a=hunter22', 'has a query or a fragment'],
    ['https://mirror.example/#hunter22', 'has a query or a fragment'],
    ['https://mirror.example/v0?', 'has a query or a fragment'],
    ['https://mirror.example/v0#', 'has a query or a fragment'],
  ])('may not be %s', (text, what) => {
    const error = thrownBy(() => parseBaseUrl(text, 'The address', 'Mend it.'))
    expect(error).toEqual(new SetupError(`The address ${what}.`, 'Mend it.'))
    expect(error).toBeInstanceOf(SetupError)
  })
})
