import { spawnSync } from 'node:child_process'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { afterEach, beforeEach, expect, test } from '@jest/globals'

const SCRIPT = resolve(import.meta.dirname, '../../scripts/lint-workflows.ts')

let bin: string
beforeEach(() => {
  bin = mkdtempSync(join(tmpdir(), 'bin-'))
})
afterEach(() => {
  rmSync(bin, { recursive: true })
})

/** Runs the script where these tools alone are on the PATH, as scripts that end with these codes. */
function lint(tools: Readonly<Record<string, number>>): { code: number | null; lines: string[] } {
  for (const [name, code] of Object.entries(tools))
    writeFileSync(join(bin, name), `#!/bin/sh\nexit ${code}\n`, { mode: 0o755 })
  const { status, stdout, stderr } = spawnSync(process.execPath, [SCRIPT], { env: { PATH: bin }, encoding: 'utf8' })
  return { code: status, lines: (stdout + stderr).trim().split('\n') }
}

test('tools that are missing are named, each in a line, and are no failure', () => {
  const { code, lines } = lint({})
  expect(code).toBe(0)
  expect(lines).toEqual([
    expect.stringMatching(/^actionlint: not run, for it is not installed/),
    expect.stringMatching(/^zizmor: not run, for it is not installed/),
  ])
})

test('a tool that is there runs beside one that is missing', () => {
  expect(lint({ zizmor: 0 })).toEqual({
    code: 0,
    lines: [expect.stringContaining('actionlint: not run'), 'zizmor: clean'],
  })
})

test('findings fail', () => {
  expect(lint({ actionlint: 0, zizmor: 13 })).toEqual({
    code: 1,
    lines: ['actionlint: clean', 'zizmor: failed (exit 13)'],
  })
})
