import { describe, expect, test } from '@jest/globals'
import type { StepResult } from '../../../sandbox/job.ts'
import { expectFailure, expectHidden, expectNoPart, masksOf } from '../failure.ts'
import { API_KEY, CLIENT_ID, CLIENT_SECRET, credentials, inWorld, requestsTo } from '../world.ts'

const HOST = 'api.blaxel.ai'
const PAIR = `${CLIENT_ID}:${CLIENT_SECRET}`
const ENCODED_PAIR = Buffer.from(PAIR).toString('base64')

/** What a step prints before the first line that is no mask. */
function printedFirst({ stdout }: StepResult): string[] {
  const lines = stdout.split('\n')
  return lines.slice(
    0,
    lines.findIndex((line) => !line.startsWith('::add-mask::')),
  )
}

describe('threat 1: no word is printed before the secrets are masked,', () => {
  const inputs: [string, Readonly<Record<string, string>>, readonly string[]][] = [
    ['oauth', credentials.oauth, [CLIENT_SECRET, ENCODED_PAIR]],
    ['service-account', credentials['service-account'], [API_KEY]],
    ['api-key', credentials['api-key'], [API_KEY]],
    ['apikey', { apikey: API_KEY }, [API_KEY]],
    [
      'oauth, and a step that fails at once',
      { ...credentials.oauth, version: 'newest' },
      [CLIENT_SECRET, ENCODED_PAIR],
    ],
  ]
  test.concurrent.each(inputs)('given by inputs: %s', (_, credential, secrets) =>
    inWorld(async ({ machine }) => {
      // All that can be said early is to be said: warnings about the environment, debug lines.
      const env = { NODE_DEBUG: 'http', BL_CLIENT_CREDENTIALS: '' }
      const job = machine.job({ env, debug: true })
      const step = await job.uses({ with: { workspace: 'acme', ...credential } })
      for (const secret of secrets) expect(printedFirst(step)).toContain(`::add-mask::${secret}`)
      const [post] = await job.end()
      if (post?.stdout.includes('::add-mask::')) expect(printedFirst(post)).toContain(`::add-mask::${secrets[0] ?? ''}`)
    }),
  )

  const variables: [string, Readonly<Record<string, string>>, readonly string[]][] = [
    ['BL_API_KEY', { BL_API_KEY: API_KEY }, [API_KEY]],
    ['BL_TOKEN', { BL_API_KEY: API_KEY, BL_TOKEN: API_KEY }, [API_KEY]],
    ['BL_CLIENT_CREDENTIALS', { BL_CLIENT_CREDENTIALS: ENCODED_PAIR }, [CLIENT_SECRET, ENCODED_PAIR]],
  ]
  test.concurrent.each(variables)('given by the environment: %s', (_, env, secrets) =>
    inWorld(async ({ machine, secrets: scan }) => {
      // Taken as the session token of an earlier step, it is exported as one.
      if ('BL_TOKEN' in env) scan.allow('GITHUB_ENV', 'the test says that the key is a session token')
      const step = await machine.job({ env, debug: true }).uses({ with: { workspace: 'acme' } })
      expect(step.exitCode).toBe(0)
      for (const secret of secrets) expect(printedFirst(step)).toContain(`::add-mask::${secret}`)
    }),
  )

  test.concurrent.each(['oauth', 'service-account'] as const)('the session token neither: %s', (kind) =>
    inWorld(async ({ sandbox, machine }) => {
      const step = await machine.job({ debug: true }).uses({ with: { workspace: 'acme', ...credentials[kind] } })
      const [token = ''] = sandbox.blaxel.issued
      const mask = `::add-mask::${token}\n`
      expect(step.stdout).toContain(mask)
      // What is said of it comes later: that it opened the workspace, and until when it lives.
      expect(step.stdout.indexOf(mask)).toBeLessThan(step.stdout.indexOf('Logged in'))
      expect(step.stdout.slice(0, step.stdout.indexOf(mask))).not.toContain(token)
    }),
  )
})

describe('threat 2: no encoded form of a secret shows:', () => {
  // With every character that some encoding changes and that a secret may have.
  const KEY = 'bl_k?y+/=%&~(0123456789)'
  const SECRET = `s?c"r\\t'+/=%&~(0123456789)`
  const chunks = (forms: readonly string[]) =>
    forms.reduce<string[][]>(
      (packs, form) => {
        // As many as fit into the 300 characters of an excerpt.
        const last = packs.at(-1) ?? []
        if (last.join(' ').length + form.length < 280) last.push(form)
        else packs.push([form])
        return packs
      },
      [[]],
    )
  const echoed = [
    ...chunks(masksOf(KEY)).map((forms, part) => ({ kind: 'api-key', part, forms })),
    ...chunks([...masksOf(SECRET), ...masksOf(`${CLIENT_ID}:${SECRET}`)]).map((forms, part) => ({
      kind: 'oauth',
      part,
      forms,
    })),
  ]

  test.concurrent.each(echoed)('$kind echoed by the API in all of them, part $part', ({ kind, forms }) =>
    inWorld(async ({ sandbox, machine, secrets }) => {
      for (const secret of [KEY, SECRET]) secrets.add(secret)
      const answer = { kind: 'respond', status: 403, body: { error: `echo ${forms.join(' ')}` } } as const
      sandbox.intercept({ host: HOST, path: /./, answer })
      const credential = kind === 'oauth' ? { 'client-id': CLIENT_ID, 'client-secret': SECRET } : { 'api-key': KEY }
      const job = machine.job({ debug: true })
      const step = await job.uses({ with: { workspace: 'acme', ...credential } })
      expectFailure(step, ['(403: echo'])
      for (const form of forms) expect(step.raw.replaceAll(/^::add-mask::.*\n/gm, '')).not.toContain(form)
      await job.end()
    }),
  )
})

