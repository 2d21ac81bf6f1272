import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import type { Sandbox } from '../../sandbox/sandbox.ts'
import { readRecipes, workflowOf, type Recipe, type Workflow } from './recipes.ts'
import { VERSION } from './stage.ts'

/** Examples that are only parsed and checked, by the tests, and why. */
export const NOT_RUN: Readonly<Record<string, string>> = {
  'A job in a container': 'needs a container engine',
  'A Docker build': 'needs a container engine',
  'Steps as root': 'needs sudo',
  'Background and parallel steps': 'needs a runner that knows background steps',
  'GitHub Enterprise Server': 'needs such a server',
}

/** One run of one workflow, and what it must come to. */
export interface Trial {
  readonly title: string
  readonly workflow: Workflow
  readonly event: 'push' | 'pull_request'
  /** For a fork, which gets no secrets. */
  readonly isFork: boolean
  readonly outcome: 'success' | 'failure'
}

const WORKFLOWS = join(import.meta.dirname, 'workflows')
/** The first, for its jobs are to meet an empty tool cache. */
const COLD = 'two-workspaces.yml'
const FAILS = 'refused.yml'

/** All that is run: workflows of our own, then the examples. */
export function readTrials(sandbox: Sandbox): Trial[] {
  const files = readdirSync(WORKFLOWS).sort((a, b) => Number(b === COLD) - Number(a === COLD))
  const runnable = readRecipes().filter(({ name }) => !Object.hasOwn(NOT_RUN, name))
  return [...files.map(ownTrial), ...runnable.flatMap((recipe) => trialsOf(recipe, sandbox))]
}

function ownTrial(file: string): Trial {
  const workflow = workflowOf(readFileSync(join(WORKFLOWS, file), 'utf8'))
  return { title: file, workflow, event: 'push', isFork: false, outcome: file === FAILS ? 'failure' : 'success' }
}

function trialsOf(recipe: Recipe, sandbox: Sandbox): Trial[] {
  const workflow = workflowOf(forSandbox(recipe.text, sandbox))
  const title = `${recipe.page}, ${recipe.name}`
  const trial = { title, workflow, event: 'push', isFork: false, outcome: 'success' } as const
  if (workflow.on !== 'pull_request') return [trial]
  return [
    { ...trial, event: 'pull_request', title: `${title}, from a branch` },
    { ...trial, event: 'pull_request', title: `${title}, from a fork`, isFork: true },
  ]
}

/** What differs in the sandbox: the releases that there are, with their sums, and the addresses of proxy and CA. */
function forSandbox(text: string, { env, github, proxy }: Sandbox): string {
  return text
    .replaceAll('0.1.108', VERSION)
    .replaceAll(/\b[0-9a-f]{64}\b/g, github.sha256(VERSION))
    .replaceAll('http://proxy.example:3128', proxy.url)
    .replaceAll('/etc/ssl/certs/company-ca.pem', env.SSL_CERT_FILE ?? '')
}
