import { spawnSync } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { cpSync, mkdirSync, readFileSync, readdirSync, rmSync, writeFileSync } from 'node:fs'
import { join, resolve } from 'node:path'
import type { Sandbox } from '../../sandbox/sandbox.ts'

/** One machine for all workflows, in a sandbox. */
export interface Stage {
  /** act's program. */
  readonly act: string
  readonly sandbox: Sandbox
  /** A directory for what one run needs. */
  readonly root: string
  readonly home: string
  readonly checkout: string
  /** The files of the action, as a tag of it has them. */
  readonly action: string
}

/** A release that the sandbox has, beside a newer one. */
export const VERSION = '9.9.1'

const ROOT = resolve(import.meta.dirname, '../..')
const MIRROR = { host: 'mirror.example', folder: '/toolkit' }
/** Of a form that a program which parses and prints YAML would not leave as it is. */
const PRIOR_CONFIG = `# kept by hand
context:
    workspace: personal
workspaces:
    - name: personal
      id: 'ws-0'
`
const secret = (name: string) => `bl_${name}_${randomBytes(16).toString('hex')}`

/** What the workflows find in `secrets`. */
export const SECRETS = {
  ACME_CLIENT_SECRET: secret('acme'),
  BETA_CLIENT_SECRET: secret('beta'),
  BL_CLIENT_SECRET: secret('client'),
  BL_API_KEY: secret('key'),
  WRONG_SECRET: secret('wrong'),
  GITHUB_TOKEN: `ghs_${randomBytes(16).toString('hex')}`,
}
/** What they find in `vars`. */
export const VARS = { ACME_CLIENT_ID: 'sa-acme', BETA_CLIENT_ID: 'sa-beta', BL_CLIENT_ID: 'sa-deployer' }

/** Makes the machine, with accounts for every secret. */
export function openStage(act: string, sandbox: Sandbox): Stage {
  const { blaxel, root } = sandbox
  blaxel.addClient(VARS.ACME_CLIENT_ID, SECRETS.ACME_CLIENT_SECRET, { workspaces: ['acme'] })
  blaxel.addClient(VARS.BETA_CLIENT_ID, SECRETS.BETA_CLIENT_SECRET, { workspaces: ['beta'] })
  // act has no GitHub environments: one account for all workspaces of the example that uses them.
  blaxel.addClient(VARS.BL_CLIENT_ID, SECRETS.BL_CLIENT_SECRET, { workspaces: ['acme', 'beta', 'gamma'] })
  blaxel.addApiKey(SECRETS.BL_API_KEY, { workspaces: ['acme'], mayMintFor: [VARS.BL_CLIENT_ID] })
  sandbox.addHost(MIRROR.host, mirror(sandbox))
  const stage = {
    act,
    sandbox,
    root,
    home: join(root, 'home'),
    checkout: join(root, 'checkout'),
    action: join(root, 'action'),
  }
  cpSync(join(ROOT, 'dist'), join(stage.action, 'dist'), { recursive: true })
  cpSync(join(ROOT, 'action.yml'), join(stage.action, 'action.yml'))
  makeCheckout(stage.checkout)
  return stage
}

function makeCheckout(checkout: string): void {
  mkdirSync(checkout)
  writeFileSync(join(checkout, '.bl-version'), `${VERSION}\n`)
  for (const args of [
    ['init', '--quiet', '--initial-branch=main'],
    ['remote', 'add', 'origin', 'https://github.com/octo-org/agents'],
    ['-c', 'user.name=e2e', '-c', 'user.email=e2e@localhost', 'commit', '--quiet', '--allow-empty', '--message=e2e'],
  ]) {
    const { status, stderr } = spawnSync('git', args, { cwd: checkout, encoding: 'utf8' })
    if (status !== 0) throw new Error(`git ${args.join(' ')}: ${stderr}`)
  }
}

/** A plain file server with the archive and the checksums file of one release. */
function mirror({ github }: Sandbox): Parameters<Sandbox['addHost']>[1] {
  const folder = `${MIRROR.folder}/releases/download/v${VERSION}`
  const files: Readonly<Record<string, Buffer>> = {
    [`${folder}/${github.platformFile}`]: github.archive(VERSION),
    [`${folder}/blaxel_${VERSION}_checksums.txt`]: Buffer.from(`${github.sha256(VERSION)}  ${github.platformFile}\n`),
  }
  return ({ path }) => {
    const body = files[path]
    return body === undefined ? { status: 404 } : { status: 200, body }
  }
}

/** Makes a HOME in which somebody is logged in, whatever the workflow before has left there. */
export function logMachineIn({ home, sandbox }: Stage): void {
  rmSync(home, { recursive: true, force: true })
  mkdirSync(join(home, '.blaxel'), { recursive: true })
  writeFileSync(join(home, '.blaxel', 'config.yaml'), PRIOR_CONFIG, { mode: 0o600 })
  sandbox.blaxel.keys.clear()
}

/** The files in ~/.blaxel that are new or changed. The CLI's own `version` stays, and our database without a token. */
export function changesOf({ home, sandbox }: Stage): string[] {
  const directory = join(home, '.blaxel')
  const read = (name: string) => readFileSync(join(directory, name), 'latin1')
  const isAllowed = (name: string) =>
    ['config.yaml', 'version'].includes(name) ||
    (name === 'setup-bl.db' && !sandbox.blaxel.issued.some((token) => read(name).includes(token)))
  const added = readdirSync(directory).filter((name) => !isAllowed(name))
  return read('config.yaml') === PRIOR_CONFIG ? added : ['config.yaml', ...added]
}
