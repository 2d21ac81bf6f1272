import { styleText } from 'node:util'
import type { StepResult } from '../job.ts'
import type { RecordedRequest } from '../sandbox.ts'
import type { Check } from './checks.ts'

type Style = Parameters<typeof styleText>[0]

const LINE_STYLES: readonly (readonly [RegExp, Style])[] = [
  [/^Error: /, 'red'],
  [/^Warning: /, 'yellow'],
  [/^Notice: /, 'cyan'],
  [/^##\[debug\]/, 'magenta'],
]
const PATH_WIDTH = 76

/** A heading that sets off what follows. */
export function heading(text: string): string {
  return `\n${styleText(['bold', 'blue'], `━━ ${text} `.padEnd(80, '━'))}\n`
}

/** A text that is there for context. */
export function aside(text: string): string {
  return styleText('dim', text)
}

/** One step, as the runner shows it. */
export function renderStep({ header, log, outcome, exitCode, signal, durationMs }: StepResult): string {
  const [title = '', ...details] = header.trimEnd().split('\n')
  const end = `${outcome}, ${signal ?? `exit code ${exitCode ?? '?'}`}, ${(durationMs / 1000).toFixed(2)} s`
  return [
    styleText('bold', `▶ ${title}`),
    ...details.map((line) => aside(`  ${line}`)),
    ...log
      .split('\n')
      .filter((line) => line !== '')
      .map(renderLine),
    styleText(outcome === 'success' ? 'green' : 'red', `  ${end}`),
    '',
  ].join('\n')
}

function renderLine(line: string): string {
  const style = LINE_STYLES.find(([pattern]) => pattern.test(line))?.[1]
  return `  ${style === undefined ? line : styleText(style, line)}`
}

/** Checks, one a line. */
export function renderChecks(checks: readonly Check[]): string {
  return checks
    .map(({ title, passed }) => `${passed ? styleText('green', '✓') : styleText('red', '✗')} ${title}`)
    .join('\n')
}

/** Requests as a table. */
export function renderRequests(requests: readonly RecordedRequest[]): string {
  const rows = requests.map(({ host, method, path, status }) => [host, method, shorten(path), String(status)])
  const widths = [0, 1, 2].map((column) => Math.max(0, ...rows.map((row) => row[column]?.length ?? 0)))
  return rows.map((row) => row.map((cell, column) => cell.padEnd(widths[column] ?? 0)).join('  ')).join('\n')
}

function shorten(path: string): string {
  return path.length > PATH_WIDTH ? `${path.slice(0, PATH_WIDTH - 1)}…` : path
}
