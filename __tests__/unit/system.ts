import { test } from '@jest/globals'
import { mkdtempSync, readlinkSync, rmSync, symlinkSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

const isWindows = process.platform === 'win32'

/** The mode that a file shows which was given one: Windows only knows whether it may be written. */
export function shownMode(mode: number): number {
  if (!isWindows) return mode
  return (mode & 0o200) === 0 ? 0o444 : 0o666
}

const lacks = {
  'symbolic links': !makesLinks(),
  FIFOs: isWindows,
  'execute permissions': isWindows,
  'a POSIX shell': isWindows,
  'signals that can be handled': isWindows,
}

/** `test`; where the system lacks what it is about, the test is shown as skipped. */
export function testWith(need: keyof typeof lacks): typeof test | typeof test.skip {
  return lacks[need] ? test.skip : test
}

/** Wine says that it has made one, and Windows lets only some users make them. */
function makesLinks(): boolean {
  const directory = mkdtempSync(join(tmpdir(), 'links-'))
  try {
    symlinkSync('nothing', join(directory, 'link'))
    return readlinkSync(join(directory, 'link')) === 'nothing'
  } catch {
    return false
  } finally {
    rmSync(directory, { recursive: true })
  }
}
