import { describe, expect, test } from '@jest/globals'
import fc from 'fast-check'
import { SetupError } from '../../src/util/errors.ts'
import { parseVersionFile } from '../../src/install/version-file.ts'
import { holds, thrownBy } from './property.ts'

describe('a version file', () => {
  test.each([
    ['.bl-version', '0.1.108'],
    ['.bl-version', 'v0.1.108\n'],
    ['.bl-version', '\uFEFF\r\n  0.1.108  \r\n\r\n'],
    ['.bl-version', '# the newest that was tested\n\n0.1.108 # not 0.1.107\n'],
    ['.bl-version', '\uFEFF#\n\t# two\n0.1.108#\n'],
    ['.tool-versions', 'blaxel 0.1.108\n'],
    ['.tool-versions', 'nodejs 24.1.0\r\nbl\tv0.1.108 0.1.90 # newest\r\npython 3\r\n'],
    ['sub/.tool-versions', '# blaxel 0.1.20\n  blaxel   0.1.108\nblaxel 0.1.90\n'],
    ['.tool-versions', 'blaxel 0.1.108# newest'],
    ['.tool-versions.txt', '0.1.108'],
  ])('%s with %j names 0.1.108', (path, text) => {
    expect(parseVersionFile(path, text)).toBe('0.1.108')
  })

  const FORMS =
    "The input version-file takes a file that holds one version, such as '0.1.108', or a .tool-versions with a line 'blaxel 0.1.108'."
  test.each([
    ['.bl-version', '', '.bl-version holds no version.', FORMS],
    ['.bl-version', '\n \n', '.bl-version holds no version.', FORMS],
    ['.bl-version', '# 0.1.108\n', '.bl-version holds no version.', FORMS],
    ['mise.toml', '[tools]\nbl = "0.1.108"\n', 'mise.toml has more than one line of content (line 2).', FORMS],
    [
      'package.json',
      '{"version":"0.1.108"}',
      'package.json, line 1, is not an exact version of the Blaxel CLI.',
      FORMS,
    ],
    ['.bl-version', '\nlatest\n', '.bl-version, line 2, is not an exact version of the Blaxel CLI.', FORMS],
    ['.bl-version', '^0.1.90', '.bl-version, line 1, is not an exact version of the Blaxel CLI.', FORMS],
    ['.bl-version', '0.1.\uFEFF108', '.bl-version, line 1, is not an exact version of the Blaxel CLI.', FORMS],
    ['.bl-version', 'hunter22', '.bl-version, line 1, is not an exact version of the Blaxel CLI.', FORMS],
    ['.bl-version', '0.1.90\n\n0.1.91', '.bl-version has more than one line of content (line 3).', FORMS],
    [
      '.tool-versions',
      'nodejs 24\n',
      '.tool-versions has no line for blaxel.',
      "Add one such as 'blaxel 0.1.108', or use the input version.",
    ],
    ['.tool-versions', 'a 1\nblaxel\n', '.tool-versions, line 2, is not an exact version of the Blaxel CLI.', FORMS],
    ['.tool-versions', 'blaxel latest', '.tool-versions, line 1, is not an exact version of the Blaxel CLI.', FORMS],
    [
      '.tool-versions',
      'blaxel 0.1.\uFEFF108',
      '.tool-versions, line 1, is not an exact version of the Blaxel CLI.',
      FORMS,
    ],
    [
      '.tool-versions',
      'bl\uFEFFaxel 0.1.108',
      '.tool-versions, line 1, is not an exact version of the Blaxel CLI.',
      FORMS,
    ],
    ['.tool-versions', 'blaxel # 0.1.108', '.tool-versions, line 1, is not an exact version of the Blaxel CLI.', FORMS],
    [
      '.tool-versions',
      'blaxel-old 0.1.108',
      '.tool-versions has no line for blaxel.',
      "Add one such as 'blaxel 0.1.108', or use the input version.",
    ],
  ])('%s with %j is an error with its line', (path, text, what, remedy) => {
    expect(thrownBy(() => parseVersionFile(path, text))).toEqual(new SetupError(what, remedy))
  })

  test('with an old version is an error', () => {
    expect((thrownBy(() => parseVersionFile('.bl-version', '\n0.1.17')) as SetupError).message).toMatch(
      /^\.bl-version, line 2, names an older version, but versions before 0\.1\.18 can't run unattended/,
    )
  })

  test('is never shown, whatever a stranger has written into it', () => {
    const secret = fc.stringMatching(/^[A-Za-z]{12,20}$/)
    const around = fc.constantFrom('', '0.1.108 ', '0.1.1-', 'blaxel ', 'blaxel 0.1.0-', '\n', '# ', 'v')
    holds(
      fc.property(
        around,
        secret,
        around,
        fc.constantFrom('.tool-versions', '.bl-version'),
        (start, word, end, path) => {
          try {
            expect(parseVersionFile(path, `${start}${word}${end}`)).toMatch(/^\d/)
          } catch (error) {
            expect(error).toBeInstanceOf(SetupError)
            expect((error as SetupError).message).not.toContain(word)
          }
        },
      ),
    )
  })
})
