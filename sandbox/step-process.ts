import { spawn } from 'node:child_process'

export interface ProcessPlan {
  readonly file: string
  readonly args: readonly string[]
  readonly cwd: string
  readonly env: Readonly<Record<string, string>>
}

export interface ProcessEnd {
  readonly exitCode: number | null
  readonly signal: string | null
}

export interface StepProcess {
  readonly pid: number | undefined
  kill(signal: NodeJS.Signals): boolean
  /** Ends the process as the runner does for a cancelled job: politely, then less so, then for good. */
  cancel(): void
  readonly ended: Promise<ProcessEnd>
}

const TERMINATE_AFTER_MS = 7_500
const KILL_AFTER_MS = 10_000
// A grandchild may keep the pipes; the runner waits so long for them after the step's own end.
const PIPES_GRACE_MS = 5_000

/** Starts a process with a closed stdin and hands on what it prints. */
export function startProcess(
  plan: ProcessPlan,
  read: (stream: 'stdout' | 'stderr', chunk: Buffer) => void,
): StepProcess {
  const child = spawn(plan.file, plan.args, { cwd: plan.cwd, env: plan.env, stdio: ['ignore', 'pipe', 'pipe'] })
  const timers: NodeJS.Timeout[] = []
  child.stdout.on('data', (chunk: Buffer) => {
    read('stdout', chunk)
  })
  child.stderr.on('data', (chunk: Buffer) => {
    read('stderr', chunk)
  })
  const ended = new Promise<ProcessEnd>((resolve, reject) => {
    child.on('error', reject)
    child.on('exit', () => {
      for (const timer of timers.splice(0)) clearTimeout(timer)
      timers.push(
        setTimeout(() => {
          child.stdout.destroy()
          child.stderr.destroy()
        }, PIPES_GRACE_MS),
      )
    })
    child.on('close', (exitCode, signal) => {
      for (const timer of timers) clearTimeout(timer)
      resolve({ exitCode, signal })
    })
  })
  const killLater = (signal: NodeJS.Signals, ms: number) => setTimeout(() => child.kill(signal), ms)
  return {
    pid: child.pid,
    kill: (signal) => child.kill(signal),
    cancel: () => {
      child.kill('SIGINT')
      timers.push(killLater('SIGTERM', TERMINATE_AFTER_MS), killLater('SIGKILL', KILL_AFTER_MS))
    },
    ended,
  }
}
