import './realm.ts'
import { afterEach, beforeEach, describe, expect, test } from '@jest/globals'
import fc from 'fast-check'
import { randomBytes } from 'node:crypto'
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { gunzipSync, gzipSync } from 'node:zlib'
import { tarGz, zip, type Entry } from '../../sandbox/archive.ts'
import { SetupError } from '../../src/util/errors.ts'
import { beginUnpacking } from '../../src/install/archive.ts'
import { holdsAsync, rejectionOf } from './property.ts'

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

async function unpack(
  bytes: Buffer,
  format: Format,
  { signal = new AbortController().signal, pieceBytes = 1000, to = target } = {},
): Promise<void> {
  const archive = join(root, `archive.${format}`)
  const unpacking = beginUnpacking({ archive, program: 'blaxel', target: to }, signal)
  for (let at = 0; at < bytes.length; at += pieceBytes) await unpacking.write(bytes.subarray(at, at + pieceBytes))
  await unpacking.finish()
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

/** A .zip whose first entry has this Unix mode. */
function withMode(bytes: Buffer, mode: number): Buffer {
  const at = bytes.indexOf('PK\x01\x02')
  bytes.writeUInt16LE(mode, at + 40)
  return bytes
}

describe.each(both)('a .%s', (format) => {
  const archive = (...entries: Entry[]) => formats[format](entries)

  test('gives the program, executable for all, and writes nothing else', async () => {
    const umask = process.umask(0o077)
    try {
      await unpack(archive(license, readme, blaxel), format)
    } finally {
      process.umask(umask)
    }
    expect(readFileSync(target)).toEqual(PROGRAM)
    expect(statSync(target).mode & 0o777).toBe(0o755)
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
    ['no program', [readme, license], /does not hold blaxel\./],
    ['nothing', [], /does not hold blaxel\.|is damaged/],
    ['the program in a directory', [{ ...blaxel, name: 'bin/blaxel' }], /does not hold blaxel\./],
    ['a program of another name', [{ ...blaxel, name: 'blaxel2' }], /does not hold blaxel\./],
    ['the program twice', [blaxel, readme, blaxel], /holds blaxel more than once\./],
    ['a path that climbs out', [blaxel, { ...readme, name: '../evil' }], /'?\.\.\/evil/],
    ['a path that climbs out from within', [{ ...readme, name: 'a/../../evil' }, blaxel], /a\/\.\.\/\.\.\/evil/],
    ['an absolute path', [{ ...readme, name: '/etc/evil' }, blaxel], /\/etc\/evil/],
    ['a path of Windows', [{ ...readme, name: 'C:\\evil' }, blaxel], /evil/],
    ['a drive of Windows', [{ ...readme, name: 'C:evil' }, blaxel], /C:evil/],
    [
      'a symbolic link',
      [{ name: 'evil', link: '/etc/passwd' }, blaxel],
      /'evil', which is neither a file nor a directory/,
    ],
    ['a program that is a symbolic link', [{ name: 'blaxel', link: '/bin/sh' }], /'blaxel', which is neither/],
    ['a link behind the program', [blaxel, { name: 'bl', link: 'blaxel' }], /'bl', which is neither/],
  ])('with %s is refused', async (_, entries, what) => {
    const error = await rejectionOf(unpack(archive(...entries), format))
    expect(error).toBeInstanceOf(SetupError)
    expect(error).toMatchObject({
      message: expect.stringMatching(
        /^The archive of the Blaxel CLI .*It was not installed\. Try another version\.$/,
      ) as unknown,
    })
    expect((error as SetupError).message).toMatch(what)
    expect(readdirSync(root).filter((name) => !['unpacked', `archive.${format}`].includes(name))).toEqual([])
  })

  test('that is cut off anywhere is refused, or gives the whole program', async () => {
    const whole = archive(license, blaxel, readme)
    await holdsAsync(
      fc.asyncProperty(fc.nat({ max: whole.length - 1 }), async (length) => {
        rmSync(target, { force: true })
        expect(await rejectionOf(unpack(whole.subarray(0, length), format))).toBeInstanceOf(SetupError)
      }),
    )
  })

  test('with one byte changed is refused, or gives a program of the same length', async () => {
    const whole = archive(license, blaxel, readme)
    await holdsAsync(
      fc.asyncProperty(fc.nat({ max: whole.length - 1 }), fc.integer({ min: 1, max: 255 }), async (at, difference) => {
        rmSync(target, { force: true })
        const damaged = Buffer.from(whole)
        damaged.writeUInt8((damaged[at] ?? 0) ^ difference, at)
        try {
          await unpack(damaged, format)
        } catch (error) {
          expect(error).toBeInstanceOf(SetupError)
          return
        }
        expect(statSync(target).size).toBe(PROGRAM.length)
        // A .zip keeps its sums for itself; what is unpacked was compared with a SHA-256 before.
        if (format === 'tar.gz') expect(readFileSync(target)).toEqual(PROGRAM)
      }),
    )
  })

  test('that is none is refused', async () => {
    await holdsAsync(
      fc.asyncProperty(fc.uint8Array({ maxLength: 600 }), async (bytes) => {
        expect(await rejectionOf(unpack(Buffer.from(bytes), format))).toBeInstanceOf(SetupError)
        expect(existsSync(target)).toBe(false)
      }),
    )
  })

  test('is given up with the reason of the signal', async () => {
    const reason = new Error('cancelled')
    expect(await rejectionOf(unpack(archive(blaxel), format, { signal: AbortSignal.abort(reason) }))).toBe(reason)
    expect(existsSync(target)).toBe(false)
  })

  test('does not replace what stands at the target', async () => {
    writeFileSync(target, 'mine')
    expect(await rejectionOf(unpack(archive(blaxel), format))).toMatchObject({ code: 'EEXIST' })
    expect(readFileSync(target, 'utf8')).toBe('mine')
  })

  test('that has no place on the disk is an error of the disk', async () => {
    const to = join(root, 'missing', 'unpacked')
    expect(await rejectionOf(unpack(archive(blaxel), format, { to }))).toMatchObject({ code: 'ENOENT' })
  })

  test('may arrive in pieces of any size', async () => {
    const whole = archive(license, blaxel, readme)
    await holdsAsync(
      fc.asyncProperty(fc.integer({ min: 1, max: whole.length }), async (pieceBytes) => {
        rmSync(target, { force: true })
        await unpack(whole, format, { pieceBytes })
        expect(readFileSync(target)).toEqual(PROGRAM)
      }),
    )
  })

  test('that is discarded at any point leaves nothing', async () => {
    const whole = archive(license, { ...blaxel, content: randomBytes(300_000) }, readme)
    await holdsAsync(
      fc.asyncProperty(
        fc.nat({ max: whole.length }),
        fc.integer({ min: 3000, max: 100_000 }),
        async (end, pieceBytes) => {
          const unpacking = beginUnpacking(
            { archive: join(root, `archive.${format}`), program: 'blaxel', target },
            new AbortController().signal,
          )
          for (let at = 0; at < end; at += pieceBytes) {
            await unpacking.write(whole.subarray(at, Math.min(end, at + pieceBytes)))
          }
          await unpacking.discard()
          await unpacking.discard()
          expect(readdirSync(root)).toEqual([])
        },
      ),
    )
  })

  test('takes all its pieces, however early the first fault was', async () => {
    const bytes = Buffer.concat([archive(blaxel).subarray(0, 20), randomBytes(500_000)])
    const unpacking = beginUnpacking(
      { archive: join(root, `archive.${format}`), program: 'blaxel', target },
      new AbortController().signal,
    )
    for (let at = 0; at < bytes.length; at += 5000) await unpacking.write(bytes.subarray(at, at + 5000))
    expect(await rejectionOf(unpacking.finish())).toBeInstanceOf(SetupError)
  })
})

describe('a .tar.gz', () => {
  test.each([
    ['a hard link', '1'],
    ['a symbolic link', '2'],
    ['a character device', '3'],
    ['a block device', '4'],
    ['a FIFO', '6'],
  ])('with %s is refused', async (_, type) => {
    const strange = changedHeader(tarGz([{ name: 'evil', link: '/dev/zero' }, blaxel]), (header) =>
      header.write(type, 156),
    )
    const error = await rejectionOf(unpack(strange, 'tar.gz'))
    expect(error).toBeInstanceOf(SetupError)
    expect((error as SetupError).message).toContain("holds 'evil', which is neither a file nor a directory")
  })

  test('with a directory that claims to have content ends all the same', async () => {
    const content = randomBytes(600_000)
    const claims = changedHeader(tarGz([{ name: 'docs/', content }, blaxel]), (header) => header.write('5', 156))
    const to = { archive: join(root, 'archive.tar.gz'), program: 'blaxel', target }
    for (const end of ['finish', 'discard'] as const) {
      const unpacking = beginUnpacking(to, new AbortController().signal)
      for (let at = 0; at < claims.length; at += 50_000) await unpacking.write(claims.subarray(at, at + 50_000))
      // Whether its content is skipped or taken for what follows depends on where the pieces end.
      await unpacking[end]().catch((error: unknown) => {
        expect(error).toBeInstanceOf(SetupError)
      })
      await unpacking.discard()
      expect(readdirSync(root)).toEqual([])
    }
  })

  test('may name its members from ./ on, and hold directories', async () => {
    const directory = changedHeader(tarGz([{ name: './' }, { ...blaxel, name: './blaxel' }]), (header) =>
      header.write('5', 156),
    )
    await unpack(directory, 'tar.gz')
    expect(readFileSync(target)).toEqual(PROGRAM)
  })

  test('whose end is missing inside the compression is refused', async () => {
    const tar = gunzipSync(tarGz([readme, blaxel]))
    const start = tar.indexOf(PROGRAM.subarray(0, 20))
    await holdsAsync(
      fc.asyncProperty(fc.nat({ max: start + PROGRAM.length - 1 }), async (length) => {
        rmSync(target, { force: true })
        expect(await rejectionOf(unpack(gzipSync(tar.subarray(0, length)), 'tar.gz'))).toBeInstanceOf(SetupError)
      }),
    )
  })

  test('that unpacks to more than 500 MB is refused before it is unpacked', async () => {
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

  test('is not executable before its bytes are known to be the right ones', async () => {
    const whole = tarGz([{ ...blaxel, content: randomBytes(300_000) }, license])
    const unpacking = beginUnpacking(
      { archive: join(root, 'archive.tar.gz'), program: 'blaxel', target },
      new AbortController().signal,
    )
    for (let at = 0; at < whole.length; at += 50_000) await unpacking.write(whole.subarray(at, at + 50_000))
    while (!existsSync(target)) await new Promise((resolve) => setTimeout(resolve, 5))
    expect(statSync(target).mode & 0o777).toBe(0o600)
    await unpacking.finish()
    expect(statSync(target).mode & 0o777).toBe(0o755)
  })
})

describe('a .zip', () => {
  test.each([
    ['a symbolic link', 0o120777],
    ['a character device', 0o020666],
    ['a block device', 0o060666],
    ['a FIFO', 0o010666],
    ['a socket', 0o140666],
  ])('with %s is refused', async (_, mode) => {
    const error = await rejectionOf(unpack(withMode(zip([{ ...readme, name: 'evil' }, blaxel]), mode), 'zip'))
    expect(error).toBeInstanceOf(SetupError)
    expect((error as SetupError).message).toContain("holds 'evil', which is neither a file nor a directory")
  })

  test('without Unix modes, and with directories, gives the program', async () => {
    await unpack(withMode(zip([blaxel, { name: 'docs/' }]), 0), 'zip')
    expect(readFileSync(target)).toEqual(PROGRAM)
  })
})
