import { randomBytes, randomUUID } from 'node:crypto'
import { mkdirSync, mkdtempSync, writeFileSync } from 'node:fs'
import { delimiter, dirname, join } from 'node:path'
import type { Action } from './action.ts'
import {
  createCommandFiles,
  parsePairs,
  readCommandFiles,
  type CommandFile,
  type CommandFiles,
} from './command-files.ts'
import { evaluateTemplate, type Contexts, type Value } from './expression.ts'
import { Masker } from './masker.ts'
import { endOrphans } from './orphans.ts'
import {
  ACTION_NAME,
  actionVariables,
  contextOf,
  runnerVariables,
  type JobFacts,
  type RunnerEnvironment,
} from './runner-variables.ts'
import { StepLog, type Annotation } from './step-log.ts'
import { startProcess, type ProcessEnd, type ProcessPlan } from './step-process.ts'

/** The machine that a job runs on. */
export interface JobHost {
  readonly temp: string
  readonly toolCache: string
  /** The checkout. */
  readonly workspace: string
  /** The machine's environment: PATH, HOME, the proxy … */
  readonly env: Record<string, string>
  readonly runnerEnvironment: RunnerEnvironment
}

export interface JobOptions extends JobFacts {
  /** The job's `env:`; may hold expressions. */
  readonly env?: Readonly<Record<string, string>>
  readonly secrets?: Readonly<Record<string, string>>
  readonly vars?: Readonly<Record<string, string>>
  readonly event?: object
  /** Variables that the runner would set but here does not. */
  readonly omit?: readonly string[]
  /** RUNNER_TEMP; default: a fresh directory below the machine's. */
  readonly temp?: string
  /** The checkout; default: the machine's. */
  readonly workspace?: string
  /** A program that runs the process of each step, with its arguments: `unshare …`, as if in a container. */
  readonly inside?: readonly [string, ...string[]]
}

type Environment = Record<string, string>

interface StepOptions {
  readonly id?: string
  readonly env?: Readonly<Environment>
}

/** A step that uses the action. Values may hold expressions, which are evaluated at main and again at post. */
export interface UsesStep extends StepOptions {
  readonly with?: Readonly<Environment>
}

/** A step that runs a script. */
export interface RunStep extends StepOptions {
  readonly shell?: 'bash' | 'sh'
}

export interface StepResult {
  /** What the runner makes of the step: a malformed command file fails a process that exits 0. */
  readonly outcome: Outcome
  readonly exitCode: number | null
  readonly signal: string | null
  /** What the runner prints before the step's own log: its inputs and environment, masked. */
  readonly header: string
  /** As a person sees it: masked, commands rendered. */
  readonly log: string
  /** Every byte of stdout and stderr, unmasked, in order of arrival. */
  readonly raw: string
  readonly stdout: string
  readonly stderr: string
  readonly annotations: readonly Annotation[]
  readonly debug: readonly string[]
  readonly outputs: Readonly<Environment>
  readonly state: Readonly<Environment>
  /** What it added to the environment of later steps. */
  readonly env: Readonly<Environment>
  readonly paths: readonly string[]
  readonly summary: string
  /** What it asked to mask, in order. */
  readonly masks: readonly string[]
  /** From the start of its process to its end. */
  readonly durationMs: number
  /** The raw text of its command files. */
  readonly files: Readonly<Record<CommandFile, string>>
}

/** The Node that runs the action: another one than this, where its faults are to be seen. */
const ACTION_NODE = process.env.SETUP_BL_NODE ?? process.execPath

type Outcome = 'success' | 'failure' | 'cancelled'

/** Something that runs; signals go to the process of the moment. */
export interface Running<T> {
  readonly pid: number | undefined
  kill(signal: NodeJS.Signals): boolean
  /** SIGINT, 7.5 s later SIGTERM, 2.5 s later SIGKILL. */
  cancel(): void
  outputSoFar(): string
  readonly result: Promise<T>
}

export type RunningStep = Running<StepResult>

/** Begins a job on a machine. */
export function createJob(host: JobHost, action: Action, options: JobOptions): Job {
  return new Job(host, action, options)
}

interface UsesRecord {
  readonly id: string
  readonly step: UsesStep
}

/** What tells one way of running a step from another. */
interface StepPlan {
  readonly id: string
  readonly title: string
  readonly inputs: Readonly<Environment>
  readonly env: Readonly<Environment>
  readonly extra: Readonly<Environment>
  readonly command: Pick<ProcessPlan, 'file' | 'args'>
  readonly warnings: readonly string[]
}

export type { Job }

