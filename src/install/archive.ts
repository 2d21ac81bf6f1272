import { closeSync, openSync, writeFileSync } from 'node:fs'
import { pipeline } from 'node:stream/promises'
import { createGunzip } from 'node:zlib'
import tar from 'tar-stream'
import yauzl from 'yauzl'
import { isSystemError, messageOf, SetupError, withPath } from '../util/errors.ts'
import { excerpt } from '../util/redact.ts'

export interface Extraction {
  readonly format: 'tar.gz' | 'zip'
  /** Name of the one member to extract. Nothing else is written. */
  readonly member: string
  /** Path of the file to write, which is not executable. */
  readonly target: string
  /** Path for the archive itself, for a format that can't be read in one pass. */
  readonly temporary: string
}

const MAX_UNPACKED_BYTES = 500_000_000
/** Gunzip's default of 16 kB would take a program of 30 MB through every stage two thousand times. */
const GUNZIP_CHUNK_BYTES = 262_144

/**
 * Extracts one file from an archive while it arrives.
 * @throws SetupError if the archive is damaged, doesn't contain the file, or is larger than 500 MB unpacked; an error of
 * the operating system that names the path
 */
export async function extract(archive: AsyncIterable<Buffer>, to: Extraction, signal: AbortSignal): Promise<void> {
  signal.throwIfAborted()
  try {
    const found = await (to.format === 'zip' ? extractZip : extractTarGz)(archive, to, signal)
    if (!found) throw invalid(`does not contain ${to.member}`)
  } catch (error) {
    signal.throwIfAborted()
    if (error instanceof SetupError || isSystemError(error)) throw error
    throw invalid(`is damaged: ${excerpt(messageOf(error))}`, error)
  }
}

async function extractTarGz(archive: AsyncIterable<Buffer>, to: Extraction, signal: AbortSignal): Promise<boolean> {
  const entries = tar.extract()
  let writing: Promise<void> | undefined
  entries.on('entry', ({ name, type }, content, next) => {
    if (type === 'file' && name.replace(/^\.\//, '') === to.member) {
      writing = writeFile(content as unknown as AsyncIterable<Buffer>, to.target)
      writing.then(() => {
        next()
      }, next)
    } else {
      content.on('end', next)
      content.on('error', () => undefined) // The pipeline reports it.
      content.resume()
    }
  })
  await pipeline(archive, createGunzip({ chunkSize: GUNZIP_CHUNK_BYTES }), limitSize, entries, { signal })
  await writing
  return writing !== undefined
}

/** The directory of a zip is at its end, so the archive is written to a file first. */
async function extractZip(archive: AsyncIterable<Buffer>, to: Extraction): Promise<boolean> {
  await writeFile(archive, to.temporary)
  const zip = await yauzl.openPromise(to.temporary)
  let found = false
  try {
    for await (const entry of zip.eachEntry()) {
      if (entry.fileName !== to.member) continue
      found = true
      await writeFile(limitSize(await zip.openReadStreamPromise(entry)), to.target)
    }
  } finally {
    zip.close()
  }
  return found
}

async function* limitSize(content: AsyncIterable<Buffer>): AsyncGenerator<Buffer> {
  let bytes = 0
  for await (const chunk of content) {
    bytes += chunk.length
    if (bytes > MAX_UNPACKED_BYTES) throw invalid('is larger than 500 MB unpacked')
    yield chunk
  }
}

async function writeFile(content: AsyncIterable<Buffer>, path: string): Promise<void> {
  const file = openSync(path, 'w', 0o600)
  try {
    // Synchronous: waiting for each chunk takes longer than writing it.
    for await (const chunk of content) writeFileSync(file, chunk)
  } catch (error) {
    throw withPath(error, path)
  } finally {
    closeSync(file)
  }
}

function invalid(what: string, cause?: unknown): SetupError {
  return new SetupError(`The archive of the Blaxel CLI ${what}.`, 'It was not installed. Try another version.', {
    cause,
  })
}
