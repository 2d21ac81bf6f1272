/**
 * Adds new releases of the CLI to the table of known checksums. The sums of the Linux and macOS archives come from the
 * Homebrew tap, a repository other than the release's own, and the release's checksums file must agree with them. The
 * tap has no others: those come from the release's checksums file, with which the digests of GitHub's REST API must
 * agree, and are marked `"from": "release"`. A line that stands in the table is never changed.
 *
 *   npm run known-checksums -- [--table FILE]
 *
 * Behind a proxy set NODE_USE_ENV_PROXY=1. GITHUB_TOKEN, where it is set, goes to api.github.com alone.
 */
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import semver from 'semver'
import { findChecksum, type ChecksumTable } from '../src/install/checksum.ts'
import { platformFor } from '../src/install/platform.ts'

type Sums = Readonly<Record<string, string>>
type Release = Record<string, string | { sha256: string; from: string }>

const TAP = 'blaxel-ai/homebrew-blaxel'
const TOOLKIT = 'blaxel-ai/toolkit'
const FORMULA = 'blaxel.rb'
const ARCHIVES = [
  ...['x64', 'arm64', 'ia32'].map((arch) => platformFor('linux', arch).archive),
  ...['x64', 'arm64'].map((arch) => platformFor('darwin', arch).archive),
  ...['x64', 'arm64', 'ia32'].map((arch) => platformFor('win32', arch).archive),
]

const { values } = parseArgs({
  options: { table: { type: 'string', default: join(import.meta.dirname, '../src/install/known-checksums.json') } },
})
try {
  await update(values.table)
} catch (error) {
  console.error(`known-checksums: ${(error as Error).message}`)
  process.exitCode = 1
}

async function update(file: string): Promise<void> {
  const table = JSON.parse(readFileSync(file, 'utf8')) as ChecksumTable
  const added: Record<string, Release> = {}
  for (const [version, sums] of await formulasSince(table)) {
    if (table[version]) refuseChange(version, table[version], sums)
    else added[version] = await crossChecked(version, sums)
  }
  const versions = Object.keys(added)
  if (versions.length === 0) {
    console.log('Nothing new: the table has every release that the tap has.')
    return
  }
  const merged = { ...table, ...added }
  const sorted = Object.fromEntries(semver.sort(Object.keys(merged)).map((version) => [version, merged[version]]))
  writeFileSync(file, `${JSON.stringify(sorted, undefined, 2)}\n`)
  console.log(`Added ${semver.sort(versions).join(', ')}`)
}

/** The formulas of the tap's history, newest first, down to the first whose version the table has, which is included. */
async function formulasSince(table: ChecksumTable): Promise<Map<string, Sums>> {
  const commits = await json(`https://api.github.com/repos/${TAP}/commits?path=${FORMULA}&per_page=100`)
  if (!Array.isArray(commits) || commits.length === 0) throw new Error(`${TAP} has no history of ${FORMULA}`)
  const found = new Map<string, Sums>()
  for (const commit of commits as { sha?: unknown }[]) {
    if (typeof commit.sha !== 'string' || !/^[0-9a-f]{40}$/.test(commit.sha))
      throw new Error(`${TAP} lists a commit without a hash`)
    const { version, sums } = parseFormula(
      await text(`https://raw.githubusercontent.com/${TAP}/${commit.sha}/${FORMULA}`),
    )
    const newer = found.get(version)
    if (newer && JSON.stringify(newer) !== JSON.stringify(sums))
      throw new Error(`the tap has had two sets of sums for ${version}`)
    found.set(version, sums)
    if (table[version]) break
  }
  return found
}

function parseFormula(formula: string): { version: string; sums: Sums } {
  const version = semver.valid(/^\s*version "([^"]+)"$/m.exec(formula)?.[1] ?? '')
  if (version === null) throw new Error('the formula names no version')
  const sums: Record<string, string> = {}
  for (const [, address = '', sum = ''] of formula.matchAll(/^\s*url "([^"]+)"\s*sha256 "([0-9a-f]{64})"$/gm)) {
    const prefix = `https://github.com/${TOOLKIT}/releases/download/v${version}/`
    const name = address.slice(prefix.length)
    if (!address.startsWith(prefix) || !ARCHIVES.includes(name))
      throw new Error(`the formula of ${version} names ${address}`)
    sums[name] = sum
  }
  if (Object.keys(sums).length === 0) throw new Error(`the formula of ${version} holds no sums`)
  return { version, sums }
}

/** What goes into the table for a release, after the release itself has agreed. */
async function crossChecked(version: string, fromTap: Sums): Promise<Release> {
  const file = await text(`https://github.com/${TOOLKIT}/releases/download/v${version}/blaxel_${version}_checksums.txt`)
  const digests = await assetDigests(version)
  const release: Release = {}
  for (const name of ARCHIVES) {
    const sha256 = findChecksum(file, name)
    const tap = fromTap[name]
    if (tap !== undefined && sha256 !== tap)
      throw new Error(`${name} of ${version}: the tap says ${tap}, the release ${String(sha256)}`)
    if (sha256 === undefined) continue
    const digest = digests[name]
    if (digest !== undefined && digest !== sha256)
      throw new Error(`${name} of ${version}: the release says ${sha256}, GitHub's digest is ${digest}`)
    if (tap !== undefined) release[name] = tap
    else if (digest !== undefined) release[name] = { sha256, from: 'release' }
  }
  return release
}

async function assetDigests(version: string): Promise<Sums> {
  const release = (await json(`https://api.github.com/repos/${TOOLKIT}/releases/tags/v${version}`)) as {
    assets?: unknown
  }
  const assets = Array.isArray(release.assets) ? (release.assets as { name?: unknown; digest?: unknown }[]) : []
  return Object.fromEntries(
    assets.flatMap(({ name, digest }) => {
      const sum = typeof digest === 'string' ? /^sha256:([0-9a-f]{64})$/.exec(digest)?.[1] : undefined
      return typeof name === 'string' && sum !== undefined ? [[name, sum]] : []
    }),
  )
}

function refuseChange(version: string, known: ChecksumTable[string], now: Sums): void {
  for (const [name, sum] of Object.entries(now)) {
    const line = known[name]
    const before = typeof line === 'string' ? line : line?.sha256
    if (before !== undefined && before !== sum)
      throw new Error(`${name} of ${version} is ${before} in the table, but ${sum} in the tap: refusing to change it`)
  }
}

async function json(url: string): Promise<unknown> {
  return JSON.parse(await text(url)) as unknown
}

async function text(url: string): Promise<string> {
  const token = process.env.GITHUB_TOKEN
  const headers: Record<string, string> =
    url.startsWith('https://api.github.com/') && token ? { authorization: `Bearer ${token}` } : {}
  const answer = await fetch(url, { headers, signal: AbortSignal.timeout(60_000) })
  if (!answer.ok) throw new Error(`${url} answered ${answer.status}`)
  return answer.text()
}
