import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { parse } from 'yaml'

/** What action.yml says, as far as the runner needs it. */
export interface Action {
  readonly directory: string
  readonly inputs: readonly ActionInput[]
  readonly main: string
  /** It runs always, whatever became of main. */
  readonly post: { readonly script: string } | undefined
}

export interface ActionInput {
  readonly name: string
  readonly fallback: string
  readonly deprecationMessage: string | undefined
}

/** Reads the action.yml of an action. */
export async function readAction(directory: string): Promise<Action> {
  const text = await readFile(join(directory, 'action.yml'), 'utf8')
  // With this schema each scalar stays the text that it is: default: true is 'true'.
  const file = map(parse(text, { schema: 'failsafe' }))
  const runs = map(file.runs)
  const main = string(runs.main)
  const post = string(runs.post)
  if (!string(runs.using)?.startsWith('node') || main === undefined) {
    throw new Error(`${directory}/action.yml is not that of a JavaScript action`)
  }
  if (post !== undefined && (string(runs['post-if']) ?? 'always()') !== 'always()') {
    throw new Error(`The sandbox knows no other post-if than always(): ${directory}/action.yml`)
  }
  return {
    directory,
    inputs: Object.entries(map(file.inputs)).map(([name, input]) => readInput(name, map(input))),
    main: join(directory, main),
    post: post === undefined ? undefined : { script: join(directory, post) },
  }
}

function readInput(name: string, input: Readonly<Record<string, unknown>>): ActionInput {
  return { name, fallback: string(input.default) ?? '', deprecationMessage: string(input.deprecationMessage) }
}

function map(value: unknown): Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null ? { ...value } : {}
}

function string(value: unknown): string | undefined {
  return typeof value === 'string' ? value : undefined
}
