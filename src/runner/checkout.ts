import { closeSync, constants, fstatSync, openSync, readFileSync } from 'node:fs'
import { resolve } from 'node:path'
import { codeOf } from '../util/errors.ts'
import { isInside } from '../util/fs.ts'

/** A file of the checkout, which untrusted code may have put there. */
export type CheckoutFile =
  | { readonly kind: 'text'; readonly text: string }
  | { readonly kind: 'missing'; readonly why: string }
  | { readonly kind: 'unusable'; readonly why: string }

const LARGEST_BYTES = 64_000
/** Windows has neither flag. */
const { O_NOFOLLOW = 0, O_NONBLOCK = 0 } = constants as Partial<typeof constants>

/** Reads a file of the checkout: a regular file, not by way of a link, inside the checkout, and at most 64 kB. */
export function readCheckoutFile(checkout: string | undefined, path: string): CheckoutFile {
  const unusable = (why: string): CheckoutFile => ({ kind: 'unusable', why })
  if (checkout === undefined) return { kind: 'missing', why: "can't be found because GITHUB_WORKSPACE is not set" }
  const file = resolve(checkout, path)
  let descriptor: number | undefined
  try {
    // Opened first and looked at then, so that nobody can exchange it in between.
    descriptor = openSync(file, constants.O_RDONLY | O_NOFOLLOW | O_NONBLOCK)
    const stats = fstatSync(descriptor)
    if (!stats.isFile()) return unusable('is not a regular file')
    if (!isInside(file, checkout)) return unusable('is outside the checkout')
    if (stats.size > LARGEST_BYTES) return unusable('is larger than 64 kB')
    return { kind: 'text', text: readFileSync(descriptor, 'utf8') }
  } catch (error) {
    const code = codeOf(error)
    if (code === 'ENOENT' || code === 'ENOTDIR') return { kind: 'missing', why: 'does not exist' }
    return unusable(REASONS[code] ?? `can't be read (${code})`)
  } finally {
    if (descriptor !== undefined) closeSync(descriptor)
  }
}

const REASONS: Readonly<Record<string, string>> = {
  ELOOP: 'is a symbolic link',
  EMLINK: 'is a symbolic link',
  EISDIR: 'is not a regular file',
  ENXIO: 'is not a regular file',
}

/** What a file of the checkout does to later calls of `bl` and the SDKs. */
export type CheckoutSetting =
  | { readonly kind: 'variable'; readonly file: string; readonly line: number; readonly variable: string }
  /** `bl` uses this workspace whatever its arguments and BL_WORKSPACE say. */
  | { readonly kind: 'workspace'; readonly file: string; readonly line: number; readonly workspace: string }
  /** It is there, but we can't say what it sets. */
  | { readonly kind: 'unknown'; readonly file: string; readonly why: string }

/** `bl` and the SDKs read these in their working directory. */
const SETTINGS_FILES = ['.env', 'blaxel.toml']

/** The BL_* variables that `.env` and `blaxel.toml` of the checkout set, without their values, and the workspace that `blaxel.toml` sets. */
export function settingsInCheckout(checkout: string | undefined): CheckoutSetting[] {
  return SETTINGS_FILES.flatMap((file): CheckoutSetting[] => {
    const read = readCheckoutFile(checkout, file)
    switch (read.kind) {
      case 'text':
        return [
          ...(file === 'blaxel.toml' ? workspaceIn(read.text) : []).map((setting) => ({
            kind: 'workspace' as const,
            file,
            ...setting,
          })),
          ...settingsIn(read.text).map((setting) => ({ kind: 'variable' as const, file, ...setting })),
        ]
      case 'missing':
        return []
      case 'unusable':
        return [{ kind: 'unknown', file, why: read.why }]
    }
  })
}

/** Assignments to BL_* in a text, in the manner of a shell or of TOML. */
export function settingsIn(text: string): { line: number; variable: string }[] {
  return text.split('\n').flatMap((content, index) => {
    if (/^\s*#/.test(content)) return []
    const assignments = content.matchAll(/(?<![A-Za-z0-9_$])(BL_[A-Z0-9_]+)["']?\s*[=:]/g)
    return [...assignments].map(([, variable = '']) => ({ line: index + 1, variable }))
  })
}

/**
 * The workspace that a blaxel.toml sets: its top-level key `workspace`, in any case, as `bl` reads it. At most one.
 * Only strings on one line are found.
 */
export function workspaceIn(text: string): { line: number; workspace: string }[] {
  const lines = text.split('\n')
  const firstTable = lines.findIndex((line) => /^\s*\[/.test(line))
  const topLevel = firstTable === -1 ? lines : lines.slice(0, firstTable)
  return topLevel
    .map((content, index) => {
      const [, , basic, literal] = /^\s*(["']?)workspace\1\s*=\s*(?:"([^"]*)"|'([^']*)')/i.exec(content) ?? []
      return { line: index + 1, workspace: basic ?? literal ?? '' }
    })
    .filter(({ workspace }) => workspace !== '')
    .slice(0, 1)
}
