import { mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { randomUUID } from 'node:crypto'

const FILES = {
  GITHUB_ENV: 'set_env',
  GITHUB_OUTPUT: 'set_output',
  GITHUB_STATE: 'save_state',
  GITHUB_PATH: 'add_path',
  GITHUB_STEP_SUMMARY: 'step_summary',
} as const

export type CommandFile = keyof typeof FILES
export type CommandFiles = Readonly<Record<CommandFile, string>>

/** Makes the empty files through which one step speaks to the runner; they stay until the job ends. */
export function createCommandFiles(temp: string): CommandFiles {
  const directory = join(temp, '_runner_file_commands')
  mkdirSync(directory, { recursive: true })
  return mapFiles((name) => {
    const path = join(directory, `${FILES[name]}_${randomUUID()}`)
    writeFileSync(path, '')
    return path
  })
}

/** The texts that a step has left in its command files; a file that it removed is empty. */
export function readCommandFiles(files: CommandFiles): CommandFiles {
  return mapFiles((name) => {
    try {
      return readFileSync(files[name], 'utf8')
    } catch {
      return ''
    }
  })
}

function mapFiles(fill: (name: CommandFile) => string): CommandFiles {
  return {
    GITHUB_ENV: fill('GITHUB_ENV'),
    GITHUB_OUTPUT: fill('GITHUB_OUTPUT'),
    GITHUB_STATE: fill('GITHUB_STATE'),
    GITHUB_PATH: fill('GITHUB_PATH'),
    GITHUB_STEP_SUMMARY: fill('GITHUB_STEP_SUMMARY'),
  }
}

/** Reads `name=value` lines and `name<<delimiter` blocks; throws on any other line. */
export function parsePairs(text: string): Record<string, string> {
  const lines = text.split('\n').map((line) => (process.platform === 'win32' ? line.replace(/\r$/, '') : line))
  const pairs: [string, string][] = []
  while (lines.length > 0) {
    const line = lines.shift() ?? ''
    if (line !== '') pairs.push(parsePair(line, lines))
  }
  return Object.fromEntries(pairs)
}

function parsePair(line: string, following: string[]): [string, string] {
  const match = /^(.*?)(=|<<)(.*)$/s.exec(line)
  if (match === null) throw new Error(`Invalid format '${line}'`)
  const [, name = '', operator, rest = ''] = match
  if (name === '') throw new Error(`Invalid format '${line}'. Name must not be empty`)
  if (operator === '=') return [name, rest]
  if (rest === '') throw new Error(`Invalid format '${line}'. Delimiter must not be empty`)
  const end = following.indexOf(rest)
  if (end < 0) throw new Error(`Invalid value. Matching delimiter not found '${rest}'`)
  const value = following.splice(0, end + 1).slice(0, -1)
  return [name, value.join('\n')]
}
