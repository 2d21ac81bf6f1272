import { readFileSync } from 'node:fs'
import { resolve } from 'node:path'
import { describe, expect, test } from '@jest/globals'
import { parse } from 'yaml'
import { readInputs, type Inputs } from '../../src/inputs.ts'

type Values = Readonly<Record<string, string>>

const action = parse(readFileSync(resolve(import.meta.dirname, '../../action.yml'), 'utf8')) as {
  readonly inputs: Readonly<Record<string, { readonly default: string }>>
}
const defaults: Values = Object.fromEntries(
  Object.entries(action.inputs)
    .map(([name, input]) => [name, input.default] as const)
    .filter(([, value]) => value !== '' && !value.startsWith('${{')),
)

function read(given: Values): Inputs {
  return readInputs({
    get: (name) => given[name] ?? '',
    env: {},
    hide: () => undefined,
    redact: () => undefined,
    runOrigin: () => 'own',
    readCheckoutFile: () => ({ kind: 'missing', why: '' }),
    isSelfHosted: false,
  })
}

/** One of them shows each default: a minted key, and a missing credential. */
const uses: Values[] = [
  { workspace: 'acme', 'api-key': 'bl_key_0123456789', 'service-account': 'sa-deployer' },
  { workspace: 'acme' },
]

/** What becomes of the inputs: a value or the message of an error. */
function outcome(given: Values): unknown {
  try {
    return read(given)
  } catch (error) {
    return String(error)
  }
}

describe('the defaults of action.yml are what an empty input means', () => {
  const names = ['token-lifetime', 'login', 'export-env', 'logout', 'on-missing-credentials']

  test('and these inputs have one', () => {
    expect(Object.keys(defaults)).toEqual(names)
  })

  test.each(names)('%s', (name) => {
    for (const given of uses) {
      expect(outcome({ ...defaults, ...given, [name]: '' })).toEqual(outcome({ ...defaults, ...given }))
    }
  })
})
