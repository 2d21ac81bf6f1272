import { accessSync, constants } from 'node:fs'
import { resolve } from 'node:path'
import { parseArgs } from 'node:util'
import { checkCached, checkJob, checkWire, type Check } from './demo/checks.ts'
import { aside, heading, renderChecks, renderRequests, renderStep } from './demo/page.ts'
import { renderWorkflow, runFirstJob, runSecondJob, type JobRun } from './demo/workflow.ts'
import {
  CREDENTIAL_KINDS,
  openLiveWorld,
  openSandboxWorld,
  UsageError,
  type CredentialKind,
  type World,
} from './demo/world.ts'

const HELP = `Runs the shipped action through complete jobs and shows what happens.

  npm start -- [options]

  --credential KIND  oauth (default), service-account or api-key
  --cli PATH         a real CLI in the place of the sandbox's stand-in
  --live             against the real GitHub and Blaxel, with BL_WORKSPACE and
                     BL_CLIENT_CREDENTIALS or BL_API_KEY from the environment
                     (--credential service-account: also BL_SERVICE_ACCOUNT)
  --help             this text

Exit code 0: everything checked is as it should be; 1: something is not; 2: wrong usage.`

interface Options {
  readonly credential: CredentialKind | undefined
  readonly cli: string | undefined
  readonly live: boolean
  readonly help: boolean
}

async function main(): Promise<number> {
  const options = readOptions(process.argv.slice(2))
  if (options.help) {
    console.log(HELP)
    return 0
  }
  const world = await openWorld(options)
  // An interrupt reaches the step that runs; the job then ends as a job does, so that nothing is left behind.
  process.on('SIGINT', () => {
    console.error('\nInterrupted: ending the job.')
  })
  try {
    return (await demonstrate(world)) ? 0 : 1
  } finally {
    await world.close()
  }
}

function readOptions(args: string[]): Options {
  const { credential, cli, live = false, help = false } = parse(args)
  const kind = CREDENTIAL_KINDS.find((known) => known === credential)
  if (credential !== undefined && kind === undefined) {
    throw new UsageError(`--credential is one of ${CREDENTIAL_KINDS.join(', ')}`)
  }
  if (live && cli !== undefined) throw new UsageError('--cli is for the sandbox; --live installs what GitHub has')
  return { credential: kind, cli: cli === undefined ? undefined : executable(cli), live, help }
}

function parse(args: string[]) {
  try {
    return parseArgs({
      args,
      options: {
        credential: { type: 'string' },
        cli: { type: 'string' },
        live: { type: 'boolean' },
        help: { type: 'boolean' },
      },
    }).values
  } catch (error) {
    // What follows the first sentence is advice about positional arguments, of which there are none here.
    throw new UsageError((error as Error).message.split(/\.\s/)[0])
  }
}

function executable(path: string): string {
  try {
    accessSync(path, constants.X_OK)
    return resolve(path)
  } catch {
    throw new UsageError(`--cli: ${path} is not an executable file`)
  }
}

function openWorld({ credential, cli, live }: Options): Promise<World> {
  return live ? openLiveWorld(credential, process.env) : openSandboxWorld(credential ?? 'oauth', cli)
}

async function demonstrate(world: World): Promise<boolean> {
  console.log(heading('The workflow'))
  console.log(renderWorkflow(world))

  console.log(heading('First job'))
  const first = await runFirstJob(world, (step) => {
    console.log(renderStep(step))
  })
  const runs = [first]
  if (first.setup.outcome === 'success') {
    console.log(heading('Second job'))
    const version = first.setup.outputs.version ?? ''
    runs.push(
      await runSecondJob(world, version, (step) => {
        console.log(renderStep(step))
      }),
    )
  }

  if (world.sandbox !== undefined) {
    console.log(heading('Requests'))
    console.log(renderRequests(world.sandbox.requests))
  }
  return showChecks(runs, world)
}

function showChecks(runs: readonly JobRun[], world: World): boolean {
  const groups: [string, Check[]][] = [
    ...runs.map((run, index): [string, Check[]] => [
      run.title,
      [...checkJob(run, world), ...(index === 1 ? checkCached(run) : [])],
    ]),
    ['both jobs', checkWire(world)],
  ]
  console.log(heading('What was checked'))
  for (const [title, checks] of groups.filter(([, list]) => list.length > 0)) {
    console.log(aside(title))
    console.log(`${renderChecks(checks)}\n`)
  }
  const failed = groups.flatMap(([, checks]) => checks).filter(({ passed }) => !passed).length
  console.log(failed === 0 ? 'All as it should be.' : `${failed} not as it should be.`)
  return failed === 0
}

try {
  process.exitCode = await main()
} catch (error) {
  console.error(error instanceof UsageError ? `setup-bl: ${error.message}` : error)
  process.exitCode = error instanceof UsageError ? 2 : 1
}
