import { mkdir, readFile, readdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { stringify } from 'yaml'
import type { StepResult } from '../job.ts'
import { ACTION_NAME } from '../runner-variables.ts'
import type { RecordedRequest } from '../sandbox.ts'
import type { World } from './world.ts'

const USE_THE_CLI = 'bl workspaces && bl get agents'

const USE_THE_TOKEN = `# a script that sends the token to the API
node --input-type=module -e '
  const { BL_API_KEY, BL_WORKSPACE } = process.env
  const answer = await fetch("https://api.blaxel.ai/v0/workspaces/" + BL_WORKSPACE, {
    headers: { Authorization: "Bearer " + BL_API_KEY, "X-Blaxel-Workspace": BL_WORKSPACE },
  })
  console.log(answer.status, (await answer.json()).name)
  console.log("token", BL_API_KEY)
'`

const DATABASE = 'setup-bl.db'
// Node's fetch uses a proxy only with this.
const TOKEN_ENV = { NODE_USE_ENV_PROXY: '1' }

// A program that only parses and prints YAML would change this.
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

/** One job, and what its machine was like before and after it. */
export interface JobRun {
  readonly name: string
  readonly setup: StepResult
  /** The steps that use the CLI and the token; none if the setup failed. */
  readonly later: readonly StepResult[]
  readonly posts: readonly StepResult[]
  readonly config: { readonly before: string | undefined; readonly after: string | undefined }
  /** Names left in ~/.blaxel and RUNNER_TEMP after the job, without what belongs to the CLI, the runner and the sandbox. */
  readonly left: readonly string[]
  /** The bytes of the database that stays in ~/.blaxel; empty if there is none. */
  readonly database: string
  readonly setupRequests: readonly RecordedRequest[]
}

/** The step under test, as it appears in a workflow. */
export function renderUse(world: World): string {
  return stringify([{ uses: ACTION_NAME, with: setupInputs(world, '') }], { lineWidth: 0 })
}

function setupInputs({ workspace, credential, checksum }: World, version: string): Record<string, string> {
  return {
    ...(version === '' ? {} : { version }),
    ...(checksum === undefined ? {} : { checksum }),
    workspace,
    ...credential.inputs,
  }
}

type Report = (step: StepResult) => void

/** Runs the job on a new machine, with the latest release. */
export function runFirstJob(world: World, report: Report): Promise<JobRun> {
  return runJob('job 1', world, '', report)
}

/** Runs it again on the same machine, with an exact version, after somebody logged in there. */
export async function runSecondJob(world: World, version: string, report: Report): Promise<JobRun> {
  const directory = join(world.machine.home, '.blaxel')
  await mkdir(directory, { recursive: true })
  await writeFile(join(directory, 'config.yaml'), PRIOR_CONFIG, { mode: 0o600 })
  return runJob('job 2', world, version, report)
}

async function runJob(name: string, world: World, version: string, report: Report): Promise<JobRun> {
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
  const left = await leftBehind(machine.home, job.temp)
  const database = await readFile(join(machine.home, '.blaxel', DATABASE), 'latin1').catch(() => '')
  return { name, setup, later, posts, config, left, database, setupRequests }
}

async function readConfig(home: string): Promise<string | undefined> {
  try {
    return await readFile(join(home, '.blaxel', 'config.yaml'), 'latin1')
  } catch {
    return undefined
  }
}

/** Everything except what belongs to the CLI or the runner, and the database that stays. */
async function leftBehind(home: string, temp: string): Promise<string[]> {
  const inHome = await readdir(join(home, '.blaxel')).catch(() => [])
  const inTemp = await readdir(temp)
  return [
    ...inHome.filter((name) => !['config.yaml', 'version', DATABASE].includes(name)),
    ...inTemp.filter((name) => !name.startsWith('_') && !name.endsWith('.sh')),
  ]
}
