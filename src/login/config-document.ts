import { isDeepStrictEqual } from 'node:util'
import {
  Composer,
  Document,
  isCollection,
  isMap,
  isNode,
  isScalar,
  isSeq,
  LineCounter,
  Parser,
  Scalar,
  visit,
  YAMLMap,
  YAMLSeq,
  type DocumentOptions,
  type Node,
  type ParseOptions,
  type SchemaOptions,
} from 'yaml'
import { isEnvironmentName, isId } from '../blaxel/values.ts'

/** One workspace's entry as `bl login` writes it. */
export interface LoginEntry {
  readonly name: string
  readonly id?: string
  readonly env?: string
  readonly apiKey: string
}

/** Why a text can't be used as a config. */
class ConfigFault extends Error {
  /** Counts from 1. */
  readonly line: number

  constructor(line: number, why: string) {
    super(why)
    this.line = line
  }
}

/** Which entries of a config are ours. */
export interface OurLogins {
  readonly isOurs: (name: string, apiKey: string) => boolean
  /** Workspaces whose entry stood in the config: where one is missing, somebody has logged out of it. */
  readonly workspaces: readonly string[]
}

/** Every scalar is text, so a workspace called 0123 keeps its name. Parser messages would quote the file's keys. */
const PARSING = { schema: 'failsafe', prettyErrors: false, logLevel: 'silent' } as const
/** A folded token would not be masked in a log. */
const WRITING = { lineWidth: 0 } as const

/** Why a text can't be used as a config; undefined where it can. */
export function faultOf(text: string): ConfigFault | undefined {
  try {
    parse(text)
    return undefined
  } catch (error) {
    if (error instanceof ConfigFault) return error
    throw error
  }
}

/**
 * A config with logins added to it, each in place of the entry that its workspace has.
 * @param base undefined where there is no file
 * @param context the workspace that `bl` uses unless told otherwise
 * @throws where `faultOf` finds a fault
 */
export function withLogins(base: string | undefined, entries: readonly LoginEntry[], context: string): string {
  const config = parse(base ?? '')
  config.setContext(quoted(context))
  for (const entry of entries) config.replace(entry.name, [entryNode(entry)])
  return config.toString()
}

/**
 * The config without our logins, where nothing is known of what they replaced.
 * @returns the very same text where none is in it, undefined where nothing is left
 */
export function withoutLogins(text: string, isOurs: OurLogins['isOurs']): string | undefined {
  const config = parse(text)
  if (!takeOut(config, parse(''), { isOurs, workspaces: [] })) return text
  return saysTheSame(config, parse('')) ? undefined : config.toString()
}

/**
 * What the base becomes when somebody else has changed the config while our logins were in it: their text without our
 * logins, and with what these had replaced. Where that says the same as the base, it is the base.
 * @param base undefined where there was no file
 * @returns undefined where there is no file any more
 */
export function reconcile(text: string, base: string | undefined, ours: OurLogins): string | undefined {
  const config = parse(text)
  const original = parse(base ?? '')
  const isChanged = takeOut(config, original, ours)
  if (saysTheSame(config, original)) return base
  return isChanged ? config.toString() : text
}

/** Whether two configs hold the same values; order, format and comments don't count. */
export function hasSameMeaning(a: string, b: string): boolean {
  return isDeepStrictEqual(parse(a).meaning(), parse(b).meaning())
}

/**
 * The entry of a workspace; undefined where there is none, or where the text is invalid. Only the fields that are known
 * to be harmless are taken over.
 */
export function findLogin(text: string, workspace: string): LoginEntry | undefined {
  const [item] = entriesIn(text, workspace)
  const apiKey = item && apiKeyOf(item)
  if (!item || apiKey === undefined) return undefined
  const [id, env] = ['id', 'env'].map((field) => textOf(item.get(field, true)))
  return { name: workspace, ...(isId(id) ? { id } : {}), ...(isEnvironmentName(env) ? { env } : {}), apiKey }
}

/** The workspaces that a config has entries for; none where it is invalid. */
export function workspacesIn(text: string): string[] {
  return entriesIn(text).flatMap((entry) => nameOf(entry) ?? [])
}

function entriesIn(text: string, workspace?: string): YAMLMap[] {
  try {
    return parse(text).entries(workspace)
  } catch (error) {
    if (error instanceof ConfigFault) return []
    throw error
  }
}

const WHY: Readonly<Record<string, string>> = { DUPLICATE_KEY: 'it has a key twice' }

