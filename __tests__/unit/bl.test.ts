import { describe, expect, test } from '@jest/globals'
import fc from 'fast-check'
import type { Outcome } from '../../src/util/process.ts'
import { judgeVersion, mentionsVersion } from '../../src/blaxel/cli.ts'
import { holds } from './property.ts'

const version = fc
  .tuple(fc.nat({ max: 300 }), fc.nat({ max: 300 }), fc.nat({ max: 300 }), fc.constantFrom('', '-rc1', '-dev'))
  .map(([major, minor, patch, tag]) => `${major}.${minor}.${patch}${tag}`)

describe('the output of a program', () => {
  test.each([
    ['ℹ Blaxel CLI\nVersion: 0.1.108\nCommit: abc\nDate: 2026-01-01\n', '0.1.108'],
    ['Blaxel CLI version: 0.1.30\n', '0.1.30'],
    ['bl v0.1.108 (abc, 2026)\r\n', '0.1.108'],
    ['0.1.27-rc1', '0.1.27-rc1'],
  ])('%j names %s', (output, expected) => {
    expect(mentionsVersion(output, expected)).toBe(true)
  })

  test('names its own version and no other', () => {
    holds(
      fc.property(
        version,
        version,
        fc.constantFrom('Version: ', 'Blaxel CLI version: ', 'bl v', ''),
        (own, other, words) => {
          const output = `ℹ Blaxel CLI\n${words}${own}\nDate: 2026-01-01T00:00:00Z\n`
          expect(mentionsVersion(output, own)).toBe(true)
          expect(mentionsVersion(output, other)).toBe(own === other)
        },
      ),
    )
    for (const part of ['0.1.10', '1.108', '0.1.108-rc1', '10.1.108', '0.1.1080']) {
      expect([part, mentionsVersion('Version: 0.1.108\n', part)]).toEqual([part, false])
    }
  })
})

describe('the end of bl version', () => {
  const exited = (code: number, stdout: string): Outcome => ({ kind: 'exited', code, stdout, stderr: '' })

  test.each<[Outcome, string]>([
    [exited(0, 'Version: 0.1.108\n'), 'as-expected'],
    [exited(0, 'Version: 0.1.10\n'), 'unusable'],
    [exited(0, ''), 'unusable'],
    [exited(1, 'Version: 0.1.108\n'), 'unusable'],
    [{ kind: 'killed', signal: 'SIGSEGV' }, 'unusable'],
    [{ kind: 'not-started', error: new Error('spawn EACCES') }, 'unusable'],
    [{ kind: 'timed-out' }, 'timed-out'],
  ])('%j is %s', (outcome, kind) => {
    expect(judgeVersion(outcome, '0.1.108').kind).toBe(kind)
  })
})
