import { accessSync, constants } from 'node:fs'
import { resolve } from 'node:path'
import { parseArgs } from 'node:util'
import { checkCached, checkJob, checkWire } from './demo/checks.ts'
import { heading, renderClaims, renderRequests, renderStep } from './demo/page.ts'
import { renderUse, runFirstJob, runSecondJob, type JobRun } from './demo/workflow.ts'
import {
  CREDENTIAL_KINDS,
  openLiveWorld,
  openSandboxWorld,
  UsageError,
  type CredentialKind,
  type World,
} from './demo/world.ts'

const HELP = `Runs the shipped action in two complete jobs, and shows and checks what happens.

  npm start -- [options]

  --credential KIND  oauth (default), service-account or api-key
  --cli PATH         a real CLI instead of the stand-in
  --live             the real GitHub and Blaxel instead of the sandbox, with BL_WORKSPACE and
                     BL_CLIENT_CREDENTIALS or BL_API_KEY from the environment
                     (--credential service-account: also BL_SERVICE_ACCOUNT)
  --full             also show the inputs, the environment and the script of each step
  --help             this text

Exit code 0: everything is as it should be; 1: something is not; 2: wrong usage.`

interface Options {
  readonly credential: CredentialKind | undefined
  readonly cli: string | undefined
  readonly live: boolean
  readonly full: boolean
  readonly help: boolean
}

async function main(): Promise<number> {
  const options = readOptions(process.argv.slice(2))
  if (options.help) {
    console.log(HELP)
    return 0
  }
  const world = await openWorld(options)
  // An interrupt reaches the running step; the job then ends as usual, so that nothing is left behind.
  process.on('SIGINT', () => {
    console.error('\nInterrupted: ending the job.')
  })
  try {
    return (await demonstrate(world, options)) ? 0 : 1
  } finally {
    await world.close()
  }
}

function readOptions(args: string[]): Options {
  const { credential, cli, live = false, full = false, help = false } = parse(args)
  const kind = CREDENTIAL_KINDS.find((known) => known === credential)
  if (credential !== undefined && kind === undefined) {
    throw new UsageError(`--credential is one of ${CREDENTIAL_KINDS.join(', ')}`)
  }
  if (live && cli !== undefined) throw new UsageError('--cli is for the sandbox; --live installs what GitHub has')
  return { credential: kind, cli: cli === undefined ? undefined : executable(cli), live, full, help }
}

function parse(args: string[]) {
  try {
    return parseArgs({
      args,
      options: {
        credential: { type: 'string' },
        cli: { type: 'string' },
        live: { type: 'boolean' },
        full: { type: 'boolean' },
        help: { type: 'boolean' },
      },
    }).values
  } catch (error) {
    // The rest of the message is about positional arguments, which don't exist here.
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

async function demonstrate(world: World, { full, live }: Options): Promise<boolean> {
  console.log(introduction(world, live))
  console.log(heading('Job 1: a new machine, the latest release'))
  const first = await runFirstJob(world, (step) => {
    console.log(renderStep(step, full))
  })
  const runs = [first]
  if (first.setup.outcome === 'success') {
    const version = first.setup.outputs.version ?? ''
    console.log(heading(`Job 2: the same machine, which now has a login of its own; version ${version}`))
    runs.push(
      await runSecondJob(world, version, (step) => {
        console.log(renderStep(step, full))
      }),
    )
  }
  return showClaims(runs, world)
}

function introduction(world: World, live: boolean): string {
  const where = live
    ? 'against the real GitHub and Blaxel, with a new HOME and tool cache'
    : 'against local stand-ins for GitHub and Blaxel, without internet or account'
  return `Runs the shipped action in two jobs on one machine,
${where}.
In each job the action logs in, later steps use bl and the token, and the post step undoes the login.
This is the step:

${renderUse(world).trimEnd()}`
}

function showClaims(runs: readonly JobRun[], world: World): boolean {
  const checks = [
    ...runs.flatMap((run, index) =>
      [...checkJob(run, world), ...(index === 1 ? checkCached(run) : [])].map((check) => ({ ...check, job: run.name })),
    ),
    ...checkWire(world).map((check) => ({ ...check, job: 'both jobs' })),
  ]
  const failed = checks.filter(({ passed }) => !passed).length
  console.log(heading('What was proven'))
  console.log(renderClaims(checks))
  if (world.sandbox) console.log(`\nRequests: ${renderRequests(world.sandbox.requests)}`)
  console.log(failed === 0 ? `All ${checks.length} checks passed.` : `${failed} of ${checks.length} checks failed.`)
  return failed === 0
}

try {
  process.exitCode = await main()
} catch (error) {
  console.error(error instanceof UsageError ? `setup-bl: ${error.message}` : error)
  process.exitCode = error instanceof UsageError ? 2 : 1
}
