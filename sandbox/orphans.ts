import { readdirSync, readFileSync } from 'node:fs'

/** Kills what a job has left running, recognised as the runner does it: by the tracking id in its environment. */
export function endOrphans(trackingId: string): number[] {
  if (process.platform !== 'linux') return []
  const orphans = readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name) && environmentOf(name).includes(`RUNNER_TRACKING_ID=${trackingId}`))
    .map(Number)
  return orphans.filter(kill)
}

function environmentOf(pid: string): string[] {
  try {
    return readFileSync(`/proc/${pid}/environ`, 'utf8').split('\0')
  } catch {
    return []
  }
}

function kill(pid: number): boolean {
  try {
    return process.kill(pid, 'SIGKILL')
  } catch {
    return false
  }
}
