import { SetupError } from '../util/errors.ts'
import { exactVersion, isSupported, tooOld } from './version.ts'

/** The CLI's names in a `.tool-versions`. */
const TOOLS = ['blaxel', 'bl']
const FORMS = "a file that holds one version, such as '0.1.108', or a .tool-versions with a line 'blaxel 0.1.108'"

/**
 * The exact version in a version file: a `.tool-versions`, or a plain file that holds one version. In both `#` starts a
 * comment.
 * @param path as the user gave it; the file's name tells the format
 * @throws SetupError naming file and line, never their content; a file without a version is not read as "latest"
 */
export function parseVersionFile(path: string, text: string): string {
  const lines = text
    .replace(/^\uFEFF/, '')
    .split(/\r?\n/)
    .map((line, index) => ({ number: index + 1, words: line.replace(/#.*/, '').trim().split(/\s+/) }))
    .filter(({ words }) => words[0] !== '')
  const { number, word } = /(?:^|[/\\])\.tool-versions$/.test(path) ? toolLine(path, lines) : onlyLine(path, lines)
  const version = exactVersion(word)
  if (version === undefined) throw unreadable(`${path}, line ${number}, is not an exact version of the Blaxel CLI.`)
  if (!isSupported(version)) throw tooOld(`${path}, line ${number}, names an older version`)
  return version
}

interface Line {
  readonly number: number
  readonly words: readonly string[]
}

/** asdf's format: a tool and its versions, of which the first one counts. */
function toolLine(path: string, lines: readonly Line[]): { number: number; word: string } {
  const line = lines.find(({ words }) => TOOLS.includes(words[0] ?? ''))
  if (line) return { number: line.number, word: line.words[1] ?? '' }
  throw new SetupError(`${path} has no line for blaxel.`, "Add one such as 'blaxel 0.1.108', or use the input version.")
}

function onlyLine(path: string, [first, second]: readonly Line[]): { number: number; word: string } {
  if (!first) throw unreadable(`${path} holds no version.`)
  if (second) throw unreadable(`${path} has more than one line of content (line ${second.number}).`)
  return { number: first.number, word: first.words.join(' ') }
}

function unreadable(what: string): SetupError {
  return new SetupError(what, `The input version-file takes ${FORMS}.`)
}
