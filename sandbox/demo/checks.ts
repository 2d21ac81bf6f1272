import { dirname, isAbsolute } from 'node:path'
import type { StepResult } from '../job.ts'
import type { JobRun } from './workflow.ts'
import type { Credential, CredentialKind, World } from './world.ts'

export interface Check {
  readonly title: string
  readonly passed: boolean
}

const TOKEN_TYPES: Readonly<Record<CredentialKind, string>> = {
  oauth: 'oauth',
  'service-account': 'service-account-key',
  'api-key': 'api-key',
}
const LONGEST_LIFE_MS = 2 * 60 * 60 * 1000 + 60_000

/** What is to be true of one job. */
export function checkJob(run: JobRun, world: World): Check[] {
  const { setup, later, posts, config, left } = run
  const { credential, workspace } = world
  const [cli, call] = later
  const longLived = secretForms(credential)
  const logs = everyStep(run)
    .map(({ log }) => log)
    .join('')
  const restored =
    config.before === undefined ? 'there is no config, as before' : 'the config is byte for byte as before'
  return [
    check('the set-up step succeeded', setup.outcome === 'success'),
    check('the CLI worked in a later step', cli?.outcome === 'success' && cli.log.includes(workspace)),
    check('the token worked in a later step', call?.raw.startsWith(`200 ${workspace}\n`) === true),
    check('the token is masked there', call?.log.includes('token ***\n') === true),
    check('the post step succeeded', posts.length === 1 && posts.every(({ outcome }) => outcome === 'success')),
    ...checkOutputs(setup, world),
    check(
      'BL_WORKSPACE, BL_API_KEY and BL_TOKEN are as documented',
      exportsAreRight(setup, credential.kind, workspace),
    ),
    check('PATH got the directory of bl', setup.paths.includes(dirname(setup.outputs.path ?? ''))),
    check('no long-lived secret in the log', !holds(logs + printedRaw(run), longLived)),
    ...checkFiles(run, credential, longLived),
    check(restored, config.after === config.before),
    check('nothing else of ours is left', left.length === 0),
  ]
}

/** What is to be true of the second job alone: the CLI came from the tool cache. */
export function checkCached({ setup, setupRequests }: JobRun): Check[] {
  const gitHub = setupRequests.filter(({ host }) => host !== 'api.blaxel.ai')
  return [
    check('the CLI came from the tool cache', setup.outputs['cache-hit'] === 'true'),
    check('GitHub was not asked', gitHub.length === 0),
  ]
}

/** What the sandbox has seen of it all; nothing is known of that on the real internet. */
export function checkWire({ sandbox, credential }: World): Check[] {
  if (sandbox === undefined) return []
  const { refused, requests, blaxel } = sandbox
  const hostsAreKnown = check('no request to an unknown host', refused.length === 0)
  if (credential.kind !== 'service-account') return [hostsAreKnown]
  const made = requests.filter(({ method, path }) => method === 'POST' && path.endsWith('/api_keys')).length
  const revoked = requests.filter(({ method, status }) => method === 'DELETE' && status === 200).length
  return [hostsAreKnown, check('each minted key is revoked', made > 0 && revoked === made && blaxel.keys.size === 0)]
}

function checkOutputs({ outputs }: StepResult, { credential, workspace }: World): Check[] {
  const expiry = outputs['token-expires-at'] ?? ''
  const life = Date.parse(expiry) - Date.now()
  return [
    check(
      'version and path name the CLI',
      /^\d+\.\d+\.\d+/.test(outputs.version ?? '') && isAbsolute(outputs.path ?? ''),
    ),
    check('authenticated, for the workspace', outputs.authenticated === 'true' && outputs.workspace === workspace),
    check(`token-type is ${TOKEN_TYPES[credential.kind]}`, outputs['token-type'] === TOKEN_TYPES[credential.kind]),
    credential.kind === 'api-key'
      ? check('the token, a plain key, does not expire', expiry === '')
      : check('the token expires within two hours', life > 0 && life <= LONGEST_LIFE_MS),
  ]
}

function exportsAreRight({ env, outputs }: StepResult, kind: CredentialKind, workspace: string): boolean {
  const { token } = outputs
  const short = kind === 'api-key' ? undefined : token
  return token !== undefined && env.BL_WORKSPACE === workspace && env.BL_API_KEY === token && env.BL_TOKEN === short
}

/** A plain API key is its own session token, so that it stands where the token stands. */
function checkFiles(run: JobRun, { kind }: Credential, longLived: readonly string[]): Check[] {
  const stateIsClean = everyStep(run).every(
    ({ files }) => !holds(files.GITHUB_STATE + files.GITHUB_STEP_SUMMARY, longLived),
  )
  const restIsClean = everyStep(run).every(({ files }) => !holds(files.GITHUB_ENV + files.GITHUB_OUTPUT, longLived))
  const clean = check('no long-lived secret in state or summary', stateIsClean)
  return kind === 'api-key' ? [clean] : [clean, check('none in outputs or environment', restIsClean)]
}

function everyStep({ setup, later, posts }: JobRun): StepResult[] {
  return [setup, ...later, ...posts]
}

/** What the action prints before the runner masks it, but for the lines by which it asks for that. */
function printedRaw({ setup, posts }: JobRun): string {
  const lines = [setup, ...posts].flatMap(({ raw }) => raw.split('\n'))
  return lines.filter((line) => !line.startsWith('::add-mask::')).join('\n')
}

function secretForms({ secrets, vars }: Credential): string[] {
  const plain = Object.values(secrets)
  const pairs = Object.values(vars).flatMap((id) => plain.map((secret) => `${id}:${secret}`))
  return [...plain, ...pairs].flatMap((text) => {
    const bytes = Buffer.from(text)
    const encoded = (['base64', 'base64url', 'hex'] as const).map((encoding) => bytes.toString(encoding))
    return [text, encodeURIComponent(text), ...encoded]
  })
}

function holds(text: string, forms: readonly string[]): boolean {
  return forms.some((form) => text.includes(form))
}

function check(title: string, passed: boolean): Check {
  return { title, passed }
}
