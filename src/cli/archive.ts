import { closeSync, createReadStream, fchmodSync, openSync, writeFileSync } from 'node:fs'
import type { Readable } from 'node:stream'
import { createGunzip } from 'node:zlib'
import { messageOf, SetupError } from '../base/errors.ts'
import { excerpt } from '../base/redact.ts'

const LARGEST_UNPACKED = 500_000_000
/** Node's own 16 kB take a program of 30 MB through every step two thousand times. */
const CHUNK_BYTES = 65_536

/** One entry of an archive, of either format. */
interface Entry {
  readonly name: string
  readonly kind: 'file' | 'directory' | 'other'
  readonly content: () => Promise<Readable>
}

/**
 * Takes one program out of an archive, in-process and entry by entry, and writes nothing else.
 * @param archive path of a verified `.tar.gz` or `.zip`
 * @param program name of the one member that is wanted
 * @param target path of the executable to write; it must not exist
 * @throws SetupError where the archive is damaged, holds an entry that no release has (a link, a device, a path that
 * leads outside), is larger than 500 MB unpacked, or does not hold the program exactly once
 */
export async function unpackProgram(
  archive: string,
  program: string,
  target: string,
  signal: AbortSignal,
): Promise<void> {
  const budget = { left: LARGEST_UNPACKED }
  let found = 0
  try {
    for await (const entry of archive.endsWith('.zip') ? zipEntries(archive) : tarEntries(archive)) {
      signal.throwIfAborted()
      refuseStrange(entry)
      const isProgram = entry.kind === 'file' && entry.name.replace(/^\.\//, '') === program
      if (isProgram && ++found > 1) throw strange(`holds ${program} more than once`)
      await consume(await entry.content(), isProgram ? target : undefined, budget, signal)
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

function isDiskError(error: unknown): boolean {
  return error instanceof Error && 'syscall' in error
}

function refuseStrange({ name, kind }: Entry): void {
  const outside =
    name.startsWith('/') || name.includes('\\') || /^[A-Za-z]:/.test(name) || name.split('/').includes('..')
  if (outside) throw strange(`holds the path '${excerpt(name)}', which leads outside`)
  if (kind === 'other') throw strange(`holds '${excerpt(name)}', which is neither a file nor a directory`)
}

async function* tarEntries(archive: string): AsyncGenerator<Entry> {
  const { default: tar } = await import('tar-stream')
  const unpacking = tar.extract()
  const compressed = createReadStream(archive, { highWaterMark: CHUNK_BYTES })
  const gunzip = createGunzip({ chunkSize: CHUNK_BYTES })
  // pipe passes on no error: each of them ends the loop below.
  compressed.on('error', (error) => {
    unpacking.destroy(error)
  })
  gunzip.on('error', (error) => {
    unpacking.destroy(error)
  })
  compressed.pipe(gunzip).pipe(unpacking)
  try {
    for await (const entry of unpacking) {
      const { name, type } = entry.header
      const kind = type === 'file' || type === 'contiguous-file' ? 'file' : type === 'directory' ? 'directory' : 'other'
      yield { name, kind, content: () => Promise.resolve(entry as unknown as Readable) }
    }
  } finally {
    compressed.destroy()
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
  const file = target === undefined ? undefined : openSync(target, 'wx', 0o755)
  try {
    for await (const chunk of content as AsyncIterable<Buffer>) {
      signal.throwIfAborted()
      budget.left -= chunk.length
      if (budget.left < 0) throw strange('is larger than 500 MB unpacked')
      // At once: to wait for each of them takes longer than to write it.
      if (file !== undefined) writeFileSync(file, chunk)
    }
    // The umask may have taken bits away that other users of a shared tool cache need.
    if (file !== undefined) fchmodSync(file, 0o755)
  } finally {
    if (file !== undefined) closeSync(file)
  }
}