function parse(marked: string): Config {
  const text = marked.replace(/^\uFEFF/, '')
  const lines = new LineCounter()
  const fail: Fail = (offset, why) => {
    throw new ConfigFault(lines.linePos(offset).line, why)
  }
  const [first, second] = [...composed(text, PARSING, lines)]
  for (const { code, pos } of first?.errors ?? []) fail(pos[0], WHY[code] ?? 'it is not valid YAML')
  if (second) fail(offsetOf(second.contents), 'it holds several documents')
  const document = first && hasAliases(first) ? withoutAliases(text) : first
  if (!document) return fail(0, "it has an alias that can't be resolved")
  const root = rootOf(document.contents, fail)
  document.contents = root
  return new Config(document, root)
}

type Fail = (offset: number, why: string) => never

function composed(text: string, options: DocumentOptions & ParseOptions & SchemaOptions, lines = new LineCounter()) {
  return new Composer(options).compose(new Parser(lines.addNewLine).parse(text), true, text.length)
}

function rootOf(contents: unknown, fail: Fail): YAMLMap {
  if (isNothing(contents)) return withCommentsOf(contents, new YAMLMap())
  if (!isMap(contents)) return fail(offsetOf(contents), 'it is not a map')
  const [context, workspaces] = ['context', 'workspaces'].map((key) => contents.get(key, true) as unknown)
  if (!isNothing(context) && !isMap(context)) fail(offsetOf(context), 'its context is not a map')
  if (!isNothing(workspaces) && !isSeq(workspaces)) fail(offsetOf(workspaces), 'its workspaces are not a list')
  return contents
}

/** A document whose aliases are replaced by what they stand for; undefined where that can't be done. */
function withoutAliases(text: string): Document | undefined {
  try {
    const [document] = composed(text, { ...PARSING, merge: true })
    return new Document(document?.toJS(), (_, value: unknown) => value ?? '', {
      ...PARSING,
      aliasDuplicateObjects: false,
    })
  } catch {
    return undefined // an alias without its anchor, or more aliases than a config needs
  }
}

function hasAliases(document: Document): boolean {
  let found = false
  visit(document, {
    Alias: () => {
      found = true
      return visit.BREAK
    },
  })
  return found
}

/** A config as a YAML document, with the few changes that logins need. */
class Config {
  private readonly document: Document
  private readonly root: YAMLMap

  constructor(document: Document, root: YAMLMap) {
    this.document = document
    this.root = root
  }

  /** The entries, or those of one workspace. */
  entries(workspace?: string): YAMLMap[] {
    const list = this.root.get('workspaces', true)
    const entries = isSeq(list) ? list.items.filter((item) => isMap(item)) : []
    return workspace === undefined ? entries : entries.filter((entry) => nameOf(entry) === workspace)
  }

  /** Puts entries in place of those that a workspace has, or behind the others. */
  replace(workspace: string, replacements: readonly YAMLMap[]): void {
    const list = this.list()
    const [first, ...others] = this.entries(workspace)
    for (const other of others) removeItem(list, other)
    if (!first) list.items.push(...replacements)
    else if (replacements.length === 0) removeItem(list, first)
    else {
      const [head, ...rest] = replacements
      list.items.splice(list.items.indexOf(first), 1, ...(head ? [withCommentsOf(first, head), ...rest] : []))
    }
  }

  private list(): YAMLSeq {
    const list = this.root.get('workspaces', true)
    if (isSeq(list)) return list
    const created = withCommentsOf(list, new YAMLSeq())
    this.root.set('workspaces', created)
    return created
  }

  /** The current workspace as it is written; undefined where there is none. */
  context(): Scalar | undefined {
    const map = this.root.get('context', true)
    const value = isMap(map) ? map.get('workspace', true) : undefined
    return isScalar(value) && !isNothing(value) ? value : undefined
  }

  setContext(workspace: Scalar | undefined): void {
    const there = this.root.get('context', true)
    const map: YAMLMap = isMap(there) ? there : withCommentsOf(there, new YAMLMap())
    if (workspace) map.set('workspace', withCommentsOf(map.get('workspace', true), workspace))
    else map.delete('workspace')
    this.root.set('context', map)
  }

  /** The values, without empty ones and those that `bl` adds when it rewrites the file; the order of entries is none. */
  meaning(): unknown {
    const values: unknown = JSON.parse(JSON.stringify(this.document.toJS()), (key, value: unknown) => {
      if (saysNothing(key, value)) return undefined
      return key === 'workspaces' && Array.isArray(value) ? value.toSorted(byName) : value
    })
    return values ?? {}
  }

  /** The lines of all comments. */
  comments(): string[] {
    const found: (string | null | undefined)[] = [this.document.commentBefore, this.document.comment]
    visit(this.document, {
      Node: (_, node) => {
        found.push(node.commentBefore, node.comment)
      },
    })
    const lines = found.flatMap((comment) => (comment ?? '').split('\n'))
    return lines.map((line) => line.trim()).filter((line) => line !== '')
  }

  toString(): string {
    return this.document.toString(WRITING)
  }
}

