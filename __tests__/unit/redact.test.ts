import { describe, expect, test } from '@jest/globals'
import fc from 'fast-check'
import { createRedactor, excerpt, maskedForms } from '../../src/util/redact.ts'
import { holds } from './property.ts'

/** Parts of which the runner makes commands, and of which lines are made, between ordinary text. */
const part = fc.oneof(
  { weight: 3, arbitrary: fc.string({ unit: 'binary' }) },
  { weight: 3, arbitrary: fc.constantFrom(':', '::', '#', '##', '[', '##[', '##[error]', '::add-mask::', '***', '%') },
  fc.constantFrom('\n', '\r', '\u2028', '\u2029', '\u0085', '\u200B', '\uFEFF', '\0', '\u001B[31m', ' ', '\t'),
)
const text = fc.array(part).map((parts) => parts.join(''))

/** A secret as the inputs let it through, and any other of at least 8 characters. */
const secret = fc.oneof(
  fc.stringMatching(/^[!-~]{8,60}$/),
  fc.string({ unit: 'binary', minLength: 8 }),
  fc.constantFrom('12345678', '::::::::', '##[##[##[', 'aaaaaaaa', 'a::b::c::d', 'ab\ncd\nef', '%2F%2F%2F'),
)
const secrets = fc.array(secret, { minLength: 1, maxLength: 3 })

const encodings: Readonly<Record<string, (secret: string) => string>> = {
  'as it is': (value) => value,
  'in base64': (value) => Buffer.from(value).toString('base64'),
  'in base64 without padding': (value) => Buffer.from(value).toString('base64').replace(/=+$/, ''),
  'in base64url': (value) => Buffer.from(value).toString('base64url'),
  'in hex': (value) => Buffer.from(value).toString('hex'),
  'in upper-case hex': (value) => Buffer.from(value).toString('hex').toUpperCase(),
}

function redactorOf(...known: readonly string[]) {
  const redactor = createRedactor()
  for (const value of known) redactor.add(value)
  return redactor
}

describe('a redacted text', () => {
  test.each(Object.keys(encodings))('holds no secret %s', (name) => {
    const encode = encodings[name] ?? String
    holds(
      fc.property(text, secrets, text, fc.nat(), (before, known, after, index) => {
        const value = known[index % known.length] ?? ''
        const output = redactorOf(...known).redact(`${before}${encode(value)}${after}`)
        expect(output).not.toContain(encode(value))
      }),
    )
  })

  test('is one line without control characters, and no command of the runner', () => {
    holds(
      fc.property(text, fc.array(secret, { maxLength: 2 }), (raw, known) => {
        const output = redactorOf(...known).redact(raw)
        expect(output).not.toMatch(/[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]/u)
        expect(output).not.toContain('::')
        expect(output).not.toContain('##[')
        expect(output.length).toBeLessThanOrEqual(2000)
      }),
    )
  })

  test('is the text itself where there is nothing to take out', () => {
    holds(
      fc.property(fc.stringMatching(/^[a-z]( ?[a-z.]){0,40}$/), (raw) => {
        expect(redactorOf('SECRET-1234').redact(raw)).toBe(raw)
      }),
    )
    expect(redactorOf('SECRET-1234').redact('The key SECRET-1234, twice: SECRET-1234.')).toBe(
      'The key ***, twice: ***.',
    )
  })

  test('holds nothing of a secret that begins like a shorter one', () => {
    const known = ['abcd1234', 'abcd1234efgh5678', 'abcd1234efgh']
    for (const order of [known, known.toReversed()]) {
      expect(redactorOf(...order).redact('abcd1234efgh5678 abcd1234efgh abcd1234')).toBe('*** *** ***')
    }
  })

  test('holds no secret that no URL could hold', () => {
    expect(redactorOf('abcd\uD800efgh').redact('x abcd\uD800efgh')).toBe('x ***')
  })

  test.each([
    ['a command', 'x\n::add-path::/evil', 'x : :add-path: :/evil'],
    ['an old command', 'x ##[set-output name=token]y', 'x # #[set-output name=token]y'],
    ['colours', '\u001B[31mred\u001B[0m', '[31mred [0m'],
    ['many control characters', 'a\0\u001B\u0085\u200Bb', 'a b'],
  ])('with %s is harmless', (_, raw, expected) => {
    expect(redactorOf().redact(raw)).toBe(expected)
  })

  test('is at most 2,000 characters long', () => {
    expect(redactorOf('SECRET-1234').redact('a'.repeat(2001))).toBe('a'.repeat(2000))
  })

  test('does not lose words to a secret that is too short to be one', () => {
    expect(redactorOf('abcd').redact('abc abcd')).toBe('abc ***')
    expect(redactorOf('', 'a', 'abc').redact('abc abc')).toBe('abc abc')
  })
})

describe('what the runner is asked to mask', () => {
  test('is the secret and the encodings that the runner does not derive on its own', () => {
    expect(maskedForms('open sesame?>')).toEqual([
      'open sesame?>',
      'b3BlbiBzZXNhbWU/Pg==',
      'b3BlbiBzZXNhbWU/Pg',
      'b3BlbiBzZXNhbWU_Pg',
      '6f70656e20736573616d653f3e',
      '6F70656E20736573616D653F3E',
    ])
  })

  test('is never empty or so short that it garbles the log', () => {
    holds(
      fc.property(fc.string(), (value) => {
        for (const form of maskedForms(value)) expect(form.length).toBeGreaterThanOrEqual(4)
      }),
    )
  })
})

describe("an excerpt of somebody else's text", () => {
  test('is at most 300 characters without a line break, and a mark where it was cut', () => {
    holds(
      fc.property(fc.oneof(text, fc.string({ minLength: 290, maxLength: 320 })), (raw) => {
        const cut = excerpt(raw)
        expect(cut).not.toMatch(/[\r\n\u2028\u2029]/)
        expect(cut.replace(/…$/, '').length).toBeLessThanOrEqual(300)
      }),
    )
    expect(excerpt('a'.repeat(300))).toBe('a'.repeat(300))
    expect(excerpt('  a \t\r\n  b  ')).toBe('a b')
  })

  test.each([
    ['between words', 'word '.repeat(100), 12, 'word word…'],
    ['after a whole word', 'word words', 4, 'word…'],
    ['before a word that is longer', 'a'.repeat(400), 300, '…'],
  ])('is cut %s', (_, raw, longest, expected) => {
    expect(excerpt(raw, longest)).toBe(expected)
  })

  test('is made at once, however long that is', () => {
    const started = performance.now()
    expect(excerpt('a b '.repeat(250_000))).toHaveLength(300)
    expect(excerpt(`a ${'b'.repeat(1_000_000)}`)).toBe('a…')
    expect(performance.now() - started).toBeLessThan(1000)
  })

  test('does not keep the redactor from knowing a secret, whole or cut off', () => {
    holds(
      fc.property(fc.stringMatching(/^[!-~]{4,30}(::|##\[)[!-~]{4,30}$/), fc.nat(290), (value, before) => {
        const message = redactorOf(value).redact(`403: ${excerpt(`${'x'.repeat(before)} ${value}`)}`)
        expect(message).toMatch(/^403: x* ?(\*\*\*|…)$/)
      }),
    )
  })
})
