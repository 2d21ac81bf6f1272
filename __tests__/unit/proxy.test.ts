import { describe, expect, test } from '@jest/globals'
import fc from 'fast-check'
import {
  laterStepWarnings,
  proxyPasswords,
  proxyVariables,
  readProxySettings,
  routeTo,
} from '../../src/runner/proxy.ts'
import { holds } from './property.ts'

type Environment = Readonly<Record<string, string>>

const API = new URL('https://api.blaxel.ai/v0')
const NOT_A_URL =
  "https_proxy is not the URL of an http proxy. Set it to a URL such as 'http://proxy.example:3128', or unset it."
const NOT_ENCODED =
  'https_proxy has a user or a password that is not percent-encoded. Write / as %2F, ? as %3F and # as %23.'

/** The way to the API: `direct`, the URL of a proxy, or why there is none. */
function way(env: Environment, url = API, os = 'linux'): string {
  const route = routeTo(url, readProxySettings(env, os))
  switch (route.kind) {
    case 'direct':
      return 'direct'
    case 'proxy':
      return route.proxy.url.href
    case 'refused':
      return route.error.message
  }
}

/** User and password as the proxy gets them. */
function sent(https_proxy: string): string | undefined {
  const route = routeTo(API, readProxySettings({ https_proxy }, 'linux'))
  if (route.kind !== 'proxy') throw new Error(way({ https_proxy }))
  const { authorization } = route.proxy
  return authorization && Buffer.from(authorization.replace('Basic ', ''), 'base64').toString()
}

describe('a proxy', () => {
  test.each([
    ['http://proxy.example:3128', 'http://proxy.example:3128/'],
    ['localhost:3128', 'http://localhost:3128/'],
    ['127.0.0.1:3128', 'http://127.0.0.1:3128/'],
    ['proxy', 'http://proxy/'],
    ['HTTP://Proxy.Example', 'http://proxy.example/'],
    ['http://[::1]:3128', 'http://[::1]:3128/'],
    ['[::1]:3128', 'http://[::1]:3128/'],
    ['https://proxy:3128', 'https://proxy:3128/'],
    ['http://proxy:3128/', 'http://proxy:3128/'],
    ['http://proxy:3128/path?query#fragment', 'http://proxy:3128/'],
    ['http://proxy:3128\r', 'http://proxy:3128/'],
    ['  http://proxy:3128 \n', 'http://proxy:3128/'],
    ['jane:pw@proxy:1', 'http://jane:pw@proxy:1/'],
    ['http://jane@proxy:1', 'http://jane@proxy:1/'],
    ['http://jane:p^w|x y@proxy:1', 'http://jane:p%5Ew%7Cx%20y@proxy:1/'],
    ['http://DOMAIN\\jane:pw@proxy:1', 'http://DOMAIN%5Cjane:pw@proxy:1/'],
    ['http://jane:100%@proxy:1', 'http://jane:100%25@proxy:1/'],
    ['http://jane:p@ss:w@proxy:1', 'http://jane:p%40ss%3Aw@proxy:1/'],
  ])('%j is used as %s', (https_proxy, url) => {
    expect(way({ https_proxy })).toBe(url)
  })

  test.each([
    ['socks5://hunter22@proxy:1080', NOT_A_URL],
    ['ftp://proxy', NOT_A_URL],
    ['file:///x', NOT_A_URL],
    ['http://', NOT_A_URL],
    ['://proxy', NOT_A_URL],
    ['http://[bad', NOT_A_URL],
    ['http://pro xy:3128', NOT_A_URL],
    ['http://pro\txy:3128', NOT_A_URL],
    ['http://jane:pass\nword@proxy:3128', NOT_A_URL],
    ['http://proxy:99999', NOT_A_URL],
    ['http://proxy:port', NOT_A_URL],
    ['http://jane:1/2@proxy:3128', NOT_ENCODED],
    ['http://jane:1#2@proxy:3128', NOT_ENCODED],
  ])('%j is refused', (https_proxy, why) => {
    expect(way({ https_proxy })).toBe(why)
  })

  test.each([
    ['http://proxy', undefined],
    ['http://jane@proxy', 'jane:'],
    ['http://:pw@proxy', ':pw'],
    ['http://jane:p%40ss%2Fw@proxy', 'jane:p@ss/w'],
    ['http://jane:50%25 or 100%@proxy', 'jane:50% or 100%'],
    ['http://jane:a:b@proxy', 'jane:a:b'],
  ])('%j gets %j', (https_proxy, expected) => {
    expect(sent(https_proxy)).toBe(expected)
  })

  test('gets any user and password that is percent-encoded', () => {
    const text = fc.string({ minLength: 1, unit: 'grapheme' }).map((part) => part.toWellFormed())
    holds(
      fc.property(text, text, (user, password) => {
        const https_proxy = `http://${encodeURIComponent(user)}:${encodeURIComponent(password)}@proxy:3128`
        expect(sent(https_proxy)).toBe(`${user}:${password}`)
        expect(proxyPasswords({ https_proxy }, 'linux')).toContain(password)
      }),
    )
  })

  test('is used or refused, whatever its value is, and never ignored', () => {
    holds(
      fc.property(fc.string({ unit: 'binary' }), (https_proxy) => {
        fc.pre(https_proxy.trim() !== '')
        expect(way({ https_proxy })).not.toBe('direct')
      }),
    )
  })

  test('is the same when it is read again from what bl gets', () => {
    const part = fc.stringMatching(/^[!-~]{0,8}$/)
    holds(
      fc.property(part, part, part, (scheme, user, host) => {
        const given = way({ https_proxy: `${scheme}${user}${host}` })
        fc.pre(/^https?:/.test(given))
        const again = proxyVariables(readProxySettings({ https_proxy: `${scheme}${user}${host}` }, 'linux'))
        expect(way(again)).toBe(given)
      }),
    )
  })
})

