import { parseLayout, type Context, type Item, type Layout } from './config-layout.ts'
import { ConfigTextError } from './config-text-error.ts'
import { isEnvironmentName, isId } from '../blaxel/values.ts'

/** One workspace's entry as `bl login` writes it. The values hold no character that YAML would read as something else. */
export interface LoginEntry {
  readonly name: string
  readonly id?: string
  readonly env?: string
  readonly apiKey: string
}

/** An entry that stands in the config while its job runs. */
export interface Login {
  readonly entry: LoginEntry
  /** ms since the epoch */
  readonly notAfter: number
}

interface Edit {
  readonly start: number
  readonly end: number
  readonly text: string
}

/**
 * The text of config.yaml while logins are live: the base, with each workspace's login that expires last in the place of
 * the entry it covers, and the newest login's workspace as the context. Everything else stays as it is, byte for byte.
 * @param base the text without any login of ours; undefined where there is no file
 * @param logins oldest first
 * @returns the base where there is no login
 * @throws ConfigTextError where the base is of a form that can't be changed
 */
export function render(base: string | undefined, logins: readonly Login[]): string | undefined {
  const newest = logins.at(-1)
  if (!newest) return base
  // An entry needs a line of its own.
  const layout = parseLayout(closeLine(base ?? '', base?.includes('\r\n') ? '\r\n' : '\n'))
  const text = apply(layout.text, [
    ...contextEdits(layout, newest.entry.name),
    ...workspaceEdits(layout, lastExpiring(logins)),
  ])
  // A config that `bl` can't read is an empty one to it, and lost at its next login.
  parseLayout(text)
  return text
}

function lastExpiring(logins: readonly Login[]): LoginEntry[] {
  const byName = new Map<string, Login>()
  for (const login of logins) {
    const other = byName.get(login.entry.name)
    if (!other || login.notAfter >= other.notAfter) byName.set(login.entry.name, login)
  }
  return [...byName.values()].map(({ entry }) => entry)
}

function contextEdits({ eol, indent, firstKey, context }: Layout, workspace: string): Edit[] {
  const value = JSON.stringify(workspace)
  const block = `${indent}context:${eol}${indent}  workspace: ${value}${eol}`
  switch (context.kind) {
    case 'absent':
      return [{ start: firstKey, end: firstKey, text: block }]
    case 'unset': {
      const { insertion } = context
      return insertion
        ? [{ start: insertion.at, end: insertion.at, text: `${insertion.before}workspace: ${value}${insertion.after}` }]
        : [{ start: context.start, end: context.end, text: block }]
    }
    case 'set':
      return [{ ...context.slot, text: ` ${value}` }]
  }
}

function workspaceEdits({ text, eol, indent, workspaces }: Layout, entries: readonly LoginEntry[]): Edit[] {
  const lines = (entry: LoginEntry, at: string) =>
    entryLines(entry)
      .map((line) => `${at}${line}${eol}`)
      .join('')
  const all = (at: string) => entries.map((entry) => lines(entry, at)).join('')
  switch (workspaces.kind) {
    case 'absent':
      return [
        {
          start: text.length,
          end: text.length,
          text: `${indent}workspaces:${eol}${all(indent)}`,
        },
      ]
    case 'empty':
      return [{ start: workspaces.start, end: workspaces.end, text: `${indent}workspaces:${eol}${all(indent)}` }]
    case 'list': {
      const covered = new Map(workspaces.items.map((item) => [item.name, item]))
      const replaced = entries.flatMap((entry) => {
        const item = covered.get(entry.name)
        return item ? [{ start: item.start, end: item.end, text: lines(entry, workspaces.indent) }] : []
      })
      const added = entries.filter((entry) => !covered.has(entry.name)).map((entry) => lines(entry, workspaces.indent))
      const end = lastOf(workspaces.items).end
      return added.length === 0 ? replaced : [...replaced, { start: end, end, text: added.join('') }]
    }
  }
}

/** Quoted throughout: a workspace may have a name that YAML would take for a number. */
function entryLines({ name, id, env, apiKey }: LoginEntry): string[] {
  return [
    `- name: ${JSON.stringify(name)}`,
    ...(id === undefined ? [] : [`  id: ${JSON.stringify(id)}`]),
    ...(env === undefined ? [] : [`  env: ${JSON.stringify(env)}`]),
    '  credentials:',
    `    apiKey: ${JSON.stringify(apiKey)}`,
  ]
}

/**
 * What would be the base after somebody else has changed the rendered text: their text, with our entries, recognised by
 * name and token, taken out and what they covered put back. A context that is not one of ours stays.
 * @param current the text as it is now
 * @param base the base before the change
 * @param entries every entry of ours that may stand in the text
 * @throws ConfigTextError where either text is of a form that can't be changed
 */
