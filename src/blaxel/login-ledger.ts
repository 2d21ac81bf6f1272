import { createHash } from 'node:crypto'
import { rmdir } from 'node:fs/promises'
import { dirname } from 'node:path'
import { SetupError } from '../base/errors.ts'
import { exists, fingerprint, readConfig, replaceConfig, type ConfigContent } from './config-file.ts'
import { findLogin, render, subtract, type LoginEntry } from './config-text.ts'
import { openLedger, type Ledger, type LedgerFile, type Use } from './ledger-file.ts'

/** Where the CLI keeps its logins, and where the ledger lies beside them. */
export interface LoginPaths {
  readonly config: string
  readonly ledger: string
}

export interface Entered {
  /** Another live job on this machine uses the same workspace with another credential. */
  readonly sharedWithOtherCredential: boolean
}

/**
 * Adds a login to the config. The ledger remembers it first, so that whoever comes next can take it out even where this
 * process is killed in between.
 * @param keep the login outlives the job: it becomes part of the base instead
 * @throws SetupError where the config or the ledger can't be used, or another live job uses the same workspace of
 * another API
 */
export async function enter(paths: LoginPaths, login: Use, keep: boolean, signal: AbortSignal): Promise<Entered> {
  const file = openLedger(paths.ledger, login.id)
  try {
    const entered = await file.exclusively((ledger) => {
      const others = ledger.uses().filter((use) => isLive(use) && use.entry.name === login.entry.name)
      refuseOtherOrigin(others, login)
      if (!keep) ledger.addUse(login)
      return { sharedWithOtherCredential: others.some((use) => use.credential !== login.credential) }
    }, signal)
    await file.exclusively(
      (ledger) => settle(paths, ledger, login.id, keep ? { kind: 'keep', login } : { kind: 'as-it-is' }),
      signal,
    )
    if (keep) await removeUnused(paths, file, signal)
    return entered
  } finally {
    file.close()
  }
}

function isLive(use: Use): boolean {
  return use.notAfter > Date.now()
}

function refuseOtherOrigin(others: readonly Use[], login: Use): void {
  const other = others.find((use) => use.origin !== login.origin)
  if (!other) return
  throw new SetupError(
    `Another job on this machine is logged in to the workspace '${login.entry.name}' of ${other.origin}, not of ${login.origin}; bl can keep only one of them.`,
    "Run one after the other, give each runner its own HOME, or set 'login: false'.",
  )
}

/** What a use that ends leaves behind, by which its login is recognised even where the ledger was lost. */
export interface LeavingUse {
  readonly id: string
  readonly workspace: string
  /** SHA-256 of the session token, in hex */
  readonly tokenHash: string
}

export interface Left {
  /** Another live job on this machine uses the same workspace. */
  readonly workspaceInUse: boolean
}

/**
 * Takes a login out of the config. The last one out puts everything back as it was before the first.
 * @throws SetupError where the config or the ledger can't be used; both are as they were then
 */
export async function leave(paths: LoginPaths, use: LeavingUse, signal: AbortSignal): Promise<Left> {
  if (!(await exists(paths.ledger)) && !isOurs(await currentLogin(paths, use), use)) return { workspaceInUse: false }
  const file = openLedger(paths.ledger, use.id)
  try {
    const left = await file.exclusively(async (ledger) => {
      await settle(paths, ledger, use.id, { kind: 'leave', use })
      return { workspaceInUse: ledger.uses().some(({ entry }) => entry.name === use.workspace) }
    }, signal)
    await removeUnused(paths, file, signal)
    return left
  } finally {
    file.close()
  }
}

async function currentLogin(paths: LoginPaths, use: LeavingUse): Promise<LoginEntry | undefined> {
  const { content } = await readConfig(paths.config)
  return content.kind === 'present' ? findLogin(content.text, use.workspace) : undefined
}

function isOurs(entry: LoginEntry | undefined, use: LeavingUse): entry is LoginEntry {
  return entry !== undefined && createHash('sha256').update(entry.apiKey).digest('hex') === use.tokenHash
}

