import {
  isAlias,
  isMap,
  isPair,
  isScalar,
  isSeq,
  LineCounter,
  parseAllDocuments,
  visit,
  type Document,
  type Node,
  type Pair,
  type YAMLMap,
} from 'yaml'
import { ConfigTextError } from './config-text-error.ts'

/** One workspace's entry: whole lines, from the one with its dash to the last one of its content. */
export interface Item {
  readonly name: string
  readonly apiKey: string | undefined
  readonly id: string | undefined
  readonly env: string | undefined
  readonly start: number
  readonly end: number
}

export type Workspaces =
  | { readonly kind: 'absent' }
  /** `workspaces:` without a value, or with `[]`; the range covers its whole lines. */
  | { readonly kind: 'empty'; readonly start: number; readonly end: number }
  | {
      readonly kind: 'list'
      readonly start: number
      readonly indent: string
      readonly items: readonly [Item, ...Item[]]
    }

export type Context =
  | { readonly kind: 'absent' }
  /** `context:` without a `workspace` in it, and where one can be put between others. */
  | { readonly kind: 'unset'; readonly start: number; readonly end: number; readonly insertion: Insertion | undefined }
  | {
      readonly kind: 'set'
      readonly start: number
      readonly end: number
      readonly workspace: string
      /** From behind the colon of `workspace:` to the end of its value. */
      readonly slot: Range
      /** What goes where `workspace:` is taken out from between others. */
      readonly whole: Range
      readonly hasOtherKeys: boolean
    }

export interface Range {
  readonly start: number
  readonly end: number
}

/** Where a first key can be put into a map, and what must stand before and behind it. */
export interface Insertion {
  readonly at: number
  readonly before: string
  readonly after: string
}

/** Where the parts of a config.yaml stand that a login changes. Offsets count from the start of `text`. */
export interface Layout {
  readonly text: string
  readonly eol: '\n' | '\r\n'
  /** What stands before every top-level key. */
  readonly indent: string
  /** Where the first top-level key's line starts, or the end of the text. */
  readonly firstKey: number
  readonly context: Context
  readonly workspaces: Workspaces
}

/**
 * Finds the parts of the text of a config.yaml.
 * @param text with or without a byte order mark, LF or CRLF
 * @throws ConfigTextError for text that is no YAML, and for YAML of a form in which nothing can be replaced line by
 * line: anchors, several documents, workspaces in flow style, names that occur twice
 */
export function parseLayout(text: string): Layout {
  const bom = text.startsWith('\uFEFF') ? 1 : 0
  const reader = new Reader(text, bom)
  return reader.layout()
}

class Reader {
  private readonly lines = new LineCounter()
  private readonly text: string
  private readonly bom: number
  private readonly eol: '\n' | '\r\n'

  constructor(text: string, bom: number) {
    this.text = text
    this.bom = bom
    this.eol = text.includes('\r\n') ? '\r\n' : '\n'
  }

  layout(): Layout {
    const root = this.root()
    const pairs = root?.items ?? []
    this.refuseStrangeKeys(pairs, false)
    const first = pairs[0]
    const firstKey = first ? this.lineStart(this.start(first.key)) : this.text.length
    const indent = first ? this.text.slice(firstKey, this.start(first.key)) : ''
    return {
      text: this.text,
      eol: this.eol,
      indent,
      firstKey,
      context: this.context(this.pair(pairs, 'context')),
      workspaces: this.workspaces(this.pair(pairs, 'workspaces')),
    }
  }

