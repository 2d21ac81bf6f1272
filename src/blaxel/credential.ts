import { createHash } from 'node:crypto'

/** What opens a session. `source` is what the person called it, for messages. */
export type Credential =
  | { readonly kind: 'client'; readonly source: string; readonly clientId: string; readonly clientSecret: string }
  | {
      readonly kind: 'service-account'
      readonly source: string
      readonly apiKey: string
      readonly serviceAccount: string
      readonly lifetime: Lifetime
    }
  | { readonly kind: 'jwt'; readonly source: string; readonly jwt: string; readonly expiresAt: number | undefined }
  /** The session token that an earlier run of the action in this job has exported. */
  | {
      readonly kind: 'earlier-session'
      readonly source: string
      readonly token: string
      readonly expiresAt: number | undefined
      readonly isJwt: boolean
    }
  | { readonly kind: 'api-key'; readonly source: string; readonly apiKey: string }

/** A lifetime as the API takes it, such as `2h`. */
export interface Lifetime {
  readonly text: string
  readonly ms: number
}

const UNIT_MS = { h: 3_600_000, d: 86_400_000, w: 604_800_000 } as const

/** Reads a lifetime in hours, days or weeks; undefined for anything else. */
export function parseLifetime(text: string): Lifetime | undefined {
  const match = /^([1-9]\d{0,3})([hdw])$/.exec(text)
  return match ? { text, ms: Number(match[1]) * UNIT_MS[match[2] as keyof typeof UNIT_MS] } : undefined
}

/** The parts of BL_CLIENT_CREDENTIALS, which is the standard base64 of `id:secret`; undefined if it is not. */
export function decodeClientCredentials(
  text: string,
): { readonly clientId: string; readonly clientSecret: string } | undefined {
  if (!/^[A-Za-z0-9+/]+={0,2}$/.test(text)) return undefined
  const pair = Buffer.from(text, 'base64').toString('utf8')
  const colon = pair.indexOf(':')
  return colon < 1 || colon === pair.length - 1
    ? undefined
    : { clientId: pair.slice(0, colon), clientSecret: pair.slice(colon + 1) }
}

/** `id:secret` in base64, as HTTP Basic (RFC 7617) and BL_CLIENT_CREDENTIALS have it. */
export function encodeClientCredentials(clientId: string, clientSecret: string): string {
  return Buffer.from(`${clientId}:${clientSecret}`).toString('base64')
}

/**
 * Reads a JSON Web Token (RFC 7519), without checking its signature: only the API can tell whether it is valid.
 * @returns when it expires by its own account (ms since the epoch), or undefined if the text is no such token
 */
export function parseJwt(text: string): { readonly expiresAt: number | undefined } | undefined {
  const parts = text.split('.')
  if (parts.length !== 3) return undefined
  const [header, payload] = parts.map(decodeObject)
  if (header?.alg === undefined || !payload) return undefined
  const { exp } = payload
  const isTime = typeof exp === 'number' && exp > 0 && exp < 8_640_000_000_000
  return { expiresAt: isTime ? exp * 1000 : undefined }
}

function decodeObject(part: string): Record<string, unknown> | undefined {
  try {
    const value: unknown = JSON.parse(Buffer.from(part, 'base64url').toString('utf8'))
    return typeof value === 'object' && value !== null && !Array.isArray(value) ? { ...value } : undefined
  } catch {
    return undefined
  }
}

/** SHA-256 in hex, to recognise a secret again without keeping it. */
export function hashSecret(secret: string): string {
  return createHash('sha256').update(secret).digest('hex')
}

/** The one secret of a credential. */
export function secretOf(credential: Credential): string {
  switch (credential.kind) {
    case 'client':
      return credential.clientSecret
    case 'service-account':
    case 'api-key':
      return credential.apiKey
    case 'jwt':
      return credential.jwt
    case 'earlier-session':
      return credential.token
  }
}
