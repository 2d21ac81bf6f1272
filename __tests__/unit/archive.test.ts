import './realm.ts'
import { afterEach, beforeEach, describe, expect, test } from '@jest/globals'
import fc from 'fast-check'
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { gunzipSync, gzipSync } from 'node:zlib'
import { tarGz, zip, type Entry } from '../../sandbox/archive.ts'
import { SetupError } from '../../src/util/errors.ts'
import { extract } from '../../src/install/archive.ts'
import { holdsAsync, rejectionOf } from './property.ts'
import { shownMode } from './system.ts'

const PROGRAM = Buffer.from('#!/bin/sh\necho "Version: 9.9.2"\n'.repeat(40))
const blaxel: Entry = { name: 'blaxel', content: PROGRAM, mode: 0o755 }
const readme: Entry = { name: 'README.md', content: Buffer.from('# bl\n') }
const license: Entry = { name: 'LICENSE', content: Buffer.alloc(2000, 'x') }

const formats = { 'tar.gz': tarGz, zip } as const
type Format = keyof typeof formats
const both = Object.keys(formats) as Format[]

let root: string
let target: string
beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), 'archive-'))
  target = join(root, 'unpacked')
})
afterEach(() => {
  rmSync(root, { recursive: true, force: true })
})

/** The bytes in pieces of a size, as they may arrive. */
async function* pieces(bytes: Buffer, pieceBytes: number): AsyncGenerator<Buffer> {
  for (let at = 0; at < bytes.length; at += pieceBytes) {
    await Promise.resolve()
    yield bytes.subarray(at, at + pieceBytes)
  }
}

async function unpack(
  bytes: Buffer,
  format: Format,
  { signal = new AbortController().signal, pieceBytes = 1000, to = target } = {},
): Promise<void> {
  const temporary = join(root, `archive.${format}`)
  await extract(pieces(bytes, pieceBytes), { format, member: 'blaxel', target: to, temporary }, signal)
}

/** The first header of a .tar.gz, changed. */
function changedHeader(bytes: Buffer, change: (header: Buffer) => void): Buffer {
  const tar = gunzipSync(bytes)
  const header = tar.subarray(0, 512)
  change(header)
  header.fill(' ', 148, 156)
  const sum = header.reduce((total, byte) => total + byte, 0)
  header.write(`${sum.toString(8).padStart(6, '0')}\0 `, 148, 'latin1')
  return gzipSync(tar)
}

