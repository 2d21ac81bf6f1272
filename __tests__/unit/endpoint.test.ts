import { describe, expect, test } from '@jest/globals'
import fc from 'fast-check'
import { SetupError } from '../../src/util/errors.ts'
import { resolveEndpoint, type Endpoint } from '../../src/blaxel/endpoint.ts'
import { holds, thrownBy } from './property.ts'

const given = (values: Partial<Parameters<typeof resolveEndpoint>[0]>) => ({
  apiUrl: '',
  BL_API_URL: '',
  BL_ENV: '',
  ...values,
})

const REMEDY = "Use the API's base URL with its path, such as https://api.blaxel.ai/v0."

describe('the API', () => {
  test.each<[string, Parameters<typeof given>[0], Endpoint]>([
    ['nothing', {}, { url: 'https://api.blaxel.ai/v0', environment: undefined, source: 'default', isForeign: false }],
    [
      'BL_ENV=prod',
      { BL_ENV: 'prod' },
      { url: 'https://api.blaxel.ai/v0', environment: 'prod', source: 'BL_ENV', isForeign: false },
    ],
    [
      'BL_ENV=dev',
      { BL_ENV: 'dev' },
      { url: 'https://api.blaxel.dev/v0', environment: 'dev', source: 'BL_ENV', isForeign: false },
    ],
    [
      'BL_ENV=local',
      { BL_ENV: 'local' },
      { url: 'http://localhost:8080/v0', environment: 'local', source: 'BL_ENV', isForeign: false },
    ],
    [
      'BL_API_URL before BL_ENV',
      { BL_API_URL: 'https://api.blaxel.dev/v0', BL_ENV: 'prod' },
      { url: 'https://api.blaxel.dev/v0', environment: undefined, source: 'BL_API_URL', isForeign: false },
    ],
    [
      'api-url before both, even before what is wrong with them',
      { apiUrl: 'https://eu.blaxel.ai/v0', BL_API_URL: 'http://evil.example', BL_ENV: 'nonsense' },
      { url: 'https://eu.blaxel.ai/v0', environment: undefined, source: 'the input api-url', isForeign: false },
    ],
    [
      'an address with slashes at its end',
      { apiUrl: 'https://api.blaxel.ai/v0//' },
      { url: 'https://api.blaxel.ai/v0', environment: undefined, source: 'the input api-url', isForeign: false },
    ],
    [
      'a foreign host in the input',
      { apiUrl: 'https://blaxel.corp.example:8443/v0' },
      {
        url: 'https://blaxel.corp.example:8443/v0',
        environment: undefined,
        source: 'the input api-url',
        isForeign: true,
      },
    ],
  ])('is given by %s', (_, values, endpoint) => {
    expect(resolveEndpoint(given(values))).toEqual(endpoint)
  })

  test.each([
    'https://api.blaxel.ai/v0',
    'https://api.blaxel.dev/v0',
    'https://a.b.blaxel.ai:8443/v0',
    'https://API.BLAXEL.AI/v0',
    'http://localhost:8080/v0',
    'http://127.0.0.1:9/v0',
    'https://127.3.2.1/v0',
    'http://[::1]:8080/v0',
  ])('may be %s from input and environment', (url) => {
    for (const [name, source] of [
      ['apiUrl', 'the input api-url'],
      ['BL_API_URL', 'BL_API_URL'],
    ] as const) {
      expect(resolveEndpoint(given({ [name]: url }))).toEqual({
        url: url.toLowerCase(),
        environment: undefined,
        source,
        isForeign: false,
      })
    }
  })

  test.each([
    ['https://127.evil.example/v0', '127.evil.example'],
    ['https://localhost.evil.example/v0', 'localhost.evil.example'],
    ['https://127.0.0.1.evil.example/v0', '127.0.0.1.evil.example'],
    ['https://evilblaxel.ai/v0', 'evilblaxel.ai'],
    ['https://blaxel.ai.evil.example/v0', 'blaxel.ai.evil.example'],
    ['https://api.blaxel.ai.evil.example/v0', 'api.blaxel.ai.evil.example'],
    ['https://api.blaxel.airport/v0', 'api.blaxel.airport'],
    ['https://api.blaxel.ai./v0', 'api.blaxel.ai.'],
    ['https://blaxel.ai/v0', 'blaxel.ai'],
    ['https://evil.example/api.blaxel.ai', 'evil.example'],
    ['https://evil.example\\.blaxel.ai', 'evil.example'],
    ['https://10.0.0.1/v0', '10.0.0.1'],
  ])('may be %s from the input alone, and is foreign', (url, host) => {
    expect(resolveEndpoint(given({ apiUrl: url }))).toMatchObject({ isForeign: true })
    expect(thrownBy(() => resolveEndpoint(given({ BL_API_URL: url })))).toEqual(
      new SetupError(
        `BL_API_URL in the environment names ${host}, which is not a Blaxel host.`,
        'To send credentials there, set the input api-url. Otherwise unset BL_API_URL.',
      ),
    )
  })

  const sources = [
    ['apiUrl', 'The input api-url'],
    ['BL_API_URL', 'BL_API_URL in the environment'],
  ] as const
  test.each([
    ['api.blaxel.ai/v0', 'is not a URL'],
    ['/v0', 'is not a URL'],
    ['https://', 'is not a URL'],
    ['http://api.blaxel.ai/v0', 'is not an https URL (http is for loopback addresses only)'],
    ['http://127.evil.example/v0', 'is not an https URL (http is for loopback addresses only)'],
    ['http://localhost.evil.example/v0', 'is not an https URL (http is for loopback addresses only)'],
    ['http://localhost./v0', 'is not an https URL (http is for loopback addresses only)'],
    ['http://0.0.0.0:8080/v0', 'is not an https URL (http is for loopback addresses only)'],
    ['ftp://api.blaxel.ai/v0', 'is not an https URL (http is for loopback addresses only)'],
    ['file:///v0', 'is not an https URL (http is for loopback addresses only)'],
    ['https://hunter22@api.blaxel.ai/v0', 'holds a user or a password'],
    ['https://jane:hunter22@api.blaxel.ai/v0', 'holds a user or a password'],
    ['https://api.blaxel.ai:hunter22@evil.example/v0', 'holds a user or a password'],
    ['http://localhost@evil.example/v0', 'holds a user or a password'],
    ['https://api.blaxel.ai/v0?key=hunter22', 'has a query or a fragment'],
    ['https://api.blaxel.ai/v0#hunter22', 'has a query or a fragment'],
    ['https://api.blaxel.ai/v0?', 'has a query or a fragment'],
    ['https://api.blaxel.ai/v0#', 'has a query or a fragment'],
  ])('may not be %s', (url, what) => {
    for (const [name, source] of sources) {
      expect(thrownBy(() => resolveEndpoint(given({ [name]: url })))).toEqual(
        new SetupError(`${source} ${what}.`, REMEDY),
      )
    }
  })

  test.each(['production', 'PROD', 'staging', '0', 'dev prod'])('is not BL_ENV=%s', (name) => {
    expect(thrownBy(() => resolveEndpoint(given({ BL_ENV: name })))).toEqual(
      new SetupError(`BL_ENV in the environment is '${name}'.`, 'Set it to prod, dev or local, or unset it.'),
    )
  })

  test('is https or this machine, without a password, whatever is given', () => {
    const word = fc.constantFrom(
      ...[
        'http://',
        'https://',
        'ftp:',
        '//',
        '/',
        '@',
        ':',
        '.',
        '#',
        '?',
        '\\',
        '%40',
        ' ',
        '\t',
        '[::1]',
        '80',
        'a',
      ],
      ...['localhost', '127.0.0.1', '127.', 'evil.example', 'api.blaxel.ai', 'blaxel.dev', '0x7f.1', '2130706433'],
    )
    const address = fc.tuple(fc.constantFrom('http://', 'https://', ''), fc.array(word, { maxLength: 6 }))
    holds(
      fc.property(address, fc.constantFrom('apiUrl', 'BL_API_URL'), ([scheme, words], name) => {
        let endpoint: Endpoint
        try {
          endpoint = resolveEndpoint(given({ [name]: `${scheme}${words.join('')}` }))
        } catch (error) {
          expect(error).toBeInstanceOf(SetupError)
          return
        }
        // What is appended stays in the path of the host that was checked.
        const { protocol, hostname, username, password, search, hash, pathname } = new URL(
          `${endpoint.url}/oauth/token`,
        )
        const isLocal = ['localhost', '[::1]'].includes(hostname) || /^127\.\d+\.\d+\.\d+$/.test(hostname)
        expect(protocol === 'https:' || isLocal).toBe(true)
        expect([username, password, search, hash]).toEqual(['', '', '', ''])
        expect(pathname).toMatch(/\/oauth\/token$/)
        const isBlaxels = hostname.endsWith('.blaxel.ai') || hostname.endsWith('.blaxel.dev')
        expect(endpoint.isForeign).toBe(!isLocal && !isBlaxels)
        if (name === 'BL_API_URL') expect(endpoint.isForeign).toBe(false)
      }),
      500,
    )
  })
})
