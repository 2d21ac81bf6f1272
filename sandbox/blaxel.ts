import { createHmac, randomBytes } from 'node:crypto'
import type { Handler, RecordedRequest, Reply } from './wire.ts'

const PAGINATED_SINCE = '2026-04-28'
const LISTINGS = ['agents', 'functions', 'jobs', 'models', 'policies', 'sandboxes', 'volumes']
const UNITS: Readonly<Record<string, number>> = { h: 3_600_000, d: 86_400_000, w: 604_800_000 }

/** A service account's key that is alive. */
export interface MintedKey {
  readonly id: string
  readonly apiKey: string
  readonly name: string
  /** Client id of the service account. */
  readonly serviceAccount: string
  /** As it was asked for, such as "2h"; empty: it lives for ever. */
  readonly expires_in: string
  readonly createdAt: string
}

/** One Blaxel, with accounts of its own. Its state is public, so that a test can look and change. */
export interface BlaxelStandIn {
  /** Extra fields replace those of the answer for this workspace, `name` and `id` too. */
  addWorkspace(name: string, extra?: object): void
  addApiKey(key: string, options: { workspaces: readonly string[]; mayMintFor?: readonly string[] }): void
  addClient(
    clientId: string,
    secret: string,
    options: { workspaces: readonly string[]; mayMintFor?: readonly string[] },
  ): void
  /** Takes a key, client id or issued token out of use: what it opened answers 401 from now on. */
  revoke(credential: string): void
  /** Live minted keys by their id. */
  readonly keys: Map<string, MintedKey>
  /** Every access token ever issued and every minted key's secret ever shown. */
  readonly issued: string[]
  /** How far this Blaxel's clock is ahead of the machine's. */
  clockSkewMs: number
  /** Lifetime of an access token. */
  tokenSeconds: number
  /** The form of the list of a service account's keys: as documented, or as all other lists. */
  keyListForm: 'array' | 'page'
  /** The same API as plain http on loopback, started on demand: http://127.0.0.1:PORT/v0 */
  loopbackUrl(): Promise<string>
}

interface Access {
  readonly workspaces: readonly string[]
  readonly mayMintFor: readonly string[]
}

interface Client extends Access {
  readonly secret: string
}

interface Accounts {
  readonly workspaces: Map<string, object>
  readonly clients: Map<string, Client>
  /** API keys and access tokens. */
  readonly bearers: Map<string, Access>
  readonly standIn: BlaxelStandIn
}

/** A Blaxel without workspaces, and what it answers. `listen` starts a loopback server for a handler and gives its origin. */
export function createBlaxel(listen: (handler: Handler) => Promise<string>): {
  standIn: BlaxelStandIn
  handler: Handler
} {
  const workspaces = new Map<string, object>()
  const clients = new Map<string, Client>()
  const bearers = new Map<string, Access>()
  let loopback: Promise<string> | undefined

  const standIn: BlaxelStandIn = {
    keys: new Map(),
    issued: [],
    clockSkewMs: 0,
    tokenSeconds: 7200,
    keyListForm: 'array',
    addWorkspace(name, extra = {}) {
      const number = workspaces.size + 1
      const workspace = { id: `ws-${number}`, name, displayName: titled(name), accountId: `acc-${number}` }
      workspaces.set(name, { ...workspace, region: 'us-pdx-1', status: 'ready', ...extra })
    },
    addApiKey(key, options) {
      bearers.set(key, { mayMintFor: [], ...options })
    },
    addClient(clientId, secret, options) {
      clients.set(clientId, { secret, mayMintFor: [], ...options })
    },
    revoke(credential) {
      bearers.delete(credential)
      clients.delete(credential)
      for (const [id, key] of standIn.keys) if (key.apiKey === credential) standIn.keys.delete(id)
    },
    loopbackUrl() {
      loopback ??= listen(handler).then((origin) => `${origin}/v0`)
      return loopback
    },
  }
  const accounts: Accounts = { workspaces, clients, bearers, standIn }
  const handler: Handler = (request) => answer(accounts, request)
  return { standIn, handler }
}

