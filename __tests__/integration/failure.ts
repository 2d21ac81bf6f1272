import { expect } from '@jest/globals'
import type { StepResult } from '../../sandbox/job.ts'
import type { World } from './world.ts'
import { tree, visible } from './world.ts'

/** The forms of a secret that the runner must be asked to mask, since it does not derive them all by itself. */
export function masksOf(secret: string): string[] {
  const bytes = Buffer.from(secret)
  const base64 = bytes.toString('base64')
  const hex = bytes.toString('hex')
  return [...new Set([secret, base64, base64.replace(/=+$/, ''), bytes.toString('base64url'), hex, hex.toUpperCase()])]
}

/** The secret, in no form, stands in what the step printed or in a file that later steps can read. */
export function expectHidden(step: StepResult, secrets: readonly string[]): void {
  const places = { log: visible(step), ...step.files }
  for (const secret of secrets) {
    const shown = Object.entries(places).flatMap(([place, text]) =>
      [...masksOf(secret), encodeURIComponent(secret)]
        .filter((form) => text.includes(form))
        .map((form) => `${form} in ${place}`),
    )
    expect(shown).toEqual([])
  }
}

/** Not even a part of the secrets was printed, such as a message that is cut off could show. */
export function expectNoPart(step: StepResult, secrets: readonly string[]): void {
  const shown = visible(step)
  for (const secret of secrets) {
    const parts = Array.from({ length: secret.length - 7 }, (_, start) => secret.slice(start, start + 8))
    expect(parts.filter((part) => shown.includes(part))).toEqual([])
  }
}

/** The step failed with one error that says all of this, and handed nothing on to later steps. */
export function expectFailure(step: StepResult, says: readonly (string | RegExp)[]): void {
  const errors = step.annotations.filter(({ level }) => level === 'error').map(({ message }) => message)
  expect(errors).toEqual([expect.any(String)])
  for (const text of says) {
    if (typeof text === 'string') expect(errors[0]).toContain(text)
    else expect(errors[0]).toMatch(text)
  }
  expect(step.raw.match(/^::error\b/gm)).toHaveLength(1)
  expect(step.stderr).toBe('')
  expect(step.exitCode).toBe(1)
  const { GITHUB_ENV, GITHUB_OUTPUT, GITHUB_PATH, GITHUB_STEP_SUMMARY } = step.files
  expect({ GITHUB_ENV, GITHUB_OUTPUT, GITHUB_PATH, GITHUB_STEP_SUMMARY }).toEqual({
    GITHUB_ENV: '',
    GITHUB_OUTPUT: '',
    GITHUB_PATH: '',
    GITHUB_STEP_SUMMARY: '',
  })
  // What the old workflow commands would have done, had one been smuggled into the log.
  expect([step.outputs, step.env, step.paths]).toEqual([{}, {}, []])
}

/** Neither half an installation nor a private home of `bl` is left. */
export function expectNothingStaged({ machine }: World): void {
  const left = [...tree(machine.toolCache), ...tree(machine.temp)].filter((path) => path.includes('setup-bl-'))
  expect(left).toEqual([])
}
