import { existsSync, lstatSync, readdirSync, readFileSync } from 'node:fs'
import { chmod, mkdir, utimes, writeFile } from 'node:fs/promises'
import { basename, dirname, join, relative } from 'node:path'
import type { StepResult } from '../../sandbox/job.ts'
import { createMachine, type Machine } from '../../sandbox/machine.ts'
import { openSandbox, type Sandbox, type SandboxOptions } from '../../sandbox/sandbox.ts'
import { createSecretScan, type SecretScan } from './secrets.ts'

/** A sandbox with one credential of each kind, and one machine in it. */
export interface World {
  readonly sandbox: Sandbox
  readonly machine: Machine
  /** Another machine behind the same proxy. */
  newMachine(runnerEnvironment?: Machine['runnerEnvironment']): Promise<Machine>
  /** Looks for long-lived secrets in all that main and post leave behind, on every machine of this world. */
  readonly secrets: SecretScan
  /** The config of the CLI on a machine. */
  readonly config: ConfigFile
  close(): Promise<void>
}

export const API_KEY = 'bl_key_0123456789abcdefghij'
export const CLIENT_ID = 'sa-deployer'
export const CLIENT_SECRET = 'bl_secret_ABCDEFGHIJ0123456789'

/** The inputs that give each kind of credential. */
export const credentials = {
  oauth: { 'client-id': CLIENT_ID, 'client-secret': CLIENT_SECRET },
  'service-account': { 'api-key': API_KEY, 'service-account': CLIENT_ID },
  'api-key': { 'api-key': API_KEY },
} as const

export async function openWorld(options: SandboxOptions = {}): Promise<World> {
  const sandbox = await openSandbox(options)
  sandbox.blaxel.addClient(CLIENT_ID, CLIENT_SECRET, { workspaces: ['acme', 'beta'] })
  sandbox.blaxel.addApiKey(API_KEY, { workspaces: ['acme', 'beta'], mayMintFor: [CLIENT_ID] })
  const secrets = createSecretScan(() => sandbox.github.invocations())
  for (const secret of [API_KEY, CLIENT_SECRET]) secrets.add(secret)
  const newMachine = async (runnerEnvironment: Machine['runnerEnvironment'] = 'github-hosted') =>
    secrets.watch(await createMachine({ root: sandbox.root, env: sandbox.env, runnerEnvironment }))
  const machine = await newMachine()
  const close = async () => {
    await sandbox.close()
    secrets.assertClean()
  }
  return { sandbox, machine, newMachine, secrets, config: configOf(machine), close }
}

/** A world of its own for each test of a table, so that the tests can run at the same time. */
export async function inWorld(work: (world: World) => Promise<void>): Promise<void> {
  const world = await openWorld()
  try {
    await work(world)
  } finally {
    await world.close()
  }
}

export interface ConfigFile {
  readonly path: string
  write(text: string, mode?: number): Promise<void>
  /** Undefined where there is none. */
  read(): string | undefined
  mode(): number
}

export function configOf(machine: Machine): ConfigFile {
  const path = join(machine.home, '.blaxel', 'config.yaml')
  return {
    path,
    write: async (text, mode = 0o600) => {
      await mkdir(dirname(path), { recursive: true })
      const isNew = !existsSync(path)
      await writeFile(path, text)
      // Whatever the umask of this machine is.
      if (isNew) await chmod(path, mode)
      // As that of a machine is: one that was changed a moment ago may be in the making.
      const anHourAgo = new Date(Date.now() - 3_600_000)
      await utimes(path, anHourAgo, anHourAgo)
    },
    read: () => {
      try {
        return readFileSync(path, 'utf8')
      } catch {
        return undefined
      }
    },
    mode: () => lstatSync(path).mode & 0o777,
  }
}

/**
 * Every path below a directory, sorted; to see that nothing was left or touched. The database of the logins stays for
 * good, with a directory that holds nothing else: neither counts. What is in it is searched for secrets after each step.
 */
export function tree(directory: string): string[] {
  return readdirSync(directory, { recursive: true, withFileTypes: true })
    .map((entry) => relative(directory, join(entry.parentPath, entry.name)))
    .filter((path) => basename(path) !== DATABASE && !holdsDatabaseAlone(join(directory, path)))
    .sort()
}

const DATABASE = 'setup-bl.db'

function holdsDatabaseAlone(path: string): boolean {
  return basename(path) === '.blaxel' && lstatSync(path).isDirectory() && readdirSync(path).join() === DATABASE
}

/** Every byte that a step printed, but the lines by which it asks for masks. */
export function visible({ raw }: StepResult): string {
  return raw.replaceAll(/^::add-mask::.*\r?\n/gm, '')
}

/** The requests to one host, as `METHOD /path`. */
export function requestsTo({ requests }: Pick<Sandbox, 'requests'>, host: string): string[] {
  return requests.filter((request) => request.host === host).map(({ method, path }) => `${method} ${path}`)
}

/** Of those, what the action asked itself. `bl login` may ask while the action still waits for its own answers. */
export function ownRequestsTo({ requests }: Sandbox, host: string): string[] {
  return requestsTo({ requests: requests.filter(({ headers }) => headers['user-agent'] === 'setup-bl') }, host)
}

/** Whether a process runs. What was killed and is waited for by nobody keeps its number, as a zombie. */
export function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0)
  } catch {
    return false
  }
  if (process.platform !== 'linux') return true
  try {
    return !/^\d+ \(.*\) Z/.test(readFileSync(`/proc/${pid}/stat`, 'utf8'))
  } catch {
    return false
  }
}