/** One job of a workflow, as the runner runs it. */
class Job {
  /** The job's environment as its steps have made it; may be changed, to simulate a step. */
  readonly env: Environment
  /** What steps have put in front of PATH, newest first. */
  readonly path: string[] = []
  /** What is masked, in order: the job's secrets, then what steps asked for. */
  readonly masks: string[] = []
  readonly temp: string
  readonly workspace: string
  /** Processes that steps had left running when the job ended; they got a SIGKILL. */
  orphans: readonly number[] = []

  readonly #host: JobHost
  readonly #action: Action
  readonly #options: JobOptions
  readonly #masker = new Masker()
  readonly #token = `ghs_${randomBytes(18).toString('hex')}`
  readonly #runtimeToken = randomBytes(48).toString('base64url')
  readonly #trackingId = `github_${randomUUID()}`
  readonly #runnerEnv: Readonly<Environment>
  readonly #uses: UsesRecord[] = []
  readonly #steps: Record<string, { outputs: Environment; outcome: Outcome | '' }> = {}
  readonly #states: Record<string, Environment> = {}

  constructor(host: JobHost, action: Action, options: JobOptions) {
    this.#host = host
    this.#action = action
    this.#options = options
    this.temp = options.temp ?? mkdtempSync(join(host.temp, 'job-'))
    this.workspace = options.workspace ?? host.workspace
    this.env = {}
    for (const secret of [...Object.values(options.secrets ?? {}), this.#token]) this.#mask(secret)
    this.#masker.add(this.#runtimeToken)
    this.#runnerEnv = this.#runnerVariables()
    Object.assign(this.env, this.#evaluate(options.env ?? {}, {}))
  }

  /** Runs the action's main. */
  uses(step: UsesStep = {}): Promise<StepResult> {
    return this.start(step).result
  }

  /** Starts the action's main without waiting for its end. */
  start(step: UsesStep = {}): RunningStep {
    const id = this.#newStep(step.id ?? '__blaxel-ai_setup-bl')
    // The runner knows of the post before main runs, so that it runs whatever becomes of main.
    this.#uses.push({ id, step })
    return this.#begin(this.#planAction(id, step, this.#action.main, {}))
  }

  /** Runs a script, as a later step of the workflow does. */
  run(script: string, step: RunStep = {}): Promise<StepResult> {
    return this.startRun(script, step).result
  }

  /** Starts a script without waiting for its end. */
  startRun(script: string, step: RunStep = {}): RunningStep {
    const id = this.#newStep(step.id ?? '__run')
    const env = this.#evaluate(step.env ?? {}, {})
    const text = evaluateTemplate(script, this.#contexts(env))
    const shell = SHELLS[step.shell ?? DEFAULT_SHELL]
    const file = join(this.temp, `${randomUUID()}${shell.extension}`)
    writeFileSync(file, `${shell.prefix}${text}\n`)
    const command = { file: shell.file, args: [...shell.args, file] }
    const title = `Run ${text.trim()}\nshell: ${command.file} ${command.args.slice(0, -1).join(' ')} {0}`
    return this.#begin({ id, title, inputs: {}, env, extra: {}, command, warnings: [] })
  }

  /** Ends the job: runs the posts of its uses-steps, the last one first. */
  end(): Promise<StepResult[]> {
    return this.startEnd().result
  }

  /** Starts the end of the job without waiting for it. */
  startEnd(): Running<StepResult[]> {
    const ended: StepResult[] = []
    let current: RunningStep | undefined
    const runPosts = async (): Promise<StepResult[]> => {
      for (const { id, step } of this.#uses.splice(0).reverse()) {
        current = this.#startPost(id, step)
        if (current !== undefined) ended.push(await current.result)
      }
      current = undefined
      this.orphans = await endOrphans(this.#trackingId)
      return ended
    }
    const result = runPosts()
    return {
      get pid() {
        return current?.pid
      },
      kill: (signal) => current?.kill(signal) ?? false,
      cancel: () => current?.cancel(),
      outputSoFar: () => ended.map(({ raw }) => raw).join('') + (current?.outputSoFar() ?? ''),
      result,
    }
  }

  /** What a uses-step has saved for its post; may be changed. */
  stateOf(stepId: string): Environment {
    return (this.#states[stepId] ??= {})
  }

  #startPost(id: string, step: UsesStep): RunningStep | undefined {
    const { post } = this.#action
    if (post === undefined) return undefined
    const state = Object.entries(this.stateOf(id)).map(([name, value]) => [`STATE_${name}`, value])
    return this.#begin(this.#planAction(id, step, post.script, Object.fromEntries(state) as Environment))
  }

  #planAction(id: string, step: UsesStep, script: string, state: Environment): StepPlan {
    const env = this.#evaluate(step.env ?? {}, {})
    const given = this.#evaluate(step.with ?? {}, env)
    const inputs = { ...given, ...this.#defaultInputs(given) }
    const variables = Object.entries(inputs).map(([name, value]) => [inputVariable(name), value] as const)
    return {
      id,
      title: `${script === this.#action.main ? 'Run' : 'Post'} ${ACTION_NAME}`,
      inputs,
      env,
      extra: {
        ...actionVariables(this.#runtimeToken),
        ...Object.fromEntries(variables),
        ...state,
      },
      command: { file: ACTION_NODE, args: [script] },
      warnings: this.#inputWarnings(Object.keys(given)),
    }
  }

  #defaultInputs(given: Readonly<Environment>): Environment {
    const names = new Set(Object.keys(given).map((name) => name.toLowerCase()))
    const missing = this.#action.inputs.filter(({ name }) => !names.has(name.toLowerCase()))
    const contexts = this.#contexts({})
    return Object.fromEntries(missing.map(({ name, fallback }) => [name, evaluateTemplate(fallback, contexts)]))
  }

  #inputWarnings(given: readonly string[]): string[] {
    const declared = new Map(this.#action.inputs.map((input) => [input.name.toLowerCase(), input]))
    const deprecated = given.flatMap((name) => {
      const message = declared.get(name.toLowerCase())?.deprecationMessage
      return message === undefined ? [] : [`Input '${name}' has been deprecated with message: ${message}`]
    })
    const unexpected = given.filter((name) => !declared.has(name.toLowerCase()))
    if (unexpected.length === 0) return deprecated
    const valid = this.#action.inputs.map(({ name }) => `'${name}'`).join(', ')
    const names = unexpected.map((name) => `'${name}'`).join(', ')
    return [...deprecated, `Unexpected input(s) ${names}, valid inputs are [${valid}]`]
  }

  #begin(plan: StepPlan): RunningStep {
    const files = createCommandFiles(this.temp)
    const log = new StepLog(this.#masker, this.#options.debug === true)
    for (const warning of plan.warnings) log.annotate('warning', warning)
    const header = this.#masker.mask(renderHeader(plan, this.env))
    let cancelled = false
    const process = { ...this.#wrap(plan.command), cwd: this.workspace, env: this.#environment(plan, files) }
    const startedAt = performance.now()
    const child = startProcess(process, (stream, chunk) => {
      log.read(stream, chunk)
    })
    return {
      pid: child.pid,
      kill: (signal) => child.kill(signal),
      cancel: () => {
        cancelled = true
        child.cancel()
      },
      outputSoFar: () => log.raw,
      result: child.ended.then((end) => {
        const durationMs = performance.now() - startedAt
        return { ...this.#finish(plan, log, files, end, cancelled), header, durationMs }
      }),
    }
  }

  #wrap({ file, args }: StepPlan['command']): StepPlan['command'] {
    const [program, ...before] = this.#options.inside ?? []
    return program === undefined ? { file, args } : { file: program, args: [...before, file, ...args] }
  }

  #finish(plan: StepPlan, log: StepLog, files: CommandFiles, end: ProcessEnd, cancelled: boolean): Finished {
    log.finish()
    const texts = readCommandFiles(files)
    const spoken = readEffects(log, texts)
    const outcome = cancelled ? 'cancelled' : spoken.valid && end.exitCode === 0 ? 'success' : 'failure'
    this.#apply(plan.id, log, spoken)
    this.#steps[plan.id] = { outputs: { ...this.#steps[plan.id]?.outputs, ...spoken.outputs }, outcome }
    return {
      outcome,
      ...end,
      log: log.log,
      raw: log.raw,
      stdout: log.stdout,
      stderr: log.stderr,
      annotations: log.annotations,
      debug: log.debug,
      outputs: spoken.outputs,
      state: spoken.state,
      env: spoken.env,
      paths: spoken.paths,
      summary: texts.GITHUB_STEP_SUMMARY,
      masks: log.masks,
      files: texts,
    }
  }

  #apply(stepId: string, log: StepLog, { env, paths, state }: Effects): void {
    this.masks.push(...log.masks)
    Object.assign(this.env, env)
    Object.assign(this.stateOf(stepId), state)
    for (const path of paths) {
      const known = this.path.indexOf(path)
      if (known >= 0) this.path.splice(known, 1)
      this.path.unshift(path)
    }
  }

  #environment({ id, env, extra }: StepPlan, files: CommandFiles): Environment {
    const omitted = new Set(this.#options.omit)
    const keep = (variables: Readonly<Environment>) =>
      Object.fromEntries(Object.entries(variables).filter(([name]) => !omitted.has(name)))
    const set: Environment = {
      ...keep(this.#host.env),
      ...this.env,
      ...env,
      ...keep({ ...this.#runnerEnv, GITHUB_ACTION: id, ...files }),
      ...keep(extra),
    }
    const path = [...this.path, set.PATH].filter((part) => part !== undefined)
    return path.length === 0 ? set : { ...set, PATH: path.join(delimiter) }
  }

  #evaluate(values: Readonly<Environment>, stepEnv: Readonly<Environment>): Environment {
    const contexts = this.#contexts(stepEnv)
    return Object.fromEntries(Object.entries(values).map(([name, text]) => [name, evaluateTemplate(text, contexts)]))
  }

  #contexts(stepEnv: Readonly<Environment>): Contexts {
    const { secrets, vars } = this.#options
    return {
      secrets: { ...secrets, GITHUB_TOKEN: this.#token },
      vars: { ...vars },
      env: { ...this.env, ...stepEnv },
      github: this.#githubContext(),
      runner: contextOf(this.#runnerEnv, 'RUNNER_'),
      steps: this.#steps,
    }
  }

  #githubContext(): Record<string, Value> {
    const event = JSON.parse(JSON.stringify(this.#options.event ?? {})) as Value
    return { ...contextOf(this.#runnerEnv, 'GITHUB_'), token: this.#token, event }
  }

  #runnerVariables(): Environment {
    const { event = {}, ...options } = this.#options
    const eventPath = join(this.temp, '_github_workflow', 'event.json')
    mkdirSync(dirname(eventPath), { recursive: true })
    writeFileSync(eventPath, JSON.stringify(event))
    return runnerVariables({
      ...options,
      eventPath,
      temp: this.temp,
      workspace: this.workspace,
      toolCache: this.#host.toolCache,
      runnerEnvironment: this.#host.runnerEnvironment,
      trackingId: this.#trackingId,
    })
  }

  #mask(value: string): void {
    if (value === '') return
    this.masks.push(value)
    this.#masker.add(value)
  }

  #newStep(wanted: string): string {
    let id = wanted
    for (let next = 2; Object.hasOwn(this.#steps, id); next++) id = `${wanted}_${next}`
    this.#steps[id] = { outputs: {}, outcome: '' }
    return id
  }
}

type Finished = Omit<StepResult, 'header' | 'durationMs'>

interface Effects {
  readonly valid: boolean
  readonly outputs: Environment
  readonly state: Environment
  readonly env: Environment
  readonly paths: string[]
}

const BASH = { file: 'bash', extension: '.sh', prefix: '' }
const SHELLS = {
  default: { ...BASH, args: ['-e'] },
  bash: { ...BASH, args: ['--noprofile', '--norc', '-e', '-o', 'pipefail'] },
  sh: { ...BASH, file: 'sh', args: ['-e'] },
  cmd: {
    file: process.env.ComSpec ?? 'cmd.exe',
    extension: '.cmd',
    prefix: '@echo off\n',
    args: ['/d', '/e:on', '/v:off', '/c', 'call'],
  },
} as const
/** The runner's own default on Windows is PowerShell, which takes a second to start. */
const DEFAULT_SHELL = process.platform === 'win32' ? 'cmd' : 'default'

function inputVariable(name: string): string {
  return `INPUT_${name.replaceAll(' ', '_').toUpperCase()}`
}

/** Reads what a step has said in its command files and by old commands; a file that is wrong fails the step. */
function readEffects(log: StepLog, texts: CommandFiles): Effects {
  const wrong: CommandFile[] = []
  const pairsOf = (file: CommandFile, name: string): Environment => {
    try {
      const pairs = parsePairs(texts[file])
      if (file === 'GITHUB_ENV' && Object.keys(pairs).some((key) => key.toUpperCase() === 'NODE_OPTIONS')) {
        throw new Error("Can't store NODE_OPTIONS output parameter using '$GITHUB_ENV' command.")
      }
      return pairs
    } catch (error) {
      wrong.push(file)
      log.annotate('error', `Unable to process file command '${name}' successfully.`)
      log.annotate('error', (error as Error).message)
      return {}
    }
  }
  const env = { ...log.env, ...pairsOf('GITHUB_ENV', 'env') }
  const outputs = { ...log.outputs, ...pairsOf('GITHUB_OUTPUT', 'output') }
  const state = { ...log.state, ...pairsOf('GITHUB_STATE', 'state') }
  const paths = [...log.paths, ...texts.GITHUB_PATH.split(/\r?\n/).filter((path) => path !== '')]
  return { valid: wrong.length === 0, env, outputs, state, paths }
}

function renderHeader({ title, inputs, env }: StepPlan, jobEnv: Readonly<Environment>): string {
  const list = (name: string, values: Readonly<Environment>) => {
    const given = Object.entries(values).filter(([, value]) => value !== '')
    return given.length === 0 ? [] : [`${name}:`, ...given.map(([key, value]) => `  ${key}: ${value}`)]
  }
  return [title, ...list('with', inputs), ...list('env', { ...jobEnv, ...env }), ''].join('\n')
}
