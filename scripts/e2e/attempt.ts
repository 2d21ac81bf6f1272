import { writeFileSync } from 'node:fs'
import { delimiter, dirname, join } from 'node:path'
import { stringify } from 'yaml'
import { ACT_VERSION, runAct, type ActResult } from './act.ts'
import { ACTION, jobsOf, usesOf, type Step, type Workflow } from './recipes.ts'
import { changesOf, logMachineIn, SECRETS, VARS, type Stage } from './stage.ts'
import type { Trial } from './trials.ts'

export interface Attempt {
  /** What is not as it should be. */
  readonly faults: readonly string[]
  /** How many steps, posts among them, were run. */
  readonly steps: number
  readonly log: string
}

const CHECK_NAME = 'Check that bl works'
/** Appended to every job: in a later step `bl` runs, and the API lets it in where there is a session. */
const CHECK: Step = { name: CHECK_NAME, run: 'bl version\nif [ -n "$BL_API_KEY" ]; then bl get agents; fi\n' }

/** Runs a workflow, and looks at what it did, printed and left behind. */
export async function attempt(trial: Trial, stage: Stage): Promise<Attempt> {
  const { sandbox, root, home, checkout, action } = stage
  const [workflow, payload, cache] = [join(root, 'workflow.yml'), join(root, 'event.json'), join(root, 'act')]
  writeFileSync(workflow, stringify(withCheck(trial.workflow), { lineWidth: 0 }))
  writeFileSync(payload, JSON.stringify(eventOf(trial)))
  logMachineIn(stage)
  const [requests, refused] = [sandbox.requests.length, sandbox.refused.length]
  const result = await runAct(stage.act, {
    ...{ checkout, workflow, event: trial.event, payload, cache, action: [ACTION, action] },
    // GitHub gives runs for forks neither secrets nor variables, but a token.
    secrets: trial.isFork ? { GITHUB_TOKEN: SECRETS.GITHUB_TOKEN } : SECRETS,
    vars: trial.isFork ? {} : VARS,
    env: {
      ...(setsProxy(trial.workflow) ? {} : sandbox.env),
      ...{ HOME: home, LANG: 'C.UTF-8', PATH: pathWithNode() },
      // act's own look for an update.
      ACT_DISABLE_VERSION_CHECK: '1',
    },
  })
  const admitted = sandbox.requests
    .slice(requests)
    .filter(({ path, status }) => path.startsWith('/v0/agents') && status === 200)
  const faults = [
    ...faultsOfLog(trial, result),
    ...secretsIn(result.log, stage).map((name) => `the log shows the secret ${name}`),
    ...fault(admitted.length === sessionsOf(trial), `bl was let in ${admitted.length} times, not ${sessionsOf(trial)}`),
    ...changesOf(stage).map((name) => `~/.blaxel/${name} is not as it was before`),
    ...fault(sandbox.blaxel.keys.size === 0, 'a minted key was not revoked'),
    ...sandbox.refused.slice(refused).map((host) => `${host} was asked`),
  ]
  return { faults, steps: ends(result.log, '(?:Main|Post) ').length, log: result.log }
}

function withCheck(workflow: Workflow): Workflow {
  const jobs = Object.entries(workflow.jobs).map(([name, job]) => [name, { ...job, steps: [...job.steps, CHECK] }])
  return { ...workflow, jobs: Object.fromEntries(jobs) as Workflow['jobs'] }
}

function eventOf({ event, isFork }: Trial): object {
  if (event === 'push') return {}
  const repo = (name: string) => ({ repo: { full_name: name } })
  return { pull_request: { head: repo(isFork ? 'stranger/agents' : 'octo-org/agents'), base: repo('octo-org/agents') } }
}

/** Whether a workflow says itself which way out there is. */
function setsProxy(workflow: Workflow): boolean {
  return Object.values(workflow.jobs).some(({ env }) => env?.https_proxy !== undefined)
}

/** The Node that runs this is the one that action.yml declares. */
function pathWithNode(): string {
  return [dirname(process.execPath), process.env.PATH ?? ''].join(delimiter)
}

function faultsOfLog({ workflow, outcome, isFork }: Trial, { exitCode, log }: ActResult): string[] {
  const isGood = outcome === 'success'
  return [
    ...fault((exitCode === 0) === isGood, `act ${ACT_VERSION} ended with ${String(exitCode)}`),
    ...fault(ends(log, 'Main ', 'Failure').length === (isGood ? 0 : 1), 'other steps failed than should'),
    ...fault(ends(log, 'Set up job', 'Success').length === jobsOf(workflow), 'not every job was run'),
    ...fault(ends(log, `Main ${ACTION}`).length === usesOf(workflow), 'not every use of the action was run'),
    ...fault(ends(log, `Post ${ACTION}`, 'Success').length === usesOf(workflow), 'not every post was run'),
    ...fault(
      ends(log, `Main ${CHECK_NAME}`, 'Success').length === (isGood ? jobsOf(workflow) : 0),
      'bl does not work in a later step',
    ),
    ...fault(
      !isFork || log.includes('bl was installed but not logged in'),
      'the log does not say that there is no login',
    ),
  ]
}

/** How many jobs have a session in the environment of their last step. */
function sessionsOf({ workflow, isFork, outcome }: Trial): number {
  if (isFork || outcome !== 'success') return 0
  const exports = (inputs: NonNullable<Step['with']>) =>
    inputs.workspace !== undefined && inputs['export-env'] !== false
  return Object.entries(workflow.jobs)
    .map(([name, job]): Workflow => ({ jobs: { [name]: job } }))
    .filter((single) => usesOf(single, exports) > 0)
    .reduce((total, single) => total + jobsOf(single), 0)
}

/** The names of the secrets that a log shows in plain or encoded: those that were given, and those that were issued. */
function secretsIn(log: string, { sandbox }: Stage): string[] {
  const issued = sandbox.blaxel.issued.map((token) => ['session token', token] as const)
  return [...Object.entries(SECRETS), ...issued].flatMap(([name, value]) => {
    const bytes = Buffer.from(value)
    const forms = [value, ...(['base64', 'base64url', 'hex'] as const).map((encoding) => bytes.toString(encoding))]
    return forms.some((form) => log.includes(form)) ? [name] : []
  })
}

/** The ends of steps in act's log, by the beginning of what they are called. */
function ends(log: string, what: string, outcome = '(?:Success|Failure)'): unknown[] {
  return [...log.matchAll(new RegExp(`(?:✅|❌) +${outcome} - ${what}`, 'g'))]
}

function fault(isFine: boolean, text: string): string[] {
  return isFine ? [] : [text]
}
