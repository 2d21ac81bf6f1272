import { execFileSync, spawnSync } from 'node:child_process'
import { chmodSync, cpSync, mkdirSync, mkdtempSync, writeFileSync } from 'node:fs'
import { dirname, join, resolve } from 'node:path'
import { createMachine, type Machine } from '../../../sandbox/machine.ts'
import type { World } from '../world.ts'

/** The user and group `nobody` of Linux. */
const NOBODY = 65534
const isRoot = process.getuid?.() === 0

export interface Limits {
  /** No file may become larger than so many kB: a disk without room, as far as one process can tell. */
  readonly largestFile?: number
}

/**
 * A machine whose steps may not do everything: root may write anywhere, so where the tests are run by root the steps are
 * run by nobody. The shipped action is the one that runs, after a few lines that give up rights.
 */
export async function limitedMachine({ sandbox }: World, { largestFile }: Limits = {}): Promise<Machine> {
  const action = mkdtempSync(join(sandbox.root, 'action-'))
  const root = resolve(import.meta.dirname, '../../..')
  cpSync(join(root, 'action.yml'), join(action, 'action.yml'))
  cpSync(join(root, 'dist'), join(action, 'shipped'), { recursive: true })
  for (const entry of ['setup', 'cleanup']) {
    mkdirSync(join(action, 'dist', entry), { recursive: true })
    writeFileSync(join(action, 'dist', entry, 'package.json'), '{ "type": "module" }')
    writeFileSync(join(action, 'dist', entry, 'index.js'), givingUpRights(`../../shipped/${entry}/index.js`))
  }
  const machine = await createMachine({ root: sandbox.root, env: sandbox.env, action })
  if (isRoot) {
    // What the stand-in bl writes down is written by nobody, too.
    writeFileSync(join(sandbox.root, 'invocations.jsonl'), '', { flag: 'a' })
    chmodSync(join(sandbox.root, 'invocations.jsonl'), 0o666)
    for (const directory of [sandbox.root, action]) chmodSync(directory, 0o755)
    execFileSync('chown', ['-hR', `${NOBODY}:${NOBODY}`, dirname(machine.home)])
  }
  if (largestFile === undefined) return machine
  // In bash the unit is 1 kB on every system.
  const inside = ['bash', '-c', 'ulimit -f "$0" && exec "$@"', `${largestFile}`] as const
  return { ...machine, job: (options) => machine.job({ inside, ...options }) }
}

/** Gives a path that root has made to the user of a limited machine. */
export function handOver(path: string): void {
  if (isRoot) execFileSync('chown', ['-hR', `${NOBODY}:${NOBODY}`, path])
}

function givingUpRights(next: string): string {
  const lines = [
    "import { execFileSync } from 'node:child_process'",
    'const { env } = process',
    ...(isRoot
      ? [
          `execFileSync('chown', ['-hR', '${NOBODY}:${NOBODY}', env.RUNNER_TEMP])`,
          `process.setgroups([])`,
          `process.setgid(${NOBODY})`,
          `process.setuid(${NOBODY})`,
        ]
      : []),
    `await import('${next}')`,
  ]
  return `${lines.join('\n')}\n`
}

/** Does something while a directory can't be written to. */
export async function whileReadOnly<T>(directory: string, work: () => Promise<T>): Promise<T> {
  chmodSync(directory, 0o555)
  try {
    return await work()
  } finally {
    chmodSync(directory, 0o755)
  }
}

/** Does something while a small disk of its own stands at a directory. */
export async function withSmallDisk<T>(directory: string, kilobytes: number, work: () => Promise<T>): Promise<T> {
  execFileSync('mount', ['-t', 'tmpfs', '-o', `size=${kilobytes}k,mode=0755`, 'none', directory])
  try {
    handOver(directory)
    return await work()
  } finally {
    execFileSync('umount', ['-l', directory])
  }
}

/** Whether this process may mount a disk; in most containers it may not. */
export function mayMount(): boolean {
  if (!isRoot) return false
  return spawnSync('unshare', ['-m', 'mount', '-t', 'tmpfs', '-o', 'size=4k', 'none', '/mnt']).status === 0
}

/** Whether files of another user can be made, and steps be run by another user than that. */
export const mayChangeOwner = isRoot
