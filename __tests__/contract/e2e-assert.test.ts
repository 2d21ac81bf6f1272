import { copyFileSync, mkdirSync, readFileSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { describe, expect, test } from '@jest/globals'
import { parse } from 'yaml'
import type { Job, StepResult } from '../../sandbox/job.ts'
import { CLIENT_ID, CLIENT_SECRET, inWorld, type World } from '../integration/world.ts'

/** A step of e2e.yml. */
interface Step {
  readonly uses?: string
  readonly run?: string
  readonly id?: string
  readonly if?: string
  readonly with?: Readonly<Record<string, string>>
  readonly env?: Readonly<Record<string, string>>
}

interface Given {
  readonly matrix: Readonly<Record<string, string>>
  readonly vars?: Readonly<Record<string, string>>
  readonly secrets?: Readonly<Record<string, string>>
  /** Changes a step before it is run. */
  readonly spoil?: (step: Step) => Step
}

const SCRIPT = 'scripts/e2e-assert.sh'
const root = resolve(import.meta.dirname, '../..')
const { jobs } = parse(readFileSync(join(root, '.github/workflows/e2e.yml'), 'utf8'), { schema: 'failsafe' }) as {
  readonly jobs: Readonly<Record<string, { readonly steps: readonly Step[] }>>
}
const exact = { matrix: { version: '9.9.2', file: '', want: '9.9.2' } }
const session = {
  matrix: { environment: 'e2e-1' },
  vars: { BL_WORKSPACE: 'acme', BL_CLIENT_ID: CLIENT_ID },
  secrets: { BL_CLIENT_SECRET: CLIENT_SECRET },
}

/** Runs the steps of a job of e2e.yml, on a machine of the sandbox, as far as their conditions let them. */
async function run({ machine }: World, name: string, given: Given): Promise<StepResult[]> {
  mkdirSync(join(machine.workspace, 'scripts'), { recursive: true })
  copyFileSync(join(root, SCRIPT), join(machine.workspace, SCRIPT))
  const job = machine.job({ vars: given.vars ?? {}, secrets: given.secrets ?? {} })
  const results: StepResult[] = []
  for (const step of jobs[name]?.steps ?? []) {
    if (step.if !== undefined && results.at(0)?.outputs.complete !== 'true') continue
    const result = await runStep(job, given.spoil?.(step) ?? step, given.matrix)
    if (result) results.push(result)
  }
  await job.end()
  return results
}

/** The checkout is left out. */
function runStep(job: Job, step: Step, matrix: Given['matrix']): Promise<StepResult> | undefined {
  const id = step.id === undefined ? {} : { id: step.id }
  if (step.uses === './') return job.uses({ ...id, with: fill(step.with, matrix) })
  return step.run === undefined ? undefined : job.run(step.run, { ...id, shell: 'sh', env: fill(step.env, matrix) })
}

/** The runner fills in the rest. */
function fill(values: Readonly<Record<string, string>> = {}, matrix: Given['matrix']): Record<string, string> {
  const filled = (text: string) => text.replace(/\$\{\{ matrix\.(\w+) \}\}/g, (_, name: string) => matrix[name] ?? '')
  return Object.fromEntries(Object.entries(values).map(([name, value]) => [name, filled(value)]))
}

/** How each step ended. */
function outcomes(results: readonly StepResult[]): string[] {
  return results.map(({ outcome }) => outcome)
}

const said = (results: readonly StepResult[]) => results.map(({ stdout }) => stdout).join('')

describe('e2e.yml in the sandbox', () => {
  test('hosted: cold, and again from the tool cache', () =>
    inWorld(async (world) => {
      const results = await run(world, 'hosted', exact)
      expect(outcomes(results)).toEqual(Array(5).fill('success'))
      expect(said(results)).not.toContain('not so')
      expect(said(results)).toContain("ok: cache-hit 'true' is like 'true'")
    }))

  test('container', () =>
    inWorld(async (world) => {
      expect(outcomes(await run(world, 'container', exact))).toEqual(Array(3).fill('success'))
    }))

  test('workspaces: a login that later steps can use', () =>
    inWorld(async (world) => {
      const results = await run(world, 'workspaces', session)
      expect(outcomes(results)).toEqual(Array(3).fill('success'))
      expect(said(results)).toContain('ok: bl token prints the session token')
    }))

  test('workspaces: says so where a secret is missing', () =>
    inWorld(async (world) => {
      const without = (values: Readonly<Record<string, string>>) =>
        Object.fromEntries(Object.entries(values).filter(([key]) => key !== 'BL_CLIENT_SECRET'))
      const given = { ...session, vars: without(session.vars), secrets: without(session.secrets) }
      const results = await run(world, 'workspaces', given)
      expect(outcomes(results)).toEqual(['success'])
      expect(results[0]?.annotations).toEqual([
        expect.objectContaining({ level: 'notice', message: expect.stringContaining('environment e2e-1') as unknown }),
      ])
    }))
})

describe('e2e-assert.sh fails', () => {
  const swap = (name: string, value: string) => (step: Step) =>
    step.env !== undefined && name in step.env ? { ...step, env: { ...step.env, [name]: value } } : step

  test.each([
    ['WANT_VERSION', '9.9.3'],
    ['GOT_PATH', '/bin/sh'],
  ])('installed, where %s is %j', (name, value) =>
    inWorld(async (world) => {
      const results = await run(world, 'container', { ...exact, spoil: swap(name, value) })
      expect(outcomes(results).at(-1)).toBe('failure')
      expect(results.at(-1)?.annotations.length).toBeGreaterThan(0)
    }),
  )

  test.each([
    ['WANT_WORKSPACE', 'beta'],
    ['GOT_TOKEN_EXPIRES_AT', ''],
  ])('session, where %s is %j', (name, value) =>
    inWorld(async (world) => {
      const results = await run(world, 'workspaces', { ...session, spoil: swap(name, value) })
      expect(outcomes(results).at(-1)).toBe('failure')
    }),
  )

  test('session, where later steps get another token than bl', () =>
    inWorld(async (world) => {
      const other = (step: Step) =>
        step.run?.endsWith('session') ? { ...step, env: { ...step.env, BL_API_KEY: 'other', BL_TOKEN: 'other' } } : step
      const results = await run(world, 'workspaces', { ...session, spoil: other })
      expect(said(results)).toContain('not so: bl token prints the session token')
    }))
})
