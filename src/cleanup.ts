import { dirname } from 'node:path'
import { failureOf, messageOf } from './util/errors.ts'
import { remove } from './util/fs.ts'
import type { Http } from './util/http.ts'
import { createApi } from './blaxel/api.ts'
import { hashSecret } from './blaxel/credential.ts'
import { removeLogin } from './login/login.ts'
import type { Runner } from './runner/runner.ts'
import { parseState, type KeyState, type LoginState, type State } from './state.ts'

export interface CleanupDeps {
  readonly runner: Pick<Runner, 'info' | 'notice' | 'warning' | 'debug'>
  readonly http: Http
  readonly signal: AbortSignal
}

const API_DEADLINE_MS = 60_000

/**
 * The post step: removes the login, revokes the key that was minted, and removes this invocation's directories. What
 * can't be undone becomes a warning: a job that has succeeded does not fail because of it.
 * @param saved what the main step has saved; empty if it did not get that far
 * @param apiKey the input api-key as it is now, if it is given
 */
export async function cleanup(saved: string, apiKey: string | undefined, deps: CleanupDeps): Promise<void> {
  const { runner } = deps
  if (saved === '') {
    runner.debug('The main step has saved nothing, so there is nothing to undo')
    return
  }
  const state = parseState(saved)
  if (!state) {
    runner.warning(
      'The state that the main step has saved was changed, so nothing was undone. Check ~/.blaxel on this runner; a minted key expires by itself.',
    )
    return
  }
  const tokenUse = state.login ? await logOut(state.login, state, deps) : 'unused'
  if (state.key) await revoke(state.key, apiKey, tokenUse, deps)
  await removeDirectories(state, deps)
}

/** Whether another login on this machine may use the session token: another job's, or one that is kept. */
type TokenUse = 'unused' | 'used' | 'unknown'

async function logOut(
  login: LoginState,
  { invocation, scratch }: State,
  { runner, signal }: CleanupDeps,
): Promise<TokenUse> {
  const { directory, workspace, tokenHash, wasThere = false } = login
  const added = { id: invocation, job: dirname(scratch), workspace, tokenHash, wasThere }
  try {
    const { isTokenInUse } = await removeLogin(directory, added, { info: runner.info, signal })
    runner.info(`Logged out of workspace ${workspace}`)
    return isTokenInUse ? 'used' : 'unused'
  } catch (error) {
    runner.warning(`The login to workspace ${workspace} could not be removed: ${messageOf(error)}`)
    return 'unknown'
  }
}

async function revoke(key: KeyState, apiKey: string | undefined, tokenUse: TokenUse, deps: CleanupDeps): Promise<void> {
  const { runner, http, signal } = deps
  const until = `It expires by itself at ${new Date(key.expiresAt).toISOString()}.`
  if (tokenUse !== 'unused') {
    const why =
      tokenUse === 'used'
        ? 'another login on this machine may use it'
        : 'it is not known whether another login on this machine uses it'
    runner.notice(`The key ${key.name} was not revoked: ${why}. ${until}`)
    return
  }
  if (apiKey === undefined || hashSecret(apiKey) !== key.credential) {
    runner.warning(`The key ${key.name} was not revoked. ${otherInputs(apiKey)} ${until}`)
    return
  }
  try {
    const api = createApi(key.origin, http, Date.now() + API_DEADLINE_MS, signal)
    const ids = key.id === undefined ? await api.keysNamed(key.serviceAccount, key.name, apiKey) : [key.id]
    for (const id of ids) await api.deleteKey(key.serviceAccount, id, apiKey)
    if (ids.length > 0) runner.info(`Revoked the key ${key.name} of the service account ${key.serviceAccount}`)
  } catch (error) {
    runner.warning(`The key ${key.name} could not be revoked: ${failureOf(error)} ${until}`)
  }
}

/** GitHub evaluates `with:` again for the post step. */
function otherInputs(apiKey: string | undefined): string {
  return apiKey === undefined
    ? 'The post step got no valid api-key, although the main step did: GitHub evaluates with: again after the job, and in nested composite actions it can be empty then. There, use client-id and client-secret.'
    : 'The post step got another api-key than the main step: GitHub evaluates with: again after the job. Set api-key to a secret itself, not to a value that steps change.'
}

async function removeDirectories(state: State, { runner }: CleanupDeps): Promise<void> {
  for (const directory of [state.scratch, state.staging]) {
    try {
      await remove(directory)
    } catch (error) {
      runner.warning(`${directory} could not be removed: ${messageOf(error)}`)
    }
  }
}