type Change =
  | { readonly kind: 'as-it-is' }
  | { readonly kind: 'keep'; readonly login: Use }
  | { readonly kind: 'leave'; readonly use: LeavingUse }

/**
 * Brings the config in line with the ledger, under its lock: takes a stranger's change into the base, makes the change,
 * drops what is past its time, and writes what the base and the live logins give.
 */
async function settle(paths: LoginPaths, ledger: Ledger, id: string, change: Change): Promise<void> {
  const known = ledger.uses()
  const live = known.filter((use) => isLive(use) && !(change.kind === 'leave' && use.id === change.use.id))
  let snapshot = await readConfig(paths.config)
  let current = snapshot.content
  let base = ledger.base()
  for (;;) {
    base = changedBase(baseAfter(current, base, ledger.written(), known), change)
    const target = rendered(base, live)
    if (isEqual(target, snapshot.content)) break
    const replacement = await replaceConfig(paths.config, `${paths.config}.setup-bl-${id}`, snapshot, target)
    if (replacement.kind === 'replaced') break
    snapshot = await readConfig(paths.config)
    current = replacement.kind === 'overtaken' ? replacement.content : snapshot.content
  }
  ledger.keepOnly(live.map((use) => use.id))
  ledger.rememberBase(base, fingerprint(rendered(base, live)))
}

/** The base, with the change of anybody who has written the config since we did. */
function baseAfter(
  current: ConfigContent,
  base: ConfigContent | undefined,
  written: string | undefined,
  known: readonly Use[],
): ConfigContent {
  if (base === undefined) return withoutLogins(current, undefined, known)
  const now = fingerprint(current)
  if (now === written || now === fingerprint(base)) return base
  return withoutLogins(current, base, known)
}

function withoutLogins(current: ConfigContent, base: ConfigContent | undefined, known: readonly Use[]): ConfigContent {
  if (current.kind === 'absent') return current
  // Before the first look there is no base; an empty text puts nothing back and keeps an empty file.
  const before = base === undefined ? '' : base.kind === 'present' ? base.text : undefined
  const text = subtract(
    current.text,
    before,
    known.map(({ entry }) => entry),
  )
  if (text === undefined) return { kind: 'absent' }
  // Our own mode is 0600; a stranger who keeps it says nothing about the mode that the file had before.
  return { kind: 'present', text, mode: base?.kind === 'present' && current.mode === 0o600 ? base.mode : current.mode }
}

function changedBase(base: ConfigContent, change: Change): ConfigContent {
  const text = base.kind === 'present' ? base.text : undefined
  const mode = base.kind === 'present' ? base.mode : 0o600
  switch (change.kind) {
    case 'as-it-is':
      return base
    case 'keep':
      return content(render(text, [change.login]), mode)
    case 'leave': {
      // Where the ledger was lost, our login has become part of what looks like the base.
      const login = text === undefined ? undefined : findLogin(text, change.use.workspace)
      return text !== undefined && isOurs(login, change.use) ? content(subtract(text, undefined, [login]), mode) : base
    }
  }
}

function rendered(base: ConfigContent, live: readonly Use[]): ConfigContent {
  if (live.length === 0) return base
  return content(render(base.kind === 'present' ? base.text : undefined, live), 0o600)
}

function content(text: string | undefined, mode: number): ConfigContent {
  return text === undefined ? { kind: 'absent' } : { kind: 'present', text, mode }
}

function isEqual(a: ConfigContent, b: ConfigContent): boolean {
  return a.kind === 'present' && b.kind === 'present' ? a.text === b.text && a.mode === b.mode : a.kind === b.kind
}

/** The last one out removes the ledger, and the directory where we made it and nothing else is in it. */
async function removeUnused(paths: LoginPaths, file: LedgerFile, signal: AbortSignal): Promise<void> {
  if (!(await exists(paths.ledger))) return
  const directoryToRemove = await file.exclusively((ledger) => {
    if (ledger.uses().length > 0) return false
    const made = ledger.madeDirectory()
    ledger.removeFile()
    return made
  }, signal)
  if (directoryToRemove) await rmdir(dirname(paths.config)).catch(() => undefined)
}
