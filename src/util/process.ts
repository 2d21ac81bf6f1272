import { spawn, type ChildProcess } from 'node:child_process'
import { join } from 'node:path'

export interface Command {
  /** Absolute path: nothing is looked up in PATH. */
  readonly file: string
  readonly args: readonly string[]
  /** The whole environment: the child inherits nothing. */
  readonly env: Readonly<Record<string, string>>
  readonly cwd: string
  readonly timeoutMs: number
}

export type Outcome =
  | { readonly kind: 'exited'; readonly code: number; readonly stdout: string; readonly stderr: string }
  | { readonly kind: 'killed'; readonly signal: string }
  | { readonly kind: 'timed-out' }
  | { readonly kind: 'not-started'; readonly error: Error }

/** Runs a program to its end. */
export type Run = (command: Command, signal: AbortSignal) => Promise<Outcome>

const LONGEST_OUTPUT = 64_000
/** How long a child's descendants may keep its pipes open after it has ended. */
const PIPE_GRACE_MS = 200

/**
 * The only place that starts a process: no shell, closed stdin, an own process group, and a deadline at which the whole
 * group is killed.
 * @throws the signal's reason when it fires, after the group was killed
 */
export const run: Run = async (command, signal) => {
  signal.throwIfAborted()
  const child = start(command)
  if (child instanceof Error) return { kind: 'not-started', error: child }
  const deadline = { passed: false }
  const timer = setTimeout(() => {
    deadline.passed = true
    killTree(child)
  }, command.timeoutMs)
  const stop = () => {
    killTree(child)
  }
  signal.addEventListener('abort', stop, { once: true })
  try {
    const outcome = await ended(child)
    signal.throwIfAborted()
    return deadline.passed ? { kind: 'timed-out' } : outcome
  } finally {
    clearTimeout(timer)
    signal.removeEventListener('abort', stop)
  }
}

/** Some damaged programs make `spawn` throw at once, others emit an `error` event later. */
function start({ file, args, cwd, env }: Command): ChildProcess | Error {
  try {
    return spawn(file, args, {
      cwd,
      env,
      stdio: ['ignore', 'pipe', 'pipe'],
      // On Windows this would open a console window; there taskkill /T finds the tree by its parents.
      detached: process.platform !== 'win32',
      windowsHide: true,
    })
  } catch (error) {
    return error instanceof Error ? error : new Error(String(error))
  }
}

function ended(child: ChildProcess): Promise<Outcome> {
  const stdout = collect(child.stdout)
  const stderr = collect(child.stderr)
  return new Promise((resolve) => {
    let finish = (): void => undefined
    let grace: NodeJS.Timeout | undefined
    child.once('error', (error) => {
      resolve({ kind: 'not-started', error })
    })
    child.once('exit', (code, signal) => {
      finish = () => {
        killTree(child) // what it left behind in its group
        child.stdout?.destroy()
        child.stderr?.destroy()
        resolve(
          code === null
            ? { kind: 'killed', signal: signal ?? 'unknown' }
            : { kind: 'exited', code, stdout: stdout(), stderr: stderr() },
        )
      }
      grace = setTimeout(finish, PIPE_GRACE_MS)
    })
    child.once('close', () => {
      clearTimeout(grace)
      finish()
    })
  })
}

function collect(stream: NodeJS.ReadableStream | null): () => string {
  const chunks: Buffer[] = []
  let length = 0
  stream?.on('data', (chunk: Buffer) => {
    if (length < LONGEST_OUTPUT) chunks.push(chunk)
    length += chunk.length
  })
  return () => Buffer.concat(chunks).toString('utf8').slice(0, LONGEST_OUTPUT)
}

function killTree(child: ChildProcess): void {
  if (child.pid === undefined) return
  if (process.platform === 'win32') {
    if (child.exitCode !== null) return
    const taskkill = join(process.env.SystemRoot ?? 'C:\\Windows', 'System32', 'taskkill.exe')
    spawn(taskkill, ['/pid', String(child.pid), '/T', '/F'], { stdio: 'ignore', env: {} }).on('error', () =>
      child.kill(),
    )
    return
  }
  try {
    process.kill(-child.pid, 'SIGKILL')
  } catch {
    // the group is gone already
  }
}
