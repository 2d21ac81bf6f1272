import { spawn, spawnSync } from 'node:child_process'
import { existsSync, mkdirSync } from 'node:fs'
import { homedir } from 'node:os'
import { join } from 'node:path'

/** A runner of workflows that others have written: what it makes of action.yml is not our reading of it. */
export const ACT_VERSION = '0.2.89'
const BUILD_TIMEOUT_MS = 900_000
/** For one workflow on a busy machine. */
const RUN_TIMEOUT_MS = 180_000

export type ActFound =
  { readonly kind: 'found'; readonly path: string } | { readonly kind: 'none'; readonly why: string }

/** act's program: from this user's cache, or built by the Go that is there. */
export function findAct(): ActFound {
  if (process.platform === 'win32') return { kind: 'none', why: "act's host mode needs a shell that Windows lacks" }
  const directory = join(process.env.XDG_CACHE_HOME ?? join(homedir(), '.cache'), 'setup-bl', `act-${ACT_VERSION}`)
  const path = join(directory, 'act')
  if (isAct(path)) return { kind: 'found', path }
  if (spawnSync('go', ['version']).status !== 0) return { kind: 'none', why: 'there is no Go to build act with' }
  console.log(`Building act ${ACT_VERSION}, which takes some minutes once.`)
  mkdirSync(directory, { recursive: true })
  const { stderr } = spawnSync('go', ['install', `github.com/nektos/act@v${ACT_VERSION}`], {
    env: { ...process.env, GOBIN: directory },
    encoding: 'utf8',
    timeout: BUILD_TIMEOUT_MS,
  })
  if (isAct(path)) return { kind: 'found', path }
  return { kind: 'none', why: `act ${ACT_VERSION} could not be built: ${stderr.trim().split('\n').at(-1) ?? ''}` }
}

function isAct(path: string): boolean {
  if (!existsSync(path)) return false
  return spawnSync(path, ['--version'], { encoding: 'utf8' }).stdout.includes(ACT_VERSION)
}

export interface ActRun {
  /** A directory with the workflow, which the job sees as its checkout; a git repository. */
  readonly checkout: string
  /** Path of the workflow. */
  readonly workflow: string
  /** Name of the event, and path of its payload. */
  readonly event: string
  readonly payload: string
  /** act's own directory, with the tool cache of its jobs. */
  readonly cache: string
  /** `owner/name@ref` and the directory that stands for it. */
  readonly action: readonly [string, string]
  readonly secrets: Readonly<Record<string, string>>
  readonly vars: Readonly<Record<string, string>>
  /** The whole environment, which host mode hands on to the steps. */
  readonly env: Readonly<Record<string, string>>
}

export interface ActResult {
  readonly exitCode: number | null
  /** All that it has printed: what a person sees. */
  readonly log: string
}

/** Runs one workflow in host mode: its steps are processes of this machine. */
export async function runAct(act: string, run: ActRun): Promise<ActResult> {
  const pairs = (flag: string, values: Readonly<Record<string, string>>) =>
    Object.entries(values).flatMap(([name, value]) => [flag, `${name}=${value}`])
  const args = [
    run.event,
    ...['--directory', run.checkout, '--workflows', run.workflow, '--eventpath', run.payload],
    ...['--platform', 'ubuntu-latest=-self-hosted', '--platform', 'self-hosted=-self-hosted'],
    ...['--local-repository', run.action.join('='), '--action-cache-path', run.cache],
    // Jobs of a matrix side by side, whatever the machine; no container engine, no server of its own.
    ...['--concurrent-jobs', '2', '--container-daemon-socket', '-', '--no-cache-server'],
    ...pairs('--secret', run.secrets),
    ...pairs('--var', run.vars),
  ]
  // From there it would also read an .actrc, .env or .secrets: the checkout has none.
  const child = spawn(act, args, {
    cwd: run.checkout,
    env: run.env,
    stdio: ['ignore', 'pipe', 'pipe'],
    timeout: RUN_TIMEOUT_MS,
  })
  let log = ''
  for (const stream of [child.stdout, child.stderr]) {
    stream.setEncoding('utf8').on('data', (text: string) => (log += text))
  }
  const exitCode = await new Promise<number | null>((resolve, reject) => {
    child.on('error', reject).on('close', resolve)
  })
  return { exitCode, log }
}
