/* eslint-disable @typescript-eslint/require-await */
import { readdirSync, rmdirSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { SetupError } from '../util/errors.ts'
import { statIfThere } from '../util/fs.ts'
import { fingerprint, readConfig, replaceConfig, type ConfigContent } from './config-file.ts'
import { ConfigTextError } from './config-text-error.ts'
import { findLogin, render, subtract, type LoginEntry } from './config-text.ts'
import { hashSecret } from '../blaxel/credential.ts'
import { readLedger, removeLedger, writeLedger, type GoneLogin, type Ledger, type Use } from './ledger.ts'
import { holdLock, type HeldLock } from './machine-lock.ts'

/** Where the CLI keeps its logins, and where ours are remembered beside them. */
interface LoginPaths {
  readonly directory: string
  readonly config: string
  readonly ledger: string
  readonly lock: string
}

function pathsIn(directory: string): LoginPaths {
  return {
    directory,
    config: configPath(directory),
    ledger: join(directory, 'setup-bl.json'),
    lock: join(directory, 'setup-bl.lock'),
  }
}

/** The CLI's config in its directory. */
export function configPath(directory: string): string {
  return join(directory, 'config.yaml')
}

export interface Entered {
  /** Another live job on this machine uses the same workspace with another credential. */
  readonly sharedWithOtherCredential: boolean
}

/** So long after its end a login is still recognised in what somebody writes who has read the config before. */
const GONE_MS = 60_000

/** Changing the config goes on this long where others keep changing it too. */
const SETTLING_MS = 10_000

/**
 * Adds a login to the config.
 * @param directory `~/.blaxel`
 * @param keep the login outlives the job: it becomes part of the base instead
 * @param madeDirectory the config's directory was not there before this use
 * @throws SetupError where the config or the ledger can't be used, or another live job uses the same workspace of
 * another API
 */
export async function enter(
  directory: string,
  login: Use,
  { keep, madeDirectory }: { readonly keep: boolean; readonly madeDirectory: boolean },
  signal: AbortSignal,
): Promise<Entered> {
  const paths = pathsIn(directory)
  return locked(paths, login.id, signal, async (lock) => {
    const others = (readLedger(paths.ledger)?.uses ?? []).filter(
      (use) => isLive(use) && use.entry.name === login.entry.name,
    )
    refuseOtherOrigin(others, login)
    const ledger = await settle(
      paths,
      login.id,
      keep ? { kind: 'keep', login } : { kind: 'add', login, madeDirectory: madeDirectory || lock.madeDirectory },
      signal,
    )
    if (ledger.uses.length === 0) removeTraces(paths, ledger.madeDirectory, lock)
    const isOther = (use: Use) => use.credential !== login.credential && use.entry.apiKey !== login.entry.apiKey
    return { sharedWithOtherCredential: others.some(isOther) }
  })
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
  readonly madeDirectory: boolean
  /** The very same login stood in the config before: where the ledger does not know of ours, it is the machine's. */
  readonly wasThere?: true
}

export interface Left {
  /** Another live job on this machine uses the same workspace. */
  readonly workspaceInUse: boolean
}

/**
 * Takes a login out of the config. The last one out puts everything back as it was before the first.
 * @param directory `~/.blaxel`
 * @throws SetupError where the config or the ledger can't be used; both are as they were then
 */
export async function leave(directory: string, use: LeavingUse, signal: AbortSignal): Promise<Left> {
  const paths = pathsIn(directory)
  removeTemporary(paths, use.id)
  const isMarked = [paths.ledger, paths.lock].some((path) => statIfThere(path) !== undefined)
  if (!isMarked && !isOurs(await loginIn((await readConfig(paths.config)).content, use.workspace), use)) {
    if (use.madeDirectory) removeIfEmpty(paths.directory)
    return { workspaceInUse: false }
  }
  return locked(paths, use.id, signal, async (lock) => {
    const ledger = await settle(paths, use.id, { kind: 'leave', use }, signal)
    if (ledger.uses.length === 0) removeTraces(paths, ledger.madeDirectory || use.madeDirectory, lock)
    return { workspaceInUse: ledger.uses.some(({ entry }) => entry.name === use.workspace) }
  })
}

/**
 * Whether the machine has a login of its own with this very token, which another job's may cover.
 * @param directory `~/.blaxel`
 */
export async function isLoggedIn(directory: string, { name, apiKey }: LoginEntry): Promise<boolean> {
  const paths = pathsIn(directory)
  const base = knownBase(paths.ledger) ?? (await readConfig(paths.config)).content
  return (await loginIn(base, name))?.apiKey === apiKey
}

function knownBase(ledger: string): ConfigContent | undefined {
  try {
    return readLedger(ledger)?.base
  } catch {
    return undefined // whoever enters says what is wrong with it
  }
}

async function loginIn(config: ConfigContent, workspace: string): Promise<LoginEntry | undefined> {
  if (config.kind === 'absent') return undefined
  return findLogin(config.text, workspace)
}

function isOurs(entry: LoginEntry | undefined, use: LeavingUse): entry is LoginEntry {
  return entry !== undefined && use.wasThere !== true && hashSecret(entry.apiKey) === use.tokenHash
}

type Change =
  | { readonly kind: 'add'; readonly login: Use; readonly madeDirectory: boolean }
  | { readonly kind: 'keep'; readonly login: Use }
  | { readonly kind: 'leave'; readonly use: LeavingUse }

/**
 * Brings ledger and config in line, under the lock: takes a stranger's change into the base, makes ours, drops what is
 * past its time, and writes what the base and the live logins give. The ledger is written first, so that a kill at any
 * point leaves a config that it knows.
 */
async function settle(paths: LoginPaths, id: string, change: Change, signal: AbortSignal): Promise<Ledger> {
  const givesUpAt = Date.now() + SETTLING_MS
  const before = readLedger(paths.ledger)
  let snapshot = await readConfig(paths.config, before && [before.written, before.previous])
  let current = snapshot.content
  let ledger = before ?? firstLedger(current)
  // Whoever changes the config meanwhile may have read it while it held the logins that go now.
  const known = ledger.uses.map(({ entry }) => entry)
  for (const use of ledger.uses.filter((use) => !isLive(use))) removeTemporary(paths, use.id)
  removeAbandoned(paths)
  for (;;) {
    signal.throwIfAborted()
    const next = await inWords(paths.config, () => step(ledger, current, known, change))
    const { target } = next
    ledger = { ...next.ledger, written: fingerprint(target), previous: fingerprint(snapshot.content) }
    await writeLedger(paths.ledger, id, ledger)
    if (isEqual(target, snapshot.content)) return ledger
    const replacement = await replaceConfig(paths.config, temporaryConfig(paths, id), snapshot, target)
    if (replacement.kind === 'replaced') return ledger
    if (Date.now() > givesUpAt) {
      throw new SetupError(`${paths.config} keeps changing.`, 'Run the job again when nothing else writes it.')
    }
    snapshot = await readConfig(paths.config)
    current = replacement.kind === 'overtaken' ? replacement.content : snapshot.content
  }
}

async function step(
  ledger: Ledger,
  current: ConfigContent,
  known: readonly LoginEntry[],
  change: Change,
): Promise<{ readonly ledger: Ledger; readonly target: ConfigContent }> {
  const after = await changed({ ...ledger, base: await absorbed(ledger, current, known) }, change)
  return { ledger: after, target: await rendered(after) }
}

/** A config that was read without fault, but can't be changed without one, is an error that names it. */
async function inWords<T>(config: string, work: () => Promise<T>): Promise<T> {
  try {
    return await work()
  } catch (error) {
    if (!(error instanceof ConfigTextError)) throw error
    throw new SetupError(
      `${config} can't be changed without harm (line ${error.line}: ${error.message}), and was left as it is.`,
      "Simplify that file, or set 'login: false'.",
      { cause: error },
    )
  }
}

function firstLedger(base: ConfigContent): Ledger {
  return { base, written: '', previous: '', madeDirectory: false, uses: [], gone: [] }
}

/** The base, with the change of anybody who has written the config since we did. */
async function absorbed(ledger: Ledger, current: ConfigContent, known: readonly LoginEntry[]): Promise<ConfigContent> {
  const { base, written, previous } = ledger
  if ([written, previous, fingerprint(base)].includes(fingerprint(current))) return base
  if (current.kind === 'absent') return current
  const ours = [...known, ...(await goneLoginsIn(current.text, ledger.gone))]
  const text = subtract(current.text, base.kind === 'present' ? base.text : undefined, ours)
  // Our own mode is 0600; a stranger who keeps it says nothing about the mode that the file had before.
  return content(text, base.kind === 'present' && current.mode === 0o600 ? base.mode : current.mode)
}

/** The logins of jobs that have ended that somebody has put back unawares. */
async function goneLoginsIn(text: string, gone: readonly GoneLogin[]): Promise<LoginEntry[]> {
  return gone.flatMap(({ workspace, tokenHash }) => {
    const login = findLogin(text, workspace)
    return login && hashSecret(login.apiKey) === tokenHash ? [login] : []
  })
}

function goneLogin({ entry }: Use): GoneLogin {
  return { workspace: entry.name, tokenHash: hashSecret(entry.apiKey), until: Date.now() + GONE_MS }
}

/** The ledger after the change. To be made any number of times. */
async function changed(before: Ledger, change: Change): Promise<Ledger> {
  const isLeaving = (use: Use) => !isLive(use) || (change.kind === 'leave' && use.id === change.use.id)
  const uses = before.uses.filter((use) => !isLeaving(use))
  const stillGone = before.gone.filter(({ until }) => until > Date.now())
  const ledger = { ...before, gone: [...stillGone, ...before.uses.filter(isLeaving).map(goneLogin)] }
  switch (change.kind) {
    case 'add': {
      const others = uses.filter(({ id }) => id !== change.login.id)
      return { ...ledger, uses: [...others, change.login], madeDirectory: ledger.madeDirectory || change.madeDirectory }
    }
    case 'keep': {
      const { base } = ledger
      const text = render(base.kind === 'present' ? base.text : undefined, [change.login])
      return { ...ledger, uses, base: content(text, base.kind === 'present' ? base.mode : 0o600) }
    }
    case 'leave': {
      const { id, tokenHash } = change.use
      const isKnown =
        before.uses.some((use) => use.id === id) || before.gone.some((login) => login.tokenHash === tokenHash)
      return { ...ledger, uses, base: isKnown ? ledger.base : await withoutLost(ledger.base, change.use) }
    }
  }
}

/** Where the ledger was lost, our login has become part of what looks like the base. */
async function withoutLost(base: ConfigContent, use: LeavingUse): Promise<ConfigContent> {
  const login = await loginIn(base, use.workspace)
  if (base.kind === 'absent' || !isOurs(login, use)) return base
  return content(subtract(base.text, undefined, [login]), base.mode)
}

async function rendered({ base, uses }: Ledger): Promise<ConfigContent> {
  if (uses.length === 0) return base
  return content(render(base.kind === 'present' ? base.text : undefined, uses), 0o600)
}

function content(text: string | undefined, mode: number): ConfigContent {
  return text === undefined ? { kind: 'absent' } : { kind: 'present', text, mode }
}

function isEqual(a: ConfigContent, b: ConfigContent): boolean {
  return a.kind === 'present' && b.kind === 'present' ? a.text === b.text && a.mode === b.mode : a.kind === b.kind
}

function isLive(use: Use): boolean {
  return use.notAfter > Date.now()
}

/** The last one out removes ledger and lock, and the directory where we made it and nothing else is in it. */
function removeTraces(paths: LoginPaths, madeDirectory: boolean, lock: HeldLock): void {
  removeLedger(paths.ledger)
  lock.removeFile(() => {
    if (madeDirectory) removeIfEmpty(paths.directory)
  })
}

function removeIfEmpty(directory: string): void {
  try {
    rmdirSync(directory)
  } catch {
    // somebody else has put something there
  }
}

/** What a use that was killed may have left beside the config. */
function removeTemporary(paths: LoginPaths, id: string): void {
  for (const path of [temporaryConfig(paths, id), `${paths.ledger}.${id}`, `${paths.lock}.${id}`]) {
    rmSync(path, { force: true })
  }
}

/** What a kill has left: these are only written under the lock, so under it nobody else's can be in the making. */
function removeAbandoned({ directory }: LoginPaths): void {
  const names = readdirSync(directory).filter((name) => /^(config\.yaml\.setup-bl-|setup-bl\.json\.)/.test(name))
  for (const name of names) rmSync(join(directory, name), { force: true })
}

function temporaryConfig(paths: LoginPaths, id: string): string {
  return `${paths.config}.setup-bl-${id}`
}

async function locked<T>(
  paths: LoginPaths,
  id: string,
  signal: AbortSignal,
  work: (lock: HeldLock) => Promise<T>,
): Promise<T> {
  const lock = await holdLock(paths.lock, id, signal)
  try {
    return await work(lock)
  } catch (error) {
    // Without a ledger nobody needs the lock.
    if (statIfThere(paths.ledger) === undefined) lock.removeFile(() => undefined)
    throw error
  } finally {
    lock.release()
  }
}
