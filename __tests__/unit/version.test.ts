import { describe, expect, test } from '@jest/globals'
import fc from 'fast-check'
import semver from 'semver'
import { SetupError } from '../../src/util/errors.ts'
import {
  ignoresLoginErrors,
  exactVersion,
  isSupported,
  looksLikePrerelease,
  parseVersionSpec,
  versionInLocation,
  versionsBefore,
  versionsInRange,
  type VersionSpec,
} from '../../src/install/version.ts'
import { holds, thrownBy } from './property.ts'

const number = fc.nat({ max: 300 })
const release = fc.tuple(number, number, number).map((parts) => parts.join('.'))
const tagged = fc.constantFrom('rc1', 'dev', 'dev7', 'pre.1', 'preview', 'alpha.0', 'beta', 'nightly', 'unstable')
const prerelease = fc.tuple(release, tagged).map((parts) => parts.join('-'))
const version = fc.oneof(release, prerelease)

describe('the input version', () => {
  test.each<[string, VersionSpec]>([
    ['', { kind: 'latest' }],
    ['latest', { kind: 'latest' }],
    ['0.1.108', { kind: 'exact', version: '0.1.108' }],
    ['v0.1.108', { kind: 'exact', version: '0.1.108' }],
    ['0.1.18', { kind: 'exact', version: '0.1.18' }],
    ['1.0.0', { kind: 'exact', version: '1.0.0' }],
    ['0.1.27-rc1', { kind: 'exact', version: '0.1.27-rc1' }],
    ['v0.1.21-pre.1', { kind: 'exact', version: '0.1.21-pre.1' }],
    ['^0.1.90', { kind: 'range', range: '^0.1.90' }],
    ['0.1.x', { kind: 'range', range: '0.1.x' }],
    ['0.1', { kind: 'range', range: '0.1' }],
    ['>=0.1.90 <0.2', { kind: 'range', range: '>=0.1.90 <0.2' }],
    ['*', { kind: 'range', range: '*' }],
  ])('%j is understood', (input, spec) => {
    expect(parseVersionSpec(input)).toEqual(spec)
  })

  test.each(['newest', 'Latest', 'vv0.1.108', '0.1.108.1', '0.1.108/../..', '0,1,108', 'v', '-1', '$(id)'])(
    '%j is none',
    (input) => {
      expect(thrownBy(() => parseVersionSpec(input))).toEqual(
        new SetupError(
          `The input version is '${input}', which is not a version of the Blaxel CLI.`,
          "Use an exact version such as '0.1.108', a range such as '^0.1.90', or 'latest'.",
        ),
      )
    },
  )

  test.each(['0.1.17', 'v0.1.16', '0.1.0', '0.0.99', '0.1.18-rc1', '0.1.16-dev7'])('%s is too old', (input) => {
    expect(thrownBy(() => parseVersionSpec(input))).toEqual(
      new SetupError(
        `The input version is '${input.replace(/^v/, '')}', but versions before 0.1.18 can't run unattended.`,
        'Use 0.1.18 or newer: older ones have no --skip-version-warning and wait for api.github.com without a time-out.',
      ),
    )
  })

  test('is a version, a range or an error, whatever it is', () => {
    holds(
      fc.property(fc.oneof(fc.string(), version, fc.stringMatching(/^[v=~^<>]{0,2}[0-9.x*-]{1,9}$/)), (input) => {
        let spec: VersionSpec
        try {
          spec = parseVersionSpec(input)
        } catch (error) {
          expect(error).toBeInstanceOf(SetupError)
          return
        }
        if (spec.kind === 'exact')
          expect([spec.version, `v${spec.version}`]).toContainEqual(input.replace(/^(?!v)/, ''))
        if (spec.kind === 'range') expect(semver.validRange(spec.range)).not.toBeNull()
      }),
    )
  })
})

