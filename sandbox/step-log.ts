import { StringDecoder } from 'node:string_decoder'
import { parseCommand, type Command } from './commands.ts'
import type { Masker } from './masker.ts'

export interface Annotation {
  readonly level: 'notice' | 'warning' | 'error'
  readonly message: string
  readonly title?: string
}

type Stream = 'stdout' | 'stderr'
type Handler = (command: Command) => string | undefined

/** Reads what a step prints as the runner does: obeys its commands and keeps the log that a person sees. */
export class StepLog {
  readonly annotations: Annotation[] = []
  readonly debug: string[] = []
  readonly masks: string[] = []
  // The old commands that GitHub's runner has retired are obeyed, so that an injected one shows.
  readonly outputs: Record<string, string> = {}
  readonly state: Record<string, string> = {}
  readonly env: Record<string, string> = {}
  readonly paths: string[] = []

  readonly #masker: Masker
  readonly #showDebug: boolean
  readonly #lines: string[] = []
  readonly #raw: Buffer[] = []
  readonly #streams = { stdout: new LineReader(), stderr: new LineReader() }
  #stopToken: string | undefined

  constructor(masker: Masker, showDebug: boolean) {
    this.#masker = masker
    this.#showDebug = showDebug
  }

  /** Takes the next bytes of one of the two streams. */
  read(stream: Stream, chunk: Buffer): void {
    this.#raw.push(chunk)
    for (const line of this.#streams[stream].read(chunk)) this.#line(line)
  }

  /** Takes the last lines, which may have no line end. */
  finish(): void {
    for (const reader of [this.#streams.stdout, this.#streams.stderr]) {
      for (const line of reader.finish()) this.#line(line)
    }
  }

  /** Adds an annotation as a command, or the runner itself, makes it. */
  annotate(level: Annotation['level'], message: string, title?: string): void {
    const masked = this.#masker.mask(message)
    this.annotations.push({
      level,
      message: masked,
      ...(title === undefined ? {} : { title: this.#masker.mask(title) }),
    })
    this.#lines.push(`${LABELS[level]}: ${masked}`)
  }

  get log(): string {
    return this.#lines.map((line) => `${line}\n`).join('')
  }

  get raw(): string {
    return Buffer.concat(this.#raw).toString()
  }

  get stdout(): string {
    return this.#streams.stdout.text
  }

  get stderr(): string {
    return this.#streams.stderr.text
  }

  #line(line: string): void {
    const command = parseCommand(line, (name) => this.#isKnown(name))
    const shown = command === undefined ? line : this.#obey(command)
    if (shown !== undefined) this.#lines.push(this.#masker.mask(shown))
  }

  #isKnown(name: string): boolean {
    return this.#stopToken === undefined ? Object.hasOwn(this.#handlers, name) : name === this.#stopToken
  }

  #obey(command: Command): string | undefined {
    if (this.#stopToken === undefined) return this.#handlers[command.name]?.(command)
    this.#stopToken = undefined
    return undefined
  }

  readonly #handlers: Readonly<Record<string, Handler>> = {
    'add-mask': ({ data }) => {
      if (data.trim() === '')
        this.annotate('warning', "Can't add secret mask for empty string in ##[add-mask] command.")
      this.masks.push(data)
      this.#masker.add(data)
      return undefined
    },
    debug: ({ data }) => {
      this.debug.push(this.#masker.mask(data))
      return this.#showDebug ? `##[debug]${data}` : undefined
    },
    notice: this.#annotator('notice'),
    warning: this.#annotator('warning'),
    error: this.#annotator('error'),
    group: ({ data }) => `▸ ${data}`,
    endgroup: ignore,
    echo: ignore,
    'add-matcher': ignore,
    'remove-matcher': ignore,
    'stop-commands': ({ data }) => {
      this.#stopToken = data.toLowerCase()
      return undefined
    },
    'set-output': pairInto(this.outputs),
    'save-state': pairInto(this.state),
    'set-env': pairInto(this.env),
    'add-path': ({ data }) => {
      this.paths.push(data)
      return undefined
    },
  }

  #annotator(level: Annotation['level']): Handler {
    return ({ properties, data }) => {
      this.annotate(level, data, properties.title)
      return undefined
    }
  }
}

const LABELS = { notice: 'Notice', warning: 'Warning', error: 'Error' } as const

function ignore(): undefined {
  return undefined
}

function pairInto(target: Record<string, string>): Handler {
  return ({ properties: { name }, data }) => {
    if (name !== undefined) target[name] = data
    return undefined
  }
}

/** Cuts bytes into lines; a lone carriage return ends one too, as it does for GitHub's runner. */
class LineReader {
  readonly #decoder = new StringDecoder('utf8')
  readonly #parts: string[] = []
  #rest = ''

  get text(): string {
    return this.#parts.join('')
  }

  read(chunk: Buffer): string[] {
    return this.#cut(this.#decoder.write(chunk), /\r\n|\n|\r(?=[^\n])/)
  }

  finish(): string[] {
    const lines = this.#cut(this.#decoder.end(), /\r\n|\n|\r/)
    return this.#rest === '' ? lines : [...lines, this.#rest]
  }

  #cut(text: string, lineEnd: RegExp): string[] {
    this.#parts.push(text)
    const lines = (this.#rest + text).split(lineEnd)
    this.#rest = lines.pop() ?? ''
    return lines
  }
}
