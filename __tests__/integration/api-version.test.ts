import { describe, expect, test } from '@jest/globals'
import type { RecordedRequest } from '../../sandbox/sandbox.ts'
import { HOST, KEYS } from './api-requests.ts'
import { expectFailure } from './failure.ts'
import { credentials, inWorld } from './world.ts'

const minted = { version: '9.9.2', workspace: 'acme', ...credentials['service-account'] }

describe('every request to the API names its version', () => {
  test.concurrent.each(Object.entries(credentials))('%s', (_, credential) =>
    inWorld(async ({ sandbox, machine }) => {
      const job = machine.job()
      expect((await job.uses({ with: { version: '9.9.2', workspace: 'acme', ...credential } })).exitCode).toBe(0)
      await job.end()
      const own = sandbox.requests.filter(({ host, headers }) => host === HOST && headers['user-agent'] === 'setup-bl')
      expect(own.length).toBeGreaterThan(0)
      expect(own.map(({ headers }) => headers['blaxel-version'])).toEqual(own.map(() => '2026-04-28'))
    }),
  )

  test.concurrent('no other host is told', () =>
    inWorld(async ({ sandbox, machine }) => {
      await machine.job().uses({ with: { workspace: 'acme', ...credentials.oauth } })
      const others = sandbox.requests.filter(({ host }) => host !== HOST)
      expect(others.length).toBeGreaterThan(0)
      expect(others.filter(({ headers }) => 'blaxel-version' in headers)).toEqual([])
    }),
  )
})

describe('a key that was minted though nobody was told is found in a list', () => {
  test.concurrent.each(['array', 'page'] as const)('that is an %s', (form) =>
    inWorld(async ({ sandbox, machine }) => {
      sandbox.blaxel.keyListForm = form
      sandbox.intercept({ host: HOST, method: 'POST', path: KEYS, answer: { kind: 'process-then-reset' } })
      const step = await machine.job().uses({ with: minted })
      expectFailure(step, ['No short-lived key could be created', 'The key that was created anyway was deleted.'])
      expect(sandbox.blaxel.issued).toHaveLength(1)
      expect(sandbox.blaxel.keys.size).toBe(0)
    }),
  )

  test.concurrent.each(['array', 'page'] as const)('by the post step, where main was killed: an %s', (form) =>
    inWorld(async ({ sandbox, machine }) => {
      sandbox.blaxel.keyListForm = form
      let kill: () => void = () => undefined
      sandbox.intercept({ host: HOST, method: 'POST', path: KEYS, answer: { kind: 'process-then-reset' } })
      sandbox.intercept({
        ...{ host: HOST, method: 'GET', path: KEYS, times: 1 },
        answer: {
          kind: 'handle',
          handle: () => {
            kill()
            return { status: 500 }
          },
        },
      })
      const job = machine.job()
      const step = job.start({ with: minted })
      kill = () => step.kill('SIGKILL')
      await step.result
      expect(sandbox.blaxel.keys.size).toBe(1)
      const [post] = await job.end()
      expect(post?.log).toMatch(/Revoked the key setup-bl-[0-9a-f]{32}/)
      expect(sandbox.blaxel.keys.size).toBe(0)
    }),
  )

  const lists: [string, (name: string) => object, string][] = [
    ['is empty', () => ({ data: [] }), 'No key was left behind.'],
    ['has other keys alone', (name) => ({ data: [{ id: 'ak_1', name: `${name}0` }], meta: {} }), 'No key was left'],
    ['goes on', () => ({ data: [], meta: { hasMore: true, nextCursor: 'x' } }), 'A key named'],
    ['is none', () => ({ data: { id: 'ak_1' } }), 'A key named'],
    ['has another form', (name) => ({ items: [{ id: 'ak_1', name }] }), 'A key named'],
  ]
  test.concurrent.each(lists)('or not: one that %s', (_, list, says) =>
    inWorld(async ({ sandbox, machine }) => {
      let name = ''
      const mint = ({ body }: RecordedRequest) => {
        ;({ name } = JSON.parse(body) as { name: string })
        return { status: 502 }
      }
      sandbox.intercept({ host: HOST, method: 'POST', path: KEYS, answer: { kind: 'handle', handle: mint } })
      const handle = () => ({ status: 200, body: list(name) })
      sandbox.intercept({ host: HOST, method: 'GET', path: KEYS, answer: { kind: 'handle', handle } })
      expectFailure(await machine.job().uses({ with: minted }), [says])
      expect(sandbox.requests.map(({ method }) => method)).not.toContain('DELETE')
    }),
  )
})