describe('of several variables', () => {
  test.each<[string, Environment, string]>([
    ['none', {}, 'direct'],
    ['empty ones', { https_proxy: '', HTTPS_PROXY: '' }, 'direct'],
    ['blank ones', { https_proxy: ' ', HTTPS_PROXY: '\r' }, 'direct'],
    ['the lower-case one', { https_proxy: 'lower', HTTPS_PROXY: 'upper' }, 'http://lower/'],
    ['the only one', { HTTPS_PROXY: 'upper' }, 'http://upper/'],
    ['the one that is not blank', { https_proxy: ' ', HTTPS_PROXY: 'upper' }, 'http://upper/'],
    ['no one of http', { http_proxy: 'lower', HTTP_PROXY: 'ftp://upper' }, 'direct'],
    ['not the one that is shadowed', { https_proxy: 'lower', HTTPS_PROXY: 'ftp://upper' }, 'http://lower/'],
  ])('%s is used', (_, env, expected) => {
    expect(way(env)).toBe(expected)
  })

  test.each([
    ['win32', 'http://mixed/'],
    ['linux', 'direct'],
  ])('one in mixed case counts on %s alone', (os, expected) => {
    expect(way({ Https_Proxy: 'mixed' }, API, os)).toBe(expected)
    expect(way({ Https_Proxy: 'mixed', No_Proxy: '*' }, API, os)).toBe('direct')
  })
})

