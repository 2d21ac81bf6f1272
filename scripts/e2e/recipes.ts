import { readFileSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { parse } from 'yaml'

/** The pages whose examples are run and checked. */
const RECIPE_PAGES = ['README.md', 'docs/recipes.md'] as const

/** What all examples use; the release moves this tag. */
export const ACTION = 'blaxel-ai/setup-bl@v1'

export interface Step {
  readonly id?: string
  readonly uses?: string
  readonly run?: string
  readonly with?: Readonly<Record<string, unknown>>
  readonly [key: string]: unknown
}

export interface JobText {
  readonly steps: readonly Step[]
  readonly env?: Readonly<Record<string, unknown>>
  readonly strategy?: { readonly matrix?: Readonly<Record<string, readonly unknown[]>> }
  readonly [key: string]: unknown
}

export interface Workflow {
  readonly on?: unknown
  readonly jobs: Readonly<Record<string, JobText>>
  readonly [key: string]: unknown
}

/** One block of YAML in a page. */
export interface Recipe {
  readonly page: string
  /** The heading above it, which is its name; from the second one on with a number. */
  readonly name: string
  readonly text: string
}

/** Every block of YAML in the pages, in their order. */
export function readRecipes(): Recipe[] {
  return RECIPE_PAGES.flatMap(recipesOf)
}

function recipesOf(page: string): Recipe[] {
  const recipes: Recipe[] = []
  const lines = readFileSync(join(resolve(import.meta.dirname, '../..'), page), 'utf8').split('\n')
  let heading = page
  let block: string[] | undefined
  for (const line of lines) {
    if (block !== undefined && line === '```') {
      const earlier = recipes.filter(({ name }) => name.replace(/ \(\d+\)$/, '') === heading).length
      const name = earlier === 0 ? heading : `${heading} (${earlier + 1})`
      recipes.push({ page, name, text: `${block.join('\n')}\n` })
      block = undefined
    } else if (block !== undefined) block.push(line)
    else if (line === '```yaml') block = []
    else heading = /^#+ (.+)$/.exec(line)?.[1] ?? heading
  }
  return recipes
}

/**
 * The workflow of a text: a whole one, its `jobs:` alone, or the steps of one job.
 * @throws Error for anything else
 */
export function workflowOf(text: string): Workflow {
  const content: unknown = parse(text)
  if (Array.isArray(content)) {
    return { on: 'push', jobs: { job: { 'runs-on': 'ubuntu-latest', steps: content as Step[] } } }
  }
  if (typeof content !== 'object' || content === null || !('jobs' in content)) {
    throw new Error('neither a workflow, nor jobs, nor a list of steps')
  }
  return { on: 'push', ...(content as Workflow) }
}

/** Every step of a workflow. */
export function stepsOf(workflow: Workflow): Step[] {
  return Object.values(workflow.jobs).flatMap(({ steps }) => steps)
}

/** How many jobs a workflow becomes. */
export function jobsOf(workflow: Workflow): number {
  return sum(Object.values(workflow.jobs).map(timesOf))
}

/** How often the action is used in all jobs of a workflow, with inputs of which a predicate holds. */
export function usesOf(
  workflow: Workflow,
  isWanted: (inputs: NonNullable<Step['with']>) => boolean = () => true,
): number {
  const isUse = (step: Step) => step.uses === ACTION && isWanted(step.with ?? {})
  return sum(Object.values(workflow.jobs).map((job) => timesOf(job) * job.steps.filter(isUse).length))
}

/** How many jobs one becomes, by the plain lists of its matrix. */
function timesOf({ strategy }: JobText): number {
  return Object.values(strategy?.matrix ?? {}).reduce((product, list) => product * list.length, 1)
}

function sum(numbers: readonly number[]): number {
  return numbers.reduce((total, number) => total + number, 0)
}
