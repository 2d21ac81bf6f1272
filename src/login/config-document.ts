import { isDeepStrictEqual } from 'node:util'
import {
  Composer,
  Document,
  isCollection,
  isMap,
  isNode,
  isScalar,
  isSeq,
  Lexer,
  LineCounter,
  parseDocument,
  Parser,
  Scalar,
  YAMLMap,
  YAMLSeq,
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
  readonly line: number = 1
}

/** Which entries of a config are ours. */
export interface OurLogins {
  readonly isOurs: (name: string, apiKey: string) => boolean
  /** Workspaces whose entry stood in the config: where one is missing, somebody has logged out of it. */
  readonly workspaces: readonly string[]
}

/** Every scalar is text, so a workspace called 0123 keeps its name. Parser messages would quote the file's keys. */
const PARSING = { schema: 'failsafe', prettyErrors: false, logLevel: 'silent' } as const
/** A folded token would not be masked in a log. What is added is quoted, since `bl` would take some names for numbers. */
const WRITING = { lineWidth: 0, defaultStringType: 'QUOTE_DOUBLE', defaultKeyType: 'PLAIN' } as const

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
 * The config with logins added to it, each in place of the entry that its workspace has.
 * @param base undefined where there is no file
 * @param context the workspace that `bl` uses unless told otherwise
 * @throws where `faultOf` finds a fault
 */
export function withLogins(base: string | undefined, entries: readonly LoginEntry[], context: string): string {
  const config = parse(base)
  setContext(config, context)
  for (const { name, id, env, apiKey } of entries) {
    const entry = config.document.createNode({ name, id, env, credentials: { apiKey } }) as unknown as YAMLMap
    replaceEntries(config, entriesOf(config, name), [entry])
  }
  return config.document.toString(WRITING)
}

/**
 * The config without our logins, where nothing is known of what they replaced.
 * @returns the very same text where none is in it, undefined where nothing is left
 */
export function withoutLogins(text: string, isOurs: OurLogins['isOurs']): string | undefined {
  const hasOurs = entriesOf(parse(text)).some((entry) => isOurs(nameOf(entry), apiKeyOf(entry)))
  return hasOurs ? reconcile(text, undefined, { isOurs, workspaces: [] }) : text
}

/**
 * What the base becomes when somebody else has changed the config while our logins were in it: their text without our
 * logins, and with what these had replaced. Where that says the same as the base, it is the base.
 * @param base undefined where there was no file
 * @returns undefined where there is no file any more
 */
export function reconcile(text: string, base: string | undefined, ours: OurLogins): string | undefined {
  const config = parse(text)
  const after = takeOut(config, parse(base), ours) ? config.document.toString(WRITING) : text
  // A comment that the base does not have is somebody's; one that it has may have been lost when `bl` rewrote the file.
  const known = new Set(tokensOf(base ?? '', '#'))
  const isBase = hasSameMeaning(after, base ?? '') && tokensOf(after, '#').every((comment) => known.has(comment))
  return isBase ? base : after
}

/** Whether two configs hold the same values; order, format and comments don't count. */
export function hasSameMeaning(a: string, b: string): boolean {
  return isDeepStrictEqual(meaningOf(a), meaningOf(b))
}

/**
 * The entry of a workspace; undefined where there is none, or where the text is invalid. Only the fields that are known
 * to be harmless are taken over.
 */
export function findLogin(text: string, workspace: string): LoginEntry | undefined {
  const entry = entriesIn(text).find((each) => nameOf(each) === workspace)
  const apiKey = entry ? apiKeyOf(entry) : ''
  if (!entry || apiKey === '') return undefined
  const [id, env] = [textAt(entry, 'id'), textAt(entry, 'env')]
  return { name: workspace, ...(isId(id) ? { id } : {}), ...(isEnvironmentName(env) ? { env } : {}), apiKey }
}

/** The workspaces that a config has entries for; none where it is invalid. */
export function workspacesIn(text: string): string[] {
  return entriesIn(text)
    .map(nameOf)
    .filter((name) => name !== '')
}

function entriesIn(text: string): YAMLMap[] {
  try {
    return entriesOf(parse(text))
  } catch (error) {
    if (error instanceof ConfigFault) return []
    throw error
  }
}

/** A config as a YAML document. Where it has no context or no workspaces, these are empty and not yet part of it. */
interface Config {
  readonly document: Document
  readonly root: YAMLMap
  readonly context: YAMLMap
  readonly workspaces: YAMLSeq
}

/** What begins somewhere in a text. */
type Ranged = { readonly range?: readonly number[] | null | undefined } | null | undefined

function parse(marked = ''): Config {
  const text = marked.replace(/^\uFEFF/, '')
  const lines = new LineCounter()
  const fail = (at: Ranged, why: string): never => {
    throw Object.assign(new ConfigFault(why), { line: lines.linePos(at?.range?.[0] ?? 0).line })
  }
  const part = <T extends YAMLMap | YAMLSeq>(
    node: unknown,
    is: (node: unknown) => node is T,
    empty: T,
    why: string,
  ) => {
    if (isNothing(node)) return withCommentsOf(node, empty)
    return is(node) ? node : fail(node as Ranged, why)
  }
  const parsed = new Composer(PARSING).compose(new Parser(lines.addNewLine).parse(text), true, text.length)
  const [first = new Document(), second] = [...parsed]
  const [error] = first.errors
  if (error) fail({ range: error.pos }, error.code === 'DUPLICATE_KEY' ? 'it has a key twice' : 'it is not valid YAML')
  if (second) fail(second.contents, 'it holds several documents')
  const document = tokensOf(text, '*').length > 0 ? withoutAliases(text) : first
  if (!document) return fail(undefined, "it has an alias that can't be resolved")
  const root = part(document.contents, isMap, new YAMLMap(), 'it is not a map')
  document.contents = root
  const context = part(root.get('context', true), isMap, new YAMLMap(), 'its context is not a map')
  const workspaces = part(root.get('workspaces', true), isSeq, new YAMLSeq(), 'its workspaces are not a list')
  return { document, root, context, workspaces }
}

