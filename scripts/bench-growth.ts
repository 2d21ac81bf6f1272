/**
 * Measures how the cost of a job with a cached CLI and an OAuth login grows: with the versions in the tool cache, with
 * the workspaces in the machine's config, and with the jobs that run at once on one machine.
 *
 *   npm run bench:growth -- [--rounds 7]
 *
 * Prints a table, and writes docs/bench/growth.json.
 */
import { randomBytes } from 'node:crypto'
import { mkdirSync, writeFileSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { parseArgs } from 'node:util'
import { createMachine, type Machine } from '../sandbox/machine.ts'
import { openSandbox } from '../sandbox/sandbox.ts'

interface Growth {
  readonly what: string
  readonly size: number
  /** Median of a whole job, main and post, in ms; with several jobs at once, of all of them together. */
  readonly ms: number
  /** To the smallest size of its kind. */
  readonly ratio: number
}

const VERSION = '9.9.2'
const SECRET = `secret-${randomBytes(16).toString('hex')}`

const { values } = parseArgs({ options: { rounds: { type: 'string', default: '7' } } })
const rounds = Number(values.rounds)
const sandbox = await openSandbox()
sandbox.blaxel.addClient('sa-bench', SECRET, { workspaces: ['acme'] })
const inputs = {
  version: VERSION,
  checksum: sandbox.github.sha256(VERSION),
  workspace: 'acme',
  'client-id': 'sa-bench',
  'client-secret': SECRET,
}
try {
  const growths = [
    ...(await grow('versions in the tool cache', [1, 50, 500], withVersions)),
    ...(await grow('workspaces in the config', [1, 100, 5000], withWorkspaces)),
    ...(await grow('jobs at once', [1, 5, 10, 20, 40], withJobs)),
  ]
  console.table(growths.map((each) => ({ ...each, ms: each.ms.toFixed(0), ratio: each.ratio.toFixed(2) })))
  const folder = resolve(import.meta.dirname, '..', 'docs', 'bench')
  mkdirSync(folder, { recursive: true })
  writeFileSync(join(folder, 'growth.json'), `${JSON.stringify({ rounds, growths }, undefined, 2)}\n`)
} finally {
  await sandbox.close()
}

/** The sizes take turns, so that a busy machine slows all of them. */
async function grow(
  what: string,
  sizes: readonly number[],
  prepare: (size: number) => Promise<() => Promise<unknown>>,
): Promise<Growth[]> {
  const cases = await Promise.all(
    sizes.map(async (size) => ({ size, work: await prepare(size), times: [] as number[] })),
  )
  for (let round = 0; round <= rounds; round += 1) {
    for (const { work, times } of cases) {
      const began = performance.now()
      await work()
      // The first round fills the disk cache.
      if (round > 0) times.push(performance.now() - began)
    }
  }
  const smallest = median(cases[0]?.times ?? [])
  return cases.map(({ size, times }) => ({ what, size, ms: median(times), ratio: median(times) / smallest }))
}

async function withVersions(count: number): Promise<() => Promise<void>> {
  const machine = await warmMachine()
  for (let patch = 1; patch < count; patch += 1) {
    const directory = join(machine.toolCache, 'bl', `9.8.${patch}`, 'x64')
    mkdirSync(directory, { recursive: true })
    writeFileSync(`${directory}.complete`, '')
  }
  return () => job(machine)
}

async function withWorkspaces(count: number): Promise<() => Promise<void>> {
  const machine = await warmMachine()
  const names = Array.from({ length: count }, (_, index) => `workspace-${index}`)
  const entries = names.map((name) => `    - name: ${name}\n      credentials:\n        apiKey: key-of-${name}\n`)
  mkdirSync(join(machine.home, '.blaxel'), { recursive: true })
  writeFileSync(join(machine.home, '.blaxel', 'config.yaml'), `workspaces:\n${entries.join('')}`, { mode: 0o600 })
  return () => job(machine)
}

async function withJobs(count: number): Promise<() => Promise<unknown>> {
  const machine = await warmMachine()
  return () => Promise.all(Array.from({ length: count }, () => job(machine)))
}

async function warmMachine(): Promise<Machine> {
  const machine = await createMachine({ root: sandbox.root, env: sandbox.env })
  await job(machine)
  return machine
}

async function job(machine: Machine): Promise<void> {
  const running = machine.job()
  const step = await running.uses({ with: inputs })
  if (step.exitCode !== 0) throw new Error(step.log)
  const [ended] = await running.end()
  if (ended?.exitCode !== 0 || ended.annotations.length > 0) throw new Error(ended?.log)
}

function median(numbers: readonly number[]): number {
  const sorted = numbers.toSorted((a, b) => a - b)
  return sorted[Math.floor(sorted.length / 2)] ?? Number.NaN
}