/** Puts the base's entries and context where ours are. @returns whether there was anything to change */
function takeOut(config: Config, base: Config, { isOurs, workspaces }: OurLogins): boolean {
  const others = (name: string) => config.entries(name).filter((entry) => !isOurs(name, apiKeyOf(entry) ?? ''))
  const present = namesOf(config)
  const taken = present.filter((name) => others(name).length < config.entries(name).length)
  const missing = workspaces.filter((name) => !present.includes(name))
  // Where somebody has logged in to one of our workspaces, that login and its context are theirs.
  const ours = [...taken, ...missing].filter((name) => others(name).length === 0)
  const restored = missing.filter((name) => base.entries(name).length > 0)
  for (const name of [...taken, ...restored]) {
    const kept = others(name)
    config.replace(name, kept.length > 0 ? kept : base.entries(name).map(copyOf))
  }
  const hasNewContext = restoreContext(config, base, ours)
  return hasNewContext || taken.length + restored.length > 0
}

function copyOf(entry: YAMLMap): YAMLMap {
  const copy: unknown = entry.clone()
  return isMap(copy) ? copy : entry
}

/** Puts the base's context where ours or none is, unless its workspace has lost its entry. */
function restoreContext(config: Config, base: Config, ours: readonly string[]): boolean {
  const current = config.context()?.value
  if (typeof current === 'string' && !ours.includes(current)) return false
  const original = base.context()
  const name = textOf(original) ?? ''
  const isUsable = config.entries(name).length > 0 || base.entries(name).length === 0
  const next = isUsable ? original : undefined
  if (next?.value === current) return false
  config.setContext(next?.clone() as Scalar | undefined)
  return true
}

/** A comment that the base does not have is somebody's; one that it has may have been lost when `bl` rewrote the file. */
function saysTheSame(config: Config, base: Config): boolean {
  const known = new Set(base.comments())
  return isDeepStrictEqual(config.meaning(), base.meaning()) && config.comments().every((line) => known.has(line))
}

/** Takes an entry out of a list, but no comment that stands before it. */
function removeItem(list: YAMLSeq, item: YAMLMap): void {
  const at = list.items.indexOf(item)
  list.items.splice(at, 1)
  const next = list.items[at]
  if (!item.commentBefore) return
  if (isMap(next)) next.commentBefore = joined(item.commentBefore, next.commentBefore)
  else list.comment = joined(item.commentBefore, list.comment)
}

/** A node in place of another one, whose comments stay. */
function withCommentsOf<T extends YAMLMap | YAMLSeq | Scalar>(replaced: unknown, node: T): T {
  if (!isNode(replaced)) return node
  if (replaced.commentBefore) node.commentBefore = replaced.commentBefore
  if (replaced.comment) node.comment = replaced.comment
  return node
}

function joined(first: string, second: string | null | undefined): string {
  return second ? `${first}\n${second}` : first
}

/** Its values in quotes, since `bl` would take some names for numbers. */
function entryNode({ name, id, env, apiKey }: LoginEntry): YAMLMap {
  const node = new Document({ name, id, env, credentials: { apiKey } }, PARSING).contents as unknown as YAMLMap
  visit(node, {
    Scalar: (key, scalar) => {
      if (key !== 'key') scalar.type = Scalar.QUOTE_DOUBLE
    },
  })
  return node
}

function quoted(value: string): Scalar<string> {
  return Object.assign(new Scalar(value), { type: Scalar.QUOTE_DOUBLE })
}

function namesOf(config: Config): string[] {
  return [...new Set(config.entries().flatMap((entry) => nameOf(entry) ?? []))]
}

function nameOf(entry: YAMLMap): string | undefined {
  return textOf(entry.get('name', true))
}

function apiKeyOf(entry: YAMLMap): string | undefined {
  const credentials = entry.get('credentials', true)
  return isMap(credentials) ? textOf(credentials.get('apiKey', true)) : undefined
}

function textOf(node: unknown): string | undefined {
  return isScalar(node) && typeof node.value === 'string' ? node.value : undefined
}

const EMPTY: readonly unknown[] = ['', '~', 'null', null, undefined]

function isNothing(node: unknown): boolean {
  if (isCollection(node)) return node.items.length === 0
  return isScalar(node) ? EMPTY.includes(node.value) : EMPTY.includes(node)
}

function saysNothing(key: string, value: unknown): boolean {
  if (typeof value === 'object' && value !== null) return Object.keys(value).length === 0
  return EMPTY.includes(value) || (key === 'expires_in' && value === '0') || (key === 'tracking' && value === 'false')
}

function byName(a: unknown, b: unknown): number {
  const [first, second] = [a, b].map((entry) => String((entry as { readonly name?: unknown } | undefined)?.name))
  return (first ?? '') < (second ?? '') ? -1 : 1
}

function offsetOf(node: unknown): number {
  return (node as Node | undefined)?.range?.[0] ?? 0
}
