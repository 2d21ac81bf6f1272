import { describe, expect, test } from '@jest/globals'
import { interceptionOf, reasonIn } from '../../src/util/reason.ts'

const HOST = 'api.blaxel.ai'
const response = (text: string, type?: string, status = 403) => ({
  status,
  headers: type === undefined ? {} : { 'content-type': type },
  text,
})

describe('the reason in a response', () => {
  test.each([
    ['{"error":"no"}', 'no'],
    ['{"error":{"code":403,"message":"not yours"}}', 'not yours'],
    ['{"message":"API rate limit exceeded"}', 'API rate limit exceeded'],
    ['{"error":"invalid_client","error_description":"unknown id"}', 'unknown id'],
    ['{"error":""}', '{"error":""}'],
    ['{"message":7}', '{"message":7}'],
    ['Not\nFound', 'Not Found'],
    ['', undefined],
    [' \n', undefined],
    ['<html><title>Sign in</title><body>secret</body></html>', "a web page, 'Sign in'"],
    ['<html><body>secret</body></html>', 'a web page'],
    ['<Error><Code>AccessDenied</Code><Message>Access\nDenied</Message></Error>', 'Access Denied'],
    [
      '\uFEFF<?xml version="1.0"?>\n<Error>\n <Code>SlowDown</Code><Message>Please reduce your rate.</Message>',
      'Please reduce your rate.',
    ],
    ['<Error><Code>AccessDenied</Code></Error>', undefined],
  ])('%j is %j', (text, expected) => {
    expect(reasonIn(response(text))).toBe(expected)
  })
})

describe('a response that came from something on the way', () => {
  const said = (what: string) =>
    `Something between the runner and ${HOST}, such as a gateway, firewall or login page, answered with a web page (${what}).`

  test.each<[string, string | undefined, string]>([
    [
      '<!DOCTYPE html><html><title>Access Denied</title>',
      'text/html; charset=utf-8',
      "403, text/html, 'Access Denied'",
    ],
    ['<html>', undefined, '403, no content type'],
    [
      '\uFEFF \n<HTML><TITLE lang="de">\n Zugriff\n verweigert </TITLE>',
      'text/plain',
      "403, text/plain, 'Zugriff verweigert'",
    ],
    ['<?xml version="1.0"?><Error/>', 'application/xml', '403, application/xml'],
    ['<title></title>', 'application/json', '403, application/json'],
    ['Blocked by policy', 'text/html', '403, text/html'],
    [
      '<title>This page was blocked by the policy of Example Corporation Ltd, ask your administrator</title>',
      'text/html',
      "403, text/html, 'This page was blocked by the policy of Example Corporation…'",
    ],
    [`<title>${'x'.repeat(100)}</title>`, 'text/html', "403, text/html, '…'"],
  ])('%j as %s', (text, type, what) => {
    expect(interceptionOf(response(text, type), HOST)).toBe(said(what))
  })

  test.each<[string, string | undefined]>([
    ['{"error":"<html>"}', 'application/json'],
    ['{"error":"no"}', 'text/html'],
    ['', 'text/html; charset=utf-8'],
    ['Not Found', 'text/plain'],
    ['0123456789abcdef  blaxel_Linux_x86_64.tar.gz', undefined],
  ])('is not %j as %s', (text, type) => {
    expect(interceptionOf(response(text, type), HOST)).toBeUndefined()
  })
})
