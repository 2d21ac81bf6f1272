import { mkdirSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { setImmediate as nextTurn } from 'node:timers/promises'
import { unlessAborted, withDeadline } from './util/deadline.ts'
import { SetupError } from './util/errors.ts'
import { discard } from './util/fs.ts'
import type { Http } from './util/http.ts'
import type { Run } from './util/process.ts'
import { together } from './util/concurrently.ts'
import { createApi, type BlaxelApi } from './blaxel/api.ts'
import type { LoginEntry } from './login/config-document.ts'
import { hashSecret, secretOf } from './blaxel/credential.ts'
import { addLogin, assertLoginPossible, otherLoginWarning } from './login/login.ts'
import { ignoresWorkspaceVariable, loginInCheckoutWarning } from './login/warnings.ts'
import { checkWorkspace, openSession, type Session } from './blaxel/session.ts'
import { login } from './login/bl-login.ts'
import type { HeadStart } from './install/head-start.ts'
import { install, type Installation } from './install/install.ts'
import { createLender, type Lender } from './install/loan.ts'
import type { Platform } from './install/platform.ts'
import { stagingDirectory } from './install/tool-cache.ts'
import { settingsInCheckout, type CheckoutSetting } from './runner/checkout.ts'
import type { Inputs, SessionAccess } from './inputs.ts'
import { blaxelDirectory, type Machine } from './runner/runner-env.ts'
import type { Runner } from './runner/runner.ts'
import {
  announceSession,
  handOverCli,
  handOverNothing,
  handOverSession,
  rfc3339,
  type HandOverEdges,
} from './outputs.ts'
import { directoryNames, type KeyState, type State } from './state.ts'

/** Everything that the main step does to the world goes through these. */
export interface MainEdges extends HandOverEdges {
  readonly platform: Platform
  readonly http: Http
  readonly run: Run
  readonly headStart: HeadStart | undefined
  /** Random, 32 hex digits: the name of this use. */
  readonly use: string
  readonly signal: AbortSignal
}

const API_DEADLINE_MS = 120_000

/**
 * The main step: installs the CLI and opens a session at the same time, logs in, and hands both on to later steps.
 * @throws SetupError; PATH, outputs, environment and config are as they were then
 */
export async function main(inputs: Inputs, edges: MainEdges): Promise<void> {
  const { runner, signal } = edges
  await refuseBadVersion(inputs)
  for (const warning of inputs.warnings) runner.warning(warning)
  const { access } = inputs
  if (access.kind === 'session') await prepareSession(access, edges)
  const notebook = openNotebook(edges)
  mkdirSync(notebook.state().scratch, { mode: 0o700 })
  const lender = createLender()
  const [installation, opened] = await together(
    signal,
    async (both) => {
      const installation = await timed('install', edges, () =>
        installCli(inputs, notebook.state(), lender, edges, both),
      )
      lender.settle(installation.path)
      return installation
    },
    async (both) => (access.kind === 'session' ? open(access, lender, notebook, edges, both) : undefined),
  )
  if (access.kind === 'session' && opened) {
    const { session, entry } = opened
    if (entry) {
      await timed('config', edges, () => logInHere(access, session, entry, installation.version, notebook, edges))
    } else {
      const warning = await otherLoginWarning(blaxelDirectory(edges.machine), access.workspace, session.token)
      if (warning !== undefined) runner.warning(warning)
    }
    announceSession(access, session, runner)
    if (!access.logout) keepKey(session, notebook, runner)
    handOverCli(installation, edges)
    handOverSession(access, session, edges)
  } else {
    handOverCli(installation, edges)
    await handOverNothing(access, edges)
  }
}

/** The state as it grows: saved whole at every change, before what it describes is done. */
interface Notebook {
  readonly state: () => State
  readonly note: (addition: Partial<Pick<State, 'login' | 'key'>>) => void
  readonly forgetKey: () => void
}

function openNotebook({ runner, machine, use }: MainEdges): Notebook {
  let state: State = {
    schema: 1,
    use,
    scratch: join(machine.temp, directoryNames.scratch(use)),
    staging: stagingDirectory(machine.toolCache, directoryNames.staging(use)),
  }
  const save = () => {
    runner.saveState(JSON.stringify(state))
  }
  save()
  return {
    state: () => state,
    note: (addition) => {
      state = { ...state, ...addition }
      save()
    },
    forgetKey: () => {
      const { schema, scratch, staging, login } = state
      state = { schema, use, scratch, staging, ...(login ? { login } : {}) }
      save()
    },
  }
}

/** Reading ranges takes as long to load as reading all inputs: only where one is given. */
async function refuseBadVersion({ version }: Inputs): Promise<void> {
  if (version.kind !== 'range') return
  const { refuseBadRange } = await import('./install/version-range.ts')
  refuseBadRange(version.range)
}

/** What can be known without a request: whether the config can be changed, and what in the checkout will interfere. */
async function prepareSession(access: SessionAccess, { runner, machine }: MainEdges): Promise<void> {
  if (access.login) {
    const directory = blaxelDirectory(machine)
    await assertLoginPossible(directory)
    const warning = loginInCheckoutWarning(directory, machine.checkout)
    if (warning !== undefined) runner.warning(warning)
  }
  if (access.origin.isForeign) {
    runner.warning(
      `The credential goes to ${new URL(access.origin.url).host}, as the input api-url says: it is no host of Blaxel's.`,
    )
  }
  for (const setting of settingsInCheckout(machine.checkout)) runner.warning(settingWarning(setting))
}

function settingWarning(setting: CheckoutSetting): string {
  const { file } = setting
  return setting.kind === 'variable'
    ? `${file} in the checkout sets ${setting.variable} (line ${setting.line}): bl and the SDKs read it there, and it may redirect or replace this login.`
    : `${file} in the checkout ${setting.why}, so it was not looked at: bl and the SDKs read it there, and where it sets BL_* it may redirect or replace this login.`
}

async function installCli(
  inputs: Inputs,
  state: State,
  lender: Lender,
  edges: MainEdges,
  signal: AbortSignal,
): Promise<Installation> {
  const { runner, machine, platform, http, run, headStart } = edges
  const began = process.uptime()
  let ended: number | undefined
  const installation = await install(
    inputs.version,
    inputs.checksum,
    {
      http,
      run,
      headStart,
      platform,
      source: inputs.releases,
      debug: runner.debug,
      warn: runner.warning,
      childEnv: machine.childEnv,
      scratch: state.scratch,
      toolCache: machine.toolCache,
      staging: state.staging,
      offer: lender.offer,
      returned: () => {
        // How long the login takes from then on says nothing of the installation.
        ended = process.uptime()
        return lender.returned()
      },
    },
    signal,
  )
  const seconds = ((ended ?? process.uptime()) - began).toFixed(1)
  const checked = `SHA-256 verified: ${installation.verifiedBy.replace('-', ' ')}`
  const what = `bl ${installation.version} for ${platform.name}`
  runner.info(
    installation.cacheHit
      ? `Found ${what} in the tool cache in ${seconds} s (${checked})`
      : `Installed ${what} in ${seconds} s (${checked})`,
  )
  return installation
}

interface Opened {
  readonly session: Session
  /** What `bl login` has written, where it was to run. */
  readonly entry: LoginEntry | undefined
}

/** Opens the session, and logs in with it while the API is still asked whether it is good for the workspace. */
async function open(
  access: SessionAccess,
  lender: Lender,
  notebook: Notebook,
  edges: MainEdges,
  signal: AbortSignal,
): Promise<Opened> {
  const { runner, use } = edges
  const { credential, workspace, origin } = access
  const ask = apiBranch(access, edges)
  const rememberKey = (key: Pick<KeyState, 'name' | 'id' | 'expiresAt'>) => {
    if (credential.kind !== 'service-account') return
    const { serviceAccount, apiKey } = credential
    notebook.note({ key: { ...key, origin: origin.url, workspace, serviceAccount, credential: hashSecret(apiKey) } })
  }
  const session = await timed('session', edges, () =>
    ask(signal, (api) =>
      openSession(credential, api, {
        hide: runner.hide,
        keyName: () => `setup-bl-${use}`,
        rememberKey,
        forgetKey: notebook.forgetKey,
      }),
    ),
  )
  const accepted = Promise.withResolvers<'accepted'>()
  const [entry] = await together(
    signal,
    async (both) =>
      access.login ? logIn(access, session, lender, accepted.promise, notebook, edges, both) : undefined,
    async (both) => {
      // The login takes longest, so it begins first where it can.
      await nextTurn()
      await timed('workspace', edges, () => ask(both, (api) => checkWorkspace(credential, workspace, session, api)))
      accepted.resolve('accepted')
    },
  )
  return { session, entry }
}

type ApiBranch = <T>(signal: AbortSignal, work: (api: BlaxelApi) => Promise<T>) => Promise<T>

/** All that is asked of the API has one deadline. */
function apiBranch({ origin }: SessionAccess, { http }: MainEdges): ApiBranch {
  const endsAt = Date.now() + API_DEADLINE_MS
  const expired = () =>
    new SetupError(
      `No session could be opened at ${new URL(origin.url).host} within ${API_DEADLINE_MS / 1000} s.`,
      'Run the job again later.',
    )
  return (parent, work) =>
    withDeadline(parent, endsAt - Date.now(), expired, (signal) => work(createApi(origin.url, http, endsAt, signal)))
}

/** Logs in with the verified program, beside its check where it was just downloaded. */
async function logIn(
  { workspace, origin }: SessionAccess,
  session: Session,
  lender: Lender,
  accepted: Promise<'accepted'>,
  notebook: Notebook,
  { run, machine, ...edges }: MainEdges,
  signal: AbortSignal,
): Promise<LoginEntry> {
  const attempt = (file: string) =>
    timed('login', edges, () =>
      login(
        file,
        { workspace, token: session.token, apiUrl: origin.url, environment: origin.environment },
        { run, childEnv: machine.childEnv, scratch: notebook.state().scratch },
        signal,
      ),
    )
  const { file, giveBack } = await unlessAborted(lender.borrow(), signal)
  try {
    return await attempt(file).finally(giveBack)
  } catch (error) {
    const wasAccepted = (await Promise.race([accepted, Promise.resolve('unknown')])) === 'accepted'
    // Why a program does not run its check says better, and why a login fails the API; where that needs several tries, so may `bl`.
    const installed = await unlessAborted(lender.settled, signal)
    if (wasAccepted) throw error
    await unlessAborted(accepted, signal)
    return await attempt(installed)
  }
}

/** Adds the login to the config that later steps use; the state says first how to remove it. */
async function logInHere(
  access: SessionAccess,
  session: Session,
  entry: LoginEntry,
  version: string,
  notebook: Notebook,
  edges: MainEdges,
): Promise<void> {
  const { runner, machine, signal } = edges
  const { workspace, origin, credential } = access
  const directory = blaxelDirectory(machine)
  const tokenHash = hashSecret(session.token)
  const warnings = await addLogin(
    directory,
    {
      id: edges.use,
      job: dirname(notebook.state().scratch),
      endpoint: origin.url,
      credential: hashSecret(secretOf(credential)),
      entry,
      expiresAt: session.expiresAt,
      isKept: !access.logout,
      followsContext: !access.exportEnv || ignoresWorkspaceVariable(version),
    },
    {
      info: runner.info,
      signal,
      beforeChange: (wasThere) => {
        if (access.logout) {
          notebook.note({ login: { directory, workspace, tokenHash, ...(wasThere ? { wasThere } : {}) } })
        }
      },
    },
  )
  for (const warning of warnings) runner.warning(warning)
}

/** A login that stays needs its key. */
function keepKey({ expiresAt }: Session, notebook: Notebook, runner: Runner): void {
  const { key } = notebook.state()
  if (!key || expiresAt === undefined) return
  notebook.forgetKey()
  runner.notice(
    `The key ${key.name} is not revoked after the job, because logout is false. It expires at ${rfc3339(expiresAt)}.`,
  )
}

async function timed<T>(phase: string, { runner }: Pick<MainEdges, 'runner'>, work: () => Promise<T>): Promise<T> {
  const began = process.uptime()
  try {
    return await work()
  } finally {
    runner.debug(`${phase}: ${Math.round((process.uptime() - began) * 1000)} ms`)
  }
}

/**
 * Removes the private homes of `bl`, which are empty by now, and the staging directory, in which a program may have
 * run until now, which Windows would not remove. The post step does it where this could not run.
 */
export function discardDirectories(machine: Machine, use: string): void {
  discard(join(machine.temp, directoryNames.scratch(use)))
  discard(stagingDirectory(machine.toolCache, directoryNames.staging(use)))
}
