import { accessSync, chownSync, constants, fchownSync, lstatSync, mkdirSync, statSync } from 'node:fs'
import { dirname } from 'node:path'
import { codeOf, messageOf, SetupError } from '../util/errors.ts'
import { isDirectory } from '../util/fs.ts'

/**
 * Checks that the CLI's directory can hold a login, before anything is requested. Nothing is created.
 * @param directory `~/.blaxel`
 * @throws SetupError naming the path and the reason
 */
export function assertWritable(directory: string): void {
  try {
    const isThere = lstatSync(directory, { throwIfNoEntry: false }) !== undefined
    if (isThere && !isDirectory(directory)) throw refusal(directory, 'is not a directory', 'Remove it')
    accessSync(isThere ? directory : dirname(directory), constants.W_OK | constants.X_OK)
  } catch (error) {
    throw unusable(directory, error)
  }
}

/**
 * Creates the CLI's directory, readable for its owner alone, where it is missing.
 * @throws SetupError naming the path and the reason
 */
export function ensureDirectory(directory: string): void {
  try {
    // Not recursive: that would create a HOME, and never ends below /proc.
    mkdirSync(directory, { mode: 0o700 })
    giveToOwnerOfParent(directory)
  } catch (error) {
    if (codeOf(error) !== 'EEXIST') throw unusable(directory, error)
  }
}

/**
 * Gives a new file or directory to the owner of the directory that it is in. Root works in a user's HOME in container
 * jobs and with `sudo -E`: that user's own `bl` could not use it otherwise.
 * @param file its descriptor where it is open
 */
export function giveToOwnerOfParent(path: string, file?: number): void {
  if (process.geteuid?.() !== 0) return
  quietly(() => {
    const { uid, gid } = statSync(dirname(path))
    if (file === undefined) chownSync(path, uid, gid)
    else fchownSync(file, uid, gid)
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
export function assertRegularFile(
  path: string,
  stats: { readonly isFile: () => boolean; readonly isSymbolicLink: () => boolean },
): void {
  const fault = stats.isSymbolicLink() ? 'is a symbolic link' : 'is not a regular file'
  if (!stats.isFile()) throw refusal(path, fault, 'Replace it with a regular file')
}

/** The error for a path that can't be used for a login. */
export function refusal(path: string, fault: string, remedy: string, cause?: unknown): SetupError {
  return new SetupError(`${path} ${fault}.`, `${remedy}, or set 'login: false'.`, { cause })
}

/** The error for a path that can't be created or written. */
export function unusable(path: string, error: unknown): SetupError {
  if (error instanceof SetupError) return error
  return refusal(path, `can't be written (${reasonOf(error)})`, 'Make it writable', error)
}

const REASONS: Readonly<Record<string, string>> = {
  EACCES: 'permission denied',
  EPERM: 'permission denied',
  EROFS: 'the file system is read-only',
  ENOENT: 'HOME does not exist',
  ENOTDIR: 'a part of the path is not a directory',
  ENOSPC: 'the disk is full',
  EDQUOT: 'the disk quota is exceeded',
}

/** Why a path can't be used, in words. */
export function reasonOf(error: unknown): string {
  const code = codeOf(error)
  const reason = REASONS[code]
  return reason === undefined ? code || messageOf(error) : `${code}: ${reason}`
}
