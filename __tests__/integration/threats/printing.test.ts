import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, test } from '@jest/globals'
import type { StepResult } from '../../../sandbox/job.ts'
import { createMachine } from '../../../sandbox/machine.ts'
import type { Sandbox } from '../../../sandbox/sandbox.ts'
import { expectFailure, expectHidden, masksOf } from '../failure.ts'
import { API_KEY, CLIENT_ID, CLIENT_SECRET, credentials, inWorld, tree, visible } from '../world.ts'

const PASSWORD = 'pr0xy-pa55:w@rd'
const BASIC = Buffer.from(`${CLIENT_ID}:${CLIENT_SECRET}`).toString('base64')
const good = { workspace: 'acme', ...credentials.oauth } as const

describe('threat 51: an error that nobody caught', () => {
  const ways: [string, string][] = [['an exception', 'setTimeout(() => { throw fault() }, 50)']]

  /** Makes every Node of a job fail so, with an error like those of a request: it holds headers, and a command. */
  function failing({ root }: Sandbox, code: string, secrets: readonly string[]): Record<string, string> {
    const file = join(root, 'failing.cjs')
    const fault = `const fault = () => {
      const error = new Error(\`POST failed ${secrets.join(' ')}\\n::add-path::/evil\\n##[error]\`)
      return Object.assign(error, { config: { headers: { authorization: 'Bearer ${secrets.join()}' } } })
    }`
    // The program under test alone, not bl, which has its own way to fail.
    const isOurs = `/(?:setup|cleanup)\\/index\\.js$/.test(process.argv[1] ?? '')`
    writeFileSync(file, `${fault}\nif (${isOurs}) { ${code} }\n`)
    return { NODE_OPTIONS: `--require ${file}` }
  }

  test.concurrent.each(ways)('%s in main ends in one redacted line, and post undoes the rest', (_, code) =>
    inWorld(async ({ sandbox, machine }) => {
      const job = machine.job({ env: failing(sandbox, code, [CLIENT_SECRET, BASIC, API_KEY]) })
      // Without an answer the step would go on for 15 s.
      const answerAgain = sandbox.intercept({ host: 'api.blaxel.ai', path: /./, answer: { kind: 'hang' } })
      const inputs = { workspace: 'acme', ...credentials['service-account'] }
      const step = await job.uses({ with: inputs, env: { BL_CLIENT_CREDENTIALS: BASIC } })
      expectFailure(step, ['POST failed *** *** ***', ': :add-path: :/evil # #[error]'])
      expectHidden(step, [CLIENT_SECRET, API_KEY])
      expect(step.raw).not.toContain('failing.cjs')
      delete job.env.NODE_OPTIONS
      answerAgain()
      await job.end()
      expect(tree(machine.home)).toEqual([])
    }),
  )

  test.concurrent.each(ways)('%s in post ends in one redacted warning', (_, code) =>
    inWorld(async ({ sandbox, machine }) => {
      const job = machine.job()
      await job.uses({ with: { workspace: 'acme', ...credentials['service-account'] } })
      Object.assign(job.env, failing(sandbox, code, [API_KEY]))
      sandbox.intercept({ host: 'api.blaxel.ai', path: /./, answer: { kind: 'hang' } })
      const [post] = await job.end()
      expect([post?.exitCode, post?.stderr]).toEqual([0, ''])
      expect(post?.annotations).toEqual([
        { level: 'warning', message: expect.stringMatching(/^setup-bl could not clean up: POST failed/) as unknown },
      ])
      if (post) expectHidden(post, [API_KEY])
      expect(post?.paths).toEqual([])
    }),
  )
})

describe("threat 51: without one of the runner's files, into which the token belongs", () => {
  const files = ['GITHUB_ENV', 'GITHUB_OUTPUT', 'GITHUB_STATE', 'GITHUB_PATH']
  test.concurrent.each(files)('%s is gone when it is needed: nothing of what belongs there is printed', (name) =>
    inWorld(async ({ sandbox, machine }) => {
      const job = machine.job()
      // A file vanishes while the step waits for the API.
      const gone = join(job.temp, 'gone.cjs')
      writeFileSync(
        gone,
        `if (/setup\\/index\\.js$/.test(process.argv[1] ?? '')) setTimeout(() => require('node:fs').rmSync(process.env.${name}), 100)`,
      )
      job.env.NODE_OPTIONS = `--require ${gone}`
      sandbox.intercept({ host: 'api.blaxel.ai', path: '/v0/workspaces/acme', answer: { kind: 'delay', ms: 600 } })
      const result = await outcomeOf(job.uses({ with: good }))
      for (const token of sandbox.blaxel.issued) expect(result).not.toContain(token)
      expect(result).not.toContain(CLIENT_SECRET)
      delete job.env.NODE_OPTIONS
      await job.end()
    }),
  )
})

/** What was printed, masks aside; or the small runner's own complaint that a file of its own is gone. */
async function outcomeOf(step: Promise<StepResult>): Promise<string> {
  try {
    return visible(await step)
  } catch (error) {
    return String(error)
  }
}

describe('threat 51: the password of a proxy', () => {
  const withPassword = (url: string) => url.replace('://', `://runner:${encodeURIComponent(PASSWORD)}@`)
  const forms = [...masksOf(PASSWORD), encodeURIComponent(PASSWORD), ...masksOf(`runner:${PASSWORD}`)]

  const proxies: [string, (sandbox: Sandbox) => string][] = [
    ['that works', ({ proxy }) => proxy.url],
    ['that refuses', ({ proxy }) => (proxy.refuseAll(502), proxy.url)],
    ['at which nobody listens', () => 'http://127.0.0.1:1'],
    ['that has no address', () => 'http://no-such-proxy.invalid:3128'],
    ['of a kind that is not known', () => 'socks5://proxy.example:1080'],
    ['that is no URL', () => 'http://proxy.example:port'],
  ]
  test.concurrent.each(proxies)('%s is printed by neither main nor post', (_, urlOf) =>
    inWorld(async ({ sandbox }) => {
      const url = withPassword(urlOf(sandbox))
      const env = { ...sandbox.env, https_proxy: url, HTTPS_PROXY: url, http_proxy: url }
      const machine = await createMachine({ root: sandbox.root, env })
      const job = machine.job({ debug: true })
      const step = await job.uses({ with: good })
      const ended = await job.end()
      for (const each of [step, ...ended]) {
        expect(forms.filter((form) => each.raw.includes(form))).toEqual([])
      }
    }),
  )
})

describe("threat 51: the runtime's own words", () => {
  test.concurrent('NODE_DEBUG prints no request, and no warning of Node is shown', () =>
    inWorld(async ({ sandbox, machine }) => {
      const job = machine.job({ env: { NODE_DEBUG: 'http,https,net,tls', NODE_OPTIONS: '--trace-warnings' } })
      const step = await job.uses({ with: { workspace: 'acme', ...credentials['service-account'] } })
      expect([step.exitCode, step.stderr]).toEqual([0, ''])
      expect(step.annotations.map(({ message }) => message)).toEqual([
        'NODE_DEBUG was ignored: it would print requests with their credentials.',
      ])
      expect(visible(step)).not.toContain(API_KEY)
      for (const token of sandbox.blaxel.issued) expect(visible(step)).not.toContain(token)
      const [post] = await job.end()
      expect([post?.stderr, post?.raw.includes(API_KEY) && !post.masks.includes(API_KEY)]).toEqual(['', false])
    }),
  )
})
