import { closeSync, constants, fstatSync, openSync, readFileSync, realpathSync } from 'node:fs'
import { isAbsolute, relative, resolve, sep } from 'node:path'
import { codeOf } from '../base/errors.ts'

/** A file of the checkout, which a stranger may have put there. */
export type CheckoutFile =
  { readonly kind: 'text'; readonly text: string } | { readonly kind: 'unusable'; readonly why: string }

const LARGEST_BYTES = 64_000
/** Windows has neither flag. */
const { O_NOFOLLOW = 0, O_NONBLOCK = 0 } = constants as Partial<typeof constants>

/** Reads a file of the checkout: a regular file, not by way of a link, inside the checkout, and at most 64 kB. */
export function readCheckoutFile(checkout: string | undefined, path: string): CheckoutFile {
  const unusable = (why: string): CheckoutFile => ({ kind: 'unusable', why })
  if (checkout === undefined) return unusable("can't be found, for GITHUB_WORKSPACE is not set")
  const file = resolve(checkout, path)
  let descriptor: number | undefined
  try {
    // Opened first and looked at then, so that nobody can exchange it in between.
    descriptor = openSync(file, constants.O_RDONLY | O_NOFOLLOW | O_NONBLOCK)
    const stats = fstatSync(descriptor)
    if (!stats.isFile()) return unusable('is not a regular file')
    const inside = relative(realpathSync(checkout), realpathSync(file))
    if (inside === '..' || inside.startsWith(`..${sep}`) || isAbsolute(inside))
      return unusable('lies outside the checkout')
    if (stats.size > LARGEST_BYTES) return unusable('is larger than 64 kB')
    return { kind: 'text', text: readFileSync(descriptor, 'utf8') }
  } catch (error) {
    return unusable(REASONS[codeOf(error)] ?? `can't be read (${codeOf(error)})`)
  } finally {
    if (descriptor !== undefined) closeSync(descriptor)
  }
}

const REASONS: Readonly<Record<string, string>> = {
  ENOENT: 'does not exist',
  ENOTDIR: 'does not exist',
  ELOOP: 'is a symbolic link',
  EMLINK: 'is a symbolic link',
  EISDIR: 'is not a regular file',
  ENXIO: 'is not a regular file',
}

/** A variable of Blaxel's that a file of the checkout sets. */
export interface CheckoutSetting {
  readonly file: string
  readonly line: number
  readonly variable: string
}

/** `bl` and the SDKs read these in their working directory. */
const SETTINGS_FILES = ['.env', 'blaxel.toml']

/** The BL_* variables that `.env` and `blaxel.toml` of the checkout set; their values are not looked at. */
export function settingsInCheckout(checkout: string | undefined): CheckoutSetting[] {
  return SETTINGS_FILES.flatMap((file) => {
    const read = readCheckoutFile(checkout, file)
    return read.kind === 'text' ? settingsIn(read.text).map((setting) => ({ file, ...setting })) : []
  })
}

/** Assignments to BL_* in a text, in the manner of a shell or of TOML. */
export function settingsIn(text: string): { line: number; variable: string }[] {
  return text.split('\n').flatMap((content, index) => {
    const variable = /^\s*(?:export\s+)?["']?(BL_[A-Z0-9_]+)["']?\s*[=:]/.exec(content)?.[1]
    return variable === undefined ? [] : [{ line: index + 1, variable }]
  })
}
