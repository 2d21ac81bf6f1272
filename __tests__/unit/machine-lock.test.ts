import './realm.ts'
import { afterEach, beforeEach, describe, expect, test } from '@jest/globals'
import {
  existsSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { setTimeout as pause } from 'node:timers/promises'
import { SetupError } from '../../src/util/errors.ts'
import { holdLock } from '../../src/login/machine-lock.ts'
import { rejectionOf } from './property.ts'

let root: string
let path: string
let count = 0
beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), 'lock-'))
  path = join(root, '.blaxel', 'setup-bl.lock')
})
afterEach(() => {
  rmSync(root, { recursive: true, force: true })
})

const hold = (signal = new AbortController().signal) => holdLock(path, `use-${count++}`, signal)

describe('a lock', () => {
  test('is a private file in a private directory, with nothing beside it', async () => {
    const lock = await hold()
    expect(lstatSync(dirname(path)).mode & 0o777).toBe(0o700)
    expect(lstatSync(path).mode & 0o777).toBe(0o600)
    expect(readdirSync(dirname(path))).toEqual(['setup-bl.lock'])
    lock.release()
    expect(readdirSync(dirname(path))).toEqual(['setup-bl.lock'])
  })

  test('says whether its directory was made for it', async () => {
    const first = await hold()
    first.release()
    const second = await hold()
    second.release()
    expect([first.madeDirectory, second.madeDirectory]).toEqual([true, false])
  })

  test('is held by one at a time', async () => {
    let holders = 0
    let most = 0
    await Promise.all(
      Array.from({ length: 12 }, async () => {
        const lock = await hold()
        holders += 1
        most = Math.max(most, holders)
        await pause(2)
        holders -= 1
        lock.release()
      }),
    )
    expect(most).toBe(1)
  })

  test('is held by one at a time though its file and directory are removed again and again', async () => {
    let holders = 0
    let most = 0
    await Promise.all(
      Array.from({ length: 12 }, async (_, index) => {
        const lock = await hold()
        holders += 1
        most = Math.max(most, holders)
        await pause(2)
        holders -= 1
        if (index % 2 === 0) {
          lock.removeFile(() => {
            rmSync(dirname(path), { recursive: true })
          })
        }
        lock.release()
      }),
    )
    expect(most).toBe(1)
  })

  test('that is removed does what is to be done then, and is gone', async () => {
    const lock = await hold()
    let wasThere: boolean | undefined
    lock.removeFile(() => {
      wasThere = existsSync(path)
    })
    lock.release()
    expect(wasThere).toBe(false)
    expect(existsSync(path)).toBe(false)
    const next = await hold()
    expect(existsSync(path)).toBe(true)
    next.release()
  })

  test('is not waited for any longer when the signal fires', async () => {
    const lock = await hold()
    const cancel = new AbortController()
    const reason = new Error('cancelled')
    const waiting = rejectionOf(hold(cancel.signal))
    await pause(30)
    cancel.abort(reason)
    expect(await waiting).toBe(reason)
    lock.release()
    const next = await hold()
    next.release()
  })
})

describe('a file that is no lock of ours', () => {
  test.each<[string, () => void, RegExp]>([
    [
      'a link',
      () => {
        symlinkSync('/dev/null', path)
      },
      /is a symbolic link/,
    ],
    [
      'a link to nothing',
      () => {
        symlinkSync('/nowhere', path)
      },
      /is a symbolic link/,
    ],
    [
      'a directory',
      () => {
        mkdirSync(path)
      },
      /is not a regular file/,
    ],
    [
      'an empty file',
      () => {
        writeFileSync(path, '')
      },
      /is damaged/,
    ],
    [
      'a text',
      () => {
        writeFileSync(path, 'mine\n'.repeat(1000))
      },
      /is damaged/,
    ],
    [
      'a short text',
      () => {
        writeFileSync(path, 'mine')
      },
      /is damaged/,
    ],
  ])('such as %s is refused and left as it is', async (_, make, fault) => {
    mkdirSync(dirname(path))
    make()
    const look = () => {
      const stats = lstatSync(path)
      return [stats.ino, stats.mode, stats.isFile() ? readFileSync(path, 'latin1') : '', readdirSync(dirname(path))]
    }
    const was = look()
    const error = await rejectionOf(hold())
    expect(error).toBeInstanceOf(SetupError)
    expect((error as SetupError).message).toMatch(fault)
    expect((error as SetupError).message).toContain(path)
    expect(look()).toEqual(was)
  })
})