function answer(accounts: Accounts, request: RecordedRequest): Reply {
  const { pathname } = new URL(request.path, 'https://api.blaxel.ai')
  const [version, kind = '', name, ...more] = pathname.split('/').slice(1).map(decodeURIComponent)
  if (version !== 'v0') return failure(404, 'not found')
  const route = `${request.method} /${kind}/${name ?? ''}`
  if (route === 'POST /oauth/token') return token(accounts, request)
  if (route === 'POST /login/device') return deviceLogin()

  const access = authorised(accounts, request)
  if (access === undefined) return failure(401, 'unauthorized')
  if (kind === 'service_accounts') return serviceAccount(accounts, access, request, name ?? '', more)
  if (kind === 'workspaces') return workspace(accounts, access, request.method, name)
  if (LISTINGS.some((each) => route === `GET /${each}/`)) return listing(access, request)
  return failure(404, 'not found')
}

function token({ clients, bearers, standIn }: Accounts, request: RecordedRequest): Reply {
  const body = jsonObject(request.body)
  const [id, secret] = basic(request.headers.authorization) ?? [body.client_id, body.client_secret]
  if (body.grant_type === 'urn:ietf:params:oauth:grant-type:device_code') {
    return refusal('authorization_pending', 'the user has not confirmed yet')
  }
  if (body.grant_type !== 'client_credentials') {
    return refusal('unsupported_grant_type', 'the grant type is not supported')
  }
  const client = typeof id === 'string' ? clients.get(id) : undefined
  if (client === undefined || client.secret !== secret) {
    return refusal('invalid_client', 'the client credentials are not valid')
  }
  const issued = jwt(standIn, { sub: id, workspaces: client.workspaces })
  bearers.set(issued, client)
  standIn.issued.push(issued)
  return {
    status: 200,
    body: {
      access_token: issued,
      token_type: 'Bearer',
      expires_in: standIn.tokenSeconds,
      refresh_token: randomBytes(48).toString('base64url'),
    },
  }
}

function basic(header = ''): [string, string] | undefined {
  const encoded = /^Basic (.+)$/i.exec(header)?.[1]
  if (encoded === undefined) return undefined
  const [id = '', ...secret] = Buffer.from(encoded, 'base64').toString().split(':')
  return [id, secret.join(':')]
}

function refusal(error: string, description: string): Reply {
  return { status: 400, body: { error, error_description: description } }
}

/** As long as the real ones, so that whatever cuts a token shows. */
function jwt(standIn: BlaxelStandIn, claims: object): string {
  const now = Math.floor(clock(standIn) / 1000)
  const part = (value: object) => Buffer.from(JSON.stringify(value)).toString('base64url')
  const payload = {
    iss: 'https://api.blaxel.ai/v0',
    aud: ['https://api.blaxel.ai'],
    ...claims,
    sub_type: 'service_account',
    iat: now,
    exp: now + standIn.tokenSeconds,
    jti: randomBytes(160).toString('base64url'),
  }
  const content = `${part({ alg: 'HS256', typ: 'JWT', kid: 'sandbox' })}.${part(payload)}`
  return `${content}.${createHmac('sha256', randomBytes(32)).update(content).digest('base64url')}`
}

function clock(standIn: BlaxelStandIn): number {
  return Date.now() + standIn.clockSkewMs
}

function deviceLogin(): Reply {
  const code = randomBytes(16).toString('hex')
  const page = 'https://app.blaxel.ai/device'
  return {
    status: 200,
    body: {
      device_code: code,
      user_code: 'SAND-BOXX',
      verification_uri: page,
      verification_uri_complete: `${page}?user_code=SAND-BOXX`,
      expires_in: 600,
      interval: 3,
    },
  }
}

function authorised(accounts: Accounts, { headers }: RecordedRequest): Access | undefined {
  const header = headers.authorization ?? headers['x-blaxel-authorization'] ?? ''
  const bearer = /^Bearer (.+)$/i.exec(header)?.[1] ?? ''
  return accounts.bearers.get(bearer) ?? mintedAccess(accounts, bearer)
}

function mintedAccess({ standIn, clients, workspaces }: Accounts, bearer: string): Access | undefined {
  for (const key of standIn.keys.values()) {
    if (key.apiKey !== bearer || expired(standIn, key)) continue
    return clients.get(key.serviceAccount) ?? { workspaces: [...workspaces.keys()], mayMintFor: [] }
  }
  return undefined
}

