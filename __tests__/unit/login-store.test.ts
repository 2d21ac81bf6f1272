import { describe, expect, test } from '@jest/globals'
import fc from 'fast-check'
import { dirname, join } from 'node:path'
import { ABSENT, knownLogin, parseStore, render, type Login, type LoginStore } from '../../src/login/store.ts'
import { findLogin } from '../../src/login/config-document.ts'
import { ignoresWorkspaceVariable, loginInCheckoutWarning, loginWarnings } from '../../src/login/warnings.ts'
import { parse } from 'yaml'
import { holds } from './property.ts'

const NOW = 1_800_000_000_000
const HOUR = 3_600_000
let count = 0

function login(name: string, rest: Partial<Login> = {}): Login {
  const id = `invocation-${count++}`
  return {
    id,
    job: `/${id}`,
    endpoint: 'https://api.blaxel.ai/v0',
    credential: 'a'.repeat(64),
    entry: { name, id: 'ws-1', apiKey: `token-of-${id}` },
    expiresAt: NOW + HOUR,
    dropsAt: NOW + 2 * HOUR,
    isKept: false,
    followsContext: false,
    ...rest,
  }
}

describe('the config', () => {
  const expired = { expiresAt: NOW - 1 }
  test.each<[string, Login[], number, number]>([
    ['has the newest login of a workspace', [login('acme'), login('acme')], 1, 1],
    ['has the newest that is live', [login('acme'), login('acme', expired)], 0, 0],
    ['has the newest of those that have expired', [login('acme', expired), login('acme', expired)], 1, 1],
    ['has one that is kept', [login('acme'), login('acme', { isKept: true })], 1, 1],
    ['follows the newest live login', [login('acme'), login('beta', expired)], 0, 0],
  ])('%s', (_, logins, acme, context) => {
    const { text = '' } = render(ABSENT, logins, NOW)
    expect(findLogin(text, 'acme')?.apiKey).toBe(logins[acme]?.entry.apiKey)
    expect(parse(text)).toMatchObject({ context: { workspace: logins[context]?.entry.name } })
  })

  test('is the base where there is none', () => {
    const base = { text: '# mine', mode: 0o644 }
    expect(render(base, [], NOW)).toBe(base)
  })
})

describe('warnings', () => {
  const directory = '/home/u/.blaxel'
  const own = { job: '/own' }
  test.each<[string, Login, Login[], string[]]>([
    ['none where nobody else is there', login('acme'), [], []],
    ['none about a step of the same job', login('acme', own), [login('acme', { ...own, credential: 'b' })], []],
    ['none about the same credential', login('acme'), [login('acme')], []],
    [
      'none about tokens that expire minutes apart',
      login('acme'),
      [login('acme', { expiresAt: NOW + HOUR + 60_000 })],
      [],
    ],
    ['another credential', login('acme'), [login('acme', { credential: 'b' })], ['another credential']],
    ['a login that lasts longer', login('acme'), [login('acme', { expiresAt: NOW + 9 * HOUR })], ['expires before']],
    ['the context', login('acme', { followsContext: true }), [login('beta')], ["'--workspace acme'"]],
    ["another job's context", login('acme'), [login('beta', { followsContext: true })], ["instead of 'beta'"]],
    ['none about another workspace by itself', login('acme'), [login('beta', { credential: 'b' })], []],
  ])('%s', (_, added, others, says) => {
    expect(loginWarnings(knownLogin(added), others.map(knownLogin), directory)).toEqual(
      says.map((text) => expect.stringContaining(text) as unknown),
    )
  })

  test.each([
    ['0.1.60', true],
    ['0.1.63', true],
    ['0.1.64', false],
    ['0.1.108', false],
    ['0.2.0', false],
    ['1.0.0', false],
  ])('bl %s ignores BL_WORKSPACE: %s', (version, ignores) => {
    expect(ignoresWorkspaceVariable(version)).toBe(ignores)
  })
})

describe('a stored value', () => {
  const store: LoginStore = {
    base: { text: 'workspaces: []\n', mode: 0o640 },
    logins: [login('acme', { entry: { name: 'acme', env: 'dev', apiKey: 'session-token-1' } })],
    kept: [knownLogin(login('gamma', { isKept: true }))],
    removed: [{ workspace: 'beta', tokenHash: 'c'.repeat(64), until: NOW }],
  }
  const text = JSON.stringify(store)

  test('is read as it was written', () => {
    expect(parseStore(text)).toEqual(store)
    expect(parseStore(JSON.stringify({ ...store, base: undefined }))?.base).toBeUndefined()
    expect(parseStore(JSON.stringify({ ...store, base: ABSENT }))?.base).toEqual(ABSENT)
  })

  test('that is cut off anywhere is refused', () => {
    for (let length = 0; length < text.length; length += 1) expect(parseStore(text.slice(0, length))).toBeUndefined()
  })

  /** Every field of the value, as a way through it. */
  function fieldsOf(value: unknown, way: readonly string[] = []): (readonly string[])[] {
    if (typeof value !== 'object' || value === null) return [way]
    return Object.entries(value).flatMap(([key, inner]) => fieldsOf(inner, [...way, key]))
  }

  test('with any field of another kind is refused', () => {
    const wrong = fc.constantFrom<unknown>({}, [[]], true, '', '\n', '../x')
    holds(
      fc.property(fc.constantFrom(...fieldsOf(store)), wrong, (way, value) => {
        const [field = '', ...outside] = way.toReversed()
        const changed = JSON.parse(text) as Record<string, unknown>
        const holder = outside.reduceRight<Record<string, unknown>>(
          (inner, key) => inner[key] as Record<string, unknown>,
          changed,
        )
        const isText = ['job', 'credential', 'tokenHash', 'text'].some(
          (key) => way.includes(key) && !way.includes('entry'),
        )
        fc.pre(!(typeof value === 'string' && isText) && typeof holder[field] !== typeof value)
        holder[field] = value
        expect(parseStore(JSON.stringify(changed))).toBeUndefined()
      }),
    )
  })
})

const here = import.meta.dirname
test.each([
  [dirname(here), true],
  [join(here, 'below'), false],
  [`${dirname(here)}-2`, false],
  [undefined, false],
])('a login in a directory of this one is warned of with the checkout %s: %s', (checkout, isWarned) => {
  const warning = loginInCheckoutWarning(join(here, '.blaxel'), checkout) ?? ''
  expect(warning.includes(`HOME is inside the checkout: ${join(here, '.blaxel')}`)).toBe(isWarned)
})
