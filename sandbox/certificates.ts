import 'reflect-metadata'
import { randomBytes, type webcrypto } from 'node:crypto'
import { isIP } from 'node:net'
import * as x509 from '@peculiar/x509'

const SIGNING = { name: 'ECDSA', namedCurve: 'P-256', hash: 'SHA-256' } as const
const DAY = 24 * 60 * 60 * 1000

/** A key and its certificate, both PEM. */
export interface Identity {
  readonly key: string
  readonly cert: string
}

/** From when until when a certificate is valid. */
export interface Validity {
  readonly notBefore: Date
  readonly notAfter: Date
}

/** A certificate authority that nobody but the sandbox's own machines trusts. */
export interface Authority {
  readonly pem: string
  readonly issue: (host: string, validity?: Validity) => Promise<Identity>
}

/** Makes a fresh authority. Its certificates are good from yesterday until next week. */
export async function createAuthority(): Promise<Authority> {
  const keys = await crypto.subtle.generateKey(SIGNING, true, ['sign', 'verify'])
  const name = `CN=Sandbox CA ${serialNumber().slice(2, 10)}`
  const root = await x509.X509CertificateGenerator.createSelfSigned({
    ...validity(),
    serialNumber: serialNumber(),
    name,
    keys,
    signingAlgorithm: SIGNING,
    extensions: [
      new x509.BasicConstraintsExtension(true, 0, true),
      new x509.KeyUsagesExtension(x509.KeyUsageFlags.keyCertSign | x509.KeyUsageFlags.cRLSign, true),
      await x509.SubjectKeyIdentifierExtension.create(keys.publicKey),
    ],
  })
  return { pem: root.toString('pem'), issue: (host, validFor) => issue({ name, keys }, host, validFor) }
}

async function issue(
  issuer: { name: string; keys: webcrypto.CryptoKeyPair },
  host: string,
  validFor: Validity = validity(),
): Promise<Identity> {
  const keys = await crypto.subtle.generateKey(SIGNING, true, ['sign', 'verify'])
  const certificate = await x509.X509CertificateGenerator.create({
    ...validFor,
    serialNumber: serialNumber(),
    subject: `CN=${host}`,
    issuer: issuer.name,
    signingKey: issuer.keys.privateKey,
    publicKey: keys.publicKey,
    signingAlgorithm: SIGNING,
    extensions: [
      new x509.BasicConstraintsExtension(false, undefined, true),
      new x509.KeyUsagesExtension(x509.KeyUsageFlags.digitalSignature, true),
      new x509.ExtendedKeyUsageExtension([x509.ExtendedKeyUsage.serverAuth]),
      new x509.SubjectAlternativeNameExtension([{ type: isIP(host) === 0 ? 'dns' : 'ip', value: host }]),
      await x509.SubjectKeyIdentifierExtension.create(keys.publicKey),
      await x509.AuthorityKeyIdentifierExtension.create(issuer.keys.publicKey),
    ],
  })
  const key = await crypto.subtle.exportKey('pkcs8', keys.privateKey)
  return { key: x509.PemConverter.encode(key, 'PRIVATE KEY'), cert: certificate.toString('pem') }
}

function validity(): Validity {
  return { notBefore: new Date(Date.now() - DAY), notAfter: new Date(Date.now() + 7 * DAY) }
}

/** Positive and free of leading zeros, as Go's x509 demands. */
function serialNumber(): string {
  return `40${randomBytes(15).toString('hex')}`
}
