import { mkdirSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { createApi, type BlaxelApi } from './blaxel/api.ts'
import { hashSecret, secretOf } from './blaxel/credential.ts'
import { checkWorkspace, openSession, type Session } from './blaxel/session.ts'
import type { Inputs, SessionAccess } from './inputs.ts'
import { install, type Installation } from './install/install.ts'
import type { Platform } from './install/platform.ts'
import { dropEntry, stagingDirectory } from './install/tool-cache.ts'
import { login, UnusableProgramError } from './login/bl-login.ts'
import type { LoginEntry } from './login/config-document.ts'
import { addLogin, assertLoginPossible, otherLoginWarning } from './login/login.ts'
import { ignoresWorkspaceVariable, loginInCheckoutWarning } from './login/warnings.ts'
import {
  announceEndpoint,
  announceSession,
  rfc3339,
  setCliOutputs,
  setNoSessionOutputs,
  setSessionOutputs,
  type OutputDeps,
} from './outputs.ts'
import { settingsInCheckout, type CheckoutSetting } from './runner/checkout.ts'
import { blaxelDirectory, requireBlaxelDirectory, type Machine } from './runner/runner-env.ts'
import type { Runner } from './runner/runner.ts'
import { directoryNames, type KeyState, type State } from './state.ts'
import { concurrently } from './util/concurrently.ts'
import { withDeadline } from './util/deadline.ts'
import { SetupError } from './util/errors.ts'
import { discard } from './util/fs.ts'
import type { Http } from './util/http.ts'
import type { Run } from './util/process.ts'
import { excerpt } from './util/redact.ts'

export interface SetupDeps extends OutputDeps {
  readonly platform: Platform
  readonly http: Http
  readonly run: Run
  /** Random, 32 hex digits: identifies this run of the action. */
  readonly invocation: string
  readonly signal: AbortSignal
}

const API_DEADLINE_MS = 120_000

/**
 * The main step: installs the CLI and opens a session at the same time, logs in, and sets outputs, environment and PATH.
 * @throws SetupError; PATH, outputs, environment and config are unchanged then
 */
export async function setup(inputs: Inputs, deps: SetupDeps): Promise<void> {
  const { runner, signal } = deps
  for (const warning of inputs.warnings) runner.warning(warning)
  const { access } = inputs
  if (access.kind === 'session') await prepareSession(access, deps)
  const state = createStateStore(deps)
  mkdirSync(state.current().scratch, { mode: 0o700 })
  const [installation, session] = await concurrently(
    signal,
    (both) => timed('install', deps, () => installCli(inputs, state, deps, both)),
    async (both) => (access.kind === 'session' ? openCheckedSession(access, state, deps, both) : undefined),
  )
  if (access.kind !== 'session' || !session) {
    setCliOutputs(installation, deps)
    await setNoSessionOutputs(access, deps)
    return
  }
  if (access.login) {
    const entry = await timed('login', deps, () => runLogin(access, session, installation, state, deps))
    await timed('config', deps, () => logInHere(access, session, entry, installation.version, state, deps))
  } else {
    const warning = await otherLoginWarning(blaxelDirectory(deps.machine), access.workspace, session.token)
    if (warning !== undefined) runner.warning(warning)
  }
  announceSession(access, session, runner)
  if (!access.logout) keepKey(session, state, runner)
  setCliOutputs(installation, deps)
  setSessionOutputs(access, session, deps)
}

/** What the post step will get. It is saved whole at every change, before what it describes is done. */
interface StateStore {
  readonly current: () => State
  readonly save: (addition: Partial<Pick<State, 'login' | 'key'>>) => void
  readonly clearKey: () => void
}

function createStateStore({ runner, machine, invocation }: SetupDeps): StateStore {
  let state: State = {
    schema: 1,
    invocation,
    scratch: join(machine.temp, directoryNames.scratch(invocation)),
    staging: stagingDirectory(machine.toolCache, directoryNames.staging(invocation)),
  }
  const replace = (next: State) => {
    state = next
    runner.saveState(JSON.stringify(state))
  }
  replace(state)
  return {
    current: () => state,
    save: (addition) => {
      replace({ ...state, ...addition })
    },
    clearKey: () => {
      const rest = { ...state }
      delete rest.key
      replace(rest)
    },
  }
}

/** What can be known without a request: whether the config can be changed, and what in the checkout will interfere. */
async function prepareSession(access: SessionAccess, { runner, machine }: SetupDeps): Promise<void> {
  if (access.login) {
    const directory = requireBlaxelDirectory(machine)
    await assertLoginPossible(directory)
    const warning = loginInCheckoutWarning(directory, machine.checkout)
    if (warning !== undefined) runner.warning(warning)
  }
  announceEndpoint(access.endpoint, runner)
  for (const setting of settingsInCheckout(machine.checkout)) {
    const warning = checkoutWarning(setting, access.workspace)
    if (warning !== undefined) runner.warning(warning)
  }
}

function checkoutWarning(setting: CheckoutSetting, workspace: string): string | undefined {
  const { file } = setting
  switch (setting.kind) {
    case 'workspace':
      return setting.workspace === workspace
        ? undefined
        : `${file} in the checkout sets the workspace '${excerpt(setting.workspace)}' (line ${setting.line}), and bl uses that instead of '${workspace}', even with -w. Remove the line, or log in to that workspace.`
    case 'variable':
      return `${file} in the checkout sets ${setting.variable} (line ${setting.line}): bl and the SDKs read it there, and it may redirect or replace this login.`
    case 'unknown':
      return `${file} in the checkout ${setting.why}, so it was not read: bl and the SDKs read it there, and if it sets BL_* it may redirect or replace this login.`
  }
}

async function installCli(
  inputs: Inputs,
  state: StateStore,
  { runner, machine, platform, http, run }: SetupDeps,
  signal: AbortSignal,
): Promise<Installation> {
  const started = process.uptime()
  const { scratch, staging } = state.current()
  const { childEnv, toolCache } = machine
  const { info, debug, warning: warn } = runner
  const deps = { http, run, platform, childEnv, scratch, staging, toolCache, info, debug, warn }
  const installation = await install(inputs.install, deps, signal)
  const seconds = (process.uptime() - started).toFixed(1)
  const what = `bl ${installation.version} for ${platform.name}`
  const verified = `SHA-256 verified: ${installation.verifiedBy.replace('-', ' ')}`
  runner.info(
    installation.cacheHit
      ? `Found ${what} in the tool cache in ${seconds} s (${verified})`
      : `Installed ${what} in ${seconds} s (${verified})`,
  )
  return installation
}

/** Opens a session and checks that the API accepts it for the workspace, all within one deadline. */
async function openCheckedSession(
  { credential, workspace, endpoint }: SessionAccess,
  state: StateStore,
  deps: SetupDeps,
  parent: AbortSignal,
): Promise<Session> {
  const { runner, http, invocation } = deps
  const rememberKey = (key: Pick<KeyState, 'name' | 'id' | 'expiresAt'>) => {
    if (credential.kind !== 'service-account') return
    const { serviceAccount, apiKey } = credential
    state.save({ key: { ...key, origin: endpoint.url, workspace, serviceAccount, credential: hashSecret(apiKey) } })
  }
  const sessionDeps = {
    hide: runner.hide,
    keyName: () => `setup-bl-${invocation}`,
    rememberKey,
    forgetKey: state.clearKey,
  }
  const expired = () =>
    new SetupError(
      `No session could be opened at ${new URL(endpoint.url).host} within ${API_DEADLINE_MS / 1000} s.`,
      'Run the job again later.',
    )
  const deadline = Date.now() + API_DEADLINE_MS
  return withDeadline(parent, API_DEADLINE_MS, expired, async (signal) => {
    const api: BlaxelApi = createApi(endpoint.url, http, deadline, signal)
    const session = await timed('session', deps, () => openSession(credential, api, sessionDeps))
    await timed('workspace', deps, () => checkWorkspace(credential, workspace, session, api))
    return session
  })
}

/** Runs `bl login`. A program that turns out to be unusable leaves the tool cache, so that the next job gets a new one. */
async function runLogin(
  { workspace, endpoint }: SessionAccess,
  session: Session,
  installation: Installation,
  state: StateStore,
  { run, machine, signal }: SetupDeps,
): Promise<LoginEntry> {
  const { url: apiUrl, environment } = endpoint
  const cliDeps = { run, childEnv: machine.childEnv, scratch: state.current().scratch }
  try {
    return await login(installation.path, { workspace, token: session.token, apiUrl, environment }, cliDeps, signal)
  } catch (error) {
    if (error instanceof UnusableProgramError) await dropEntry(dirname(installation.path))
    throw error
  }
}

/** Adds the login to the config that later steps use; the state says first how to remove it. */
async function logInHere(
  access: SessionAccess,
  session: Session,
  entry: LoginEntry,
  version: string,
  state: StateStore,
  deps: SetupDeps,
): Promise<void> {
  const { runner, machine, signal } = deps
  const { workspace, endpoint, credential } = access
  const directory = requireBlaxelDirectory(machine)
  const tokenHash = hashSecret(session.token)
  const newLogin = {
    id: deps.invocation,
    job: machine.temp,
    endpoint: endpoint.url,
    credential: hashSecret(secretOf(credential)),
    entry,
    expiresAt: session.expiresAt,
    isKept: !access.logout,
    followsContext: !access.exportEnv || ignoresWorkspaceVariable(version),
  }
  const beforeChange = (wasThere: boolean) => {
    if (access.logout) state.save({ login: { directory, workspace, tokenHash, ...(wasThere ? { wasThere } : {}) } })
  }
  const warnings = await addLogin(directory, newLogin, { info: runner.info, signal, beforeChange })
  for (const warning of warnings) runner.warning(warning)
}

/** A login that stays needs its key. */
function keepKey({ expiresAt }: Session, state: StateStore, runner: Runner): void {
  const { key } = state.current()
  if (!key || expiresAt === undefined) return
  state.clearKey()
  runner.notice(
    `The key ${key.name} is not revoked after the job, because logout is false. It expires at ${rfc3339(expiresAt)}.`,
  )
}

async function timed<T>(phase: string, { runner }: Pick<SetupDeps, 'runner'>, work: () => Promise<T>): Promise<T> {
  const started = process.uptime()
  try {
    return await work()
  } finally {
    runner.debug(`${phase}: ${Math.round((process.uptime() - started) * 1000)} ms`)
  }
}

/** Removes this invocation's directories. The post step does it if this could not run. */
export async function removeDirectories(machine: Machine, invocation: string): Promise<void> {
  await discard(join(machine.temp, directoryNames.scratch(invocation)))
  await discard(stagingDirectory(machine.toolCache, directoryNames.staging(invocation)))
}
