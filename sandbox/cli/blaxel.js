// The stand-in for the Blaxel CLI: it does to the disk, the wire and its output what the real one does, faults
// included. It is packaged as a program of one file, with BAKED put before it, so it imports nothing but Node.
/* global BAKED */
import { spawn } from 'node:child_process'
import { appendFileSync, fstatSync, mkdirSync, readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { homedir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { URL } from 'node:url'

const { version, faults } = BAKED
const { env } = process
const API_VERSION = '2026-04-28'
const RELEASES = 'https://api.github.com/repos/blaxel-ai/toolkit/releases'
const SIX_HOURS = 6 * 60 * 60 * 1000
const NO_TTY = 'huh: could not open a new TTY: open /dev/tty: no such device or address'
const ORIGINS = {
  prod: 'https://api.blaxel.ai/v0',
  dev: 'https://api.blaxel.dev/v0',
  local: 'http://localhost:8080/v0',
}

/** A failure that the CLI reports and ends with; `status` is the API's, where that was the reason. */
class Failure extends Error {
  constructor(operation, reason, status) {
    super(reason)
    this.operation = operation
    this.status = status
  }
}

/** An old release, up to and including this 0.1.x: only what the action has to deal with is as it was. */
function upTo(patch) {
  const [major, minor, own] = version.split(/[.-]/).map(Number)
  return major === 0 && (minor < 1 || (minor === 1 && own <= patch))
}

// ---- output

function print(line) {
  process.stdout.write(`${line}\n`)
}

function diagnostic(line) {
  process.stderr.write(`${line}\n`)
}

function info(line) {
  print(`ℹ ${line}`)
}

function report(failure, workspace) {
  diagnostic(`✗ ${failure.operation} failed`)
  diagnostic(`Reason: ${failure.message}`)
  const { status } = failure
  const denied = status === undefined ? failure.message.includes('permission denied') : [401, 403].includes(status)
  if (denied) credentialHint(workspace)
}

function credentialHint(workspace) {
  const { apiKey, clientCredentials } = entryOf(workspace)
  const file = `from credentials file (~/.blaxel/config.yaml) for workspace "${workspace}"`
  if (apiKey) diagnostic(`⚠ Authentication is using API key ${file}`)
  else if (clientCredentials) diagnostic(`⚠ Authentication is using client credentials ${file}`)
  else if (env.BL_API_KEY) variableHint('API key', 'BL_API_KEY')
  else if (env.BL_CLIENT_CREDENTIALS) variableHint('client credentials', 'BL_CLIENT_CREDENTIALS')
}

function variableHint(method, variable) {
  diagnostic(`⚠ Authentication is using ${method} from environment variable ${variable}`)
  diagnostic(`  If this is unexpected, unset the variable with 'unset ${variable}' or update its value.`)
}

// ---- ~/.blaxel

function blaxelDirectory() {
  const home = process.platform === 'win32' ? env.USERPROFILE : (env.HOME ?? homedir())
  if (!home) throw new Error('failed to create client: $HOME is not defined')
  return join(home, '.blaxel')
}

function makeDirectory(mode) {
  mkdirSync(blaxelDirectory(), { recursive: true, mode })
}

/** What is torn, invalid or not there reads as empty. */
function readConfig() {
  try {
    const text = readFileSync(join(blaxelDirectory(), 'config.yaml'), 'utf8')
    return parseOwnForm(text) ?? parseYaml(text)
  } catch {
    return { context: '', workspaces: [], tracking: false }
  }
}

/** The form that the CLI itself writes, without the price of a YAML parser. */
function parseOwnForm(text) {
  const form =
    /^context:\n {2}workspace: ([\w-]*)\nworkspaces:\n((?:(?:- name| {2}id): [\w-]+\n| {2}credentials:\n| {4}apiKey: "[\w.-]+"\n| {2}env: "\w+"\n)*)tracking: (true|false)\n$/
  const [whole, context, list, tracking] = form.exec(text) ?? []
  if (whole === undefined) return undefined
  const workspaces = list.split(/^- name: /m).slice(1)
  const field = (entry, name) => new RegExp(`^ +${name}: "?(.*?)"?$`, 'm').exec(entry)?.[1] ?? ''
  return {
    context,
    workspaces: workspaces.map((entry) => ({
      name: entry.split('\n', 1)[0],
      id: field(entry, 'id'),
      apiKey: field(entry, 'apiKey'),
      clientCredentials: '',
      env: field(entry, 'env'),
    })),
    tracking: tracking === 'true',
  }
}

function parseYaml(text) {
  const { parse } = createRequire(BAKED.yaml)(BAKED.yaml)
  const config = parse(text, { schema: 'failsafe', logLevel: 'error' })
  return {
    context: config.context?.workspace ?? '',
    workspaces: list(config.workspaces).map((entry) => ({
      name: entry.name ?? '',
      id: entry.id ?? '',
      apiKey: entry.credentials?.apiKey ?? '',
      clientCredentials: entry.credentials?.client_credentials ?? '',
      env: entry.env ?? '',
    })),
    tracking: config.tracking === 'true',
  }
}

function list(value) {
  // Failsafe YAML gives a text for null.
  if (value === undefined || value === '' || value === 'null' || value === '~') return []
  if (!Array.isArray(value)) throw new TypeError('no list')
  return value
}

/** Truncates and writes in place, without a lock and without escaping, through a link if there is one. */
function writeConfig(config) {
  makeDirectory(upTo(60) ? 0o700 : 0o755)
  const text = upTo(60) ? oldText(config) : newText(config)
  writeFileSync(join(blaxelDirectory(), 'config.yaml'), text, { mode: 0o600 })
}

function newText({ context, workspaces, tracking }) {
  const entries = workspaces.map(
    (entry) =>
      `- name: ${entry.name}\n` +
      (entry.id && `  id: ${entry.id}\n`) +
      '  credentials:\n' +
      (entry.apiKey && `    apiKey: "${entry.apiKey}"\n`) +
      (entry.clientCredentials && `    client_credentials: "${entry.clientCredentials}"\n`) +
      (entry.env && `  env: "${entry.env}"\n`),
  )
  return `context:\n  workspace: ${context}\nworkspaces:\n${entries.join('')}tracking: ${tracking}\n`
}

function oldText({ context, workspaces }) {
  const entries = workspaces.map(
    (entry) =>
      `- name: ${scalar(entry.name)}\n  credentials:\n    apiKey: ${scalar(entry.apiKey)}\n` +
      '    access_token: ""\n    refresh_token: ""\n    expires_in: 0\n    device_code: ""\n' +
      `    client_credentials: ${scalar(entry.clientCredentials)}\n` +
      `  env: ${scalar(entry.env)}\n`,
  )
  const all = entries.length === 0 ? 'workspaces: []\n' : `workspaces:\n${entries.join('')}`
  return `context:\n  workspace: ${scalar(context)}\n${all}`
}

/** Up to 0.1.60 a library wrote the YAML, with quotes where they are needed. */
function scalar(text) {
  return /^[a-zA-Z][\w.=/+-]*$/.test(text) && !/^(y|n|yes|no|on|off|true|false|null)$/i.test(text)
    ? text
    : JSON.stringify(text)
}

function entryOf(workspace) {
  return readConfig().workspaces.find(({ name }) => name === workspace) ?? {}
}

// ---- http

let proxySettings

/** Read at the first request and then kept, as Go does. */
function proxyEnvironment() {
  const first = (...names) => names.map((name) => env[name]).find((value) => value)
  proxySettings ??= {
    HTTPS_PROXY: first('HTTPS_PROXY', 'https_proxy'),
    HTTP_PROXY: first('HTTP_PROXY', 'http_proxy'),
    NO_PROXY: first('NO_PROXY', 'no_proxy'),
  }
  return proxySettings
}

function isLoopback({ hostname }) {
  return hostname === 'localhost' || hostname === '[::1]' || /^127\./.test(hostname)
}

/** Only what SSL_CERT_FILE names is trusted where that is set, and never what Node is told to add. */
async function certificates() {
  if (env.SSL_CERT_FILE) return [readFileSync(env.SSL_CERT_FILE, 'utf8')].filter((text) => text.includes('BEGIN'))
  const { getCACertificates } = await import('node:tls')
  return getCACertificates('bundled')
}

async function once(method, address, headers, body, hops = 10) {
  const url = new URL(address)
  const { Agent, request } = await import(url.protocol === 'http:' ? 'node:http' : 'node:https')
  const proxyEnv = isLoopback(url) ? {} : proxyEnvironment()
  const agent = new Agent({ proxyEnv, ...(url.protocol === 'http:' ? {} : { ca: await certificates() }) })
  const answer = await new Promise((resolve, reject) => {
    const outgoing = request(url, { method, headers, agent }, (incoming) => {
      const chunks = []
      incoming.on('data', (chunk) => chunks.push(chunk))
      incoming.on('error', reject)
      incoming.on('end', () =>
        resolve({ status: incoming.statusCode, headers: incoming.headers, text: Buffer.concat(chunks).toString() }),
      )
    })
    outgoing.on('error', reject)
    outgoing.end(body)
  })
  const { location } = answer.headers
  if (method !== 'GET' || location === undefined || answer.status < 300 || hops === 0) return answer
  const target = new URL(location, url)
  // Go takes only this header off for another host: X-Blaxel-Authorization goes along.
  const { Authorization, ...others } = headers
  return once('GET', target, target.host === url.host ? { ...others, Authorization } : others, undefined, hops - 1)
}

/** Asks up to three times, and waits as long as it is told to, without a limit. */
async function patiently(method, address, headers) {
  for (let retries = 0; ; retries += 1) {
    const answer = await once(method, address, headers).catch((error) => ({ status: 0, headers: {}, error }))
    const { status } = answer
    if (retries === 2 || !(status === 0 || [408, 409, 429].includes(status) || status >= 500)) {
      if (status === 0) throw answer.error
      return answer
    }
    const told = Number.parseFloat(answer.headers['retry-after'])
    await sleep(Number.isNaN(told) ? 500 * 2 ** retries * (1 - Math.random() / 4) : told * 1000)
  }
}

/** The API for a workspace. BL_ENV, or else the environment in the workspace's entry, names the origin. */
function baseUrl(workspace) {
  const known = ORIGINS[env.BL_ENV || entryOf(workspace).env] ?? ORIGINS.prod
  return (env.BL_API_URL || known).replace(/\/$/, '')
}

/** The credentials given beat the environment's key, but a BL_CLIENT_CREDENTIALS is used beside them. */
async function authorisation(base, credentials) {
  const headers = {}
  const key = credentials.apiKey || env.BL_API_KEY
  const client = credentials.clientCredentials || env.BL_CLIENT_CREDENTIALS
  if (key !== undefined) headers.Authorization = `Bearer ${key}`
  if (client !== undefined) headers['X-Blaxel-Authorization'] = `Bearer ${await exchange(base, client)}`
  return headers
}

const tokens = new Map()

/** One exchange for each pair in the life of the process. */
function exchange(base, encoded) {
  const { id, secret } = decodeClientCredentials(encoded)
  const known = tokens.get(encoded) ?? requestToken(base, id, secret)
  tokens.set(encoded, known)
  return known
}

/** What is not strictly base64 counts as decoded already. */
function decodeClientCredentials(encoded) {
  const bytes = Buffer.from(encoded, 'base64')
  const decoded = bytes.toString('base64') === encoded ? bytes.toString() : encoded
  const [id, secret] = decoded.split(/:(.*)/s)
  if (secret !== undefined) return { id, secret }
  const advice = "invalid client credentials format, expected 'clientId:clientSecret'"
  throw new Error(`failed to decode client credentials: ${advice}`)
}

async function requestToken(base, id, secret) {
  const { status, text } = await once(
    'POST',
    `${base}/oauth/token`,
    {
      Authorization: `Basic ${Buffer.from(`${id}:${secret}`).toString('base64')}`,
      'Content-Type': 'application/json',
    },
    '{"grant_type":"client_credentials"}',
  )
  if (status !== 200) throw new Error(`requestconfig: OAuth2 token request returned status ${status}, expected 200`)
  return JSON.parse(text).access_token
}

/** One GET of the API as JSON; a status that is no success is an error with that status. */
async function get(base, path, workspace, credentials) {
  const headers = {
    Accept: 'application/json',
    'User-Agent': `blaxel/cli/golang/${version} (stand-in)`,
    ...(await authorisation(base, credentials)),
    'X-Blaxel-Workspace': workspace,
    'Blaxel-Version': API_VERSION,
    ...customHeaders(),
  }
  const { status, text } = await patiently('GET', base + path, headers)
  if (status < 200 || status > 299) {
    const { STATUS_CODES } = await import('node:http')
    const error = new Error(`GET "${base}${path}": ${status} ${STATUS_CODES[status] ?? ''} ${text}`)
    throw Object.assign(error, { status })
  }
  return JSON.parse(text)
}

function customHeaders() {
  const pairs = (env.BLAXEL_CUSTOM_HEADERS ?? '').split('\n').map((line) => line.split(/:(.*)/s))
  return Object.fromEntries(pairs.filter(([, value]) => value).map(([name, value]) => [name.trim(), value.trim()]))
}

// ---- before any command

/** Asks GitHub for a newer release, at most once in six hours, with no time-out and no token. */
async function checkForUpdates() {
  if (version.includes('-')) return
  try {
    makeDirectory(0o755)
    const file = join(blaxelDirectory(), 'version')
    const latest = cachedVersion(file) ?? (await fetchLatest(file))
    if (isNewer(latest, version)) notifyOf(latest)
  } catch {
    // It never fails a command.
  }
}

function cachedVersion(file) {
  try {
    const cache = JSON.parse(readFileSync(file, 'utf8'))
    return Date.now() - Date.parse(cache.last_check) < SIX_HOURS ? cache.version : undefined
  } catch {
    return undefined
  }
}

async function fetchLatest(file) {
  const { status, text } = await once('GET', RELEASES, { 'User-Agent': 'Go-http-client/1.1' })
  if (status !== 200) return version
  const stable = JSON.parse(text)
    .map((release) => release.tag_name.replace(/^v/, ''))
    .filter((tag) => /^\d+\.\d+\.\d+$/.test(tag))
  const [latest = version] = stable.sort((one, other) => (isNewer(one, other) ? -1 : 1))
  writeFileSync(file, JSON.stringify({ version: latest, last_check: new Date().toISOString() }), { mode: 0o644 })
  return latest
}

function isNewer(one, other) {
  const [left, right] = [one, other].map((text) => text.split('.').map(Number))
  const at = left.findIndex((number, index) => number !== right[index])
  return at !== -1 && left[at] > right[at]
}

function notifyOf(latest) {
  process.stderr.write(
    `\x1b[33m⚠️  A new version of Blaxel CLI is available: \x1b[1m\x1b[32m${latest}\x1b[0m\x1b[33m ` +
      `(current: \x1b[1m${version}\x1b[0m\x1b[33m)\n` +
      '\x1b[33mYou can update by running: \x1b[1m\x1b[32mbl upgrade\x1b[0m\x1b[33m\n' +
      '\x1b[33mOr follow the instructions at \x1b[36mhttps://docs.blaxel.ai/cli-reference/introduction#update' +
      '\x1b[0m\x1b[33m\n\n\x1b[0m',
  )
}

/** Variables that exist win over the file's, even where they are empty. */
function loadDotEnv() {
  let text
  try {
    text = readFileSync('.env', 'utf8')
  } catch (error) {
    if (error.code !== 'ENOENT') print(`Warning: Could not load .env file: read .env: ${error.code}`)
    return
  }
  const lines = text.split(/\r?\n/).filter((line) => !/^\s*(#|$)/.test(line))
  const pairs = lines.map((line) => /^\s*(?:export\s+)?([\w.]+)\s*[=:]\s*(.*)$/.exec(line))
  if (pairs.includes(null)) {
    const near = JSON.stringify(`${lines[pairs.indexOf(null)]}\n`)
    print(`Warning: Could not load .env file: unexpected character "\\n" in variable name near ${near}`)
    return
  }
  for (const [, name, value] of pairs) env[name] ??= unquoted(value)
}

function unquoted(value) {
  const [, , quoted] = /^(["'])(.*?)\1/.exec(value) ?? []
  return quoted ?? value.replace(/(^|\s)#.*$/, '').trim()
}

function workspaceOfBlaxelToml() {
  try {
    return /^workspace\s*=\s*["'](.+?)["']/m.exec(readFileSync('blaxel.toml', 'utf8'))?.[1]
  } catch {
    return undefined
  }
}

// ---- commands

async function login({ words, flags, workspace: current }) {
  const failed = (reason, status) => new Failure('Login', reason, status)
  if (words.length > 1) {
    const meant = words.join('-').toLowerCase()
    diagnostic(`⚠ Login failed: did you mean bl login ${meant} ?`)
    return
  }
  const flag = flags.workspace
  const [workspace = flag ?? ''] = words
  if (flag !== undefined && flag !== workspace) {
    throw failed(`workspace specified twice: positional workspace "${workspace}" conflicts with --workspace "${flag}"`)
  }
  if (workspace === '') return deviceLogin()
  const credentials = loginCredentials()
  if (credentials === undefined) throw failed(NO_TTY)

  await validate(workspace, current, credentials)
  if (faults.loginEntry !== undefined) {
    makeDirectory(0o755)
    writeFileSync(join(blaxelDirectory(), 'config.yaml'), faults.loginEntry, { mode: 0o600 })
  } else if (!faults.loginWritesNothing) {
    await saveCredentials(workspace, current, credentials)
    writeConfig({ ...readConfig(), context: workspace })
  }
  announceLogin(workspace, credentials)
}

function loginCredentials() {
  const { BL_CLIENT_CREDENTIALS: clientCredentials, BL_API_KEY: apiKey } = env
  if (clientCredentials) return { clientCredentials }
  if (!apiKey) return undefined
  info('Using API key from environment variable BL_API_KEY')
  return { apiKey }
}

function announceLogin(workspace, { clientCredentials }) {
  if (clientCredentials) print('Successfully stored client credentials')
  else print(`✓ Successfully logged in to workspace ${workspace}`)
}

/** Up to 0.1.94 a refusal is taken for a success: any answer will do. */
async function validate(workspace, current, credentials) {
  if (faults.loginAlwaysSucceeds) return
  const base = baseUrl(current)
  try {
    if (upTo(94)) await once('GET', `${base}/workspaces`, await authorisation(base, credentials))
    else await get(base, `/workspaces/${workspace}`, workspace, credentials)
  } catch (error) {
    const reason = `permission denied for workspace "${workspace}"`
    throw new Failure('Login', `failed to access workspace '${workspace}': ${reason}`, error.status)
  }
}

/** Reads the file, asks the API for the workspace's id, writes the file: whatever came between is lost. */
async function saveCredentials(workspace, current, credentials) {
  const config = readConfig()
  const id = await workspaceId(workspace, current, credentials)
  const stored = { apiKey: '', clientCredentials: '', ...credentials }
  const entry = config.workspaces.find(({ name }) => name === workspace)
  if (entry !== undefined) Object.assign(entry, stored, id && { id })
  else config.workspaces.push({ name: workspace, id, ...stored, env: entryEnvironment() })
  writeConfig(config)
}

async function workspaceId(workspace, current, credentials) {
  try {
    return (await get(baseUrl(current), `/workspaces/${workspace}`, workspace, credentials)).id ?? ''
  } catch {
    return ''
  }
}

function entryEnvironment() {
  return env.BL_ENV in ORIGINS && env.BL_ENV !== 'prod' ? env.BL_ENV : ''
}

async function deviceLogin() {
  const base = baseUrl('')
  const headers = { 'Content-Type': 'application/json' }
  const start = await once('POST', `${base}/login/device`, headers, '{"client_id":"blaxel","scope":"offline_access"}')
  const { device_code, verification_uri_complete } = JSON.parse(start.text)
  info(`Please visit the following URL to finish logging in: ${verification_uri_complete}`)
  info('Waiting for you to confirm the login in your browser...')
  const grant = { grant_type: 'urn:ietf:params:oauth:grant-type:device_code', client_id: 'blaxel', device_code }
  for (let polls = 0; polls <= 60; polls += 1) {
    await sleep(3000)
    const { status, text } = await once('POST', `${base}/oauth/token`, headers, JSON.stringify(grant))
    if (!text.includes('authorization_pending')) {
      throw new Failure('Login', `authentication failed with status ${status}: ${text}`, status)
    }
  }
  throw new Failure('Login', 'login timed out waiting for confirmation')
}

function logout({ words }) {
  const config = readConfig()
  const [workspace = onlyWorkspace(config)] = words
  writeConfig({
    ...config,
    context: config.context === workspace ? '' : config.context,
    workspaces: config.workspaces.filter(({ name }) => name !== workspace),
  })
  print(`✓ Logged out from workspace ${workspace}`)
}

function onlyWorkspace({ workspaces }) {
  if (workspaces.length === 0) throw new Failure('Logout', 'no authenticated workspaces found')
  if (workspaces.length > 1) throw new Failure('Logout', `error selecting workspace: ${NO_TTY}`)
  return workspaces[0].name
}

async function token({ words, workspace: current }) {
  const [workspace = current] = words
  if (workspace === '') {
    throw new Failure('token', "no workspace specified. Use 'bl login <workspace>' to authenticate")
  }
  const entry = entryOf(workspace)
  const base = baseUrl(workspace)
  try {
    await get(base, `/workspaces/${workspace}`, workspace, entry)
  } catch (error) {
    throw new Failure('token', `failed to get workspace '${workspace}': ${error.message}`, error.status)
  }
  if (!entry.apiKey && !entry.clientCredentials) {
    const advice = `Please run 'bl login ${workspace}'`
    throw new Failure('token', `no valid credentials found for workspace '${workspace}'. ${advice}`)
  }
  print(entry.apiKey || (await exchange(base, entry.clientCredentials)))
}

function printVersion() {
  if (faults.versionPrints !== undefined) print(faults.versionPrints)
  else {
    print(`ℹ Blaxel CLI\nVersion: ${version}`)
    print('Commit: 5a4d0c1e2b3f4a5968778695a4b3c2d1e0f10203\nDate: 2026-01-01T00:00:00Z')
  }
  process.exitCode = faults.versionExit ?? 0
}

function workspaces({ words, flags }) {
  const config = readConfig()
  if (flags.current) print(config.context)
  else if (words.length > 0) {
    writeConfig({ ...config, context: words[0] })
    print(`Current workspace set to ${words[0]}.`)
  } else {
    const row = (name, mark) => print(`${name.padEnd(30)} ${mark.padEnd(20)}`)
    row('NAME', 'CURRENT')
    for (const { name } of config.workspaces) row(name, name === config.context ? '*' : ' ')
  }
}

async function getResources({ words, workspace }) {
  const [kind = 'agents'] = words
  try {
    const page = await get(baseUrl(workspace), `/${kind}?limit=200`, workspace, entryOf(workspace))
    const rule = '+-----------+------+-------+--------+------------+'
    const { length } = Array.isArray(page) ? page : page.data
    print(
      `${rule}\n| WORKSPACE | NAME | IMAGE | STATUS | CREATED_AT |\n${rule}\n${`${length} ${kind}\n`.repeat(length && 1)}${rule}`,
    )
  } catch (error) {
    // Not a failure of the usual form: the real one prints this to standard output.
    print(`paginated list ${kind}: ${error.message}`)
    if ([401, 403].includes(error.status)) credentialHint(workspace)
    process.exitCode = 1
  }
}

function deploy({ workspace }) {
  print(`Would deploy ${process.cwd()} to workspace ${workspace}`)
}

const COMMANDS = {
  login: { run: login, needsWorkspace: false },
  logout: { run: logout, needsWorkspace: false, mostWords: 1 },
  version: { run: printVersion, needsWorkspace: false },
  workspaces: { run: workspaces, needsWorkspace: false },
  token: { run: token, needsWorkspace: true, mostWords: 1 },
  get: { run: getResources, needsWorkspace: true },
  deploy: { run: deploy, needsWorkspace: true },
}
const ALIASES = { ws: 'workspaces', workspace: 'workspaces' }

// ---- the program

const FLAGS = {
  '-w': 'workspace',
  '--workspace': 'workspace',
  '-o': 'output',
  '--output': 'output',
  '--current': 'current',
  '--skip-version-warning': 'skipVersionWarning',
  '-v': 'verbose',
  '--verbose': 'verbose',
  '-u': 'utc',
  '--utc': 'utc',
  '-R': 'recursive',
  '--recursive': 'recursive',
}

function readArguments(given) {
  const words = []
  const flags = {}
  const rest = [...given]
  while (rest.length > 0) {
    const word = rest.shift()
    const [name, value] = word.split(/=(.*)/s)
    if (!name.startsWith('-')) words.push(word)
    else if (!Object.hasOwn(FLAGS, name)) throw new Error(`unknown flag: ${name}`)
    else if (['workspace', 'output'].includes(FLAGS[name])) flags[FLAGS[name]] = value ?? rest.shift() ?? ''
    else flags[FLAGS[name]] = true
  }
  return { command: ALIASES[words[0]] ?? words[0], words: words.slice(1), flags }
}

function findCommand(name, words) {
  const command = Object.hasOwn(COMMANDS, name) ? COMMANDS[name] : undefined
  if (command === undefined) throw new Error(`unknown command "${name}" for "bl"`)
  const { mostWords = Infinity } = command
  if (words.length > mostWords) throw new Error(`accepts at most ${mostWords} arg(s), received ${words.length}`)
  return command
}

async function prepare(name, flags) {
  const quiet = flags.skipVersionWarning || name === 'token' || flags.current || ['json', 'yaml'].includes(flags.output)
  const named = flags.workspace || env.BL_WORKSPACE || readConfig().context
  if (!quiet) await checkForUpdates()
  if (name !== 'deploy') loadDotEnv()
  if (flags.workspace) env.BL_WORKSPACE = flags.workspace
  blaxelDirectory()
  return (name === 'deploy' ? undefined : workspaceOfBlaxelToml()) ?? named
}

function demandWorkspace(workspace) {
  if (workspace === '' && readConfig().workspaces.length === 0) {
    throw new Failure('Login required', "no workspace configured. Please run 'bl login' first to authenticate")
  }
  const { apiKey, clientCredentials } = entryOf(workspace)
  if (workspace === '' || env.BL_API_KEY || env.BL_CLIENT_CREDENTIALS || apiKey || clientCredentials) return
  diagnostic(`⚠ Invalid credentials for workspace '${workspace}'\n`)
  diagnostic(`⚠ Please run 'bl login ${workspace}' to refresh your credentials.\n`)
}

async function misbehave(name) {
  if (name === 'version') await sleep(faults.versionSleepMs ?? 0)
  if (name !== 'login') return
  if (faults.loginIgnoresSigterm) process.on('SIGTERM', () => undefined)
  if (faults.loginPrints !== undefined) {
    process.stdout.write(faults.loginPrints)
    process.stderr.write(faults.loginPrints)
  }
  await sleep(faults.loginSleepMs ?? 0)
}

function spawnSleeper() {
  const child = spawn(process.execPath, ['-e', 'setTimeout(() => {}, 60_000)'], { stdio: 'inherit' })
  child.unref()
  return child.pid
}

function dump(argv) {
  const spawns = argv[0] === 'login' && faults.loginSpawnsChild
  const seen = {
    version,
    argv,
    env: { ...env },
    cwd: process.cwd(),
    cwdEntries: readdirSync('.'),
    stdinClosed: stdinClosed(),
    pid: process.pid,
    at: Date.now(),
    ...(spawns ? { childPid: spawnSleeper() } : {}),
  }
  try {
    // On a line of its own, also after a run that was killed while it wrote.
    appendFileSync(BAKED.dumpFile, `\n${JSON.stringify(seen)}\n`)
  } catch {
    // The sandbox is closed, or this is another user: the CLI works all the same.
  }
}

function stdinClosed() {
  try {
    const input = fstatSync(0)
    if (process.platform === 'win32') return !input.isFIFO() && !input.isSocket()
    return input.isFile() || (input.isCharacterDevice() && input.rdev === statSync('/dev/null').rdev)
  } catch {
    return true
  }
}

/**
 * Since 0.1.118 every command leaves a worker behind that installs skills into HOME, unless it is told that it runs in
 * CI. The real one asks raw.githubusercontent.com first and takes up to 30 s.
 */
function startSkillsWorker() {
  if (upTo(117) || env.CI || env.GITHUB_ACTIONS || env.BL_INSTALL_SKILLS === 'false') return
  const script = `setTimeout(() => {
    const { mkdirSync, writeFileSync } = require('node:fs')
    const directory = ${JSON.stringify(join(blaxelDirectory(), 'skills'))}
    mkdirSync(directory, { recursive: true })
    writeFileSync(directory + '/state.json', '{}')
  }, 200)`
  spawn(process.execPath, ['-e', script], { detached: true, stdio: 'ignore' }).unref()
}

async function main(argv) {
  dump(argv)
  startSkillsWorker()
  let workspace = ''
  try {
    const { command: name, words, flags } = readArguments(argv)
    if (name === undefined) {
      print('Usage:\n  bl [command]')
      return
    }
    const command = findCommand(name, words)
    workspace = await prepare(name, flags)
    if (command.needsWorkspace) demandWorkspace(workspace)
    await misbehave(name)
    await command.run({ words, flags, workspace })
    if (name === 'login') process.exitCode = faults.loginExit ?? 0
  } catch (error) {
    if (error instanceof Failure) report(error, workspace)
    else process.stderr.write(`Error: ${error.message}\nRun 'bl --help' for usage.\nError ${error.message}\n`)
    process.exitCode = 1
  }
}

await main(process.argv.slice(2))
