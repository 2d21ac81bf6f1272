import { dirname, isAbsolute } from 'node:path'
import type { StepResult } from '../job.ts'
import type { JobRun } from './workflow.ts'
import type { Credential, CredentialKind, World } from './world.ts'

export interface Check {
  readonly claim: Claim
  readonly title: string
  readonly passed: boolean
}

/** What the demonstration proves, in the order in which it is printed. */
export const CLAIMS = {
  works: 'bl and the token work in later steps',
  handedOn: 'Outputs, environment and PATH are as documented',
  secret: 'No long-lived secret in a log, in saved state, or in the step summary',
  notHandedOn: 'Later steps never get the long-lived secret',
  undone: "After the job the CLI's config is byte for byte what it was; only setup-bl.db stays, without a token",
  revoked: 'Each minted key is revoked',
  cached: 'Job 2 found the CLI in the tool cache and made no request to GitHub',
  contained: 'No request left the sandbox',
} as const
type Claim = keyof typeof CLAIMS

const TOKEN_TYPES: Readonly<Record<CredentialKind, string>> = {
  oauth: 'oauth',
  'service-account': 'service-account-key',
  'api-key': 'api-key',
}
const MAX_LIFETIME_MS = 2 * 60 * 60 * 1000 + 60_000

/** What must be true of each job. */
export function checkJob(run: JobRun, world: World): Check[] {
  const { setup, later, posts, config, left, database } = run
  const { credential, workspace } = world
  const [cli, call] = later
  const longLived = secretForms(credential)
  const logs = everyStep(run)
    .map(({ log }) => log)
    .join('')
  const token = setup.outputs.token ?? ''
  return [
    check('works', 'the action succeeded', setup.outcome === 'success'),
    check('works', 'bl worked', cli?.outcome === 'success' && cli.log.includes(workspace)),
    check('works', 'the token worked', call?.raw.startsWith(`200 ${workspace}\n`) === true),
    ...checkOutputs(setup, world),
    check('handedOn', 'environment variables', exportsAreRight(setup, credential.kind, workspace)),
    check('handedOn', 'PATH', setup.paths.includes(dirname(setup.outputs.path ?? ''))),
    check('secret', 'the token is masked', call?.log.includes('token ***\n') === true),
    check('secret', 'the log has no secret', !holds(logs + printedRaw(run), longLived)),
    ...checkFiles(run, credential, longLived),
    check(
      'undone',
      'the post step succeeded',
      posts.length === 1 && posts.every(({ outcome }) => outcome === 'success'),
    ),
    check('undone', 'the config is as before', config.after === config.before),
    check('undone', `nothing is left (${left.join(', ')})`, left.length === 0),
    check('undone', 'the database has no token', token !== '' && !database.includes(token)),
  ]
}

/** What must also be true of the second job. */
export function checkCached({ setup, setupRequests }: JobRun): Check[] {
  const gitHub = setupRequests.filter(({ host }) => host !== 'api.blaxel.ai')
  return [
    check('cached', 'cache-hit is true', setup.outputs['cache-hit'] === 'true'),
    check('cached', 'no request to GitHub', gitHub.length === 0),
  ]
}

/** What the sandbox saw of both jobs; nothing is known of that with --live. */
export function checkWire({ sandbox, credential }: World): Check[] {
  if (sandbox === undefined) return []
  const { refused, requests, blaxel } = sandbox
  const contained = check('contained', `other hosts: ${refused.join(', ')}`, refused.length === 0)
  if (credential.kind !== 'service-account') return [contained]
  const made = requests.filter(({ method, path }) => method === 'POST' && path.endsWith('/api_keys')).length
  const revoked = requests.filter(({ method, status }) => method === 'DELETE' && status === 200).length
  const allRevoked = made > 0 && revoked === made && blaxel.keys.size === 0
  return [check('revoked', `${revoked} of ${made}`, allRevoked), contained]
}

function checkOutputs({ outputs }: StepResult, { credential, workspace }: World): Check[] {
  const expiry = outputs['token-expires-at'] ?? ''
  const life = Date.parse(expiry) - Date.now()
  const expires = credential.kind === 'api-key' ? expiry === '' : life > 0 && life <= MAX_LIFETIME_MS
  return [
    check(
      'handedOn',
      'version and path',
      /^\d+\.\d+\.\d+/.test(outputs.version ?? '') && isAbsolute(outputs.path ?? ''),
    ),
    check(
      'handedOn',
      'authenticated and workspace',
      outputs.authenticated === 'true' && outputs.workspace === workspace,
    ),
    check('handedOn', 'token-type', outputs['token-type'] === TOKEN_TYPES[credential.kind]),
    check('handedOn', 'token-expires-at', expires),
  ]
}

function exportsAreRight({ env, outputs }: StepResult, kind: CredentialKind, workspace: string): boolean {
  const { token } = outputs
  const short = kind === 'api-key' ? undefined : token
  return token !== undefined && env.BL_WORKSPACE === workspace && env.BL_API_KEY === token && env.BL_TOKEN === short
}

/** Without service-account, the API key itself is exported. */
function checkFiles(run: JobRun, { kind }: Credential, longLived: readonly string[]): Check[] {
  const isClean = (...names: (keyof StepResult['files'])[]) =>
    everyStep(run).every(({ files }) => !holds(names.map((name) => files[name]).join(''), longLived))
  const saved = check('secret', 'state and summary', isClean('GITHUB_STATE', 'GITHUB_STEP_SUMMARY'))
  if (kind === 'api-key') return [saved]
  return [saved, check('notHandedOn', 'outputs and environment', isClean('GITHUB_ENV', 'GITHUB_OUTPUT'))]
}

function everyStep({ setup, later, posts }: JobRun): StepResult[] {
  return [setup, ...later, ...posts]
}

/** What the action prints before the runner masks it, without the lines that ask for masks. */
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

function check(claim: Claim, title: string, passed: boolean): Check {
  return { claim, title, passed }
}