describe('no_proxy', () => {
  const goes = (no_proxy: string, url: string) => way({ https_proxy: 'proxy', no_proxy }, new URL(url))

  test.each([
    ['*', 'https://api.blaxel.ai'],
    ['a, * ,b', 'https://api.blaxel.ai'],
    ['api.blaxel.ai', 'https://api.blaxel.ai'],
    ['BLAXEL.ai', 'https://api.blaxel.ai'],
    ['.blaxel.ai', 'https://api.blaxel.ai'],
    ['*.blaxel.ai', 'https://api.blaxel.ai'],
    ['*.blaxel.ai:443', 'https://api.blaxel.ai'],
    ['x,api.blaxel.ai:443', 'https://api.blaxel.ai'],
    ['mirror.example:8443', 'https://mirror.example:8443'],
    ['10.1.2.3', 'https://10.1.2.3'],
    ['10.1.2.3:443', 'https://10.1.2.3'],
    ['10.0.0.0/8', 'https://10.1.2.3'],
    ['2001:db8::1', 'https://[2001:db8::1]'],
    ['[2001:db8::1]:443', 'https://[2001:db8::1]'],
    ['2001:db8::/32', 'https://[2001:db8::1]'],
  ])('%j goes past the proxy for %s', (no_proxy, url) => {
    expect(goes(no_proxy, url)).toBe('direct')
  })

  test.each([
    ['', 'https://api.blaxel.ai'],
    [',,', 'https://api.blaxel.ai'],
    ['el.ai', 'https://api.blaxel.ai'],
    ['*blaxel.ai', 'https://api.blaxel.ai'],
    ['*.blaxel.ai', 'https://blaxel.ai'],
    ['.blaxel.ai', 'https://blaxel.ai'],
    ['api.blaxel.ai:80', 'https://api.blaxel.ai'],
    ['*:443', 'https://api.blaxel.ai'],
    [':443', 'https://api.blaxel.ai'],
    ['api.blaxel.ai github.com', 'https://api.blaxel.ai'],
    ['10.0.0.0/8', 'https://11.1.2.3'],
    ['10.0.0.0/33', 'https://10.1.2.3'],
    ['::/', 'https://[2001:db8::1]'],
    ['10.1.2.3:80', 'https://10.1.2.3'],
    ['2.3', 'https://10.1.2.3'],
    ['0.0.0.0/0', 'https://[2001:db8::1]'],
  ])('%j does not for %s', (no_proxy, url) => {
    expect(goes(no_proxy, url)).toBe('http://proxy/')
  })

  test.each(['http://localhost:8080', 'http://127.0.0.1', 'https://127.1.2.3', 'http://[::1]:8080'])(
    'is not needed for %s',
    (url) => {
      expect(goes('', url)).toBe('direct')
      expect(way({ https_proxy: 'ftp://proxy' }, new URL(url))).toBe('direct')
    },
  )

  test('is not read out of a name that only looks like this machine', () => {
    expect(goes('', 'https://127.0.0.1.example')).toBe('http://proxy/')
    expect(goes('', 'https://localhost.example')).toBe('http://proxy/')
  })
})

describe('bl gets', () => {
  test.each<[string, Environment, Environment]>([
    ['nothing', { https_proxy: ' ' }, {}],
    ['both spellings', { HTTPS_PROXY: 'proxy:1\r' }, { https_proxy: 'http://proxy:1', HTTPS_PROXY: 'http://proxy:1' }],
    [
      'the one that we use',
      { https_proxy: 'a', HTTPS_PROXY: 'b' },
      { https_proxy: 'http://a', HTTPS_PROXY: 'http://a' },
    ],
    ['one for http', { HTTP_PROXY: 'b' }, { http_proxy: 'http://b', HTTP_PROXY: 'http://b' }],
    ['none that can not be used', { http_proxy: 'ftp://a', https_proxy: 'ftp://b' }, {}],
    ['no_proxy', { NO_PROXY: ' A.example ,,b' }, { no_proxy: 'a.example,b', NO_PROXY: 'a.example,b' }],
  ])('%s', (_, env, expected) => {
    expect(proxyVariables(readProxySettings(env, 'linux'))).toEqual(expected)
  })
})

const basic = (pair: string) => Buffer.from(pair).toString('base64')

test.each<[string, Environment, string[]]>([
  ['nothing', {}, []],
  ['a proxy without one', { https_proxy: 'http://jane@proxy:3128' }, []],
  ['a proxy', { https_proxy: 'http://jane:hunter22@proxy:3128' }, ['hunter22', basic('jane:hunter22')]],
  ['a proxy without a scheme', { HTTP_PROXY: 'jane:hunter22@proxy:3128' }, ['hunter22', basic('jane:hunter22')]],
  ['an encoded one', { http_proxy: 'http://jane:p%40ss%2Fw@proxy' }, ['p%40ss%2Fw', 'p@ss/w', basic('jane:p@ss/w')]],
  ['one that is encoded anew', { http_proxy: 'http://jane:100%@proxy' }, ['100%', '100%25', basic('jane:100%')]],
  [
    'two proxies',
    { http_proxy: 'a:first111@p', HTTPS_PROXY: 'b:second22@p' },
    ['second22', basic('b:second22'), 'first111', basic('a:first111')],
  ],
  ['one that can not be used', { https_proxy: 'socks5://jane:hunter22@proxy' }, ['hunter22', basic('jane:hunter22')]],
  ['one that is no URL', { https_proxy: 'http://jane:hunter22@[bad' }, ['hunter22', basic('jane:hunter22')]],
])('the passwords of %s are known', (_, env, expected) => {
  expect(proxyPasswords(env, 'linux')).toEqual(expected)
})

