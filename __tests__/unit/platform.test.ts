import { describe, expect, test } from '@jest/globals'
import fc from 'fast-check'
import { SetupError } from '../../src/util/errors.ts'
import { platformFor } from '../../src/install/platform.ts'
import { holds, thrownBy } from './property.ts'

const unix = { program: 'blaxel', command: 'bl', format: 'tar.gz' }
const windows = { program: 'blaxel.exe', command: 'bl.exe', format: 'zip' }

/** Every archive of a release, by Node's names. */
const table = [
  ['linux', 'x64', 'linux-x64', 'blaxel_Linux_x86_64.tar.gz', unix],
  ['linux', 'arm64', 'linux-arm64', 'blaxel_Linux_arm64.tar.gz', unix],
  ['linux', 'ia32', 'linux-ia32', 'blaxel_Linux_i386.tar.gz', unix],
  ['darwin', 'x64', 'macos-x64', 'blaxel_Darwin_x86_64.tar.gz', unix],
  ['darwin', 'arm64', 'macos-arm64', 'blaxel_Darwin_arm64.tar.gz', unix],
  ['win32', 'x64', 'windows-x64', 'blaxel_Windows_x86_64.zip', windows],
  ['win32', 'arm64', 'windows-arm64', 'blaxel_Windows_arm64.zip', windows],
  ['win32', 'ia32', 'windows-ia32', 'blaxel_Windows_i386.zip', windows],
] as const

describe('the archive', () => {
  test.each(table)('for %s on %s is that of %s: %s', (os, arch, name, archive, files) => {
    expect(platformFor(os, arch)).toMatchObject({ name, arch, archive, ...files })
  })
})

describe('anything else', () => {
  const refusal = (name: string) =>
    new SetupError(
      `There is no Blaxel CLI for ${name}.`,
      `Use one of these runners: ${table.map(([, , existing]) => existing).join(', ')}.`,
    )

  test.each([
    ['darwin', 'ia32'],
    ['linux', 'arm'],
    ['linux', 'riscv64'],
    ['win32', 'arm'],
    ['freebsd', 'x64'],
    ['Linux', 'x64'],
    ['linux', 'x86_64'],
    ['linux', 'toString'],
    ['constructor', 'x64'],
    ['', ''],
  ])('is an error that lists what exists: %s on %s', (os, arch) => {
    expect(thrownBy(() => platformFor(os, arch))).toEqual(refusal(`${os}-${arch}`))
  })

  test('is never another architecture', () => {
    const os = fc.oneof(fc.string(), fc.constantFrom('linux', 'darwin', 'win32', 'sunos', 'android'))
    const arch = fc.oneof(fc.string(), fc.constantFrom('x64', 'arm64', 'ia32', 'arm', 'mips', 'ppc64'))
    holds(
      fc.property(os, arch, (system, architecture) => {
        const row = table.find(([knownOs, knownArch]) => knownOs === system && knownArch === architecture)
        if (row) expect(platformFor(system, architecture).archive).toBe(row[3])
        else expect(thrownBy(() => platformFor(system, architecture))).toBeInstanceOf(SetupError)
      }),
    )
  })
})
