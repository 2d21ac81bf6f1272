import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { setTimeout as sleep } from 'node:timers/promises'

/** How often to look again at a process that has no environment, 1 ms apart. */
const LOOKS = 500
/** Those that were looked at so often: they have none. */
const bare = new Set<string>()

/** Kills what a job has left running, recognised as the runner does it: by the tracking id in its environment. */
export async function endOrphans(trackingId: string): Promise<number[]> {
  if (process.platform !== 'linux') return []
  const pids = readdirSync('/proc').filter((name) => /^\d+$/.test(name))
  const environments = await Promise.all(pids.map(environmentOf))
  return pids
    .filter((_, index) => environments[index]?.includes(`RUNNER_TRACKING_ID=${trackingId}`))
    .map(Number)
    .filter(kill)
}

/** The environment of a process; in the middle of an execve the kernel shows an empty one, so look until it is over. */
async function environmentOf(pid: string): Promise<string[]> {
  for (let look = 0; look < LOOKS; look++) {
    const environment = read(`/proc/${pid}/environ`)
    const isKernelThread = !existsSync(`/proc/${pid}/exe`)
    if (environment !== '' || isKernelThread || bare.has(pid)) return environment.split('\0')
    await sleep(1)
  }
  bare.add(pid)
  return []
}

function read(path: string): string {
  try {
    return readFileSync(path, 'utf8')
  } catch {
    return ''
  }
}

function kill(pid: number): boolean {
  try {
    return process.kill(pid, 'SIGKILL')
  } catch {
    return false
  }
}
