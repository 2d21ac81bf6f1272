import { lstatSync, readFileSync, realpathSync } from 'node:fs'
import { isAbsolute, join, relative } from 'node:path'

/** A variable of Blaxel's that a file of the checkout sets. */
export interface CheckoutSetting {
  readonly file: string
  readonly line: number
  readonly variable: string
}

const LARGEST_BYTES = 64_000
/** `bl` and the SDKs read these in their working directory. */
const FILES = ['.env', 'blaxel.toml']

/** The BL_* variables that `.env` and `blaxel.toml` of the checkout set; their values are not looked at. */
export function settingsInCheckout(checkout: string): CheckoutSetting[] {
  return FILES.flatMap((file) => {
    const text = readHostileFile(checkout, file)
    return text === undefined ? [] : settingsIn(text).map((setting) => ({ file, ...setting }))
  })
}

/** Assignments to BL_* in a text, in the manner of a shell or of TOML. */
export function settingsIn(text: string): { line: number; variable: string }[] {
  return text.split('\n').flatMap((content, index) => {
    const variable = /^\s*(?:export\s+)?["']?(BL_[A-Z0-9_]+)["']?\s*[=:]/.exec(content)?.[1]
    return variable === undefined ? [] : [{ line: index + 1, variable }]
  })
}

/**
 * The text of a file that a stranger may have put into the checkout: only a regular file, not by way of a link, inside
 * the checkout, of at most 64 kB. Undefined for anything else.
 */
function readHostileFile(checkout: string, file: string): string | undefined {
  const path = join(checkout, file)
  try {
    const stats = lstatSync(path)
    if (!stats.isFile() || stats.size > LARGEST_BYTES) return undefined
    const inside = relative(realpathSync(checkout), realpathSync(path))
    return inside.startsWith('..') || isAbsolute(inside) ? undefined : readFileSync(path, 'utf8')
  } catch {
    return undefined // not there, or not for us
  }
}
