import { execFileSync } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { describe, expect, test } from '@jest/globals'
import { licensedPackages, shippedSbom, type Sbom } from '../../scripts/release/sbom.ts'

const root = resolve(import.meta.dirname, '../..')
const package_ = (name: string, version: string, folder: string) => ({
  name,
  SPDXID: `SPDXRef-Package-${name}-${version}`,
  versionInfo: version,
  packageFileName: folder,
})

test('`npm run release -- sbom` lists each package in dist once, with its version', () => {
  const printed = execFileSync(process.execPath, ['scripts/release.ts', 'sbom'], { cwd: root, encoding: 'utf8' })
  const { packages } = JSON.parse(printed) as Sbom
  const licenses = ['setup', 'cleanup'].map((step) => readFileSync(join(root, 'dist', step, 'licenses.txt'), 'utf8'))
  const names = new Set(licenses.flatMap(licensedPackages))
  expect(names).toContain('@actions/core')
  expect(packages.map(({ name }) => name)).toEqual(['setup-bl', ...[...names].sort()])

  const { packages: locked } = JSON.parse(readFileSync(join(root, 'package-lock.json'), 'utf8')) as {
    readonly packages: Readonly<Record<string, { readonly version?: string }>>
  }
  const semver = packages.find(({ name }) => name === 'semver')
  expect(semver?.versionInfo).toBe(locked['node_modules/semver']?.version)
  expect(printed.trim()).not.toContain('\n')
})

describe('shippedSbom', () => {
  const project = { name: 'setup-bl', SPDXID: 'SPDXRef-Package-setup-bl', versionInfo: '1.0.0' }
  const [shipped, tool] = [package_('a', '1.0.0', 'node_modules/a'), package_('b', '1.0.0', 'node_modules/b')]
  const nested = package_('a', '2.0.0', 'node_modules/b/node_modules/a')
  const lock = { packages: { 'node_modules/b': { dev: true }, 'node_modules/b/node_modules/a': { dev: true } } }
  const relate = (from: string, to: string) => ({ spdxElementId: from, relatedSpdxElement: to })
  const everything: Sbom = {
    packages: [project, shipped, tool, nested],
    relationships: [
      relate('SPDXRef-DOCUMENT', project.SPDXID),
      relate(shipped.SPDXID, project.SPDXID),
      relate(tool.SPDXID, project.SPDXID),
    ],
    documentDescribes: [project.SPDXID],
  }

  test('keeps the project, what ships, and how they relate', () => {
    expect(shippedSbom(everything, ['a', 'a'], lock)).toEqual({
      packages: [project, shipped],
      relationships: everything.relationships.slice(0, 2),
      documentDescribes: [project.SPDXID],
    })
  })

  test('fails for a package that is unknown, or of which two versions could be meant', () => {
    expect(() => shippedSbom(everything, ['c'], lock)).toThrow('0 packages named c')
    expect(() => shippedSbom(everything, ['a'], { packages: {} })).toThrow('2 packages named a')
  })
})
