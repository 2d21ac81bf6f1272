import { accessSync, constants } from 'node:fs'
import { isAbsolute, join } from 'node:path'
import { SetupError } from '../util/errors.ts'
import { proxyVariables, readProxySettings } from './proxy.ts'

type Environment = Readonly<Record<string, string | undefined>>

/** What the runner says of the machine and the job. */
export interface Machine {
  /** Or what is wrong with it: only a login needs one. */
  readonly home: string | SetupError
  readonly temp: string
  readonly toolCache: string
  readonly checkout: string | undefined
  readonly isSelfHosted: boolean
  /** The variables that a child process may see. */
  readonly childEnv: Readonly<Record<string, string>>
}

const COMMAND_FILES = ['GITHUB_ENV', 'GITHUB_OUTPUT', 'GITHUB_STATE', 'GITHUB_PATH']
const FOR_CHILDREN = [
  ...['PATH', 'SystemRoot', 'SystemDrive', 'TEMP', 'TMP', 'TMPDIR', 'RUNNER_TRACKING_ID'],
  ...['SSL_CERT_FILE', 'SSL_CERT_DIR', 'NODE_EXTRA_CA_CERTS'],
]

/**
 * Keeps `bl` to what it is asked for: it reports no usage, and releases from 0.1.118 on don't start a worker that
 * installs skills into HOME for up to 30 s after the command has ended.
 */
const UNATTENDED = { CI: 'true', GITHUB_ACTIONS: 'true', BL_INSTALL_SKILLS: 'false', DO_NOT_TRACK: '1' }

/**
 * Reads what the runner has set. Nothing but this and the inputs looks at the environment.
 * @throws SetupError naming the variable, where something that is needed is missing or can't be used
 */
export function readMachine(env: Environment, os: string): Machine {
  for (const name of COMMAND_FILES) requireWritable(name, env[name])
  return {
    home: readPath(os === 'win32' ? 'USERPROFILE' : 'HOME', env, ", or set 'login: false'"),
    temp: requirePath('RUNNER_TEMP', env),
    toolCache: requirePath('RUNNER_TOOL_CACHE', env),
    checkout: env.GITHUB_WORKSPACE === '' ? undefined : env.GITHUB_WORKSPACE,
    isSelfHosted: env.RUNNER_ENVIRONMENT !== 'github-hosted',
    childEnv: childEnvironment(env, os),
  }
}

/** Where the CLI keeps its logins; no variable moves it. Undefined if the runner has no home. */
export function blaxelDirectory({ home }: Machine): string | undefined {
  return home instanceof SetupError ? undefined : join(home, '.blaxel')
}

/** @throws SetupError if the runner has no home */
export function requireBlaxelDirectory({ home }: Machine): string {
  if (home instanceof SetupError) throw home
  return join(home, '.blaxel')
}

/** Without one of these files @actions/core would print what belongs into it, the token among it. */
function requireWritable(name: string, path: string | undefined): void {
  const missing = (why: string) =>
    new SetupError(
      `${name} ${why}.`,
      'Run setup-bl as a step of GitHub Actions, on runner 2.327.1 or newer, which creates this file.',
    )
  if (path === undefined || path === '') throw missing('is not set')
  try {
    accessSync(path, constants.W_OK)
  } catch {
    throw missing('names a file that does not exist or is not writable')
  }
}

function requirePath(name: string, env: Environment): string {
  const path = readPath(name, env)
  if (path instanceof SetupError) throw path
  return path
}

function readPath(name: string, env: Environment, alternative = ''): string | SetupError {
  const path = env[name] ?? ''
  if (isAbsolute(path)) return path
  const why = path === '' ? 'is not set' : 'is not an absolute path'
  return new SetupError(`${name} ${why}.`, `Set it in the runner's environment${alternative}.`)
}

function childEnvironment(env: Environment, os: string): Record<string, string> {
  // Windows knows no case in these names, and calls PATH Path.
  const folded = (name: string) => (os === 'win32' ? name.toUpperCase() : name)
  const wanted = new Set(FOR_CHILDREN.map(folded))
  const kept = Object.entries(env).flatMap(([name, value]) =>
    wanted.has(folded(name)) && value !== undefined && value !== '' ? [[name, value] as const] : [],
  )
  return { ...Object.fromEntries(kept), ...proxyVariables(readProxySettings(env, os)), ...UNATTENDED }
}