test('a password in a variable of mixed case is known on Windows', () => {
  expect(proxyPasswords({ Https_Proxy: 'http://jane:hunter22@proxy' }, 'win32')).toEqual([
    'hunter22',
    basic('jane:hunter22'),
  ])
})

describe('a warning of what bl reads in later steps', () => {
  const cannot = (name: string, why: string) => `bl in later steps can't read ${name}${why}`
  const differs = (upper: string, lower: string, what: string) =>
    `${upper} differs from ${lower}: this step uses ${lower}, but bl in later steps reads ${upper}. Set both to the same ${what}.`
  const ENDS = ': it begins or ends with a blank or a line break. Remove that.'
  const ENCODE = '. Percent-encode the special characters of user and password, such as ^ as %5E and % as %25.'

  test.each<[Environment, string[]]>([
    [{}, []],
    [{ https_proxy: '' }, []],
    [{ https_proxy: 'proxy:3128' }, []],
    [{ HTTPS_PROXY: 'https://jane:p%5Ew@[::1]:3128/' }, []],
    [{ https_proxy: 'http://proxy', HTTPS_PROXY: 'PROXY' }, []],
    [{ http_proxy: 'ftp://x ', https_proxy: 'proxy' }, []],
    [{ https_proxy: 'ftp://proxy ' }, []],
    [{ https_proxy: 'proxy', no_proxy: 'a, B', NO_PROXY: 'a,b' }, []],
    [{ https_proxy: 'proxy', NO_PROXY: 'b' }, []],
    [{ no_proxy: 'a', NO_PROXY: 'b' }, []],
    [{ https_proxy: 'http://proxy:3128\r' }, [cannot('https_proxy', ENDS)]],
    [{ HTTPS_PROXY: ' proxy' }, [cannot('HTTPS_PROXY', ENDS)]],
    [{ HTTPS_PROXY: ' ' }, [cannot('HTTPS_PROXY', ': it holds nothing but blanks. Unset it.')]],
    [{ https_proxy: 'http://jane:p^w@proxy' }, [cannot('https_proxy', ENCODE)]],
    [{ HTTPS_PROXY: 'http://jane:p|w@proxy' }, [cannot('HTTPS_PROXY', ENCODE)]],
    [{ https_proxy: 'http://jane:100%@proxy' }, [cannot('https_proxy', ENCODE)]],
    [{ https_proxy: 'D\\jane:pw@proxy' }, [cannot('https_proxy', ENCODE)]],
    [{ https_proxy: 'pröxy:1' }, [cannot('https_proxy', ". Write its host as in 'http://xn--prxy-6qa:1'.")]],
    [{ https_proxy: 'http://2130706433' }, [cannot('https_proxy', ". Write its host as in 'http://127.0.0.1'.")]],
    [{ https_proxy: 'good', HTTPS_PROXY: 'dead' }, [differs('HTTPS_PROXY', 'https_proxy', 'URL')]],
    [{ https_proxy: 'good', HTTPS_PROXY: 'ftp://x' }, [differs('HTTPS_PROXY', 'https_proxy', 'URL')]],
    [{ https_proxy: 'p', no_proxy: 'a', NO_PROXY: 'b' }, [differs('NO_PROXY', 'no_proxy', 'list')]],
  ])('%j', (env, expected) => {
    expect(laterStepWarnings(env, 'linux')).toEqual(expected)
  })

  test('shows no password', () => {
    const odd = fc.stringMatching(/^[ !-~]{8,20}$/)
    holds(
      fc.property(odd, fc.constantFrom('proxy', 'pröxy', 'proxy\r'), (password, host) => {
        const https_proxy = `http://jane:Q${password}@${host}`
        const said = [way({ https_proxy }).replace(/^http.*/, ''), ...laterStepWarnings({ https_proxy }, 'linux')]
        expect(said.filter((text) => text.includes(`Q${password.slice(0, 7)}`))).toEqual([])
      }),
    )
  })
})