describe('an exact version', () => {
  test('is what it is without its v', () => {
    holds(
      fc.property(version, (text) => {
        expect([exactVersion(text), exactVersion(`v${text}`)]).toEqual([text, text])
        for (const other of [
          `vv${text}`,
          `=${text}`,
          ` ${text}`,
          `${text} `,
          `${text}+build`,
          `0${text}`,
          `${text}.`,
        ]) {
          expect([other, exactVersion(other)]).toEqual([other, undefined])
        }
      }),
    )
  })

  test('is what semver takes for one, but for build metadata and what is longer than any tag', () => {
    const identifier = fc.stringMatching(/^[0-9A-Za-z-]{0,4}$/)
    const tail = fc
      .array(identifier, { maxLength: 3 })
      .map((parts) => (parts.length === 0 ? '' : `-${parts.join('.')}`))
    const part = fc.oneof(number.map(String), fc.stringMatching(/^\d{0,9}$/))
    const almost = fc.tuple(part, part, part, tail).map(([a, b, c, rest]) => `${a}.${b}.${c}${rest}`)
    holds(
      fc.property(fc.oneof(almost, fc.string()), (text) => {
        expect(exactVersion(text)).toBe(semver.valid(text) === text ? text : undefined)
      }),
      2000,
    )
    const longest = `0.1.1-${'a'.repeat(58)}`
    expect([longest, `${longest}a`].map(exactVersion)).toEqual([longest, undefined])
  })

  test('comes before another as semver says', () => {
    const near = fc.tuple(fc.nat(1), fc.nat(2), fc.nat(120), fc.constantFrom('', '-rc1', '-dev'))
    holds(
      fc.property(near, ([major, minor, patch, tail]) => {
        const text = `${major}.${minor}.${patch}${tail}`
        expect([isSupported(text), ignoresLoginErrors(text)]).toEqual([
          semver.gte(text, '0.1.18'),
          semver.lt(text, '0.1.95'),
        ])
      }),
      2000,
    )
  })

  test('is supported from 0.1.18 on', () => {
    holds(
      fc.property(release, (text) => {
        const [major = 0, minor = 0, patch = 0] = text.split('.').map(Number)
        const isNew = major > 0 || minor > 1 || (minor === 1 && patch >= 18)
        expect(isSupported(text)).toBe(isNew)
        if (!isNew) expect(thrownBy(() => parseVersionSpec(text))).toBeInstanceOf(SetupError)
      }),
    )
  })

  test.each([
    ['0.1.18', true],
    ['0.1.94', true],
    ['0.1.95-rc1', true],
    ['0.1.95', false],
    ['0.1.108', false],
    ['1.0.0', false],
  ])('%s ignores login errors: %s', (text, ignores) => {
    expect(ignoresLoginErrors(text)).toBe(ignores)
  })
})

describe('of several versions', () => {
  const versions = ['0.1.9', '0.1.108', '0.1.27-rc1', '0.1.27', '0.2.0', '0.1.90']

  test.each<[string, string[]]>([
    ['0.1.x', ['0.1.108', '0.1.90', '0.1.27', '0.1.9']],
    ['^0.1.90', ['0.1.108', '0.1.90']],
    ['>=0.1.27-rc0 <0.1.28', ['0.1.27', '0.1.27-rc1']],
    ['*', ['0.2.0', '0.1.108', '0.1.90', '0.1.27', '0.1.9']],
    ['>1', []],
  ])('%s matches the newest first', (range, expected) => {
    expect(versionsInRange(versions, range)).toEqual(expected)
  })

  test('those before one are older, newest first', () => {
    expect(versionsBefore(versions, '0.1.27')).toEqual(['0.1.27-rc1', '0.1.9'])
    holds(
      fc.property(fc.array(version), version, (all, one) => {
        const found = versionsBefore(all, one)
        expect([...found].sort(semver.rcompare)).toEqual(found)
        expect(found).toHaveLength(all.filter((other) => semver.compare(other, one) < 0).length)
      }),
    )
  })
})

test('a tag with anything behind its numbers looks like a prerelease', () => {
  holds(
    fc.property(release, prerelease, (plain, tag) => {
      expect([looksLikePrerelease(plain), looksLikePrerelease(tag)]).toEqual([false, true])
    }),
  )
})

describe('the place of the latest release', () => {
  test.each([
    ['https://github.com/blaxel-ai/toolkit/releases/tag/v0.1.108', '0.1.108'],
    ['/blaxel-ai/toolkit/releases/tag/v0.1.108', '0.1.108'],
    ['https://mirror.example/bl/releases/tag/v0.1.27-rc1', '0.1.27-rc1'],
  ])('%s names a version', (location, expected) => {
    expect(versionInLocation(location)).toBe(expected)
  })

  test.each([
    [undefined],
    [''],
    ['https://github.com/blaxel-ai/toolkit/releases'],
    ['https://github.com/login?return_to=/releases/tag/v0.1.108/x'],
    ['https://github.com/blaxel-ai/toolkit/releases/tag/0.1.108'],
    ['https://github.com/blaxel-ai/toolkit/releases/tag/nightly'],
    ['https://github.com/blaxel-ai/toolkit/releases/tag/v0.1'],
    ['https://github.com/blaxel-ai/toolkit/releases/tag/v0.1.108/../..'],
    ['https://github.com/blaxel-ai/toolkit/releases/tag/v0.1.108?x'],
    ['https://github.com/blaxel-ai/toolkit/releases/tag/v..%2F..%2Fevil'],
  ])('%s names none', (location) => {
    expect(versionInLocation(location)).toBeUndefined()
  })
})