export function subtract(
  current: string,
  base: string | undefined,
  entries: readonly LoginEntry[],
): string | undefined {
  const now = parseLayout(current)
  const before = parseLayout(base ?? '')
  const result = apply(current, [...listEdits(now, before, entries), ...contextUndo(now, before, entries)])
  if (base === undefined) return result.trim() === '' ? undefined : result
  // A base without a line end at its end got one so that an entry could follow.
  return result === base + now.eol ? base : result
}

function listEdits(now: Layout, before: Layout, entries: readonly LoginEntry[]): Edit[] {
  if (now.workspaces.kind !== 'list') return []
  const { items, indent, start } = now.workspaces
  const ours = items.filter((item) => entries.some((entry) => entry.name === item.name && entry.apiKey === item.apiKey))
  const covered = (item: Item) =>
    before.workspaces.kind === 'list' ? before.workspaces.items.find(({ name }) => name === item.name) : undefined
  const edits = ours.map((item) => {
    const original = covered(item)
    return { start: item.start, end: item.end, text: original ? itemText(before, original, indent, now.eol) : '' }
  })
  const becomesEmpty = ours.length === items.length && edits.every(({ text }) => text === '')
  if (!becomesEmpty || before.workspaces.kind === 'list') return edits
  const form =
    before.workspaces.kind === 'empty' ? before.text.slice(before.workspaces.start, before.workspaces.end) : ''
  return [{ start, end: items[0].start, text: atDepth(closeLine(form, now.eol), before.indent, now.indent) }, ...edits]
}

/** The lines of a covered entry, at the depth that the list has now. */
function itemText(layout: Layout, item: Item, indent: string, eol: string): string {
  const text = closeLine(layout.text.slice(item.start, item.end), eol)
  const own = layout.workspaces.kind === 'list' ? layout.workspaces.indent : ''
  return atDepth(text, own, indent)
}

/** Whole lines that stood at one depth, at another: `bl` may have written the file anew meanwhile. */
function atDepth(text: string, from: string, to: string): string {
  if (from === to || text === '') return text
  return text
    .split(/(?<=\n)/)
    .map((line) => (line.startsWith(from) ? to + line.slice(from.length) : line))
    .join('')
}

function contextUndo(now: Layout, before: Layout, entries: readonly LoginEntry[]): Edit[] {
  const context = now.context
  if (context.kind !== 'set' || !entries.some(({ name }) => name === context.workspace)) return []
  if (before.context.kind === 'set') {
    return [{ ...context.slot, text: before.text.slice(before.context.slot.start, before.context.slot.end) }]
  }
  if (!context.hasOtherKeys) {
    const text = closeLine(pairText(before, before.context), now.eol)
    return [{ start: context.start, end: context.end, text: atDepth(text, before.indent, now.indent) }]
  }
  return [{ ...context.whole, text: '' }]
}

function pairText(layout: Layout, context: Context): string {
  return context.kind === 'absent' ? '' : layout.text.slice(context.start, context.end)
}

function closeLine(text: string, eol: string): string {
  return text === '' || text.endsWith('\n') ? text : text + eol
}

function lastOf<T>(items: readonly [T, ...T[]]): T {
  return items.at(-1) ?? items[0]
}

/** Puts replacements in, in the order of their places; an insertion comes before what is replaced behind it. */
function apply(text: string, edits: readonly Edit[]): string {
  let done = 0
  let result = ''
  for (const edit of edits.toSorted((a, b) => a.start - b.start || a.end - b.end)) {
    result += text.slice(done, edit.start) + edit.text
    done = edit.end
  }
  return result + text.slice(done)
}

/**
 * The entry of a workspace in a config that `bl login` has just written; undefined where there is none.
 * Only the fields that are known to be harmless are taken over.
 */
export function findLogin(text: string, workspace: string): LoginEntry | undefined {
  const item = itemsOf(text).find(({ name }) => name === workspace)
  if (item?.apiKey === undefined) return undefined
  return {
    name: item.name,
    ...(isId(item.id) ? { id: item.id } : {}),
    ...(isEnvironmentName(item.env) ? { env: item.env } : {}),
    apiKey: item.apiKey,
  }
}

/** The workspaces that a config has entries for; none where it can't be read. */
export function loggedInWorkspaces(text: string): string[] {
  return itemsOf(text).map(({ name }) => name)
}

function itemsOf(text: string): readonly Item[] {
  try {
    const { workspaces } = parseLayout(text)
    return workspaces.kind === 'list' ? workspaces.items : []
  } catch (error) {
    if (error instanceof ConfigTextError) return []
    throw error
  }
}
