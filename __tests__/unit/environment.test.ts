import { describe, expect, test } from '@jest/globals'
import fc from 'fast-check'
import { cleanEnvironment } from '../../src/runner/clean-environment.ts'
import { holds } from './property.ts'

const TLS =
  'NODE_TLS_REJECT_UNAUTHORIZED=0 was ignored: certificates are always checked. Set NODE_EXTRA_CA_CERTS to the PEM file of your CA instead.'
const DEBUG = 'NODE_DEBUG was ignored: it would print requests with their credentials.'

describe('the environment of the step', () => {
  test('loses inputs, tokens of the runner, credentials and proxies, in any case, and nothing else', () => {
    const kept = {
      PATH: '/bin',
      HOME: '/home/runner',
      GITHUB_ENV: '/env',
      GITHUB_OUTPUT: '/out',
      RUNNER_TEMP: '/tmp',
      BL_WORKSPACE: 'acme',
      BL_API_URL: 'https://api.blaxel.ai/v0',
      BL_ENV: 'prod',
      'STATE_setup-bl': '{}',
      NODE_OPTIONS: '',
      MY_INPUT_X: '1',
    }
    const env: Record<string, string | undefined> = {
      ...kept,
      INPUT_WORKSPACE: 'acme',
      'INPUT_API-KEY': 'secret',
      'input_client-secret': 'secret',
      ACTIONS_RUNTIME_TOKEN: 'secret',
      ACTIONS_ID_TOKEN_REQUEST_TOKEN: 'secret',
      Actions_Cache_Url: 'x',
      GITHUB_TOKEN: 'secret',
      GH_TOKEN: 'secret',
      gh_token: 'secret',
      BL_API_KEY: 'secret',
      BL_TOKEN: 'secret',
      BL_CLIENT_CREDENTIALS: 'secret',
      https_proxy: 'http://proxy:3128',
      Http_Proxy: 'x',
      NO_PROXY: '*',
      NODE_DEBUG: '',
      NODE_TLS_REJECT_UNAUTHORIZED: '1',
    }
    expect(cleanEnvironment(env)).toEqual([])
    expect(env).toEqual(kept)
  })

  test.each<[string, Record<string, string>, string[]]>([
    ['nothing', {}, []],
    ['certificates that are not checked', { NODE_TLS_REJECT_UNAUTHORIZED: '0' }, [TLS]],
    ['certificates that are checked', { NODE_TLS_REJECT_UNAUTHORIZED: '1' }, []],
    ['debug output', { NODE_DEBUG: 'http' }, [DEBUG]],
    ['both', { NODE_DEBUG: 'http,tls', NODE_TLS_REJECT_UNAUTHORIZED: '0' }, [TLS, DEBUG]],
  ])('with %s', (_, env, warnings) => {
    expect(cleanEnvironment(env)).toEqual(warnings)
    expect(env).toEqual({})
  })

  test('holds none of these whatever else is set', () => {
    const name = fc.oneof(
      fc.string(),
      fc
        .tuple(fc.constantFrom('INPUT_', 'ACTIONS_', 'input_', 'BL_API_KEY', 'BL_TOKEN', 'GH_TOKEN', ''), fc.string())
        .map(([start, end]) => start + end),
    )
    holds(
      fc.property(fc.dictionary(name, fc.string()), (env) => {
        const before = { ...env }
        cleanEnvironment(env)
        const unwanted =
          /^(INPUT_.*|ACTIONS_.*|BL_API_KEY|BL_TOKEN|BL_CLIENT_CREDENTIALS|GITHUB_TOKEN|GH_TOKEN|NODE_DEBUG|NODE_TLS_REJECT_UNAUTHORIZED|HTTPS?_PROXY|NO_PROXY)$/is
        expect(Object.keys(env)).toEqual(Object.keys(before).filter((key) => !unwanted.test(key)))
      }),
    )
  })
})