/** A document whose aliases are replaced by what they stand for; undefined where that can't be done. */
function withoutAliases(text: string): Document | undefined {
  try {
    const values: unknown = parseDocument(text, { ...PARSING, merge: true }).toJS()
    const noNull = (_: unknown, value: unknown) => value ?? ''
    return new Document(values, noNull, { ...PARSING, aliasDuplicateObjects: false })
  } catch {
    return undefined // an alias without its anchor, or more aliases than a config needs
  }
}

/** Puts the base's entries and context where ours are. @returns whether there was anything to change */
function takeOut(config: Config, base: Config, { isOurs, workspaces }: OurLogins): boolean {
  let isChanged = false
  const freed: string[] = []
  for (const name of new Set([...entriesOf(config).map(nameOf), ...workspaces])) {
    const entries = entriesOf(config, name)
    const ours = entries.filter((entry) => isOurs(name, apiKeyOf(entry)))
    // Where somebody has logged in to one of our workspaces, that login and its context are theirs.
    const isFree = ours.length === entries.length
    if (isFree) freed.push(name)
    const restored = isFree ? entriesOf(base, name) : []
    if (ours.length + restored.length === 0) continue
    replaceEntries(config, ours, restored)
    isChanged = true
  }
  const context = contextAfter(config, base, freed)
  if (context === contextOf(config)) return isChanged
  setContext(config, context)
  return true
}

/** The base's context where ours or none is, unless its workspace has lost its entry. */
function contextAfter(config: Config, base: Config, freed: readonly string[]): string {
  const [current, original] = [contextOf(config), contextOf(base)]
  if (current !== '' && !freed.includes(current)) return current
  const isUsable = entriesOf(config, original).length > 0 || entriesOf(base, original).length === 0
  return isUsable ? original : ''
}

/** The current workspace; empty where there is none. */
function contextOf({ context }: Config): string {
  const name = textAt(context, 'workspace')
  return isNothing(name) ? '' : name
}

function setContext({ root, context }: Config, workspace: string): void {
  if (workspace === '') context.delete('workspace')
  else context.set('workspace', withCommentsOf(context.get('workspace', true), new Scalar(workspace)))
  root.set('context', context)
}

/** The entries, or those of one workspace. */
function entriesOf({ workspaces }: Config, name?: string): YAMLMap[] {
  return workspaces.items.filter((item) => isMap(item)).filter((entry) => name === undefined || nameOf(entry) === name)
}

/** Puts entries in place of others, or behind all. Comments around those stay. */
function replaceEntries({ root, workspaces }: Config, old: readonly YAMLMap[], entries: readonly YAMLMap[]): void {
  root.set('workspaces', workspaces)
  const isOld = (item: unknown) => old.some((entry) => entry === item)
  const at = workspaces.items.findIndex(isOld)
  workspaces.items = workspaces.items.filter((item) => !isOld(item))
  workspaces.items.splice(at < 0 ? workspaces.items.length : at, 0, ...entries)
  const comments = old.flatMap(({ commentBefore, comment }) => [commentBefore, comment])
  const next = at < 0 ? undefined : workspaces.items[at]
  if (isMap(next)) next.commentBefore = joined(...comments, next.commentBefore)
  else workspaces.comment = joined(...comments, workspaces.comment)
}

function joined(...comments: (string | null | undefined)[]): string | null {
  return comments.filter(Boolean).join('\n') || null
}

/** A node in place of another one, whose comments stay. */
function withCommentsOf<T extends YAMLMap | YAMLSeq | Scalar>(replaced: unknown, node: T): T {
  if (!isNode(replaced)) return node
  return Object.assign(node, { commentBefore: replaced.commentBefore, comment: replaced.comment })
}

function nameOf(entry: YAMLMap): string {
  return textAt(entry, 'name')
}

function apiKeyOf(entry: YAMLMap): string {
  return textAt(entry, 'credentials', 'apiKey')
}

/** The text that is in a map; empty where there is none. */
function textAt(map: YAMLMap, ...path: readonly string[]): string {
  const value = map.getIn(path)
  return typeof value === 'string' ? value : ''
}

/** The values, without empty ones and those that `bl` adds when it rewrites the file; the order of entries is none. */
function meaningOf(text: string): unknown {
  const values: unknown = parse(text).document.toJS()
  const meaning: unknown = JSON.parse(JSON.stringify(values), (key, value: unknown) => {
    if (isNothing(value) || (key === 'expires_in' && value === '0') || (key === 'tracking' && value === 'false')) {
      return undefined
    }
    if (key !== 'workspaces' || !Array.isArray(value)) return value
    return Object.groupBy(value as ({ name?: string } | undefined)[], (entry) => String(entry?.name))
  })
  return meaning ?? {}
}

/** Comments, aliases: what YAML recognises by its first character. */
function tokensOf(text: string, first: '#' | '*'): string[] {
  return [...new Lexer().lex(text)].filter((token) => token.startsWith(first)).map((token) => token.trim())
}

/** Whether a node or a value is empty. Without a schema's types, a null is text. */
function isNothing(node: unknown): boolean {
  if (isCollection(node)) return node.items.length === 0
  const value = isScalar(node) ? node.value : node
  if (typeof value === 'object' && value !== null && !isNode(value)) return Object.keys(value).length === 0
  return value === null || value === undefined || ['', '~', 'null'].includes(value as string)
}
