import { describe, expect, test } from '@jest/globals'
import fc from 'fast-check'
import { SetupError } from '../../src/util/errors.ts'
import { findChecksum, parseChecksumInput, pinnedChecksum, type ChecksumTable } from '../../src/install/checksum.ts'
import knownChecksums from '../../src/install/known-checksums.json' with { type: 'json' }
import { holds, thrownBy } from './property.ts'

const A = 'a'.repeat(64)
const B = '0123456789abcdef'.repeat(4)
const LINUX = 'blaxel_Linux_x86_64.tar.gz'
const MAC = 'blaxel_Darwin_arm64.tar.gz'
const sum = fc.stringMatching(/^[0-9a-f]{64}$/)
const fileName = fc.stringMatching(/^[A-Za-z0-9][A-Za-z0-9._-]{0,30}$/)

describe('the input checksum', () => {
  test.each<[string, string, ReturnType<typeof parseChecksumInput>]>([
    ['nothing', '', undefined],
    ['a sum', B, { kind: 'one', sha256: B }],
    ["a digest as GitHub's API shows it", `sha256:${B}`, { kind: 'one', sha256: B }],
    ['a digest and its file', `SHA256:${B.toUpperCase()}  ${LINUX}`, { kind: 'by-file', sums: { [LINUX]: B } }],
    ['a sum in upper case', B.toUpperCase(), { kind: 'one', sha256: B }],
    ['a line of sha256sum', `${A}  ${LINUX}`, { kind: 'by-file', sums: { [LINUX]: A } }],
    ['a line of sha256sum --binary', `${A} *${LINUX}`, { kind: 'by-file', sums: { [LINUX]: A } }],
    [
      'lines with CRLF and blanks',
      `\r\n  ${A}  ${LINUX}\r\n\r\n${B.toUpperCase()}  ${MAC}  \r\n`,
      { kind: 'by-file', sums: { [LINUX]: A, [MAC]: B } },
    ],
    [
      'lines with a blank one between',
      `${A}  ${LINUX}\n \t\n${B}  ${MAC}`,
      { kind: 'by-file', sums: { [LINUX]: A, [MAC]: B } },
    ],
    ['a line that is there twice', `${A}  ${LINUX}\n${A}  ${LINUX}`, { kind: 'by-file', sums: { [LINUX]: A } }],
  ])('may be %s', (_, input, expected) => {
    expect(parseChecksumInput(input)).toEqual(expected)
  })

  const REMEDY =
    "Use the archive's SHA-256 in hex (64 digits), or lines '<64 hex digits>  <file name>' for several archives."
  test.each([
    ['a word', 'none', 'none'],
    ['63 digits', A.slice(1), A.slice(1)],
    ['65 digits', `${A}a`, `${A}a`],
    ['a digit that is none', `${A.slice(1)}g`, `${A.slice(1)}g`],
    ['a digest of another kind', `sha512:${A}`, `sha512:${A}`],
    ['a MD5 line', `${'a'.repeat(32)}  ${LINUX}`, `${'a'.repeat(32)} ${LINUX}`],
    ['a sum and a line', `${A}\n${B}  ${MAC}`, A],
    ['one blank between', `${A} ${LINUX}`, `${A} ${LINUX}`],
    ['a file name with a blank', `${A}  my file`, `${A} my file`],
    ['a line with 65 digits', `a${A}  ${LINUX}`, `a${A} ${LINUX}`],
    ['a line with text before the sum', `sum:${A}  ${LINUX}`, `sum:${A} ${LINUX}`],
    ['a line that says what it sums', `SHA256 (${LINUX}) = ${A}`, `SHA256 (${LINUX}) = ${A}`],
  ])('may not be %s', (_, input, shown) => {
    expect(thrownBy(() => parseChecksumInput(input))).toEqual(
      new SetupError(`The input checksum contains '${shown}', which is not a SHA-256.`, REMEDY),
    )
  })

  test('may not have two sums for one file', () => {
    expect(thrownBy(() => parseChecksumInput(`${A}  ${LINUX}\n${B}  ${MAC}\n${B}  ${LINUX}`))).toEqual(
      new SetupError(`The input checksum has two checksums for ${LINUX}.`, 'Keep one of them.'),
    )
  })

  test('is read as it was written, or refused, whatever the files are called', () => {
    const lines = fc.array(fc.tuple(sum, fc.oneof(fileName, fc.constantFrom('__proto__', 'constructor'))), {
      minLength: 1,
    })
    holds(
      fc.property(fc.uniqueArray(fc.nat()), lines, (_, files) => {
        const unique = [...new Map(files.map(([sha256, file]) => [file, sha256]))]
        const input = parseChecksumInput(unique.map(([file, sha256]) => `${sha256}  ${file}`).join('\n'))
        for (const [file, sha256] of unique) {
          expect(pinnedChecksum(input, {}, '0.1.108', file)).toEqual({ sha256, by: 'checksum-input' })
        }
      }),
    )
  })
})

