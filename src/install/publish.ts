import { randomUUID } from 'node:crypto'
import { existsSync, mkdirSync, rmSync, statSync, unlinkSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { codeOf } from '../util/errors.ts'
import { discard, renamePatiently } from '../util/fs.ts'
import { parseRecord, RECORD, type CacheEntry, type CacheRecord } from './tool-cache.ts'

/** Writes the record into a staged entry. */
export function writeRecord(directory: string, record: CacheRecord): void {
  writeFileSync(join(directory, RECORD), `${JSON.stringify(record)}\n`)
}

/**
 * Moves a staged directory to its place, `.complete` last. An entry of the same archive that another job has put there
 * meanwhile stays; anything else that stands there is replaced file by file, so that a job that uses it never finds it
 * gone.
 * @param unusable what was found there before and turned down
 */
export async function publish(
  staged: string,
  entry: CacheEntry,
  record: CacheRecord,
  unusable: CacheRecord | undefined,
): Promise<void> {
  mkdirSync(dirname(entry.directory), { recursive: true })
  // A file or a link to nowhere is nobody's entry. Not by `rm`: it empties a directory that another job puts there while
  // it looks (Node 24, even without `recursive`).
  if (!isDirectory(entry.directory)) unlinkIfThere(entry.directory)
  try {
    await renamePatiently(staged, entry.directory)
  } catch (error) {
    const isTaken = ['ENOTEMPTY', 'EEXIST', 'EPERM', 'EACCES', 'ENOTDIR'].includes(codeOf(error))
    if (!isTaken || !existsSync(entry.directory)) throw error
    const winner = parseRecord(entry)
    const isSame = winner?.sha256 === record.sha256 && winner.version === record.version
    if (!isSame || unusable !== undefined) await replaceFiles(staged, entry)
  }
  writeFileSync(entry.marker, '')
}

function isDirectory(path: string): boolean {
  return statSync(path, { throwIfNoEntry: false })?.isDirectory() === true
}

function unlinkIfThere(path: string): void {
  try {
    unlinkSync(path)
  } catch {
    // whoever renames to it says what is wrong
  }
}

async function replaceFiles(staged: string, entry: CacheEntry): Promise<void> {
  // Without its record the entry is nobody's hit while its files change.
  rmSync(join(entry.directory, RECORD), { force: true })
  for (const path of [entry.program, entry.command, join(entry.directory, RECORD)]) {
    await replaceFile(join(staged, path.slice(entry.directory.length + 1)), path)
  }
}

async function replaceFile(from: string, to: string): Promise<void> {
  try {
    await renamePatiently(from, to)
  } catch (error) {
    if (!['EISDIR', 'EPERM', 'EACCES', 'EBUSY'].includes(codeOf(error))) throw error
    // A directory, or on Windows a running program, can be moved away but not be replaced.
    const aside = `${to}.${randomUUID()}.old`
    await renamePatiently(to, aside)
    await renamePatiently(from, to)
    discard(aside) // a program that still runs there stays
  }
}
