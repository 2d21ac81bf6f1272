import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { randomBytes } from 'node:crypto'
import { createMachine, type Machine } from '../machine.ts'
import { openSandbox, type Sandbox } from '../sandbox.ts'

export const CREDENTIAL_KINDS = ['oauth', 'service-account', 'api-key'] as const
export type CredentialKind = (typeof CREDENTIAL_KINDS)[number]

/** What a person who runs the demonstration has to put right. */
export class UsageError extends Error {}

/** A credential as a workflow gives it: the inputs, and the values that their expressions stand for. */
export interface Credential {
  readonly kind: CredentialKind
  readonly inputs: Readonly<Record<string, string>>
  readonly vars: Readonly<Record<string, string>>
  readonly secrets: Readonly<Record<string, string>>
}

/** Where the demonstration runs: behind the sandbox's proxy, or, live, on the real internet. */
export interface World {
  readonly machine: Machine
  readonly workspace: string
  readonly credential: Credential
  readonly sandbox: Sandbox | undefined
  /** SHA-256 of the archive, where it is not the one that was published under the CLI's version. */
  readonly checksum: string | undefined
  close(): Promise<void>
}

/** Opens a sandbox with one workspace and one credential of a kind. */
export async function openSandboxWorld(kind: CredentialKind, cli: string | undefined): Promise<World> {
  const sandbox = await openSandbox(cli === undefined ? {} : { cli })
  const machine = await createMachine({ root: sandbox.root, env: sandbox.env })
  const workspace = 'acme'
  const credential = register(sandbox, kind, workspace)
  const version = sandbox.github.latest?.slice(1) ?? ''
  const checksum = cli === undefined ? undefined : sandbox.github.sha256(version)
  return { machine, workspace, credential, sandbox, checksum, close: () => sandbox.close() }
}

function register({ blaxel }: Sandbox, kind: CredentialKind, workspace: string): Credential {
  const id = 'sa-deployer'
  const secret = `bl_demo_${randomBytes(20).toString('hex')}`
  if (kind === 'oauth') {
    blaxel.addClient(id, secret, { workspaces: [workspace] })
    return oauth(id, secret)
  }
  blaxel.addApiKey(secret, { workspaces: [workspace], mayMintFor: [id] })
  return kind === 'service-account' ? serviceAccount(id, secret) : apiKey(secret)
}

/** Takes workspace and credential from the environment; everything made is below a fresh directory. */
export async function openLiveWorld(
  kind: CredentialKind | undefined,
  env: Readonly<Record<string, string | undefined>>,
): Promise<World> {
  const workspace = required(env, 'BL_WORKSPACE')
  const credential = liveCredential(kind ?? (env.BL_CLIENT_CREDENTIALS ? 'oauth' : 'api-key'), env)
  const root = await mkdtemp(join(tmpdir(), 'setup-bl-'))
  const machine = await createMachine({ root, env: network(env) })
  const close = () => rm(root, { recursive: true, force: true, maxRetries: 10 })
  return { machine, workspace, credential, sandbox: undefined, checksum: undefined, close }
}

function liveCredential(kind: CredentialKind, env: Readonly<Record<string, string | undefined>>): Credential {
  switch (kind) {
    case 'oauth': {
      const pair = Buffer.from(required(env, 'BL_CLIENT_CREDENTIALS'), 'base64').toString()
      const colon = pair.indexOf(':')
      if (colon < 1) throw new UsageError('BL_CLIENT_CREDENTIALS is not the base64 of CLIENT_ID:CLIENT_SECRET')
      return oauth(pair.slice(0, colon), pair.slice(colon + 1))
    }
    case 'service-account':
      return serviceAccount(required(env, 'BL_SERVICE_ACCOUNT'), required(env, 'BL_API_KEY'))
    case 'api-key':
      return apiKey(required(env, 'BL_API_KEY'))
  }
}

function required(env: Readonly<Record<string, string | undefined>>, name: string): string {
  const value = env[name]
  if (value) return value
  throw new UsageError(
    `--live needs ${name} in the environment (BL_WORKSPACE, and BL_CLIENT_CREDENTIALS or BL_API_KEY; with --credential service-account also BL_SERVICE_ACCOUNT)`,
  )
}

/** How this computer reaches the internet. */
function network(env: Readonly<Record<string, string | undefined>>): Record<string, string> {
  const names = ['https_proxy', 'HTTPS_PROXY', 'no_proxy', 'NO_PROXY', 'NODE_EXTRA_CA_CERTS', 'SSL_CERT_FILE']
  return Object.fromEntries(names.flatMap((name) => (env[name] ? [[name, env[name]]] : [])))
}

function oauth(id: string, secret: string): Credential {
  return {
    kind: 'oauth',
    inputs: { 'client-id': '${{ vars.BL_CLIENT_ID }}', 'client-secret': '${{ secrets.BL_CLIENT_SECRET }}' },
    vars: { BL_CLIENT_ID: id },
    secrets: { BL_CLIENT_SECRET: secret },
  }
}

function serviceAccount(id: string, key: string): Credential {
  return {
    kind: 'service-account',
    inputs: { 'api-key': '${{ secrets.BL_API_KEY }}', 'service-account': '${{ vars.BL_SERVICE_ACCOUNT }}' },
    vars: { BL_SERVICE_ACCOUNT: id },
    secrets: { BL_API_KEY: key },
  }
}

function apiKey(key: string): Credential {
  return {
    kind: 'api-key',
    inputs: { 'api-key': '${{ secrets.BL_API_KEY }}' },
    vars: {},
    secrets: { BL_API_KEY: key },
  }
}
