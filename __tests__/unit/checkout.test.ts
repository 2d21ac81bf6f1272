import './realm.ts'
import { afterEach, beforeEach, describe, expect, test } from '@jest/globals'
import { execFileSync } from 'node:child_process'
import fc from 'fast-check'
import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import {
  readCheckoutFile,
  settingsIn,
  settingsInCheckout,
  workspaceIn,
  type CheckoutFile,
} from '../../src/runner/checkout.ts'
import { holds } from './property.ts'
import { testWith } from './system.ts'

let root: string
let checkout: string
beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), 'checkout-'))
  checkout = join(root, 'work')
  mkdirSync(join(checkout, 'sub'), { recursive: true })
  writeFileSync(join(root, 'secret'), 'hunter22')
  writeFileSync(join(checkout, 'inside'), 'text\n')
})
afterEach(() => {
  rmSync(root, { recursive: true, force: true })
})

const unusable = (why: string): CheckoutFile => ({ kind: 'unusable', why })
const missing = (why: string): CheckoutFile => ({ kind: 'missing', why })
const LINK = unusable('is a symbolic link')
const SPECIAL = unusable('is not a regular file')
const OUTSIDE = unusable('is outside the checkout')

describe('a file of the checkout', () => {
  test.each([
    ['by its name', 'inside'],
    ['in a directory, there and back', './sub/../inside'],
    ['by its absolute path', ''],
  ])('is read %s', (_, path) => {
    expect(readCheckoutFile(checkout, path === '' ? join(checkout, 'inside') : path)).toEqual({
      kind: 'text',
      text: 'text\n',
    })
  })

  testWith('symbolic links')('is read where the checkout itself is reached by a link', () => {
    symlinkSync(checkout, join(root, 'link'))
    expect(readCheckoutFile(join(root, 'link'), 'inside')).toEqual({ kind: 'text', text: 'text\n' })
  })

  test('may have a name that begins with two dots', () => {
    writeFileSync(join(checkout, '..version'), 'x')
    expect(readCheckoutFile(checkout, '..version')).toEqual({ kind: 'text', text: 'x' })
  })

  type SpecialFile = readonly [string, string, (path: string) => void, CheckoutFile]
  const special: readonly SpecialFile[] = [
    ['that is not there', 'file', () => undefined, missing('does not exist')],
    ['below a file', 'inside/file', () => undefined, missing('does not exist')],
    ['that lies outside', '../secret', () => undefined, OUTSIDE],
    ['that is a directory', 'sub', () => undefined, SPECIAL],
    ['that is the checkout', '.', () => undefined, SPECIAL],
    [
      'of more than 64 kB',
      'file',
      (path) => {
        writeFileSync(path, 'x'.repeat(64_001))
      },
      unusable('is larger than 64 kB'),
    ],
  ]
  const links: readonly SpecialFile[] = [
    [
      'that is a link to a secret',
      'file',
      (path) => {
        symlinkSync(join(root, 'secret'), path)
      },
      LINK,
    ],
    [
      'that is a link inside the checkout',
      'file',
      (path) => {
        symlinkSync('inside', path)
      },
      LINK,
    ],
    [
      'that is a link to nothing',
      'file',
      (path) => {
        symlinkSync('/nowhere', path)
      },
      LINK,
    ],
    [
      'that is a link to a device without end',
      'file',
      (path) => {
        symlinkSync('/dev/zero', path)
      },
      LINK,
    ],
    [
      'below a link that leads outside',
      'dir/secret',
      () => {
        symlinkSync(root, join(checkout, 'dir'))
      },
      OUTSIDE,
    ],
  ]
  const fifos: readonly SpecialFile[] = [
    [
      'that is a FIFO nobody writes to',
      'file',
      (path) => {
        execFileSync('mkfifo', [path])
      },
      SPECIAL,
    ],
  ]
  const notRead = (...[, path, make, expected]: SpecialFile) => {
    make(join(checkout, path))
    expect(readCheckoutFile(checkout, path)).toEqual(expected)
  }
  test.each(special)('%s is not read', notRead)
  testWith('symbolic links').each(links)('%s is not read', notRead)
  testWith('FIFOs').each(fifos)('%s is not read', notRead)

  test('of 64 kB is read', () => {
    writeFileSync(join(checkout, 'file'), 'x'.repeat(64_000))
    expect(readCheckoutFile(checkout, 'file')).toMatchObject({ kind: 'text' })
  })

  test('that is a device is not read', () => {
    expect(readCheckoutFile('/dev', 'zero')).toEqual(SPECIAL)
  })

  test('is missing where there is no checkout', () => {
    expect(readCheckoutFile(undefined, 'inside')).toEqual(missing("can't be found because GITHUB_WORKSPACE is not set"))
    expect(readCheckoutFile(join(root, 'nowhere'), 'inside')).toEqual(missing('does not exist'))
  })

  test('is never read from outside, whatever its path', () => {
    const word = fc.constantFrom('..', '.', 'sub', 'secret', 'work', 'inside', '', '/')
    holds(
      fc.property(fc.array(word, { maxLength: 6 }), (words) => {
        expect(readCheckoutFile(checkout, words.join('/'))).not.toMatchObject({ text: 'hunter22' })
      }),
    )
  })
})

