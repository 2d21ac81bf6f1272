import { afterEach, beforeEach, describe, expect, test } from '@jest/globals'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import type { StepResult } from '../../sandbox/job.ts'
import { expectFailure, expectHidden } from './failure.ts'
import { API_KEY, CLIENT_ID, CLIENT_SECRET, credentials, openWorld, requestsTo, type World } from './world.ts'

let world: World
beforeEach(async () => {
  world = await openWorld()
})
afterEach(() => world.close())

const VERSION = { version: '9.9.2' }

/** The annotations of one level. */
function said(step: StepResult, level: 'notice' | 'warning'): string[] {
  return step.annotations.filter((annotation) => annotation.level === level).map(({ message }) => message)
}

describe('threat 27: what an earlier use exported counts for its own workspace alone', () => {
  const kinds = Object.entries(credentials)

  test.each(kinds)('%s: the next use, for another workspace, has no credential', async (_, credential) => {
    const job = world.machine.job()
    const first = await job.uses({ with: { ...VERSION, workspace: 'acme', ...credential } })
    expect(first.exitCode).toBe(0)
    const before = requestsTo(world.sandbox, 'api.blaxel.ai').length
    // As in a workflow: the second pair is named, and empty.
    const second = await job.uses({
      with: { ...VERSION, workspace: 'beta', 'client-id': '${{ vars.BETA }}', 'client-secret': '${{ secrets.BETA }}' },
    })
    expectFailure(second, [
      "No credential is given for the workspace 'beta': BL_API_KEY in the environment is for the workspace 'acme'.",
      'Set client-id and client-secret, or api-key.',
    ])
    expectHidden(second, [first.outputs.token ?? ''])
    expect(requestsTo(world.sandbox, 'api.blaxel.ai')).toHaveLength(before)
    await job.end()
  })

  test.each(kinds)('%s: the next use skips, if it may', async (_, credential) => {
    const job = world.machine.job()
    const first = await job.uses({ with: { ...VERSION, workspace: 'acme', ...credential } })
    const second = await job.uses({ with: { ...VERSION, workspace: 'beta', 'on-missing-credentials': 'skip' } })
    expect(second.outputs).toMatchObject({ authenticated: 'false', workspace: '', token: '' })
    expect(second.env).toEqual({})
    expect(said(second, 'notice')).toEqual([
      "No credential is given for the workspace 'beta': BL_API_KEY in the environment is for the workspace 'acme'. bl was installed but not logged in, because of 'on-missing-credentials: skip'.",
    ])
    // The session of the first use goes on.
    expect(job.env).toMatchObject({ BL_WORKSPACE: 'acme', BL_API_KEY: first.outputs.token })
    await job.end()
  })

  test.each(kinds)('%s: the next use of the same workspace takes it', async (_, credential) => {
    const job = world.machine.job()
    const first = await job.uses({ with: { ...VERSION, workspace: 'acme', ...credential } })
    for (const workspace of ['acme', '']) {
      const next = await job.uses({ with: { ...VERSION, workspace } })
      expect(next.outputs).toMatchObject({ workspace: 'acme', token: first.outputs.token })
      expect(next.outputs['token-type']).toBe(first.outputs['token-type'])
    }
    expect(world.sandbox.blaxel.issued).toHaveLength(
      'api-key' in credential && !('service-account' in credential) ? 0 : 1,
    )
    const posts = await job.end()
    expect(posts.map(({ exitCode, annotations }) => [exitCode, annotations])).toEqual(posts.map(() => [0, []]))
    expect(world.sandbox.blaxel.keys.size).toBe(0)
  })

  test('a key that the job sets beside another BL_WORKSPACE is not tried either', async () => {
    const job = world.machine.job({ env: { BL_WORKSPACE: ' acme ', BL_API_KEY: API_KEY } })
    const step = await job.uses({ with: { ...VERSION, workspace: 'beta' } })
    expectFailure(step, ["No credential is given for the workspace 'beta': BL_API_KEY"])
    expect(world.sandbox.connects).toEqual([])
  })

  test('a key that the job sets without BL_WORKSPACE is for every workspace', async () => {
    const job = world.machine.job({ env: { BL_API_KEY: API_KEY, BL_TOKEN: API_KEY } })
    const step = await job.uses({ with: { ...VERSION, workspace: 'beta' } })
    // Nothing says that it is short-lived: no earlier use exported it.
    expect(step.outputs).toMatchObject({ workspace: 'beta', token: API_KEY, 'token-type': 'api-key' })
    await job.end()
  })

  test('an input beats it', async () => {
    const job = world.machine.job()
    await job.uses({ with: { ...VERSION, workspace: 'acme', ...credentials.oauth } })
    const second = await job.uses({ with: { ...VERSION, workspace: 'beta', ...credentials['api-key'] } })
    expect(second.outputs).toMatchObject({ workspace: 'beta', token: API_KEY })
    await job.end()
  })
})

