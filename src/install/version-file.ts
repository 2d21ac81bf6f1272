import { SetupError } from '../util/errors.ts'
import { exactVersion, isSupported, tooOld } from './version.ts'

/** Names that a `.tool-versions` may have for the CLI. */
const TOOLS = ['blaxel', 'bl']

/**
 * The exact version that a version file names: a `.tool-versions`, or a plain file that holds one version.
 * @param path as the user gave it; its last part tells the format
 * @throws SetupError naming file and line, never showing what stands there; a file that names no version is never read as
 * "latest"
 */
export function parseVersionFile(path: string, text: string): string {
  const lines = text.replace(/^\uFEFF/, '').split(/\r?\n/)
  const { line, word } = /(?:^|[/\\])\.tool-versions$/.test(path) ? toolVersions(path, lines) : plain(path, lines)
  const version = exactVersion(word)
  if (version !== undefined && !isSupported(version)) throw tooOld(`${path}, line ${line}, names an older version`)
  if (version !== undefined) return version
  throw new SetupError(
    `${path}, line ${line}, holds no exact version of the Blaxel CLI.`,
    "Write one such as '0.1.108' there, or use the input version.",
  )
}

interface Found {
  readonly line: number
  readonly word: string
}

/** asdf's format: a tool and its versions in a line, `#` begins a comment; of several versions the first counts. */
function toolVersions(path: string, lines: readonly string[]): Found {
  for (const [index, content] of lines.entries()) {
    const [tool = '', word] = content.replace(/#.*/, '').trim().split(/\s+/)
    if (TOOLS.includes(tool)) return { line: index + 1, word: word ?? '' }
  }
  throw new SetupError(`${path} has no line for blaxel.`, "Add one such as 'blaxel 0.1.108', or use the input version.")
}

function plain(path: string, lines: readonly string[]): Found {
  const [first, second] = lines
    .map((content, index) => ({ line: index + 1, word: content.trim() }))
    .filter(({ word }) => word !== '')
  if (!first)
    throw new SetupError(`${path} is empty.`, "Write a version such as '0.1.108' into it, or use the input version.")
  if (second)
    throw new SetupError(`${path}, line ${second.line}: a second version stands here.`, 'Keep one version in the file.')
  return first
}
