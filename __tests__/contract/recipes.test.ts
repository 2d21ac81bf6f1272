import { readFileSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { describe, expect, test } from '@jest/globals'
import { parse } from 'yaml'
import { ACTION, readRecipes, stepsOf, workflowOf } from '../../scripts/e2e/recipes.ts'

const root = resolve(import.meta.dirname, '../..')
const action = parse(readFileSync(join(root, 'action.yml'), 'utf8')) as Record<'inputs' | 'outputs', object>
const known = JSON.parse(readFileSync(join(root, 'src/install/known-checksums.json'), 'utf8')) as Record<string, object>
const recipes = readRecipes()

test('the pages have these examples', () => {
  expect(recipes.map(({ name }) => name)).toEqual([
    'Quick start',
    'Every input once',
    'A matrix of workspaces',
    'Several workspaces in one job',
    'Pull requests from forks',
    'A pinned version, with its checksum',
    'Behind a proxy',
    'An API key',
    'An API key that mints short-lived keys',
    'A job over two hours',
    'A job over two hours (2)',
    'The token in another job',
    'Background and parallel steps',
    'A version file',
    'An actions lockfile',
    'A self-hosted runner',
    'A job in a container',
    'Steps as root',
    'A Docker build',
    'An SDK instead of the CLI',
    'An SDK instead of the CLI (2)',
    'A mirror',
    'GitHub Enterprise Server',
  ])
})

test('the annotated example shows every input once, commented out if another one excludes it', () => {
  const { text = '' } = recipes.find(({ name }) => name === 'Every input once') ?? {}
  const shown = [...text.matchAll(/^ {4}(?:# )?([a-z-]+): /gm)].map(([, name = '']) => name)
  expect(shown.sort()).toEqual(Object.keys(action.inputs).sort())
})

describe.each(recipes)('$page, $name', ({ text }) => {
  const steps = stepsOf(workflowOf(text))
  const uses = steps.filter((step) => step.uses === ACTION)

  test('uses the action, with inputs that it has', () => {
    expect(uses.length).toBeGreaterThan(0)
    expect(uses.flatMap((step) => Object.keys(step.with ?? {})).filter((name) => !(name in action.inputs))).toEqual([])
  })

  test('refers to outputs that the action has, of steps that are there', () => {
    const ids = uses.flatMap(({ id }) => (id === undefined ? [] : [id]))
    const named = [...text.matchAll(/steps\.([\w-]+)\.outputs\.([\w-]+)/g)]
    expect(named.filter(([, id = '', output = '']) => !ids.includes(id) || !(output in action.outputs))).toEqual([])
  })

  test('takes every secret from where GitHub keeps secrets', () => {
    const secrets = uses.flatMap((step) => [step.with?.['api-key'], step.with?.['client-secret']])
    const isReference = (value: unknown) => typeof value === 'string' && /^\$\{\{ secrets\.\w+ \}\}$/.test(value)
    expect(secrets.filter((value) => value !== undefined && !isReference(value))).toEqual([])
  })

  test('has checksums that the reviewed table has too', () => {
    const sums = [...text.matchAll(/\b[0-9a-f]{64}\b/g)].map(([sum]) => sum)
    expect(sums.filter((sum) => !Object.values(known['0.1.108'] ?? {}).includes(sum))).toEqual([])
  })
})
