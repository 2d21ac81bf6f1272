import { mkdir, mkdtemp } from 'node:fs/promises'
import { delimiter, dirname, join, resolve } from 'node:path'
import { readAction } from './action.ts'
import { createJob, type Job, type JobHost, type JobOptions } from './job.ts'
import type { RunnerEnvironment } from './runner-variables.ts'

/** A computer that runs jobs: one home, one tool cache, one checkout. */
export interface Machine extends JobHost {
  readonly home: string
  /** Begins a job; several may run at the same time, as on a machine with several runners. */
  job(options?: JobOptions): Job
}

export interface MachineOptions {
  /** Directory to make the machine below. */
  readonly root: string
  /** What is set on every machine behind the sandbox's proxy. */
  readonly env: Readonly<Record<string, string>>
  readonly runnerEnvironment?: RunnerEnvironment
  /** Root of the action; default: this repository. */
  readonly action?: string
}

/** Makes a fresh machine below a directory. */
export async function createMachine(options: MachineOptions): Promise<Machine> {
  const action = await readAction(options.action ?? resolve(import.meta.dirname, '..'))
  await mkdir(options.root, { recursive: true })
  const root = await mkdtemp(join(options.root, 'machine-'))
  const home = join(root, 'home')
  const toolCache = join(root, 'tools')
  const temp = join(root, 'work', '_temp')
  const workspace = join(root, 'work', 'hello', 'hello')
  for (const directory of [home, toolCache, temp, workspace]) await mkdir(directory, { recursive: true })
  const machine: Machine = {
    home,
    toolCache,
    temp,
    workspace,
    env: { ...baseEnvironment(home), ...options.env },
    runnerEnvironment: options.runnerEnvironment ?? 'github-hosted',
    job: (jobOptions = {}) => createJob(machine, action, jobOptions),
  }
  return machine
}

/** Nothing of this process's own environment but PATH, and what no program on Windows runs without. */
function baseEnvironment(home: string): Record<string, string> {
  const path = [dirname(process.execPath), process.env.PATH ?? ''].filter((part) => part !== '').join(delimiter)
  if (process.platform !== 'win32') return { PATH: path, HOME: home, LANG: 'C.UTF-8' }
  const inherited = ['SystemRoot', 'SystemDrive', 'ComSpec', 'PATHEXT'].flatMap((name) => {
    const value = process.env[name]
    return value === undefined ? [] : [[name, value] as const]
  })
  return { ...Object.fromEntries(inherited), PATH: path, USERPROFILE: home }
}
