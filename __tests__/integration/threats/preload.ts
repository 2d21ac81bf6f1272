import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import type { World } from '../world.ts'

/** NODE_OPTIONS that make Node run a module before the action: the machine misbehaves, the action is as it ships. */
export function preloaded({ sandbox }: World, name: string, source: string): Record<string, string> {
  const file = join(sandbox.root, `${name}.mjs`)
  writeFileSync(file, source)
  return { NODE_OPTIONS: `--import ${pathToFileURL(file).href}` }
}

/** Deadlines of the action, and what they shrink to: long enough for what works, on a busy machine too. */
const DEADLINES = { 10_000: 4_000, 15_000: 1_500, 60_000: 4_000 }

/** Time flies for the action; pauses between tries nearly vanish. With LONG=1 time is as it is. */
export function hurried(world: World): Record<string, string> {
  if (process.env.LONG === '1') return {}
  return preloaded(
    world,
    'hurry',
    `const { setTimeout: real } = globalThis
const deadlines = ${JSON.stringify(DEADLINES)}
globalThis.setTimeout = (work, ms, ...rest) =>
  real(work, deadlines[ms] ?? (ms > 200 && ms < 10_000 ? ms / 20 : ms), ...rest)
`,
  )
}