describe('the sum that decides', () => {
  const table: ChecksumTable = { '0.1.108': { [LINUX]: A, [MAC]: { sha256: B, from: 'release' } } }

  test.each<[string, Parameters<typeof pinnedChecksum>, ReturnType<typeof pinnedChecksum>]>([
    [
      "is the user's before the table's",
      [{ kind: 'one', sha256: B }, table, '0.1.108', LINUX],
      { sha256: B, by: 'checksum-input' },
    ],
    [
      "is the user's for this file",
      [{ kind: 'by-file', sums: { [LINUX]: B } }, table, '0.1.108', LINUX],
      { sha256: B, by: 'checksum-input' },
    ],
    ["is the table's", [undefined, table, '0.1.108', LINUX], { sha256: A, by: 'known-checksums' }],
    [
      "is the table's that came from the release",
      [undefined, table, '0.1.108', MAC],
      { sha256: B, by: 'known-checksums' },
    ],
    ['is none for a version that the table does not have', [undefined, table, '0.1.109', LINUX], undefined],
    [
      'is none for a file that the table does not have',
      [undefined, table, '0.1.108', 'blaxel_Windows_x86_64.zip'],
      undefined,
    ],
    ['is none for a version that only looks like one', [undefined, table, 'constructor', LINUX], undefined],
  ])('%s', (_, parameters, expected) => {
    expect(pinnedChecksum(...parameters)).toEqual(expected)
  })

  test('is an error where the user gave sums, but none for this file', () => {
    expect(thrownBy(() => pinnedChecksum({ kind: 'by-file', sums: { [MAC]: A } }, table, '0.1.108', LINUX))).toEqual(
      new SetupError(
        `The input checksum has no line for ${LINUX}, the archive for this runner.`,
        `Add a line '<64 hex digits>  ${LINUX}'.`,
      ),
    )
  })
})

describe('the known checksums', () => {
  test('are sums of archives, by version', () => {
    const entries = Object.entries(knownChecksums as ChecksumTable)
    expect(entries.length).toBeGreaterThan(60)
    for (const [version, files] of entries) {
      expect(version).toMatch(/^\d+\.\d+\.\d+$/)
      for (const [file, known] of Object.entries(files)) {
        expect(file).toMatch(/^blaxel_(Linux|Darwin|Windows)_(x86_64|arm64|i386)\.(tar\.gz|zip)$/)
        expect(typeof known === 'string' ? known : known.sha256).toMatch(/^[0-9a-f]{64}$/)
      }
    }
  })
})

describe("a release's checksums", () => {
  const text = `${A}  ${MAC}\n${B.toUpperCase()}  ${LINUX}\n`

  test.each<[string, string, string, string | undefined]>([
    ['in a line of its own', text, MAC, A],
    ['in upper case', text, LINUX, B],
    ['with CRLF', text.replaceAll('\n', '\r\n'), LINUX, B],
    ['without a line end', text.trimEnd(), LINUX, B],
    ['in binary mode', `${A} *${LINUX}\n`, LINUX, A],
    ['twice, and the same', `${A}  ${LINUX}\n${A.toUpperCase()}  ${LINUX}\n`, LINUX, A],
    ['twice, and not the same', `${A}  ${LINUX}\n${B}  ${LINUX}\n`, LINUX, undefined],
    ['nowhere', text, 'blaxel_Windows_x86_64.zip', undefined],
    ['for a longer name', `${A}  ${LINUX}.sig\n`, LINUX, undefined],
    ['for a name that ends like it', `${A}  old-${LINUX}\n${A}  dist/${LINUX}\n`, LINUX, undefined],
    ['that is too short', `${A.slice(1)}  ${LINUX}\n`, LINUX, undefined],
    ['that is too long', `a${A}  ${LINUX}\n`, LINUX, undefined],
    ['that has text before it', `sum:${A}  ${LINUX}\n`, LINUX, undefined],
    ['that stands behind another', `${B} ${A}  ${LINUX}\n`, LINUX, undefined],
    ['in an empty text', '', LINUX, undefined],
    ['in a page of HTML', `<html><body>${A}  ${LINUX}</body></html>`, LINUX, undefined],
  ])('have the sum of a file %s', (_, lines, file, expected) => {
    expect(findChecksum(lines, file)).toBe(expected)
  })

  test('have it wherever the line stands, whatever the others are', () => {
    const other = fc.oneof(
      fc.string(),
      fc.tuple(sum, fileName).map(([sha256, file]) => `${sha256}  x-${file}`),
    )
    holds(
      fc.property(fc.array(other), sum, fileName, fc.array(other), (before, sha256, file, after) => {
        fc.pre(!file.startsWith('x-'))
        expect(findChecksum([...before, `${sha256}  ${file}`, ...after].join('\n'), file)).toBe(sha256)
      }),
    )
  })

  test('give a sum or none, whatever the text is', () => {
    holds(
      fc.property(fc.string({ unit: 'binary' }), (hostile) => {
        expect(findChecksum(hostile, LINUX)).toBeUndefined()
      }),
    )
  })
})
