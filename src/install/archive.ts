import { chmodSync, closeSync, openSync, writeFileSync } from 'node:fs'
import type { Readable } from 'node:stream'
import type { Gunzip } from 'node:zlib'
import { messageOf, SetupError } from '../util/errors.ts'
import { discard } from '../util/fs.ts'
import { excerpt } from '../util/redact.ts'

/** For all users of a shared tool cache, whatever the umask, but not before the sum is known. */
const EXECUTABLE = 0o755
const LARGEST_UNPACKED = 500_000_000
const GUNZIP = {
  /** Node's own 16 kB take a program of 30 MB through every step two thousand times; more than this takes memory alone. */
  chunkSize: 262_144,
  /** So much may wait to be unpacked while more arrives. */
  writableHighWaterMark: 524_288,
}

/** One entry of an archive, of either format. */
interface Entry {
  readonly name: string
  readonly kind: 'file' | 'directory' | 'other'
  readonly content: () => Promise<Readable>
}

/** An archive that is being unpacked while it arrives. */
export interface Unpacking {
  /** Takes the next piece. After a fault the rest is ignored: whether these are the right bytes is for others to judge first. */
  readonly write: (piece: Buffer) => Promise<void>
  /**
   * All was written, and is what it should be.
   * @throws SetupError where the archive is damaged, holds an entry that no release has (a link, a device, a path that
   * leads outside), is larger than 500 MB unpacked, or does not hold the program exactly once
   */
  readonly finish: () => Promise<void>
  /** Removes what was written; as often as wanted. */
  readonly discard: () => Promise<void>
}

export interface UnpackingTo {
  /** Path of the archive, whose name says which format it has; it is written where the format can't be read in one go. */
  readonly archive: string
  /** Name of the one member that is wanted; nothing else is written. */
  readonly program: string
  /** Path of the executable to write; it must not exist. */
  readonly target: string
}

/** Takes one program out of a `.tar.gz` or `.zip`, in-process and entry by entry. */
export function beginUnpacking(to: UnpackingTo, signal: AbortSignal): Unpacking {
  return to.archive.endsWith('.zip') ? unpackingZip(to, signal) : unpackingTar(to, signal)
}

function unpackingTar({ program, target }: UnpackingTo, signal: AbortSignal): Unpacking {
  // Not imported: only a download needs it.
  const gunzip = process.getBuiltinModule('node:zlib').createGunzip(GUNZIP)
  gunzip.on('error', () => undefined) // `finish` throws it
  const unpacked = unpackProgram(tarEntries(gunzip), program, target, signal)
  const ended = unpacked.catch(() => undefined)
  return {
    write: async (piece) => {
      if (gunzip.destroyed || gunzip.write(piece)) return
      // A stream that is destroyed does not drain any more.
      await Promise.race([new Promise((done) => gunzip.once('drain', done)), ended])
    },
    finish: async () => {
      gunzip.end()
      await unpacked
      chmodSync(target, EXECUTABLE)
    },
    discard: async () => {
      gunzip.destroy(new Error('It was not wanted any more.'))
      await ended
      discard(target)
    },
  }
}

/** A zip is read from its end. */
function unpackingZip({ archive, program, target }: UnpackingTo, signal: AbortSignal): Unpacking {
  const file = openSync(archive, 'w', 0o600)
  let isOpen = true
  const close = () => {
    if (!isOpen) return
    isOpen = false
    closeSync(file)
  }
  return {
    write: (piece) => {
      writeFileSync(file, piece)
      return Promise.resolve()
    },
    finish: async () => {
      close()
      await unpackProgram(zipEntries(archive), program, target, signal)
      chmodSync(target, EXECUTABLE)
    },
    discard: () => {
      close()
      discard(archive)
      discard(target)
      return Promise.resolve()
    },
  }
}

