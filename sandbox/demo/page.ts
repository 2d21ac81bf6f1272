import { styleText } from 'node:util'
import type { StepResult } from '../job.ts'
import type { RecordedRequest } from '../sandbox.ts'
import { CLAIMS, type Check } from './checks.ts'

type Style = Parameters<typeof styleText>[0]

const LINE_STYLES: readonly (readonly [RegExp, Style])[] = [
  [/^Error: /, 'red'],
  [/^Warning: /, 'yellow'],
  [/^Notice: /, 'cyan'],
  [/^##\[debug\]/, 'magenta'],
]
/** A heading that sets off what follows. */
export function heading(text: string): string {
  return `\n${styleText(['bold', 'blue'], `━━ ${text} `.padEnd(80, '━'))}`
}

/** One step: its title, what it printed, and how it ended; with `isFull` also its inputs and environment. */
export function renderStep({ header, log, outcome, durationMs }: StepResult, isFull: boolean): string {
  const [title = '', ...details] = header.trimEnd().split('\n')
  const end = styleText(outcome === 'success' ? 'green' : 'red', `${outcome} in ${(durationMs / 1000).toFixed(2)} s`)
  const printed = log.split('\n').filter((line) => line !== '')
  return [
    `${styleText('bold', `▶ ${title.replace('Run # ', 'Run ')}`)}: ${end}`,
    ...(isFull ? details.map((line) => styleText('dim', `  ${line}`)) : []),
    ...printed.map(renderLine),
  ].join('\n')
}

function renderLine(line: string): string {
  const style = LINE_STYLES.find(([pattern]) => pattern.test(line))?.[1]
  return `  ${style === undefined ? line : styleText(style, line)}`
}

/** What was proven, one claim a line, with what failed below it. */
export function renderClaims(checks: readonly (Check & { readonly job: string })[]): string {
  const lines = Object.entries(CLAIMS).flatMap(([claim, text]) => {
    const own = checks.filter((check) => check.claim === claim)
    const failed = own.filter(({ passed }) => !passed)
    if (own.length === 0) return []
    const mark = failed.length === 0 ? styleText('green', '✓') : styleText('red', '✗')
    return [`${mark} ${text}`, ...failed.map(({ job, title }) => `    ${job}: ${title}`)]
  })
  return lines.join('\n')
}

/** How many requests each host got. */
export function renderRequests(requests: readonly RecordedRequest[]): string {
  const hosts = Map.groupBy(requests, ({ host }) => host)
  return [...hosts].map(([host, list]) => `${host} ${list.length}`).join(', ')
}
