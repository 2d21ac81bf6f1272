/**
 * Builds dist/ from src/: one folder an entry, by ncc with the licences of what it bundles, and every emitted script
 * minified (ncc would leave those of dynamic imports as they are).
 *
 *   node scripts/build.ts [--out DIR]
 */
import { execFileSync } from 'node:child_process'
import { cpSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { parseArgs } from 'node:util'
import { transformSync } from 'esbuild'

const ENTRIES = ['setup', 'cleanup']
const root = resolve(import.meta.dirname, '..')
const { values } = parseArgs({ options: { out: { type: 'string', default: join(root, 'dist') } } })
const ncc = createRequire(import.meta.url).resolve('@vercel/ncc/dist/ncc/cli.js')

const staging = mkdtempSync(join(tmpdir(), 'build-'))
for (const entry of ENTRIES) {
  const built = join(staging, entry)
  // From the root and without a cache: nothing of the machine gets into the output. Types are checked by `npm run types`.
  const args = ['--out', built, '--license', 'licenses.txt', '--no-cache', '--transpile-only', '--quiet']
  execFileSync(process.execPath, [ncc, 'build', join('src', `${entry}.ts`), ...args], {
    cwd: root,
    stdio: ['ignore', 'ignore', 'inherit'],
  })
  for (const name of readdirSync(built).filter((file) => file.endsWith('.js'))) minify(join(built, name))
}
// Only a build that has worked takes the place of the last one.
for (const entry of ENTRIES) {
  const folder = join(resolve(values.out), entry)
  rmSync(folder, { recursive: true, force: true })
  cpSync(join(staging, entry), folder, { recursive: true })
}
rmSync(staging, { recursive: true })

function minify(file: string): void {
  const { code } = transformSync(readFileSync(file, 'utf8'), {
    format: 'esm',
    target: 'node24',
    minify: true,
    legalComments: 'none',
  })
  writeFileSync(file, code)
}