function expired(standIn: BlaxelStandIn, key: MintedKey): boolean {
  const lifetime = lifetimeMs(key.expires_in)
  return lifetime !== undefined && clock(standIn) > Date.parse(key.createdAt) + lifetime
}

function lifetimeMs(text: string): number | undefined {
  const [, count, unit = ''] = /^([1-9]\d*)([hdw])$/.exec(text) ?? []
  return count === undefined ? undefined : Number(count) * (UNITS[unit] ?? 0)
}

function workspace({ workspaces }: Accounts, access: Access, method: string, name: string | undefined): Reply {
  if (name === undefined) {
    const open = [...workspaces].filter(([each]) => access.workspaces.includes(each))
    return { status: 200, body: open.map(([, described]) => described) }
  }
  const found = workspaces.get(name)
  if (found === undefined) return failure(404, `workspace ${name} not found`)
  if (!access.workspaces.includes(name)) return failure(403, `access to workspace ${name} is forbidden`)
  // As dangerous as the real one, so that a stray DELETE does harm that a test can see.
  if (method === 'DELETE') workspaces.delete(name)
  return { status: 200, body: found }
}

/** Lists of resources are empty here; what counts is who may see them. */
function listing(access: Access, { headers }: RecordedRequest): Reply {
  const name = headers['x-blaxel-workspace'] ?? ''
  if (!access.workspaces.includes(name)) return failure(403, `access to workspace ${name} is forbidden`)
  return { status: 200, body: isPaginated(headers) ? page([]) : [] }
}

function isPaginated(headers: RecordedRequest['headers']): boolean {
  return (headers['blaxel-version'] ?? '') >= PAGINATED_SINCE
}

function page(data: readonly object[]): object {
  return { data, meta: { hasMore: false, nextCursor: '', total: data.length } }
}

function serviceAccount(
  accounts: Accounts,
  access: Access,
  request: RecordedRequest,
  clientId: string,
  [collection, id]: readonly string[],
): Reply {
  const { keys, keyListForm } = accounts.standIn
  if (collection !== 'api_keys') return failure(404, 'not found')
  if (!access.mayMintFor.includes(clientId)) return failure(403, 'apiKey:write is required')
  const own = [...keys.values()].filter((key) => key.serviceAccount === clientId)
  switch (`${request.method} ${id === undefined ? 'all' : 'one'}`) {
    case 'GET all': {
      const shown = own.map(withoutSecret)
      return { status: 200, body: keyListForm === 'page' && isPaginated(request.headers) ? page(shown) : shown }
    }
    case 'POST all':
      return mint(accounts, clientId, request)
    case 'DELETE one': {
      const found = own.find((key) => key.id === id)
      if (found === undefined) return failure(404, 'api key not found')
      keys.delete(found.id)
      return { status: 200, body: withoutSecret(found) }
    }
    default:
      return failure(404, 'not found')
  }
}

function mint({ standIn }: Accounts, serviceAccount: string, request: RecordedRequest): Reply {
  const { name = '', expires_in = '' } = jsonObject(request.body)
  if (typeof name !== 'string' || typeof expires_in !== 'string') return failure(400, 'name and expires_in are texts')
  if (expires_in !== '' && lifetimeMs(expires_in) === undefined) return failure(400, 'invalid expires_in')
  const key: MintedKey = {
    id: `ak_${randomBytes(9).toString('base64url').replaceAll('-', 'x')}`,
    apiKey: `bl_${randomBytes(24).toString('hex')}`,
    name,
    serviceAccount,
    expires_in,
    createdAt: new Date(clock(standIn)).toISOString(),
  }
  standIn.keys.set(key.id, key)
  standIn.issued.push(key.apiKey)
  return { status: 200, body: { ...withoutSecret(key), apiKey: key.apiKey } }
}

function withoutSecret({ id, name, expires_in, createdAt }: MintedKey): object {
  return { id, name, expires_in, createdAt }
}

function failure(status: number, error: string): Reply {
  return { status, body: { code: status, error } }
}

function jsonObject(text: string): Record<string, unknown> {
  try {
    const value: unknown = JSON.parse(text)
    return typeof value === 'object' && value !== null ? { ...value } : {}
  } catch {
    return {}
  }
}

function titled(name: string): string {
  return name.charAt(0).toUpperCase() + name.slice(1)
}