async function unpackProgram(
  entries: AsyncIterable<Entry>,
  program: string,
  target: string,
  signal: AbortSignal,
): Promise<void> {
  const budget = { left: LARGEST_UNPACKED }
  let found = 0
  try {
    for await (const entry of entries) {
      signal.throwIfAborted()
      refuseStrange(entry)
      const isProgram = entry.kind === 'file' && entry.name.replace(/^\.\//, '') === program
      if (isProgram && ++found > 1) throw strange(`holds ${program} more than once`)
      // A directory may claim to have content, which is none that would ever end.
      if (entry.kind === 'file') await consume(await entry.content(), isProgram ? target : undefined, budget, signal)
    }
  } catch (error) {
    signal.throwIfAborted()
    throw error instanceof SetupError || isDiskError(error)
      ? error
      : strange(`is damaged: ${excerpt(messageOf(error))}`, error)
  }
  if (found === 0) throw strange(`does not hold ${program}`)
}

function strange(what: string, cause?: unknown): SetupError {
  return new SetupError(`The archive of the Blaxel CLI ${what}.`, 'It was not installed. Try another version.', {
    cause,
  })
}

function tooLarge(): SetupError {
  return strange('is larger than 500 MB unpacked')
}

function isDiskError(error: unknown): boolean {
  return error instanceof Error && 'syscall' in error
}

function refuseStrange({ name, kind }: Entry): void {
  const outside =
    name.startsWith('/') || name.includes('\\') || /^[A-Za-z]:/.test(name) || name.split('/').includes('..')
  if (outside) throw strange(`holds the path '${excerpt(name)}', which leads outside`)
  if (kind === 'other') throw strange(`holds '${excerpt(name)}', which is neither a file nor a directory`)
}

async function* tarEntries(gunzip: Gunzip): AsyncGenerator<Entry> {
  try {
    const { default: tar } = await import('tar-stream')
    const unpacking = tar.extract()
    let left = LARGEST_UNPACKED
    gunzip.on('data', (chunk: Buffer) => {
      left -= chunk.length
      if (left < 0) gunzip.destroy(tooLarge())
    })
    // pipe passes on no error: it ends the loop below.
    if (gunzip.errored) throw gunzip.errored
    gunzip.on('error', (error) => {
      unpacking.destroy(error)
    })
    gunzip.pipe(unpacking)
    for await (const entry of unpacking) {
      const { name, type } = entry.header
      const kind = type === 'file' || type === 'contiguous-file' ? 'file' : type === 'directory' ? 'directory' : 'other'
      yield { name, kind, content: () => Promise.resolve(entry as unknown as Readable) }
    }
  } finally {
    gunzip.destroy()
  }
}

async function* zipEntries(archive: string): AsyncGenerator<Entry> {
  const { default: yauzl } = await import('yauzl')
  const zip = await yauzl.openPromise(archive)
  for await (const entry of zip.eachEntry()) {
    yield { name: entry.fileName, kind: zipKind(entry), content: () => zip.openReadStreamPromise(entry) }
  }
}

/** The upper half of the external attributes is the Unix mode, or zero (PKWARE's APPNOTE, 4.4.15). */
function zipKind(entry: { fileName: string; externalFileAttributes: number }): Entry['kind'] {
  const type = (entry.externalFileAttributes >>> 16) & 0o170000
  if (type !== 0 && type !== 0o100000 && type !== 0o040000) return 'other'
  return entry.fileName.endsWith('/') ? 'directory' : 'file'
}

async function consume(
  content: Readable,
  target: string | undefined,
  budget: { left: number },
  signal: AbortSignal,
): Promise<void> {
  const file = target === undefined ? undefined : openSync(target, 'wx', 0o600)
  try {
    for await (const chunk of content as AsyncIterable<Buffer>) {
      signal.throwIfAborted()
      budget.left -= chunk.length
      if (budget.left < 0) throw tooLarge()
      // At once: to wait for each of them takes longer than to write it.
      if (file !== undefined) writeFileSync(file, chunk)
    }
  } finally {
    if (file !== undefined) closeSync(file)
  }
}
