import { lstatSync, readdirSync, readFileSync, readlinkSync, type Dirent } from 'node:fs'
import { join, relative, sep } from 'node:path'
import type { Job, StepResult, UsesStep } from '../../sandbox/job.ts'
import type { Machine } from '../../sandbox/machine.ts'
import type { CliInvocation } from '../../sandbox/sandbox.ts'

/**
 * The forms in which a secret can be written down, by name: as it is, encoded alone or inside a longer text, and as a
 * pair with an id.
 */
export function encodingsOf(secret: string, id: string): Readonly<Record<string, string>> {
  const inside = [0, 1, 2].map((offset) => ({ offset, bytes: Buffer.from('x'.repeat(offset) + secret) }))
  const hex = Buffer.from(secret).toString('hex')
  const pairs = { 'id:secret': `${id}:${secret}`, 'secret:id': `${secret}:${id}` }
  const named: [string, string][] = [
    ['as it is', secret],
    ...inside.flatMap(({ offset, bytes }): [string, string][] => [
      [`base64 at offset ${offset}`, bytes.toString('base64')],
      [`base64 at offset ${offset}, unpadded`, bytes.toString('base64').replace(/=+$/, '')],
      [`base64url at offset ${offset}`, bytes.toString('base64url')],
    ]),
    ['hex', hex],
    ['hex in capitals', hex.toUpperCase()],
    ['URL-encoded', percentEncoded(secret)],
    ['URL-encoded in small letters', lowerEscapes(percentEncoded(secret))],
    ['JSON', JSON.stringify(secret).slice(1, -1)],
    ...Object.entries(pairs).flatMap(([name, pair]): [string, string][] => [
      [name, pair],
      [`base64 of ${name}`, Buffer.from(pair).toString('base64')],
      [`base64url of ${name}`, Buffer.from(pair).toString('base64url')],
      [`hex of ${name}`, Buffer.from(pair).toString('hex')],
      [`${name}, URL-encoded`, percentEncoded(pair)],
    ]),
  ]
  return Object.fromEntries(named)
}