  private root(): YAMLMap<Node, Node | null> | undefined {
    const options = { lineCounter: this.lines, keepSourceTokens: true, prettyErrors: false }
    const documents = parseAllDocuments(this.text.slice(this.bom), options) as Document.Parsed[]
    const error = documents.flatMap((document) => [...document.errors, ...document.warnings])[0]
    if (error) this.fail(error.pos[0] + this.bom, 'it is not valid YAML')
    // A directive belongs to a document start, which nothing may be put in front of.
    const directive = /^%/m.exec(this.text.slice(this.bom))
    if (directive) this.fail(directive.index + this.bom, 'it holds a directive')
    const [document, second] = documents
    if (second) this.fail(this.start(second.contents), 'it holds several documents')
    if (!document?.contents) return undefined
    this.refuseAnchors(document)
    // `...` ends a document: nothing may be appended behind it.
    const ending = /^\.\.\./m.exec(this.text.slice(this.bom))
    if (ending) this.fail(ending.index + this.bom, 'it holds a document end marker')
    const root = document.contents
    if (isEmpty(root)) return undefined
    if (!isMap(root) || root.flow) this.fail(this.start(root), 'it is not a block map')
    return root
  }

  private refuseStrangeKeys(pairs: readonly Pair<Node, Node | null>[], isFlow: boolean): void {
    const strange = pairs.find(({ key }) => !isScalar(key) || key.value === null)
    if (strange) this.fail(this.start(strange.key), 'it has a key that is no word')
    // `? key` is a key, too.
    const marked = pairs.find(({ key }) => !isFlow && this.before(this.start(key)).trim() !== '')
    if (marked) this.fail(this.start(marked.key), 'it has a key that does not start its line')
  }

  private refuseAnchors(document: Document.Parsed): void {
    visit(document, {
      Node: (_, node) => {
        if (isAlias(node) || node.anchor !== undefined) this.fail(this.start(node), 'it uses anchors')
      },
    })
  }

  private pair(pairs: readonly Pair<Node, Node | null>[], name: string): Pair<Node, Node | null> | undefined {
    return pairs.find(({ key }) => isScalar(key) && key.value === name)
  }

  private context(pair: Pair<Node, Node | null> | undefined): Context {
    if (!pair) return { kind: 'absent' }
    const range = { start: this.lineStart(this.start(pair.key)), end: this.lineEnd(this.contentEnd(pair)) }
    const map = pair.value
    if (!map || (isScalar(map) && map.value === null)) return { kind: 'unset', ...range, insertion: undefined }
    if (!isMap(map)) this.fail(this.start(map), 'its context is not a map')
    const pairs = (map as YAMLMap<Node, Node | null>).items
    this.refuseStrangeKeys(pairs, map.flow === true)
    const inner = this.pair(pairs, 'workspace')
    if (inner) return { kind: 'set', ...range, ...this.contextValue(inner, pairs, map.flow === true) }
    return { kind: 'unset', ...range, insertion: this.insertion(pairs[0], map.flow === true) }
  }

  private insertion(first: Pair<Node, Node | null> | undefined, isFlow: boolean): Insertion | undefined {
    if (!first) return undefined
    const key = this.start(first.key)
    if (isFlow) return { at: key, before: '', after: ', ' }
    const at = this.lineStart(key)
    return { at, before: this.text.slice(at, key), after: this.eol }
  }

  private contextValue(inner: Pair<Node, Node | null>, pairs: readonly Pair<Node, Node | null>[], isFlow: boolean) {
    const start = this.text.indexOf(':', this.end(inner.key)) + 1
    const slot = { start, end: Math.max(start, this.withoutLineEnds(this.contentEnd(inner))) }
    const next = pairs[pairs.indexOf(inner) + 1]
    const key = this.start(inner.key)
    const whole = isFlow
      ? { start: key, end: next ? this.start(next.key) : slot.end }
      : { start: this.lineStart(key), end: this.lineEnd(slot.end) }
    return { workspace: scalarText(inner.value) ?? '', slot, whole, hasOtherKeys: pairs.length > 1 }
  }

