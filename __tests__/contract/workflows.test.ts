import { globSync, readFileSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { describe, expect, test } from '@jest/globals'
import { parse } from 'yaml'
import { sectionOf } from '../../scripts/release/plan.ts'

const root = resolve(import.meta.dirname, '../..')

interface Step {
  readonly uses?: string
  readonly run?: string
  readonly env?: Readonly<Record<string, string>>
  readonly with?: Readonly<Record<string, unknown>>
}

interface Job {
  readonly uses?: string
  readonly permissions?: Readonly<Record<string, string>>
  readonly 'timeout-minutes'?: number
  readonly steps?: readonly Step[]
}

interface Workflow {
  readonly permissions?: unknown
  readonly concurrency?: unknown
  readonly jobs: Readonly<Record<string, Job>>
}

const { scripts: npmScripts, version } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')) as {
  readonly scripts: Readonly<Record<string, string>>
  readonly version: string
}
const workflows = globSync('.github/workflows/*', { cwd: root }).map((file) => {
  const text = readFileSync(join(root, file), 'utf8')
  return { file: file.replaceAll('\\', '/'), text, workflow: parse(text) as Workflow }
})

test('all that the project has are here', () => {
  expect(workflows.map(({ file }) => file.replace('.github/workflows/', '')).sort()).toEqual([
    'ci.yml',
    'codeql.yml',
    'dependency-review.yml',
    'e2e.yml',
    'known-checksums.yml',
    'release.yml',
    'scorecard.yml',
  ])
})

describe.each(workflows)('$file', ({ text, workflow }) => {
  const jobs = Object.entries(workflow.jobs)
  const steps = jobs.flatMap(([, job]) => job.steps ?? [])

  test('gives nothing to a job that does not ask for it, and no two runs at once', () => {
    expect(workflow.permissions).toEqual({})
    expect(workflow.concurrency).toBeDefined()
  })

  test.each(jobs)('%s says what it may do, and for how long', (_, job) => {
    expect(Object.keys(job.permissions ?? {})).not.toEqual([])
    // A job that calls another workflow may not have a time-out; those of that workflow have.
    if (job.uses === undefined) expect(job['timeout-minutes']).toBeGreaterThan(0)
    else expect(job.uses).toMatch(/^\.\//)
  })

  test('uses actions by the commit of a release, which a comment names, or its own', () => {
    const uses = text.split('\n').filter((line) => /^\s*(?:- )?uses:/.test(line))
    const pinned = /uses: (?:\.\/\S*|[\w.-]+\/[\w./-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+)$/
    expect(uses.length).toBeGreaterThan(0)
    expect(uses.filter((line) => !pinned.test(line))).toEqual([])
  })

  test('pulls images by their digest', () => {
    const images = [...text.matchAll(/^\s*(?:image|container): (.+)$/gm)].map(([, image = '']) => image)
    expect(images.filter((image) => !/@sha256:[0-9a-f]{64}$|^\$\{\{ matrix\.image \}\}$/.test(image))).toEqual([])
  })

  test('leaves no token behind in the checkout', () => {
    const checkouts = steps.filter(({ uses = '' }) => uses.startsWith('actions/checkout@'))
    expect(checkouts.filter((step) => step.with?.['persist-credentials'] !== false)).toEqual([])
  })

  test('puts no text of others into a script', () => {
    expect(steps.filter(({ run = '' }) => run.includes('${{'))).toEqual([])
  })

  test('runs scripts that there are', () => {
    const run = steps.map((step) => step.run ?? '').join('\n')
    const called = [...run.matchAll(/npm run (?:-s )?([\w:-]+)/g)].map(([, name = '']) => name)
    expect(called.filter((name) => !(name in npmScripts))).toEqual([])
    const files = [...run.matchAll(/scripts\/[\w.-]+/g)].map(([file]) => file)
    expect(files.filter((file) => globSync(file, { cwd: root }).length === 0)).toEqual([])
  })
})

test('one action has one version in all workflows', () => {
  const pins = workflows.flatMap(({ text }) => [...text.matchAll(/uses: ([\w-]+\/[\w-]+)\S*@(\S+ # \S+)/g)])
  const versions = Map.groupBy(pins, ([, action = '']) => action)
  const mixed = [...versions].filter(([, uses]) => new Set(uses.map(([, , pin]) => pin)).size > 1)
  expect(mixed.map(([action]) => action)).toEqual([])
})

test('a release has an SBOM of dist, which is attested and published as it was attested', () => {
  const jobs = workflows.find(({ file }) => file.endsWith('/release.yml'))?.workflow.jobs ?? {}
  const attest = jobs.attest?.steps ?? []
  const attested = attest.flatMap(({ uses = '', with: inputs = {} }) =>
    uses.startsWith('actions/attest@') ? [inputs] : [],
  )
  expect(attested).toEqual([
    { 'subject-checksums': '${{ runner.temp }}/release.sha256' },
    {
      'subject-checksums': '${{ runner.temp }}/dist.sha256',
      'sbom-path': '${{ runner.temp }}/sbom.spdx.json',
    },
  ])
  const publish = jobs.publish?.steps?.find(({ run = '' }) => run.includes('gh release create'))
  expect(publish?.run).toContain('"$RUNNER_TEMP/sbom.spdx.json"')
  expect(publish?.env?.SBOM).toBe('${{ needs.attest.outputs.sbom }}')
})

test('the changelog has notes for the version in package.json', () => {
  expect(sectionOf(readFileSync(join(root, 'CHANGELOG.md'), 'utf8'), version)?.notes).toMatch(/^### /)
})