describe('the variables that a text sets', () => {
  test.each<[string, string, [number, string][]]>([
    ['an assignment', 'BL_API_KEY=hunter22', [[1, 'BL_API_KEY']]],
    ['an assignment with export', '\n  export BL_API_URL = "x"\n', [[2, 'BL_API_URL']]],
    ['an assignment of nothing', 'BL_CLIENT_CREDENTIALS=\n', [[1, 'BL_CLIENT_CREDENTIALS']]],
    ['an assignment with a colon', 'BL_ENV: dev\n', [[1, 'BL_ENV']]],
    [
      'CRLF and a byte order mark',
      '\uFEFFBL_ENV=dev\r\nX=1\r\nBL_WORKSPACE=a\r\n',
      [
        [1, 'BL_ENV'],
        [3, 'BL_WORKSPACE'],
      ],
    ],
    [
      'TOML',
      '[env]\nBL_API_URL = "x"\n"BL_ENV" = "dev"\n\'BL_TOKEN\' = ""\n',
      [
        [2, 'BL_API_URL'],
        [3, 'BL_ENV'],
        [4, 'BL_TOKEN'],
      ],
    ],
    ['a dotted key of TOML', 'env.BL_API_URL = "x"\n', [[1, 'BL_API_URL']]],
    [
      'a table of TOML in one line',
      'env = { BL_API_URL = "x", "BL_ENV" = "dev" }\n',
      [
        [1, 'BL_API_URL'],
        [1, 'BL_ENV'],
      ],
    ],
    ['a comment', '# BL_API_KEY=x\n', []],
    ['other variables', 'MY_BL_API_KEY=x\nBLAXEL=1\nbl_api_key=x\nX=BL_API_KEY\n$BL_API_KEY=1\n', []],
    ['a name alone', 'BL_API_KEY\n', []],
    ['nothing', '', []],
  ])('are found in %s', (_, text, expected) => {
    expect(settingsIn(text)).toEqual(expected.map(([line, variable]) => ({ line, variable })))
  })

  test('are found on their line, in whatever text, and are shown by name alone', () => {
    const variable = fc.stringMatching(/^BL_[A-Z0-9_]{1,20}$/)
    const filler = fc.array(fc.stringMatching(/^[a-z =:."#]{0,20}$/), { maxLength: 5 })
    holds(
      fc.property(filler, variable, fc.string(), filler, (before, name, value, after) => {
        const line = `${name}=${value.replaceAll(/[\r\n]|BL_/g, '')}`
        expect(settingsIn([...before, line, ...after].join('\n'))).toEqual([
          { line: before.length + 1, variable: name },
        ])
      }),
    )
  })
})

describe('the workspace that a blaxel.toml sets', () => {
  test.each<[string, string, [number, string] | undefined]>([
    ['a string', 'workspace = "beta"', [1, 'beta']],
    ['a literal string', "workspace='beta'", [1, 'beta']],
    ['a quoted key, CRLF and a byte order mark', '\uFEFF# x\r\n"workspace" = "beta"\r\n', [2, 'beta']],
    ['another case', 'WorkSpace = "beta"', [1, 'beta']],
    ['a comment behind it', 'workspace = "beta" # "acme"', [1, 'beta']],
    ['a table behind it', 'workspace = "beta"\n[env]\nworkspace = "x"', [1, 'beta']],
    ['two of them', 'workspace = "beta"\nworkspace = "gamma"', [1, 'beta']],
    ['an empty string', 'workspace = ""', undefined],
    ['no string', 'workspace = 5', undefined],
    ['a table of that name', '[workspace]\nname = "beta"', undefined],
    ['a key of a table', '[[triggers]]\nworkspace = "beta"', undefined],
    ['a dotted key', 'workspace.name = "beta"\nenv.workspace = "beta"', undefined],
    ['a comment', '# workspace = "beta"', undefined],
    ['a longer key', 'workspaces = "beta"\nmy-workspace = "beta"', undefined],
    ['nothing', '', undefined],
  ])('is found in %s', (_, text, expected) => {
    expect(workspaceIn(text)).toEqual(expected === undefined ? [] : [{ line: expected[0], workspace: expected[1] }])
  })

  test('is at most one, on a line of the text that holds it', () => {
    const piece = fc.constantFrom(
      'workspace',
      'WORKSPACE',
      '=',
      ' ',
      '"',
      "'",
      'beta',
      '\n',
      '\r\n',
      '[',
      ']',
      '#',
      'x',
    )
    holds(
      fc.property(fc.array(piece, { maxLength: 20 }), (pieces) => {
        const text = pieces.join('')
        const found = workspaceIn(text)
        expect(found.length).toBeLessThanOrEqual(1)
        for (const { line, workspace } of found) expect(text.split('\n')[line - 1]).toContain(workspace)
      }),
    )
  })
})

describe('the settings in a checkout', () => {
  test('are those of .env and blaxel.toml', () => {
    writeFileSync(join(checkout, '.env'), 'workspace="x"\nBL_API_URL=https://evil.example\n')
    writeFileSync(join(checkout, 'blaxel.toml'), 'workspace = "x"\n[env]\nBL_ENV = "dev"\n')
    writeFileSync(join(checkout, 'sub', '.env'), 'BL_TOKEN=1\n')
    expect(settingsInCheckout(checkout)).toEqual([
      { kind: 'variable', file: '.env', line: 2, variable: 'BL_API_URL' },
      { kind: 'workspace', file: 'blaxel.toml', line: 1, workspace: 'x' },
      { kind: 'variable', file: 'blaxel.toml', line: 3, variable: 'BL_ENV' },
    ])
  })

  testWith('symbolic links')('are not known where a file can not be read as one of the checkout', () => {
    symlinkSync(join(root, 'secret'), join(checkout, '.env'))
    writeFileSync(join(checkout, 'blaxel.toml'), 'x'.repeat(100_000))
    expect(settingsInCheckout(checkout)).toEqual([
      { kind: 'unknown', file: '.env', why: 'is a symbolic link' },
      { kind: 'unknown', file: 'blaxel.toml', why: 'is larger than 64 kB' },
    ])
  })

  test('are none where there are no files, or no checkout', () => {
    expect(settingsInCheckout(checkout)).toEqual([])
    expect(settingsInCheckout(undefined)).toEqual([])
  })
})
