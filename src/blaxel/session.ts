import { failureOf, SetupError } from '../util/errors.ts'
import type { BlaxelApi, WorkspaceAnswer } from './api.ts'
import type { Credential } from './credential.ts'
import { DEFAULT_API_URL } from './endpoint.ts'

export type TokenType = 'oauth' | 'service-account-key' | 'api-key'

/** A session token and what is known of it. */
export interface Session {
  readonly token: string
  readonly type: TokenType
  /** ms since the epoch; undefined if it does not expire, or where nobody says when */
  readonly expiresAt: number | undefined
  readonly isShortLived: boolean
}

/** What opening a session does besides asking the API. */
export interface SessionEdges {
  /** Keeps a secret out of the log from now on. */
  readonly hide: (secret: string) => void
  /** A random name for a key that is about to be made. */
  readonly keyName: () => string
  /** Remembers a key that may exist, so that the post step can revoke it. Called before it is made, and again with its id. */
  readonly rememberKey: (key: { readonly name: string; readonly id?: string; readonly expiresAt: number }) => void
  /** The key was certainly not made. */
  readonly forgetKey: () => void
}

/**
 * Turns a credential into a session token.
 * @throws SetupError telling a bad credential from an outage
 */
export async function openSession(credential: Credential, api: BlaxelApi, edges: SessionEdges): Promise<Session> {
  const session = await obtain(credential, api, edges)
  edges.hide(session.token)
  return session
}

/**
 * Asks the API whether a session's token opens a workspace.
 * @throws SetupError telling a bad credential from a wrong workspace from an outage
 */
export async function checkWorkspace(
  credential: Credential,
  workspace: string,
  { token }: Session,
  api: BlaxelApi,
): Promise<void> {
  const answer = await api.workspace(workspace, token)
  if (answer.kind !== 'accepted') throw refused(credential, workspace, api.url, answer)
}

async function obtain(credential: Credential, api: BlaxelApi, edges: SessionEdges): Promise<Session> {
  switch (credential.kind) {
    case 'client': {
      const issued = await api.issueToken(credential.clientId, credential.clientSecret, credential.source)
      return { ...issued, type: 'oauth', isShortLived: true }
    }
    case 'service-account':
      return mint(credential, api, edges)
    case 'jwt':
      return { token: credential.jwt, type: 'oauth', expiresAt: credential.expiresAt, isShortLived: true }
    case 'earlier-session': {
      const type = credential.isJwt ? 'oauth' : 'service-account-key'
      return { token: credential.token, type, expiresAt: credential.expiresAt, isShortLived: true }
    }
    case 'api-key':
      return { token: credential.apiKey, type: 'api-key', expiresAt: undefined, isShortLived: false }
  }
}

type ServiceAccount = Credential & { kind: 'service-account' }

async function mint(credential: ServiceAccount, api: BlaxelApi, edges: SessionEdges): Promise<Session> {
  const { apiKey, serviceAccount, lifetime } = credential
  const name = edges.keyName()
  edges.rememberKey({ name, expiresAt: Date.now() + lifetime.ms })
  const answer = await api.mintKey(serviceAccount, name, lifetime.text, apiKey)
  switch (answer.kind) {
    case 'minted': {
      const expiresAt = Date.now() + lifetime.ms
      edges.hide(answer.apiKey)
      edges.rememberKey({ name, id: answer.id, expiresAt })
      return { token: answer.apiKey, type: 'service-account-key', expiresAt, isShortLived: true }
    }
    case 'refused':
      edges.forgetKey()
      throw answer.error
    case 'unknown': {
      const outcome = await deleteByName(credential, name, api)
      throw new SetupError(
        `No short-lived key could be created for the service account ${serviceAccount}: ${answer.error.what}`,
        `${outcome} ${answer.error.remedy}`,
        { cause: answer.error },
      )
    }
  }
}

async function deleteByName({ apiKey, serviceAccount }: ServiceAccount, name: string, api: BlaxelApi): Promise<string> {
  try {
    const ids = await api.keysNamed(serviceAccount, name, apiKey)
    for (const id of ids) await api.deleteKey(serviceAccount, id, apiKey)
    return ids.length > 0 ? 'The key that was created anyway was deleted.' : 'No key was left behind.'
  } catch (error) {
    return `A key named ${name} may be left behind, and the post step will try to delete it: ${failureOf(error)}`
  }
}

function refused(
  credential: Credential,
  workspace: string,
  apiUrl: string,
  answer: Exclude<WorkspaceAnswer, { kind: 'accepted' }>,
): SetupError {
  switch (answer.kind) {
    case 'bad-credential':
      return badCredential(credential, answer.said)
    case 'forbidden':
      return new SetupError(
        `The Blaxel API accepts ${credential.source}, but not for the workspace '${workspace}' (403: ${answer.said}).`,
        'Check the input workspace, or use a credential of that workspace: a service account belongs to one workspace.',
      )
    case 'not-found':
      return new SetupError(
        `There is no workspace '${workspace}' (404: ${answer.said}).`,
        'Check the input workspace: it takes the name in the address of the Blaxel console, not the display name.' +
          (apiUrl === DEFAULT_API_URL
            ? ''
            : ` Also check that ${apiUrl} is the base URL of the API with its path, such as /v0.`),
      )
  }
}

function badCredential(credential: Credential, said: string): SetupError {
  const what = `The Blaxel API rejected ${credential.source} (401: ${said}).`
  switch (credential.kind) {
    case 'earlier-session':
      return new SetupError(
        what,
        'The session token of an earlier step has expired or was revoked: set the credential as an input (with:) of this step.',
      )
    case 'jwt': {
      const { expiresAt } = credential
      const expired = expiresAt !== undefined && expiresAt < Date.now()
      const when = expired ? ` It expired at ${new Date(expiresAt).toISOString()}.` : ''
      return new SetupError(
        `${what}${when}`,
        'Use a fresh token, or client-id and client-secret, which get one for every job.',
      )
    }
    case 'client':
    case 'service-account':
      return new SetupError(
        `The Blaxel API rejected the session token that it issued for ${credential.source} (401: ${said}).`,
        'Check the input api-url, then run the job again.',
      )
    case 'api-key':
      return new SetupError(
        what,
        'Check that the secret holds a valid API key. If the key was deleted or has expired, create a new one in the Blaxel console.',
      )
  }
}
