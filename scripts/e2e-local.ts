/**
 * Runs workflows with the shipped action under act, a runner that others have written, against the sandbox: those in
 * scripts/e2e/workflows, and the examples of README.md and docs/recipes.md. All share one machine: one HOME, in which
 * somebody is logged in already, and one tool cache.
 *
 *   npm run e2e:local
 *
 * Needs Go, once, to build act; where that can't be had it says so and does nothing.
 * Exit code 0: all went as it should, or nothing could be run; 1: a workflow did not.
 */
import { spawnSync } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { cpSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { delimiter, dirname, join, resolve } from 'node:path'
import { styleText } from 'node:util'
import { stringify } from 'yaml'
import { openSandbox, type Sandbox } from '../sandbox/sandbox.ts'
import { ACT_VERSION, findAct, runAct, type ActResult } from './e2e/act.ts'
import {
  ACTION,
  jobsOf,
  readRecipes,
  stepsOf,
  workflowOf,
  type Recipe,
  type Step,
  type Workflow,
} from './e2e/recipes.ts'

/** Examples that are only parsed and checked, by the tests, and why. */
const NOT_RUN: Readonly<Record<string, string>> = {
  'A job in a container': 'needs a container engine',
  'A Docker build': 'needs a container engine',
  'GitHub Enterprise Server': 'needs such a server',
}

/** One run of one workflow, and what it must come to. */
interface Trial {
  readonly title: string
  readonly workflow: Workflow
  readonly event: 'push' | 'pull_request'
  /** Without secrets, as in a pull request from a fork. */
  readonly fork: boolean
  readonly outcome: 'success' | 'failure'
}

interface Stage {
  readonly act: string
  readonly sandbox: Sandbox
  readonly root: string
  readonly home: string
  readonly checkout: string
  readonly action: string
}

const ROOT = resolve(import.meta.dirname, '..')
const WORKFLOWS = join(ROOT, 'scripts', 'e2e', 'workflows')
const VERSION = '9.9.1'
const MIRROR = { host: 'mirror.example', folder: '/toolkit' }
/** Of a form that a program which parses and prints YAML would not leave as it is. */
const PRIOR_CONFIG = `# kept by hand
context:
    workspace: personal
workspaces:
    - name: personal
      id: 'ws-0'
`
const CHECK_NAME = 'Check that bl works'
/** Appended to every job: in a later step `bl` runs, and is let in where there is a session. */
const CHECK: Step = { name: CHECK_NAME, run: 'bl version\nif [ -n "$BL_API_KEY" ]; then bl get agents; fi\n' }

const secret = (name: string) => `bl_${name}_${randomBytes(16).toString('hex')}`
const SECRETS = {
  ACME_CLIENT_SECRET: secret('acme'),
  BETA_CLIENT_SECRET: secret('beta'),
  BL_CLIENT_SECRET: secret('client'),
  BL_API_KEY: secret('key'),
  WRONG_SECRET: secret('wrong'),
  GITHUB_TOKEN: `ghs_${randomBytes(16).toString('hex')}`,
}
const VARS = { ACME_CLIENT_ID: 'sa-acme', BETA_CLIENT_ID: 'sa-beta', BL_CLIENT_ID: 'sa-deployer', BL_WORKSPACE: 'acme' }

process.exitCode = await main()

async function main(): Promise<number> {
  const act = findAct()
  if (act.kind === 'none') {
    console.log(`e2e:local: no workflow was run, for ${act.why}.`)
    return 0
  }
  const sandbox = await openSandbox()
  try {
    const stage = openStage(act.path, sandbox)
    console.log(`Workflows under act ${ACT_VERSION}, on one machine:`)
    const totals = { passed: 0, failed: 0, jobs: 0, steps: 0 }
    for (const trial of trials(sandbox)) {
      const { faults, steps, log } = await attempt(trial, stage)
      const jobs = jobsOf(trial.workflow)
      const mark = faults.length === 0 ? styleText('green', '✓') : styleText('red', '✗')
      console.log(`${mark} ${trial.title}: ${counted(jobs, 'job')}, ${counted(steps, 'step')}`)
      for (const fault of faults) console.log(`  ${fault}`)
      if (faults.length > 0) console.log(log.replace(/^/gm, '    '))
      totals[faults.length === 0 ? 'passed' : 'failed'] += 1
      totals.jobs += jobs
      totals.steps += steps
    }
    for (const [name, why] of Object.entries(NOT_RUN)) console.log(`– ${name}: parsed and checked only, for it ${why}`)
    const { passed, failed, jobs, steps } = totals
    console.log(`${counted(passed + failed, 'workflow')}, ${counted(jobs, 'job')}, ${counted(steps, 'step')}`)
    console.log(`${passed} passed, ${failed} failed`)
    return failed === 0 ? 0 : 1
  } finally {
    await sandbox.close()
  }
}

function counted(count: number, what: string): string {
  return `${count} ${what}${count === 1 ? '' : 's'}`
}

/** The machine, the checkout, and the files of the action that a tag would have. */
function openStage(act: string, sandbox: Sandbox): Stage {
  const { blaxel, root } = sandbox
  blaxel.addClient('sa-acme', SECRETS.ACME_CLIENT_SECRET, { workspaces: ['acme'] })
  blaxel.addClient('sa-beta', SECRETS.BETA_CLIENT_SECRET, { workspaces: ['beta'] })
  blaxel.addClient('sa-deployer', SECRETS.BL_CLIENT_SECRET, { workspaces: ['acme', 'beta'] })
  blaxel.addApiKey(SECRETS.BL_API_KEY, { workspaces: ['acme'], mayMintFor: ['sa-deployer'] })
  sandbox.addHost(MIRROR.host, mirror(sandbox))

  const [home, checkout, action] = [join(root, 'home'), join(root, 'checkout'), join(root, 'action')]
  mkdirSync(join(home, '.blaxel'), { recursive: true })
  writeFileSync(join(home, '.blaxel', 'config.yaml'), PRIOR_CONFIG, { mode: 0o600 })
  cpSync(join(ROOT, 'dist'), join(action, 'dist'), { recursive: true })
  cpSync(join(ROOT, 'action.yml'), join(action, 'action.yml'))
  mkdirSync(checkout)
  writeFileSync(join(checkout, '.bl-version'), `${VERSION}\n`)
  for (const args of [
    ['init', '--quiet', '--initial-branch=main'],
    ['remote', 'add', 'origin', 'https://github.com/octo-org/agents'],
    ['-c', 'user.name=e2e', '-c', 'user.email=e2e@localhost', 'commit', '--quiet', '--allow-empty', '--message=e2e'],
  ]) {
    const { status, stderr } = spawnSync('git', args, { cwd: checkout, encoding: 'utf8' })
    if (status !== 0) throw new Error(`git ${args.join(' ')}: ${stderr}`)
  }
  return { act, sandbox, root, home, checkout, action }
}

/** A plain file server with the archive and the checksums file of one release. */
function mirror({ github }: Sandbox): Parameters<Sandbox['addHost']>[1] {
  const folder = `${MIRROR.folder}/releases/download/v${VERSION}`
  const files: Readonly<Record<string, Buffer>> = {
    [`${folder}/${github.platformFile}`]: github.archive(VERSION),
    [`${folder}/blaxel_${VERSION}_checksums.txt`]: Buffer.from(`${github.sha256(VERSION)}  ${github.platformFile}\n`),
  }
  return ({ path }) => {
    const body = files[path]
    return body === undefined ? { status: 404 } : { status: 200, body }
  }
}

/** The one for a cold tool cache first. */
function trials(sandbox: Sandbox): Trial[] {
  const own = readdirSync(WORKFLOWS).sort(
    (a, b) => Number(b === 'two-workspaces.yml') - Number(a === 'two-workspaces.yml'),
  )
  return [
    ...own.map((file): Trial => {
      const workflow = workflowOf(readFileSync(join(WORKFLOWS, file), 'utf8'))
      return {
        title: file,
        workflow,
        event: 'push',
        fork: false,
        outcome: file === 'refused.yml' ? 'failure' : 'success',
      }
    }),
    ...readRecipes()
      .filter(({ name }) => !Object.hasOwn(NOT_RUN, name))
      .flatMap((recipe) => trialsOf(recipe, sandbox)),
  ]
}

function trialsOf(recipe: Recipe, sandbox: Sandbox): Trial[] {
  const workflow = workflowOf(forSandbox(recipe.text, sandbox))
  const title = `${recipe.page}, ${recipe.name}`
  const trial: Trial = { title, workflow, event: 'push', fork: false, outcome: 'success' }
  const { on } = workflow
  if (on !== 'pull_request') return [trial]
  const event = 'pull_request'
  return [
    { ...trial, event, title: `${title}, from a branch` },
    { ...trial, event, fork: true, title: `${title}, from a fork` },
  ]
}

/** What differs in the sandbox: the releases that there are, with their sums, and the addresses of proxy and CA. */
function forSandbox(text: string, { env, github, proxy }: Sandbox): string {
  return text
    .replaceAll('^0.1.90', '^9.9.0')
    .replaceAll('0.1.108', VERSION)
    .replaceAll(/\b[0-9a-f]{64}\b/g, github.sha256(VERSION))
    .replaceAll('http://proxy.example:3128', proxy.url)
    .replaceAll('/etc/ssl/certs/company-ca.pem', env.SSL_CERT_FILE ?? '')
}

interface Attempt {
  readonly faults: readonly string[]
  readonly steps: number
  readonly log: string
}

async function attempt(trial: Trial, stage: Stage): Promise<Attempt> {
  const { sandbox, root, home, checkout, action } = stage
  const file = join(root, 'workflow.yml')
  const payload = join(root, 'event.json')
  const jobs = Object.entries(trial.workflow.jobs).map(([name, job]) => [
    name,
    { ...job, steps: [...job.steps, CHECK] },
  ])
  writeFileSync(file, stringify({ ...trial.workflow, jobs: Object.fromEntries(jobs) as object }, { lineWidth: 0 }))
  writeFileSync(payload, JSON.stringify(eventOf(trial)))
  const since = sandbox.requests.length
  const result = await runAct(stage.act, {
    ...{ checkout, workflow: file, event: trial.event, payload, cache: join(root, 'act') },
    action: [ACTION, action],
    // GitHub gives runs from forks neither secrets nor variables.
    secrets: trial.fork ? { GITHUB_TOKEN: SECRETS.GITHUB_TOKEN } : SECRETS,
    vars: trial.fork ? {} : VARS,
    env: {
      ...(setsProxy(trial.workflow) ? {} : sandbox.env),
      ...{ HOME: home, LANG: 'C.UTF-8', PATH: pathWithNode() },
      // act's own look for an update.
      ACT_DISABLE_VERSION_CHECK: '1',
    },
  })
  const listings = sandbox.requests
    .slice(since)
    .filter(({ path, status }) => path.startsWith('/v0/agents') && status === 200)
  const faults = [...faultsOfLog(trial, result), ...faultsOfMachine(stage), ...faultsOfUse(trial, listings.length)]
  return { faults, steps: ends(result.log, '(?:Main|Post) ').length, log: result.log }
}

/** Whether a workflow says itself which way out there is. */
function setsProxy(workflow: Workflow): boolean {
  return Object.values(workflow.jobs).some(({ env }) => env?.https_proxy !== undefined)
}

function eventOf({ event, fork }: Trial): object {
  if (event === 'push') return {}
  const repo = (name: string) => ({ repo: { full_name: name } })
  return { pull_request: { head: repo(fork ? 'stranger/agents' : 'octo-org/agents'), base: repo('octo-org/agents') } }
}

/** The Node that runs this is the one that action.yml declares. */
function pathWithNode(): string {
  return [dirname(process.execPath), process.env.PATH ?? ''].join(delimiter)
}

/** The ends of steps in act's log, by the beginning of what they are called. */
function ends(
  log: string,
  what: string,
  outcome: 'Success' | 'Failure' | '(?:Success|Failure)' = '(?:Success|Failure)',
) {
  return [...log.matchAll(new RegExp(`(?:✅|❌) +${outcome} - ${what}.*$`, 'gm'))]
}

function faultsOfLog({ workflow, outcome, fork }: Trial, { exitCode, log }: ActResult): string[] {
  const uses = ends(log, `Main ${ACTION}`)
  const wanted = stepsOf(workflow).filter((step) => step.uses === ACTION).length
  const leaked = Object.entries(SECRETS).filter(([, value]) => formsOf(value).some((form) => log.includes(form)))
  return [
    ...fault((exitCode === 0) === (outcome === 'success'), `act ended with ${String(exitCode)}`),
    ...fault(ends(log, 'Set up job', 'Success').length === jobsOf(workflow), 'not every job was run'),
    ...fault(uses.length >= wanted, 'the action was not run in every place where it is used'),
    ...fault(ends(log, `Post ${ACTION}`, 'Success').length === uses.length, 'not every post was run'),
    ...fault(
      outcome === 'failure' || ends(log, `Main ${CHECK_NAME}`, 'Success').length === jobsOf(workflow),
      'bl does not work in a later step',
    ),
    ...fault(
      !fork || log.includes('bl was installed but not logged in'),
      'the log does not say that nobody is logged in',
    ),
    ...leaked.map(([name]) => `the log shows the secret ${name}`),
  ]
}

/** Whether the API has let `bl` in from the last step of each job, where that has a session. */
function faultsOfUse({ workflow, fork, outcome }: Trial, listings: number): string[] {
  const opens = stepsOf(workflow).some(
    (step) => step.uses === ACTION && step.with?.workspace !== undefined && step.with['export-env'] !== false,
  )
  const wanted = opens && !fork && outcome === 'success' ? jobsOf(workflow) : 0
  return fault(listings === wanted, `bl was let in ${listings} times in the place of ${wanted}`)
}

/** One machine for all: what a workflow leaves behind shows. */
function faultsOfMachine({ sandbox, home }: Stage): string[] {
  const directory = join(home, '.blaxel')
  // The second is the CLI's own: when it last looked for an update.
  const left = readdirSync(directory).filter((name) => name !== 'config.yaml' && name !== 'version')
  const isAsBefore = readFileSync(join(directory, 'config.yaml'), 'utf8') === PRIOR_CONFIG
  rmSync(join(directory, 'version'), { force: true })
  return [
    ...fault(isAsBefore, "the CLI's config is not as it was before"),
    ...fault(left.length === 0, `~/.blaxel holds ${left.join(', ')}`),
    ...fault(sandbox.blaxel.keys.size === 0, 'a minted key was not revoked'),
    ...fault(sandbox.refused.length === 0, `others were asked: ${sandbox.refused.join(', ')}`),
  ]
}

function formsOf(value: string): string[] {
  const bytes = Buffer.from(value)
  return [value, ...(['base64', 'base64url', 'hex'] as const).map((encoding) => bytes.toString(encoding))]
}

function fault(isFine: boolean, text: string): string[] {
  return isFine ? [] : [text]
}