describe.each(both)('a .%s', (format) => {
  const archive = (...entries: Entry[]) => formats[format](entries)

  test('gives the program, which is private and not executable yet, and writes nothing else', async () => {
    await unpack(archive(license, readme, blaxel), format)
    expect(readFileSync(target)).toEqual(PROGRAM)
    expect(statSync(target).mode & 0o777).toBe(shownMode(0o600))
    expect(readdirSync(root).sort()).toEqual(format === 'zip' ? ['archive.zip', 'unpacked'] : ['unpacked'])
  })

  test('gives a program that is empty, or large', async () => {
    const large = Buffer.alloc(3_000_000, 'bl')
    await unpack(archive({ ...blaxel, content: large }, readme), format)
    expect(readFileSync(target).equals(large)).toBe(true)
    rmSync(target)
    await unpack(archive({ ...blaxel, content: Buffer.alloc(0) }), format)
    expect(readFileSync(target)).toHaveLength(0)
  })

  test.each<[string, Entry[], RegExp]>([
    ['no program', [readme, license], /does not contain blaxel\./],
    ['nothing', [], /does not contain blaxel\.|is damaged/],
    ['the program in a directory', [{ ...blaxel, name: 'bin/blaxel' }], /does not contain blaxel\./],
    ['a program of another name', [{ ...blaxel, name: 'blaxel2' }], /does not contain blaxel\./],
  ])('with %s is an error', async (_, entries, what) => {
    const error = await rejectionOf(unpack(archive(...entries), format))
    expect(error).toBeInstanceOf(SetupError)
    expect((error as SetupError).message).toMatch(/^The archive .*It was not installed\. Try another version\.$/)
    expect((error as SetupError).message).toMatch(what)
  })

  test('writes nothing for members whose paths lead outside', async () => {
    const evil = ['../evil', 'a/../../evil', join(root, 'evil'), 'blaxel/../evil'].map((name) => ({ ...readme, name }))
    await unpack(archive(...evil, blaxel, { name: 'bl', link: '/bin/sh' }), format).catch((error: unknown) => {
      expect(error).toBeInstanceOf(SetupError)
    })
    expect(readdirSync(root).filter((name) => !['unpacked', `archive.${format}`].includes(name))).toEqual([])
    expect(existsSync(join(root, '..', 'evil'))).toBe(false)
  })

  test('that is cut off anywhere is an error', async () => {
    const whole = archive(license, blaxel, readme)
    await holdsAsync(
      fc.asyncProperty(fc.nat({ max: whole.length - 1 }), async (length) => {
        expect(await rejectionOf(unpack(whole.subarray(0, length), format))).toBeInstanceOf(SetupError)
      }),
      60,
    )
  })

  test('with one byte changed is an error, or gives a program of the same length', async () => {
    const whole = archive(license, blaxel, readme)
    await holdsAsync(
      fc.asyncProperty(fc.nat({ max: whole.length - 1 }), fc.integer({ min: 1, max: 255 }), async (at, difference) => {
        const damaged = Buffer.from(whole)
        damaged.writeUInt8((damaged[at] ?? 0) ^ difference, at)
        try {
          await unpack(damaged, format)
        } catch (error) {
          expect(error).toBeInstanceOf(SetupError)
          return
        }
        expect(statSync(target).size).toBe(PROGRAM.length)
      }),
    )
  })

  test('that is something else is an error', async () => {
    await holdsAsync(
      fc.asyncProperty(fc.uint8Array({ maxLength: 600 }), async (bytes) => {
        expect(await rejectionOf(unpack(Buffer.from(bytes), format))).toBeInstanceOf(SetupError)
        expect(existsSync(target)).toBe(false)
      }),
      60,
    )
  })

  test('is given up with the reason of the signal', async () => {
    const reason = new Error('cancelled')
    expect(await rejectionOf(unpack(archive(blaxel), format, { signal: AbortSignal.abort(reason) }))).toBe(reason)
  })

  test('replaces what an attempt before has left', async () => {
    writeFileSync(target, 'x'.repeat(10_000))
    await unpack(archive(blaxel), format)
    expect(readFileSync(target)).toEqual(PROGRAM)
  })

  test('without a place on the disk is an error of the disk, with its path', async () => {
    const to = join(root, 'missing', 'unpacked')
    expect(await rejectionOf(unpack(archive(blaxel), format, { to }))).toMatchObject({ code: 'ENOENT', path: to })
  })

  test('may arrive in pieces of any size', async () => {
    const whole = archive(license, blaxel, readme)
    await holdsAsync(
      fc.asyncProperty(fc.integer({ min: 1, max: whole.length }), async (pieceBytes) => {
        await unpack(whole, format, { pieceBytes })
        expect(readFileSync(target)).toEqual(PROGRAM)
      }),
      60,
    )
  })
})

describe('a .tar.gz', () => {
  test('with a program that is a link is an error', async () => {
    const error = await rejectionOf(unpack(tarGz([{ name: 'blaxel', link: '/bin/sh' }]), 'tar.gz'))
    expect((error as SetupError).message).toContain('does not contain blaxel')
  })

  test('may name its members from ./ on, and hold directories', async () => {
    const directory = changedHeader(tarGz([{ name: './' }, { ...blaxel, name: './blaxel' }]), (header) =>
      header.write('5', 156),
    )
    await unpack(directory, 'tar.gz')
    expect(readFileSync(target)).toEqual(PROGRAM)
  })

  test('whose end is missing inside the compression is an error', async () => {
    const tar = gunzipSync(tarGz([readme, blaxel]))
    const start = tar.indexOf(PROGRAM.subarray(0, 20))
    await holdsAsync(
      fc.asyncProperty(fc.nat({ max: start + PROGRAM.length - 1 }), async (length) => {
        expect(await rejectionOf(unpack(gzipSync(tar.subarray(0, length)), 'tar.gz'))).toBeInstanceOf(SetupError)
      }),
      60,
    )
  })

  test('that unpacks to more than 500 MB is an error before it is unpacked', async () => {
    const header = changedHeader(tarGz([license]), (bytes) =>
      bytes.write((600_000_000).toString(8).padStart(11, '0'), 124),
    )
    // gzip files can be put together: each piece of zeros is 10 MB.
    const zeros = gzipSync(Buffer.alloc(10_000_000))
    const bomb = Buffer.concat([
      gzipSync(gunzipSync(header).subarray(0, 512)),
      ...Array.from({ length: 60 }, () => zeros),
    ])
    expect(bomb.length).toBeLessThan(1_000_000)
    const nothing = Buffer.concat(Array.from({ length: 60 }, () => zeros))
    for (const each of [bomb, nothing]) {
      const error = await rejectionOf(unpack(each, 'tar.gz', { pieceBytes: 20_000 }))
      expect((error as SetupError).message).toContain('is larger than 500 MB unpacked')
      expect(existsSync(target)).toBe(false)
    }
  })
})
