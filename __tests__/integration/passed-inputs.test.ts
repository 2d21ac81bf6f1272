import { describe, expect, test } from '@jest/globals'
import { existsSync, readFileSync } from 'node:fs'
import { resolve } from 'node:path'
import { parse } from 'yaml'
import { expectFailure } from './failure.ts'
import { API_KEY, credentials, inWorld, tree } from './world.ts'

const action = parse(readFileSync(resolve(import.meta.dirname, '../../action.yml'), 'utf8')) as {
  readonly inputs: Readonly<Record<string, object>>
}
const names = Object.keys(action.inputs)
const VERSION = { version: '9.9.2' }
const good = { ...VERSION, workspace: 'acme', ...credentials['service-account'] }

describe('an empty input is its default, as where a composite action passes on what it was not given:', () => {
  const withDefault = ['login', 'export-env', 'logout', 'on-missing-credentials', 'token-lifetime']

  test.concurrent.each(withDefault)('%s', (name) =>
    inWorld(async ({ machine, sandbox, config }) => {
      const job = machine.job()
      const step = await job.uses({ with: { ...good, [name]: '' } })
      expect(step.exitCode).toBe(0)
      expect(step.env.BL_API_KEY).toBe(step.outputs.token)
      expect(config.read()).toContain(step.outputs.token)
      expect([...sandbox.blaxel.keys.values()]).toEqual([expect.objectContaining({ expires_in: '2h' }) as unknown])
      await job.end()
      expect([sandbox.blaxel.keys.size, tree(machine.home)]).toEqual([0, []])
    }),
  )

  test.concurrent('all that are not given, at the same time', () =>
    inWorld(async ({ machine, sandbox }) => {
      const empty = Object.fromEntries(names.map((name) => [name, '']))
      const job = machine.job()
      const step = await job.uses({ with: { ...empty, workspace: 'acme', ...credentials.oauth } })
      expect(step.outputs).toMatchObject({ version: '9.9.2', authenticated: 'true', 'token-type': 'oauth' })
      await job.end()
      expect([sandbox.blaxel.keys.size, tree(machine.home)]).toEqual([0, []])
    }),
  )

  test.concurrent('a missing credential still fails where on-missing-credentials is empty', () =>
    inWorld(async ({ machine }) => {
      const step = await machine.job().uses({ with: { ...VERSION, workspace: 'acme', 'on-missing-credentials': ' ' } })
      expectFailure(step, ["No credential is given for the workspace 'acme'."])
    }),
  )
})

describe('inputs with a hyphen that got lost on the way are an error that says so', () => {
  const lost = names.filter((name) => name.includes('-')).map((name) => `INPUT_${name.toUpperCase()}`)
  const says = ['All inputs with a hyphen in their name (client-id, api-key and others) were lost', 'with bash']

  test.concurrent.each([
    ['a credential', good],
    ['a mirror, for an installation alone', { ...VERSION, 'mirror-url': 'https://mirror.example/toolkit' }],
    ['nothing that would be missed', VERSION],
    ['leave to skip', { ...VERSION, workspace: 'acme', 'on-missing-credentials': 'skip' }],
  ])('before anything is asked or written: %s', (_, inputs) =>
    inWorld(async ({ machine, sandbox }) => {
      const step = await machine.job({ omit: lost, env: { BL_API_KEY: API_KEY } }).uses({ with: inputs })
      expectFailure(step, says)
      expect(sandbox.connects).toEqual([])
      expect([tree(machine.home), tree(machine.toolCache)]).toEqual([[], []])
    }),
  )

  const dash = ['/bin/dash', '/usr/bin/dash'].find(existsSync)
  const testWithDash = dash === undefined ? test.skip : test
  testWithDash('by dash itself', () =>
    inWorld(async ({ machine }) => {
      const job = machine.job({ inside: [dash ?? '', '-c', 'exec "$@"', 'dash'] })
      expectFailure(await job.uses({ with: good }), says)
    }),
  )

  test.concurrent('not where only some are absent: another runner may pass on what is given alone', () =>
    inWorld(async ({ machine }) => {
      const some = lost.filter((name) => !['INPUT_API-KEY', 'INPUT_SERVICE-ACCOUNT'].includes(name))
      const job = machine.job({ omit: some })
      expect((await job.uses({ with: good })).outputs).toMatchObject({ authenticated: 'true' })
      await job.end()
    }),
  )
})

describe('a runner without a home', () => {
  const HOME = process.platform === 'win32' ? 'USERPROFILE' : 'HOME'

  test.concurrent.each([
    ['nothing else', {}],
    ['a workspace, where that may be', { workspace: 'acme', 'on-missing-credentials': 'skip' }],
    ['a session without a login', { workspace: 'acme', login: 'false', ...credentials.oauth }],
  ])('installs bl, with %s', (_, inputs) =>
    inWorld(async ({ machine }) => {
      const job = machine.job({ omit: [HOME] })
      const step = await job.uses({ with: { ...VERSION, ...inputs } })
      expect(step.exitCode).toBe(0)
      expect(step.outputs).toMatchObject({ version: '9.9.2', authenticated: String('login' in inputs) })
      expect((await job.run('bl version --skip-version-warning')).exitCode).toBe(0)
      const [post] = await job.end()
      expect([post?.exitCode, post?.annotations]).toEqual([0, []])
    }),
  )

  test.concurrent('opens no session with a login', () =>
    inWorld(async ({ machine, sandbox }) => {
      const step = await machine.job({ omit: [HOME] }).uses({ with: good })
      expectFailure(step, [`${HOME} is not set. Set it in the runner's environment, or set 'login: false'.`])
      expect(sandbox.connects).toEqual([])
    }),
  )
})
