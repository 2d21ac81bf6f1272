import { lstatSync, readdirSync, readFileSync } from 'node:fs'
import { mkdir, writeFile } from 'node:fs/promises'
import { dirname, join, relative } from 'node:path'
import type { StepResult } from '../../sandbox/job.ts'
import { createMachine, type Machine } from '../../sandbox/machine.ts'
import { openSandbox, type Sandbox, type SandboxOptions } from '../../sandbox/sandbox.ts'

/** A sandbox with one credential of each kind, and one machine in it. */
export interface World {
  readonly sandbox: Sandbox
  readonly machine: Machine
  /** Another machine behind the same proxy. */
  newMachine(runnerEnvironment?: Machine['runnerEnvironment']): Promise<Machine>
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
  const newMachine = (runnerEnvironment: Machine['runnerEnvironment'] = 'github-hosted') =>
    createMachine({ root: sandbox.root, env: sandbox.env, runnerEnvironment })
  const machine = await newMachine()
  return { sandbox, machine, newMachine, config: configOf(machine), close: () => sandbox.close() }
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
      await writeFile(path, text, { mode })
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

/** Every path below a directory, sorted; to see that nothing was left or touched. */
export function tree(directory: string): string[] {
  return readdirSync(directory, { recursive: true, withFileTypes: true })
    .map((entry) => relative(directory, join(entry.parentPath, entry.name)))
    .sort()
}

/** Every byte that a step printed, but the lines by which it asks for masks. */
export function visible({ raw }: StepResult): string {
  return raw.replaceAll(/^::add-mask::.*\n/gm, '')
}

/** The requests to one host, as `METHOD /path`. */
export function requestsTo(sandbox: Sandbox, host: string): string[] {
  return sandbox.requests.filter((request) => request.host === host).map(({ method, path }) => `${method} ${path}`)
}
