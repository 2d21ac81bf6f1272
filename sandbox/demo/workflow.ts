import { mkdir, readFile, readdir, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { stringify } from 'yaml'
import type { Job, StepResult } from '../job.ts'
import { ACTION_NAME } from '../runner-variables.ts'
import type { RecordedRequest } from '../sandbox.ts'
import type { World } from './world.ts'

const USE_THE_CLI = `bl version
bl workspaces
bl get agents`

const USE_THE_TOKEN = `node --input-type=module -e '
  const { BL_API_KEY, BL_WORKSPACE } = process.env
  const answer = await fetch("https://api.blaxel.ai/v0/workspaces/" + BL_WORKSPACE, {
    headers: { Authorization: "Bearer " + BL_API_KEY, "X-Blaxel-Workspace": BL_WORKSPACE },
  })
  console.log(answer.status, (await answer.json()).name)
  console.log("token", BL_API_KEY)
'`

// Node's own fetch asks no proxy unless it is told to.
const TOKEN_ENV = { NODE_USE_ENV_PROXY: '1' }

// Of a form that a program which parses and prints YAML would not leave as it is.
const PRIOR_CONFIG = `# kept by hand
context:
    workspace: personal
workspaces:
    - name: personal
      id: ws-0
      credentials:
          apiKey: 'of the person whose machine this is'
tracking: false
`

/** One job, and what stood in the CLI's config before and after it. */
export interface JobRun {
  readonly title: string
  readonly job: Job
  readonly setup: StepResult
  /** The steps that use what was set up; none, where the set-up failed. */
  readonly later: readonly StepResult[]
  readonly posts: readonly StepResult[]
  readonly config: { readonly before: string | undefined; readonly after: string | undefined }
  /** What is left in ~/.blaxel and in RUNNER_TEMP after the job. */
  readonly left: readonly string[]
  readonly setupRequests: readonly RecordedRequest[]
}

/** The workflow as a person would write it. */
export function renderWorkflow(world: World): string {
  const steps = [
    { uses: ACTION_NAME, id: 'bl', with: setupInputs(world, '') },
    { run: `${USE_THE_CLI}\n` },
    { run: `${USE_THE_TOKEN}\n`, env: TOKEN_ENV },
  ]
  return stringify({ on: 'push', jobs: { demo: { 'runs-on': 'ubuntu-latest', steps } } }, { lineWidth: 0 })
}

function setupInputs({ workspace, credential, checksum }: World, version: string): Record<string, string> {
  return {
    ...(version === '' ? {} : { version }),
    ...(checksum === undefined ? {} : { checksum }),
    workspace,
    ...credential.inputs,
  }
}

/** Runs the job on a machine that has never seen the CLI. */
export function runFirstJob(world: World, report: (step: StepResult) => void): Promise<JobRun> {
  return runJob(world, 'a machine without a config, the newest release', '', report)
}

/** Runs it again, with an exact version, where somebody is logged in already. */
export async function runSecondJob(world: World, version: string, report: (step: StepResult) => void): Promise<JobRun> {
  const directory = join(world.machine.home, '.blaxel')
  await rm(directory, { recursive: true, force: true })
  await mkdir(directory)
  await writeFile(join(directory, 'config.yaml'), PRIOR_CONFIG, { mode: 0o600 })
  return runJob(world, `the same machine with a login of its own, version ${version}`, version, report)
}

async function runJob(
  world: World,
  title: string,
  version: string,
  report: (step: StepResult) => void,
): Promise<JobRun> {
  const { machine, credential, sandbox } = world
  const job = machine.job({ secrets: credential.secrets, vars: credential.vars })
  const reported = async (step: Promise<StepResult>) => {
    const result = await step
    report(result)
    return result
  }
  const before = await readConfig(machine.home)
  const requestsBefore = sandbox?.requests.length ?? 0
  const setup = await reported(job.uses({ id: 'bl', with: setupInputs(world, version) }))
  const setupRequests = sandbox?.requests.slice(requestsBefore) ?? []
  const later: StepResult[] = []
  if (setup.outcome === 'success') {
    later.push(await reported(job.run(USE_THE_CLI)))
    later.push(await reported(job.run(USE_THE_TOKEN, { env: TOKEN_ENV })))
  }
  const posts = await job.end()
  for (const post of posts) report(post)
  const config = { before, after: await readConfig(machine.home) }
  return { title, job, setup, later, posts, config, left: await leftBehind(machine.home, job.temp), setupRequests }
}

async function readConfig(home: string): Promise<string | undefined> {
  try {
    return await readFile(join(home, '.blaxel', 'config.yaml'), 'latin1')
  } catch {
    return undefined
  }
}

/** All but what is the CLI's own or the runner's own. */
async function leftBehind(home: string, temp: string): Promise<string[]> {
  const inHome = await readdir(join(home, '.blaxel')).catch(() => [])
  const inTemp = await readdir(temp)
  return [
    ...inHome.filter((name) => name !== 'config.yaml' && name !== 'version'),
    ...inTemp.filter((name) => !name.startsWith('_') && !name.endsWith('.sh')),
  ]
}
