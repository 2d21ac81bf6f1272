import { execFileSync } from 'node:child_process'
import { existsSync, readFileSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { beforeAll, describe, expect, test } from '@jest/globals'
import { parse } from 'yaml'
import type { StepResult } from '../../sandbox/job.ts'
import { credentials, openWorld } from '../integration/world.ts'

const root = resolve(import.meta.dirname, '../..')

interface ActionFile {
  readonly inputs: Readonly<Record<string, { readonly description?: string; readonly default?: string }>>
  readonly outputs: Readonly<Record<string, { readonly description?: string }>>
  readonly runs: Readonly<Record<string, string>>
}

/** Every scalar as the text that it is, as the runner reads it. */
const action = parse(text('action.yml'), { schema: 'failsafe' }) as ActionFile
const readme = text('README.md')
const pages = execFileSync('git', ['ls-files', '-z', '*.md'], { cwd: root, encoding: 'utf8' })
  .split('\0')
  .filter((page) => page !== '' && existsSync(join(root, page)))

describe('inputs', () => {
  const declared = Object.fromEntries(Object.entries(action.inputs).map(([name, input]) => [name, input.default]))

  test('the README documents those of action.yml with their defaults, and no others', () => {
    const documented = table('Inputs').map(([name, value = '']) => [name, value.replaceAll('`', '')])
    expect(Object.fromEntries(documented)).toEqual(declared)
  })

  test('the code reads those of action.yml, and no others', () => {
    const read = [...(text('src/inputs.ts') + text('src/credentials.ts')).matchAll(/\bget\(\s*'([^']+)'/g)].map(
      ([, name = '']) => name,
    )
    expect(new Set(read)).toEqual(new Set(Object.keys(declared)))
  })

  test('each has a default and a description', () => {
    const bare = Object.entries(action.inputs).filter(([, input]) => input.default === undefined || !input.description)
    expect(bare).toEqual([])
  })
})

describe('what later steps get', () => {
  let installed: StepResult
  let loggedIn: StepResult

  beforeAll(async () => {
    const world = await openWorld()
    const { sandbox, machine } = world
    sandbox.blaxelDev.addWorkspace('acme')
    const { 'client-id': id, 'client-secret': secret } = credentials.oauth
    sandbox.blaxelDev.addClient(id, secret, { workspaces: ['acme'] })
    installed = await machine.job().uses()
    // An environment other than the default one is exported too.
    const job = machine.job({ env: { BL_ENV: 'dev' } })
    loggedIn = await job.uses({ with: { workspace: 'acme', ...credentials.oauth } })
    await job.end()
    await world.close()
  })

  test.each(['action.yml', 'README.md'])('%s names the outputs that the action sets, and no others', (file) => {
    const named = file === 'README.md' ? names('Outputs') : Object.keys(action.outputs)
    expect(new Set(named)).toEqual(new Set(Object.keys(loggedIn.outputs)))
  })

  test('every output is set without a login too', () => {
    expect(new Set(Object.keys(installed.outputs))).toEqual(new Set(Object.keys(action.outputs)))
  })

  test('the code sets no output beside these', () => {
    const set = [...text('src/outputs.ts').matchAll(/\bsetOutput\(\s*'([^']+)'/g)].map(([, name = '']) => name)
    expect(new Set(set)).toEqual(new Set(Object.keys(action.outputs)))
  })

  test('each output has a description', () => {
    expect(Object.values(action.outputs).filter(({ description }) => !description)).toEqual([])
  })

  test('the README names the variables that the action exports, and no others', () => {
    expect(new Set(names('Environment'))).toEqual(new Set(Object.keys(loggedIn.env)))
    expect(installed.env).toEqual({})
  })
})

test.each(pages)('%s has no line of more than 120 characters, tables and URLs in examples aside', (page) => {
  let isCode = false
  const long = text(page)
    .split('\n')
    .filter((line) => {
      if (line.startsWith('```')) isCode = !isCode
      return line.length > 120 && !line.startsWith('|') && !(isCode && line.includes('https://'))
    })
  expect(long).toEqual([])
})

test('the README has at most 1,900 words', () => {
  expect(readme.split(/\s+/).filter((word) => word !== '').length).toBeLessThanOrEqual(1900)
})

test('action.yml names the runtime, and a post step that always runs', () => {
  expect(action.runs).toEqual({
    using: 'node24',
    main: 'dist/setup/index.js',
    post: 'dist/cleanup/index.js',
    'post-if': 'always()',
  })
})

test.each(['Inputs', 'Outputs', 'Environment'])('the README describes every row of %s', (heading) => {
  expect(table(heading).filter((cells) => cells.at(-1) === '')).toEqual([])
})

function text(file: string): string {
  return readFileSync(join(root, file), 'utf8')
}

function names(heading: string): string[] {
  return table(heading).map(([name = '']) => name)
}

/** The rows of the tables below a heading of the README, without their heads; the first cell without its backticks. */
function table(heading: string): string[][] {
  const [, section = ''] = readme.split(new RegExp(`^## ${heading}$`, 'm'))
  const [own = ''] = section.split(/^## /m)
  const tables = own.split(/^(?!\|).*$/m).filter((lines) => lines.trim() !== '')
  if (tables.length === 0) throw new Error(`README.md has no table below '## ${heading}'`)
  return tables.flatMap((lines) => lines.trim().split('\n').slice(2)).map(cellsOf)
}

function cellsOf(line: string): string[] {
  const [name = '', ...others] = line
    .replace(/^\||\|\s*$/g, '')
    .split(/(?<!\\)\|/)
    .map((cell) => cell.trim().replaceAll('\\|', '|'))
  const [, quoted] = /^`([^`]+)`$/.exec(name) ?? []
  if (quoted === undefined) throw new Error(`README.md: the name is not in backticks: ${line}`)
  return [quoted, ...others]
}