describe('threat 13: the API is named in the log, and what set it, wherever it is not the default:', () => {
  const DEV = 'https://api.blaxel.dev/v0'
  beforeEach(() => {
    world.sandbox.blaxelDev.addWorkspace('acme')
    world.sandbox.blaxelDev.addClient(CLIENT_ID, CLIENT_SECRET, { workspaces: ['acme'] })
  })

  test.each([
    ['BL_API_URL before BL_ENV', {}, { BL_API_URL: DEV, BL_ENV: 'prod' }, 'BL_API_URL'],
    ['the input', { 'api-url': DEV }, { BL_ENV: 'prod' }, 'the input api-url'],
  ])('%s', async (_, inputs, env, source) => {
    const job = world.machine.job({ env })
    const step = await job.uses({ with: { ...VERSION, workspace: 'acme', ...credentials.oauth, ...inputs } })
    expect(step.exitCode).toBe(0)
    expect(step.log).toContain(`Using the Blaxel API at ${DEV}, set by ${source}\n`)
    await job.end()
  })

  test('what the first use exported decides the second, which says so', async () => {
    const job = world.machine.job()
    const given = { ...VERSION, workspace: 'acme', ...credentials.oauth }
    await job.uses({ with: { ...given, 'api-url': DEV } })
    const second = await job.uses({ with: given })
    expect(second.log).toContain(`Using the Blaxel API at ${DEV}, set by BL_API_URL\n`)
    await job.end()
  })

  test('also where the API rejects the credential', async () => {
    const job = world.machine.job({ env: { BL_ENV: 'dev' } })
    const step = await job.uses({ with: { ...VERSION, workspace: 'acme', ...credentials['api-key'] } })
    expectFailure(step, ['The Blaxel API rejected api-key (401'])
    expect(step.log).toContain(`Using the Blaxel API at ${DEV}, set by BL_ENV\n`)
  })

  test.each([
    ['nothing', {}, {}],
    ['the default as an input', { 'api-url': 'https://api.blaxel.ai/v0/' }, {}],
  ])('and is not worth a line with %s', async (_, inputs, env) => {
    const job = world.machine.job({ env })
    const step = await job.uses({ with: { ...VERSION, workspace: 'acme', ...credentials.oauth, ...inputs } })
    expect(step.exitCode).toBe(0)
    expect(step.log).not.toContain('Using the Blaxel API')
    await job.end()
  })
})

describe('threat 6: a blaxel.toml in the checkout that sets another workspace', () => {
  const use = (toml: string, inputs: Readonly<Record<string, string>> = {}) => {
    writeFileSync(join(world.machine.workspace, 'blaxel.toml'), toml)
    return world.machine.job().uses({ with: { ...VERSION, workspace: 'acme', ...credentials.oauth, ...inputs } })
  }

  test.each([
    // unit/checkout.test.ts has the forms.
    ['in single quotes, with a comment', "# ours\r\n\r\nname = 'x'\r\n  workspace='beta' # not acme\r\n", 4, 'beta'],
    ['by a name that no workspace has', 'workspace = "::warning::two words"\n', 1, ': :warning: :two words'],
  ])('is named with its line and both workspaces: %s', async (_, toml, line, other) => {
    const step = await use(toml)
    expect(step.exitCode).toBe(0)
    expect(said(step, 'warning')).toEqual([
      `blaxel.toml in the checkout sets the workspace '${other}' (line ${line}), and bl uses that instead of 'acme', even with -w. Remove the line, or log in to that workspace.`,
    ])
  })

  test('is also named without a login in the config', async () => {
    const step = await use('workspace = "beta"\n', { login: 'false' })
    expect(said(step, 'warning')).toEqual([expect.stringContaining("sets the workspace 'beta' (line 1)") as unknown])
  })

  test.each([['the same workspace', 'workspace = "acme"\n']])(
    'is the only kind that is named: not %s',
    async (_, toml) => {
      const step = await use(toml)
      expect(step.exitCode).toBe(0)
      expect(step.annotations).toEqual([])
    },
  )
})
