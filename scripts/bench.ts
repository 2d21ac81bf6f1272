/**
 * Measures whole processes of the shipped action beside their floors: the same work by a good shell script, one command
 * after the other. Floor and action take turns, so that a busy machine slows both. Needs a shell with curl, tar and
 * sha256sum, and a machine with Linux for the memory.
 *
 *   npm run bench -- [--rounds 15] [--cli PATH] [--only WORDS] [--report]
 *
 * Prints a table with the recorded ratios beside those of now. Without --only, --cli and --report it records them: it writes
 * docs/bench/bench.json and docs/bench/bench.svg.
 */
import { spawn } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { mkdirSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { dirname, join, resolve } from 'node:path'
import { rootCertificates } from 'node:tls'
import { parseArgs } from 'node:util'
import { tarGz } from '../sandbox/archive.ts'
import { createMachine, type Machine } from '../sandbox/machine.ts'
import { openSandbox, type Sandbox } from '../sandbox/sandbox.ts'

interface Measure {
  readonly name: string
  readonly goal: number
  readonly unit: 'ms' | 'MiB'
  readonly floor: number
  readonly action: number
  /** Quartiles of the action's. */
  readonly spread: readonly [number, number]
  /** What the action would take if its own code took no time, where the floor holds less than that. */
  readonly bound?: number
}

interface Stage {
  readonly sandbox: Sandbox
  readonly machine: Machine
  readonly inputs: Record<string, string>
  readonly env: Record<string, string>
}

const ROOT = resolve(import.meta.dirname, '..')
const FOLDER = join(ROOT, 'docs', 'bench')
const VERSION = '9.9.2'
const SECRET = `secret-${randomBytes(16).toString('hex')}`
const API_KEY = `key-${randomBytes(16).toString('hex')}`
/** As large as a real archive, and as hard to compress as a program that is compressed already. */
const ARCHIVE_BYTES = 8_000_000

const TOKEN = `TOKEN=$(curl -sf -u "sa-bench:$SECRET" -H 'content-type: application/json' -d '{"grant_type":"client_credentials"}' https://api.blaxel.ai/v0/oauth/token | sed 's/.*"access_token":"\\([^"]*\\)".*/\\1/')
curl -sf -H "authorization: Bearer $TOKEN" -H 'x-blaxel-workspace: acme' https://api.blaxel.ai/v0/workspaces/acme >/dev/null
`
const LOGIN = 'BL_API_KEY="$TOKEN" "$BL" login acme --skip-version-warning >/dev/null\n'

const { values } = parseArgs({
  options: {
    rounds: { type: 'string', default: '15' },
    cli: { type: 'string' },
    only: { type: 'string' },
    report: { type: 'boolean' },
  },
})
const rounds = Number(values.rounds)

const stage = await openStage()
try {
  const cases: [string, () => Promise<Measure | readonly Measure[]>][] = [
    ['warm', warm],
    ['install only', installOnly],
    ['cold', cold],
    ['distant', distant],
    ['post', post],
    ...(process.platform === 'linux' && values.cli === undefined
      ? [['memory', memory] satisfies [string, typeof memory]]
      : []),
  ]
  const measures: Measure[] = []
  for (const [name, measure] of cases) {
    if (values.only === undefined || name.includes(values.only)) measures.push(...[await measure()].flat())
  }
  report(measures)
} finally {
  await stage.sandbox.close()
}

async function openStage(): Promise<Stage> {
  const sandbox = await openSandbox(values.cli === undefined ? {} : { cli: resolve(values.cli) })
  sandbox.blaxel.addClient('sa-bench', SECRET, { workspaces: ['acme'] })
  sandbox.blaxel.addApiKey(API_KEY, { workspaces: ['acme'] })
  const version = values.cli === undefined ? VERSION : (sandbox.github.latest ?? '').slice(1)
  if (values.cli === undefined) {
    const padding = { name: 'README.md', content: randomBytes(ARCHIVE_BYTES) }
    const program = await programOf(sandbox)
    sandbox.github.publish({ version, assets: { [sandbox.github.platformFile]: tarGz([padding, program]) } })
  }
  const machine = await createMachine({ root: sandbox.root, env: sandbox.env })
  const inputs = {
    version,
    workspace: 'acme',
    'client-id': 'sa-bench',
    'client-secret': SECRET,
    checksum: sandbox.github.sha256(version),
  }
  const step = await machine.job().uses({ with: { version, checksum: inputs.checksum } })
  if (step.exitCode !== 0) throw new Error(step.log)
  const env = { ...machine.env, BL: step.outputs.path ?? '', CURL_CA_BUNDLE: trustedRoots(sandbox), SECRET }
  return { sandbox, machine, inputs, env }
}

/**
 * What curl trusts: the same public roots that Node has built in, and the sandbox's. On every real machine curl reads
 * some 140 of them, which takes longer than the request.
 */
function trustedRoots(sandbox: Sandbox): string {
  const file = join(sandbox.root, 'trusted-roots.pem')
  const own = readFileSync(sandbox.env.SSL_CERT_FILE ?? '', 'utf8')
  writeFileSync(file, [...rootCertificates, own].join('\n'))
  return file
}

/** The stand-in's program, taken out of a release of its own. */
async function programOf(sandbox: Sandbox): Promise<{ name: string; content: Buffer; mode: number }> {
  const machine = await createMachine({ root: sandbox.root, env: sandbox.env })
  const step = await machine.job().uses({ with: { version: VERSION } })
  return { name: 'blaxel', content: readFileSync(join(dirname(step.outputs.path ?? ''), 'blaxel')), mode: 0o755 }
}

function freshMachine(): Promise<Machine> {
  return createMachine({ root: stage.sandbox.root, env: stage.sandbox.env })
}

async function action(machine: Machine, inputs: Record<string, string>): Promise<number> {
  const job = machine.job()
  const step = await job.uses({ with: inputs })
  if (step.exitCode !== 0) throw new Error(step.log)
  await job.end()
  return step.durationMs
}

function warm(): Promise<Measure> {
  const script = `node -e 0\n"$BL" version --skip-version-warning >/dev/null\n${TOKEN}${LOGIN}`
  return compare(
    'warm: exact version, OAuth login',
    0.9,
    () => shell(script),
    () => action(stage.machine, stage.inputs),
  )
}

function installOnly(): Promise<Measure> {
  const script = 'node -e 0\n"$BL" version --skip-version-warning'
  return compare(
    'warm: install only',
    1.4,
    () => shell(script),
    () => action(stage.machine, { version: stage.inputs.version ?? VERSION, checksum: stage.inputs.checksum ?? '' }),
  )
}

function post(): Promise<Measure> {
  const ours = async () => {
    const job = stage.machine.job()
    await job.uses({ with: stage.inputs })
    const [ended] = await job.end()
    return ended?.durationMs ?? Number.NaN
  }
  return compare('post', 1.8, nodeFloor, ours)
}

function cold(): Promise<Measure> {
  const { version } = stage.inputs
  const base = `https://github.com/blaxel-ai/toolkit/releases/download/v${String(version)}`
  const archive = stage.sandbox.github.platformFile
  const script = `node -e 0
curl -sfLO ${base}/${archive}
curl -sfLO ${base}/blaxel_${String(version)}_checksums.txt
grep ' ${archive}$' blaxel_${String(version)}_checksums.txt | sha256sum -c --quiet
tar -xzf ${archive}
BL=$PWD/blaxel
"$BL" version --skip-version-warning >/dev/null
${TOKEN}${LOGIN}`
  return compare(
    'cold: download and OAuth login',
    0.7,
    () => shell(script),
    async () => action(await freshMachine(), stage.inputs),
  )
}

/** Runs a script in an empty directory that is its home, too. */
async function shell(script: string): Promise<number> {
  const home = join(stage.sandbox.root, `shell-${randomBytes(4).toString('hex')}`)
  mkdirSync(home)
  try {
    return await time('/bin/bash', ['-ec', script], { ...stage.env, HOME: home }, home)
  } finally {
    rmSync(home, { recursive: true })
  }
}

function nodeFloor(): Promise<number> {
  return time(process.execPath, ['-e', '0'], stage.env, stage.sandbox.root)
}

function time(file: string, args: readonly string[], env: Record<string, string>, cwd: string): Promise<number> {
  const began = performance.now()
  return new Promise((done, fail) => {
    const child = spawn(file, args, { env, cwd, stdio: ['ignore', 'ignore', 'inherit'] })
    child.on('error', fail)
    child.on('exit', (code) => {
      if (code === 0) done(performance.now() - began)
      else fail(new Error(`${file} ended with ${String(code)}`))
    })
  })
}

async function compare(
  name: string,
  goal: number,
  floor: () => Promise<number>,
  ours: () => Promise<number>,
): Promise<Measure> {
  const floors: number[] = []
  const actions: number[] = []
  for (let round = 0; round <= rounds; round += 1) {
    const [a, b] = [await floor(), await ours()]
    // The first round fills the disk cache.
    if (round === 0) continue
    floors.push(a)
    actions.push(b)
  }
  return {
    name,
    goal,
    unit: 'ms',
    floor: quantile(floors, 0.5),
    action: quantile(actions, 0.5),
    spread: [quantile(actions, 0.25), quantile(actions, 0.75)],
  }
}

/** Every server answers 80 ms late, and sends no more than 20 MB/s. */
async function distant(): Promise<Measure> {
  // The floor is the network's time alone, but no step can do without these.
  const processes = (await median(nodeFloor)) + (await median(loginAlone))
  const delay = 80
  const bytesPerMs = 20_000
  const transfer = stage.sandbox.github.archive(stage.inputs.version ?? '').length / bytesPerMs
  const undo = ['github.com', 'api.blaxel.ai', 'release-assets.githubusercontent.com'].map((host) =>
    stage.sandbox.intercept({
      host,
      path: /./,
      answer: { kind: 'delay', ms: delay, bytesPerMs },
    }),
  )
  // Redirect and archive on the longer branch, then the two requests of bl login.
  const longest = delay + delay + transfer + 2 * delay
  const measure = await compare(
    'cold, 80 ms away, 20 MB/s',
    1.15,
    () => Promise.resolve(longest),
    async () => action(await freshMachine(), stage.inputs),
  )
  for (const each of undo) each()
  return { ...measure, bound: longest + processes }
}

/** `bl login` with nothing between it and the API. */
async function loginAlone(): Promise<number> {
  const home = mkdtempSync(join(stage.sandbox.root, 'login-'))
  const env = { ...stage.env, HOME: home, BL_API_KEY: API_KEY }
  return time(stage.env.BL ?? '', ['login', 'acme', '--skip-version-warning'], env, home)
}

async function median(measure: () => Promise<number>): Promise<number> {
  const times: number[] = []
  for (let round = 0; round < rounds; round += 1) times.push(await measure())
  return quantile(times, 0.5)
}

/** Peak resident memory, cold, with archives of 100 and 190 MB (200 MB is the cap). */
async function memory(): Promise<Measure[]> {
  const program = await programOf(stage.sandbox)
  const floor = await peak(() => ({ args: ['-e', 'setTimeout(() => 0, 30)'] }))
  const measures: Measure[] = []
  for (const megabytes of [100, 190]) {
    const version = `9.8.${megabytes}`
    const asset = tarGz([{ name: 'README.md', content: randomBytes(megabytes * 1_000_000) }, program])
    stage.sandbox.github.publish({ version, assets: { [stage.sandbox.github.platformFile]: asset } })
    const machine = await freshMachine()
    const step = machine.job().start({ with: { version, checksum: stage.sandbox.github.sha256(version) } })
    const action = await watch(step.pid ?? 0, step.result)
    measures.push({
      name: `memory: archive of ${megabytes} MB`,
      goal: 2.8,
      unit: 'MiB',
      floor,
      action,
      spread: [action, action],
    })
  }
  return measures
}

async function peak(command: () => { args: readonly string[] }): Promise<number> {
  const child = spawn(process.execPath, command().args, { stdio: 'ignore' })
  const ended = new Promise((done) => child.on('exit', done))
  return watch(child.pid ?? 0, ended)
}

/** The kernel's own high-water mark of a process, read until it ends. */
async function watch(pid: number, ended: Promise<unknown>): Promise<number> {
  let highest = 0
  const timer = setInterval(() => {
    try {
      const [, kilobytes] = /VmHWM:\s+(\d+)/.exec(readFileSync(`/proc/${pid}/status`, 'utf8')) ?? []
      highest = Math.max(highest, Number(kilobytes ?? 0) / 1024)
    } catch {
      // it has ended
    }
  }, 2)
  await ended
  clearInterval(timer)
  return highest
}

function quantile(numbers: readonly number[], share: number): number {
  const sorted = numbers.toSorted((a, b) => a - b)
  return sorted[Math.min(sorted.length - 1, Math.floor(share * sorted.length))] ?? Number.NaN
}

function sizes(): { name: string; bytes: number }[] {
  return ['dist/setup', 'dist/cleanup'].map((name) => ({ name, bytes: statSync(join(ROOT, name, 'index.js')).size }))
}

interface Recorded {
  readonly measures: readonly { readonly name: string; readonly ratio: number }[]
}

/** The ratios of the last record; none where there is no record. */
function recordedRatios(): Map<string, number> {
  try {
    const { measures } = JSON.parse(readFileSync(join(FOLDER, 'bench.json'), 'utf8')) as Recorded
    return new Map(measures.map(({ name, ratio }) => [name, ratio]))
  } catch {
    return new Map()
  }
}

function report(measures: readonly Measure[]): void {
  const recorded = recordedRatios()
  const shown = measures.map(({ name, goal, unit, floor, action, spread, bound }) => ({
    case: name,
    floor: `${floor.toFixed(0)} ${unit}`,
    action: `${action.toFixed(0)} ${unit} (${spread.map((edge) => edge.toFixed(0)).join('–')})`,
    ratio: (action / floor).toFixed(2),
    recorded: recorded.get(name)?.toFixed(2) ?? '–',
    goal: `≤ ${goal}`,
    'least possible': bound === undefined ? '' : (bound / floor).toFixed(2),
  }))
  console.table(shown)
  for (const { name, bytes } of sizes()) console.log(`${name}: ${Math.round(bytes / 1000)} kB`)
  if (values.only !== undefined || values.report === true || values.cli !== undefined) return
  mkdirSync(FOLDER, { recursive: true })
  const ratios = measures.map((measure) => ({ ...measure, ratio: Number((measure.action / measure.floor).toFixed(3)) }))
  writeFileSync(
    join(FOLDER, 'bench.json'),
    `${JSON.stringify({ rounds, measures: ratios, sizes: sizes() }, undefined, 2)}\n`,
  )
  writeFileSync(join(FOLDER, 'bench.svg'), chart(measures))
}

/** One bar a case: the action's share of its floor, which is the line at 1. */
function chart(measures: readonly Measure[]): string {
  const [row, left, scale] = [34, 260, 150]
  const height = measures.length * row + 40
  const bars = measures.map(({ name, goal, floor, action }, index) => {
    const ratio = action / floor
    const y = index * row + 30
    return `<text x="${left - 10}" y="${y + 15}" text-anchor="end">${name}</text><rect x="${left}" y="${y}" width="${(ratio * scale).toFixed(1)}" height="20" rx="3" fill="${ratio <= goal ? '#3b7' : '#c73'}"/><text x="${left + ratio * scale + 8}" y="${y + 15}">${ratio.toFixed(2)} ×</text>`
  })
  const floorAt = left + scale
  return `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 760 ${height}" font-family="sans-serif" font-size="13" fill="#777"><line x1="${floorAt}" x2="${floorAt}" y1="20" y2="${height - 8}" stroke="#999" stroke-dasharray="4 3"/><text x="${floorAt}" y="14" text-anchor="middle">floor</text>${bars.join('')}</svg>\n`
}
