import { accessSync, constants, lchownSync, statSync, type BigIntStats } from 'node:fs'
import { dirname } from 'node:path'
import { codeOf, messageOf, SetupError } from '../util/errors.ts'
import { isDirectory, statIfThere } from '../util/fs.ts'

/**
 * Checks that the CLI's directory can hold a login, before anything is requested. Nothing is created.
 * @param directory `~/.blaxel`
 * @throws SetupError naming the path and the reason
 */
export function assertWritable(directory: string): void {
  const isThere = statIfThere(directory) !== undefined
  if (isThere && !isDirectory(directory)) throw refusal(directory, 'is not a directory', 'Remove it')
  try {
    accessSync(isThere ? directory : dirname(directory), constants.W_OK | constants.X_OK)
  } catch (error) {
    throw unusable(directory, error)
  }
}

/** Creates a file or a directory where it is missing. @throws SetupError naming the path and the reason */
export function createIfMissing(path: string, create: () => void): void {
  try {
    create()
    giveToOwnerOfParent(path)
  } catch (error) {
    if (codeOf(error) !== 'EEXIST') throw unusable(path, error)
  }
}

/**
 * Gives a new file or directory to the owner of the directory that it is in. Root works in a user's HOME in container
 * jobs and with `sudo -E`: that user's own `bl` could not use it otherwise.
 */
export function giveToOwnerOfParent(path: string): void {
  if (process.geteuid?.() !== 0) return
  quietly(() => {
    const { uid, gid } = statSync(dirname(path))
    lchownSync(path, uid, gid)
  })
}

/** For file systems that know no owners or modes: there, whoever may use the directory may use the file. */
export function quietly(work: () => void): void {
  try {
    work()
  } catch {
    // it stays as it is
  }
}

/** @throws SetupError for links, which are not followed, and for what is not a file */
export function assertRegularFile(path: string, stats: Pick<BigIntStats, 'isFile' | 'isSymbolicLink'>): void {
  const fault = stats.isSymbolicLink() ? 'is a symbolic link' : 'is not a regular file'
  if (!stats.isFile()) throw refusal(path, fault, 'Replace it with a regular file')
}

/** The error for a path that can't be used for a login. */
export function refusal(path: string, fault: string, remedy: string, cause?: unknown): SetupError {
  return new SetupError(`${path} ${fault}.`, `${remedy}, or set 'login: false'.`, { cause })
}

function unusable(path: string, error: unknown): SetupError {
  return refusal(path, `can't be written (${reasonOf(error)})`, 'Make it writable', error)
}

const REASONS: Readonly<Record<string, string>> = {
  EROFS: 'EROFS: the file system is read-only',
  ENOENT: 'ENOENT: HOME does not exist',
}

/** Why a path can't be used: the system's words without the name of its call, or ours where they are clearer. */
export function reasonOf(error: unknown): string {
  return REASONS[codeOf(error)] ?? messageOf(error).replace(/,.*/s, '')
}