  private workspaces(pair: Pair<Node, Node | null> | undefined): Workspaces {
    if (!pair) return { kind: 'absent' }
    const start = this.lineStart(this.start(pair.key))
    const list = pair.value
    const isEmpty = !list || (isScalar(list) && list.value === null) || (isSeq(list) && list.items.length === 0)
    if (isEmpty) return { kind: 'empty', start, end: this.lineEnd(this.contentEnd(pair)) }
    if (!isSeq(list) || list.flow) this.fail(this.start(list), 'its workspaces are not a block sequence')
    const dashes = this.dashes(list)
    const items = list.items.map((node, index) => this.item(node, dashes[index] ?? this.start(node)))
    this.refuseDuplicates(items)
    const dash = dashes[0] ?? start
    return {
      kind: 'list',
      start,
      indent: this.text.slice(this.lineStart(dash), dash),
      items: items as [Item, ...Item[]],
    }
  }

  private dashes(list: Node): number[] {
    const token = list.srcToken
    if (token?.type !== 'block-seq') return []
    return token.items.map(({ start }) => {
      const dash = start.find(({ type }) => type === 'seq-item-ind')
      const at = (dash?.offset ?? 0) + this.bom
      if (this.text.slice(this.lineStart(at), at).trim() !== '') this.fail(at, 'a workspace does not start a line')
      return at
    })
  }

  private item(node: unknown, dash: number): Item {
    if (!isMap(node) || node.flow) this.fail(dash, 'a workspace is not a block map')
    const map = node as YAMLMap<Node, Node | null>
    const field = (name: string) => scalarText(this.pair(map.items, name)?.value)
    const name = field('name')
    if (name === undefined) this.fail(dash, 'a workspace has no name')
    const credentials = this.pair(map.items, 'credentials')?.value
    const apiKey = isMap(credentials) ? scalarText(credentials.get('apiKey', true)) : undefined
    return {
      name,
      apiKey,
      id: field('id'),
      env: field('env'),
      start: this.lineStart(dash),
      end: this.lineEnd(this.contentEnd(map)),
    }
  }

  private refuseDuplicates(items: readonly Item[]): void {
    const names = new Set<string>()
    for (const { name, start } of items) {
      if (names.has(name)) this.fail(start, 'it names a workspace twice')
      names.add(name)
    }
  }

  /** Where the last character of a node's own content is, comments behind it not counted. */
  private contentEnd(node: unknown): number {
    if (isPair(node)) return isEmpty(node.value) ? this.keyEnd(node.key) : this.contentEnd(node.value)
    if ((isMap(node) || isSeq(node)) && !node.flow && node.items.length > 0) return this.contentEnd(node.items.at(-1))
    return this.end(node)
  }

  /** A block scalar's content ends behind its last line end. */
  private withoutLineEnds(end: number): number {
    return this.text.slice(0, end).replace(/[\r\n]+$/, '').length
  }

  private keyEnd(key: unknown): number {
    return this.text.indexOf(':', this.end(key)) + 1
  }

  private start(node: unknown): number {
    return ((node as Node | null | undefined)?.range?.[0] ?? 0) + this.bom
  }

  private end(node: unknown): number {
    return ((node as Node | null | undefined)?.range?.[1] ?? 0) + this.bom
  }

  /** What stands before an offset on its line. */
  private before(offset: number): string {
    return this.text.slice(this.lineStart(offset), offset)
  }

  private lineStart(offset: number): number {
    return Math.max(this.text.lastIndexOf('\n', offset - 1) + 1, this.bom)
  }

  private lineEnd(offset: number): number {
    if (offset > 0 && this.text[offset - 1] === '\n') return offset
    const newline = this.text.indexOf('\n', offset)
    return newline === -1 ? this.text.length : newline + 1
  }

  private fail(offset: number, what: string): never {
    throw new ConfigTextError(this.lines.linePos(Math.max(0, offset - this.bom)).line, what)
  }
}

/** A value that is not there at all: where YAML sees it lies behind blanks and comments. */
function isEmpty(node: unknown): boolean {
  return !isScalar(node) ? node === null || node === undefined : node.value === null && node.source === ''
}

/** A scalar as it is written: a name may look like a number. */
function scalarText(node: unknown): string | undefined {
  if (!isScalar(node) || node.value === null) return undefined
  return typeof node.value === 'string' ? node.value : node.source
}