describe('threat 3: masked is what must be, and nothing more:', () => {
  const token = (issued: readonly string[]) => issued.flatMap(masksOf)
  const kinds = [
    ['oauth', (issued: readonly string[]) => [...masksOf(CLIENT_SECRET), ...masksOf(PAIR), ...token(issued)]],
    ['service-account', (issued: readonly string[]) => [...masksOf(API_KEY), ...token(issued)]],
    ['api-key', () => masksOf(API_KEY)],
  ] as const
  test.concurrent.each(kinds)('%s', (kind, expected) =>
    inWorld(async ({ sandbox, machine }) => {
      const job = machine.job()
      const step = await job.uses({ with: { workspace: 'acme', ...credentials[kind] } })
      expect(step.exitCode).toBe(0)
      const sorted = (masks: readonly string[]) => [...new Set(masks)].sort()
      expect(sorted(step.masks)).toEqual(sorted(expected(sandbox.blaxel.issued)))
      // A job output that contains a masked text is dropped by the runner.
      for (const text of ['acme', CLIENT_ID, '9.9.2', 'oauth', 'api-key', step.outputs.path ?? '']) {
        expect(step.masks.filter((mask) => text.includes(mask))).toEqual([])
      }
      await job.end()
    }),
  )

  test.concurrent.each(['1234567', 'acme'])("a secret of '%s' is refused, and not masked", (secret) =>
    inWorld(async ({ sandbox, machine }) => {
      for (const credential of [{ 'api-key': secret }, { 'client-id': CLIENT_ID, 'client-secret': secret }]) {
        const step = await machine.job().uses({ with: { workspace: 'acme', ...credential } })
        expectFailure(step, ['is shorter than 8 characters'])
        expect(step.masks).toEqual([])
      }
      expect(sandbox.connects).toEqual([])
    }),
  )
})

describe('threat 4: a secret with', () => {
  // unit/inputs.test.ts has more of them.
  const wrong = [
    ['a line feed', '\n'],
    ['a carriage return', '\r'],
    ['a tab', '\t'],
    ['a line separator', '\u2028'],
  ] as const
  const ways = [
    ['api-key', 'The input api-key', (secret: string) => ({ with: { 'api-key': secret } })],
    [
      'client-secret',
      'The input client-secret',
      (secret: string) => ({ with: { 'client-id': CLIENT_ID, 'client-secret': secret } }),
    ],
    ['BL_API_KEY', 'BL_API_KEY in the environment', (secret: string) => ({ env: { BL_API_KEY: secret } })],
  ] as const
  const rows = wrong.flatMap(([what, character]) =>
    ways.map(([way, says, give]) => ({ what, character, way, says, give })),
  )

  test.concurrent.each(rows)('$what inside is refused by the name of $way alone', ({ character, says, give }) =>
    inWorld(async ({ sandbox, machine }) => {
      const halves = ['Qfirsthalf0123', 'Qsecondhalf456']
      const { with: inputs = {}, env = {} } = give(halves.join(character)) as Record<string, Record<string, string>>
      const step = await machine.job({ env }).uses({ with: { workspace: 'acme', ...inputs } })
      expectFailure(step, [says, 'whole, alone and on one line'])
      expectHidden(step, halves)
      expectNoPart(step, halves)
      expect(sandbox.connects).toEqual([])
    }),
  )

  test.concurrent.each(['\r\n', ' \t'])('%j around it is trimmed', (blank) =>
    inWorld(async ({ sandbox, machine }) => {
      const job = machine.job()
      const step = await job.uses({ with: { workspace: 'acme', 'api-key': `${blank}${API_KEY}${blank}` } })
      expect(step.exitCode).toBe(0)
      expect(step.outputs.token).toBe(API_KEY)
      const authorizations = sandbox.requests.filter(({ host }) => host === HOST).map(({ headers }) => headers)
      for (const { authorization } of authorizations) expect(authorization).toBe(`Bearer ${API_KEY}`)
      expect(requestsTo(sandbox, HOST)).toContain('GET /v0/workspaces/acme')
      await job.end()
    }),
  )
})