function percentEncoded(text: string): string {
  const escape = (character: string) => `%${character.charCodeAt(0).toString(16).toUpperCase()}`
  return encodeURIComponent(text).replace(/[!'()*]/g, escape)
}

function lowerEscapes(text: string): string {
  return text.replace(/%[0-9A-F]{2}/g, (escape) => escape.toLowerCase())
}

/** The texts by which each form is recognised: of base64 only the part that no neighbour has a say in. */
function needlesOf(secret: string): readonly (readonly [string, string])[] {
  const bytes = Buffer.from(secret)
  const base64 = ([0, 1, 2] as const).flatMap((offset): [string, string][] => {
    const whole = Buffer.concat([Buffer.alloc(offset), bytes])
    const [from, to] = [Math.ceil((offset * 8) / 6), Math.floor((whole.length * 8) / 6)]
    const part = whole.toString('base64').slice(from, to)
    return [
      [`base64 at offset ${offset}`, part],
      [`base64url at offset ${offset}`, part.replaceAll('+', '-').replaceAll('/', '_')],
      [`base64 at offset ${offset}, URL-encoded`, encodeURIComponent(part)],
    ]
  })
  const hex = bytes.toString('hex')
  const all: [string, string][] = [
    ['as it is', secret],
    ...base64,
    ['hex', hex],
    ['hex in capitals', hex.toUpperCase()],
    ['URL-encoded', percentEncoded(secret)],
    ['URL-encoded', encodeURIComponent(secret)],
    ['URL-encoded in small letters', lowerEscapes(percentEncoded(secret))],
    ['URL-encoded in small letters', lowerEscapes(encodeURIComponent(secret))],
    ['JSON', JSON.stringify(secret).slice(1, -1)],
  ]
  const seen = new Set<string>()
  return all.filter(([, text]) => !seen.has(text) && seen.add(text))
}

/** Looks for long-lived secrets in everything that a step of the action leaves behind. */
export interface SecretScan {
  /** A secret that no step may leave behind, besides those of the fixture. */
  add(secret: string): void
  /**
   * A place where the test itself has put a secret, or which may hold one for a reason that has to be given.
   * @param place as the scan names it, such as `checkout/.env`
   */
  allow(place: string | RegExp, reason: string): void
  /** The machine, on which every main and post of the action is scanned when it has ended. */
  watch(machine: Machine): Machine
  /** @throws where any scan has found something, even if nobody waited for that step */
  assertClean(): void
}

/** @param invocations every run of the stand-in `bl` so far */
export function createSecretScan(invocations: () => readonly CliInvocation[]): SecretScan {
  const secrets = new Map<string, readonly (readonly [string, string])[]>()
  const allowed: (string | RegExp)[] = []
  const found: string[] = []

  const look = (place: string, text: string): string[] => {
    const isAllowed = allowed.some((each) => (typeof each === 'string' ? each === place : each.test(place)))
    if (isAllowed || text === '') return []
    return [...secrets].flatMap(([secret, needles]) =>
      needles
        .filter(([, needle]) => text.includes(needle))
        .map(([form]) => `${place} holds ${secret.slice(0, 6)}…, ${form}`),
    )
  }
  const scan: Scan = {
    look,
    invocations,
    report: (leaks) => {
      if (leaks.length === 0) return
      found.push(...leaks)
      throw new Error(describeLeaks(leaks))
    },
  }
  return {
    add: (secret) => {
      secrets.set(secret, needlesOf(secret))
    },
    allow: (place, reason) => {
      if (reason.length < 10) throw new Error('a secret is allowed only for a reason')
      allowed.push(place)
    },
    watch: (machine) => {
      const plainUses: PlainUse[] = []
      return { ...machine, job: (options) => watchJob(machine.job(options), machine, plainUses, scan) }
    },
    assertClean: () => {
      if (found.length > 0) throw new Error(describeLeaks(found))
    },
  }
}

function describeLeaks(leaks: readonly string[]): string {
  return `A secret was left behind:\n${leaks.join('\n')}`
}

interface Scan {
  readonly look: (place: string, text: string) => string[]
  readonly invocations: () => readonly CliInvocation[]
  readonly report: (leaks: readonly string[]) => void
}

/**
 * A use of the action with a plain API key, which is its own session token. Until its job ends it may stand in five
 * places: the output `token`, BL_API_KEY in the environment file, the CLI's config, the database of logins, and `bl`'s environment.
 */
interface PlainUse {
  readonly key: string
  readonly job: Job
  /** `logout: false`: the entry stays in the config. */
  readonly stays: boolean
}

function plainUseOf(job: Job, step: UsesStep): PlainUse | undefined {
  const given = new Map(Object.entries(step.with ?? {}).map(([name, value]) => [name.toLowerCase(), value.trim()]))
  const input = (name: string) => given.get(name) ?? ''
  if (input('service-account') !== '' || input('client-id') !== '') return undefined
  const env: Readonly<Record<string, string>> = { ...job.env, ...step.env }
  const fromEnvironment = (env.BL_CLIENT_CREDENTIALS ?? '') === '' ? (env.BL_API_KEY ?? '').trim() : ''
  const key = input('api-key') || input('apikey') || fromEnvironment
  return key === '' ? undefined : { key, job, stays: input('logout').toLowerCase() === 'false' }
}

function watchJob(job: Job, machine: Machine, plainUses: PlainUse[], scan: Scan): Job {
  /** Texts of command files that were looked at when their step ended. */
  const accepted = new Set<string>()
  let seen = scan.invocations().length
  const ended = (steps: readonly StepResult[], plain: PlainUse | undefined): void => {
    const invocations = scan.invocations()
    const leaks = [
      ...steps.flatMap((step) => leaksOfStep(step, plain, accepted, scan)),
      ...leaksOfChildren(invocations.slice(seen), job, plain, scan),
      ...leaksOnDisk(job, machine, plainUses, accepted, scan),
    ]
    seen = invocations.length
    scan.report(leaks)
  }

  const start = job.start.bind(job)
  job.start = (step) => {
    const plain = plainUseOf(job, step ?? {})
    if (plain) plainUses.push(plain)
    const running = start(step)
    return Object.assign(running, {
      result: watched(running.result, (result) => {
        ended([result], plain)
      }),
    })
  }
  const startEnd = job.startEnd.bind(job)
  job.startEnd = () => {
    const running = startEnd()
    const result = watched(running.result, (posts) => {
      // A post that was killed, or that says that it could not undo something, leaves the rest to the next use.
      const hasUndone = posts.every(({ exitCode, annotations }) => {
        return exitCode === 0 && annotations.every(({ level }) => level !== 'warning')
      })
      if (hasUndone) forget(plainUses, job)
      ended(posts, undefined)
    })
    return Object.defineProperty(running, 'result', { value: result })
  }
  return job
}

function forget(plainUses: PlainUse[], job: Job): void {
  const others = plainUses.filter((use) => use.job !== job || use.stays)
  plainUses.splice(0, plainUses.length, ...others)
}

/** A failure is the step's; where nobody waits for it, it still counts when the world is closed. */
function watched<T>(result: Promise<T>, look: (value: T) => void): Promise<T> {
  const looked = result.then((value) => {
    look(value)
    return value
  })
  looked.catch(() => undefined)
  return looked
}

function leaksOfStep(step: StepResult, plain: PlainUse | undefined, accepted: Set<string>, scan: Scan): string[] {
  // What it asks the runner to mask has to be named.
  const log = step.raw.replaceAll(/^::add-mask::.*\r?\n/gm, '')
  const { GITHUB_OUTPUT, GITHUB_ENV, ...others } = step.files
  accepted.add(GITHUB_OUTPUT).add(GITHUB_ENV)
  const files = {
    ...others,
    GITHUB_OUTPUT: plain ? withoutKey(GITHUB_OUTPUT, 'token', plain) : GITHUB_OUTPUT,
    GITHUB_ENV: plain ? withoutKey(GITHUB_ENV, 'BL_API_KEY', plain) : GITHUB_ENV,
  }
  return [...scan.look('log', log), ...Object.entries(files).flatMap(([name, text]) => scan.look(name, text))]
}

/** A command file without the key under one name, as the toolkit writes it. */
function withoutKey(text: string, name: string, plain: PlainUse): string {
  const block = new RegExp(`^${name}<<(.*)\\n([^]*?)\\n\\1$`, 'm')
  return text.replace(block, (whole, _delimiter, value: string) => (isKeyOf(plain, value) ? '' : whole))
}

function leaksOfChildren(
  invocations: readonly CliInvocation[],
  job: Job,
  plain: PlainUse | undefined,
  scan: Scan,
): string[] {
  return invocations
    .filter(({ cwd, env }) => cwd.startsWith(job.temp + sep) || !(isOfScript(env) || isPrivate(cwd)))
    .flatMap(({ argv, env, cwd }) => {
      const variables = Object.entries(env).filter(
        ([name, value]) => !(plain && isKeyOf(plain, value) && name === 'BL_API_KEY'),
      )
      return [
        ...scan.look('argv of bl', argv.join('\n')),
        ...scan.look('directory of bl', cwd),
        ...variables.flatMap(([name, value]) => scan.look(`environment of bl: ${name}`, `${name}=${value}`)),
      ]
    })
}

/** A later step of the workflow runs `bl` as it likes; only an action gets the second variable. */
function isOfScript(env: Readonly<Record<string, string>>): boolean {
  return 'GITHUB_ACTION' in env && !('GITHUB_ACTION_REPOSITORY' in env)
}

/** Another job's run, which is looked at when that job's step ends. */
function isPrivate(cwd: string): boolean {
  return cwd.includes(`${sep}setup-bl-`)
}

function isKeyOf({ key }: PlainUse, value: string): boolean {
  return key === value || key.includes('${{')
}

function leaksOnDisk(
  job: Job,
  machine: Machine,
  plainUses: readonly PlainUse[],
  accepted: ReadonlySet<string>,
  scan: Scan,
): string[] {
  const directories = {
    RUNNER_TEMP: job.temp,
    HOME: machine.home,
    'tool cache': machine.toolCache,
    checkout: job.workspace,
  }
  const isSeen = (place: string, text: string) =>
    place.startsWith('RUNNER_TEMP/_runner_file_commands/') && accepted.has(text)
  return Object.entries(directories).flatMap(([label, directory]) =>
    [...filesBelow(directory)].flatMap(({ path, text }) => {
      const place = `${label}/${path.replaceAll(sep, '/')}`
      if (isSeen(place, text)) return []
      return [...scan.look(`name of ${place}`, path), ...scan.look(place, withoutPlainKeys(place, text, plainUses))]
    }),
  )
}

/** The CLI's config (also the one in a private home that a killed step has left), the database of logins, and what they are made of. */
const LOGIN_FILES = /^(?:HOME|RUNNER_TEMP\/setup-bl-[^/]+\/[^/]+)\/\.blaxel\/(?:config\.yaml|setup-bl\.db)[^/]*$/

function withoutPlainKeys(place: string, text: string, plainUses: readonly PlainUse[]): string {
  if (!LOGIN_FILES.test(place)) return text
  return plainUses.reduce((rest, { key }) => {
    return key.includes('${{') ? rest.replaceAll(/(apiKey"?: ?")[^"\\]+"/g, '$1"') : rest.replaceAll(key, '')
  }, text)
}

/** Links by where they lead, regular files by their bytes; what vanishes meanwhile is another job's. */
function* filesBelow(directory: string): Generator<{ path: string; text: string }> {
  for (const entry of entriesBelow(directory)) {
    const path = join(entry.parentPath, entry.name)
    yield { path: relative(directory, path), text: textOf(path) }
  }
}

function entriesBelow(directory: string): Dirent[] {
  const entries: Dirent[] = []
  const pending = [directory]
  // The list grows while it is walked.
  for (const each of pending) {
    const inside = quietly(() => readdirSync(each, { withFileTypes: true }), [])
    entries.push(...inside)
    pending.push(...inside.filter((entry) => entry.isDirectory()).map((entry) => join(entry.parentPath, entry.name)))
  }
  return entries
}

function textOf(path: string): string {
  return quietly(() => {
    const stats = lstatSync(path)
    if (stats.isSymbolicLink()) return readlinkSync(path)
    // A file of gigabytes is a trap of a test, and nothing that the action has written.
    return stats.isFile() && stats.size < 100_000_000 ? readFileSync(path, 'latin1') : ''
  }, '')
}

function quietly<T>(work: () => T, otherwise: T): T {
  try {
    return work()
  } catch {
    return otherwise
  }
}
