/**
 * Builds dist/ from src/: one folder an entry, bundled and minified by esbuild, each dynamic import a script of its own,
 * JSON beside them as it is, and the licences of what was bundled.
 *
 *   node scripts/build.ts [--out DIR]
 */
import { cpSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { isBuiltin } from 'node:module'
import { parseArgs } from 'node:util'
import { build, type Metafile, type Plugin } from 'esbuild'

const ENTRIES = ['setup', 'cleanup']
const root = resolve(import.meta.dirname, '..')
const { values } = parseArgs({ options: { out: { type: 'string', default: join(root, 'dist') } } })

/**
 * The packages of the toolkit do nothing on import, but do not say so: without this, @actions/core would drag in the
 * HTTP client, and TLS with it, for what nobody here calls.
 */
const unusedActions: Plugin = {
  name: 'unused-actions',
  setup: (bundler) => {
    bundler.onResolve(
      { filter: /^@actions\/|\/oidc-utils/ },
      async ({ path, importer, kind, resolveDir, pluginData }) =>
        pluginData === unusedActions.name
          ? undefined
          : {
              ...(await bundler.resolve(path, { importer, kind, resolveDir, pluginData: unusedActions.name })),
              sideEffects: false,
            },
    )
  },
}

/**
 * Node's own modules are asked for by name: `import` would read every export, and so load what hides behind getters.
 * `import 'http'` loads an HTTP client for `WebSocket` (40 ms instead of 12), `import 'node:crypto'` all of WebCrypto.
 */
const quickBuiltins: Plugin = {
  name: 'quick-builtins',
  setup: (bundler) => {
    bundler.onResolve({ filter: /./ }, ({ path }) => (isBuiltin(path) ? { path, namespace: 'builtin' } : undefined))
    bundler.onLoad({ filter: /./, namespace: 'builtin' }, ({ path }) => ({
      contents: `module.exports = process.getBuiltinModule(${JSON.stringify(path)})`,
    }))
  },
}

const staging = mkdtempSync(join(tmpdir(), 'build-'))
for (const entry of ENTRIES) await bundle(entry, join(staging, entry))
// Only a build that has worked takes the place of the last one.
for (const entry of ENTRIES) {
  const folder = join(resolve(values.out), entry)
  rmSync(folder, { recursive: true, force: true })
  cpSync(join(staging, entry), folder, { recursive: true })
}
rmSync(staging, { recursive: true })

async function bundle(entry: string, folder: string): Promise<void> {
  const { metafile } = await build({
    absWorkingDir: root,
    entryPoints: { index: `src/${entry}.ts` },
    outdir: folder,
    bundle: true,
    splitting: true,
    minify: true,
    format: 'esm',
    platform: 'node',
    target: 'node24',
    legalComments: 'none',
    metafile: true,
    // Of yaml's two builds only the one for browsers consists of modules, of which unused ones can be left out.
    alias: { yaml: './node_modules/yaml/browser/dist/index.js' },
    plugins: [unusedActions, quickBuiltins],
    loader: { '.json': 'copy' },
    assetNames: '[name]',
    chunkNames: '[hash]',
    logLevel: 'warning',
  })
  mkdirSync(folder, { recursive: true })
  writeFileSync(join(folder, 'package.json'), '{ "type": "module" }\n')
  writeFileSync(join(folder, 'licenses.txt'), licences(metafile))
}

/** The licences of the packages whose code is in a bundle, by name. */
function licences({ outputs }: Metafile): string {
  const used = Object.values(outputs).flatMap(({ inputs }) => Object.entries(inputs))
  const folders = used
    .filter(([, { bytesInOutput }]) => bytesInOutput > 0)
    .map(([path]) => /^.*node_modules\/(?:@[^/]+\/)?[^/]+/.exec(path)?.[0])
  return [...new Set(folders)]
    .filter((folder) => folder !== undefined)
    .sort()
    .map(licence)
    .join('\n\n')
}

function licence(folder: string): string {
  const described = readFileSync(join(root, folder, 'package.json'), 'utf8')
  const { name, version, license } = JSON.parse(described) as { name: string; version: string; license: string }
  const file = readdirSync(join(root, folder)).find((each) => /^licen[cs]e/i.test(each))
  const text = file === undefined ? '' : `\n\n${readFileSync(join(root, folder, file), 'utf8').trim()}`
  return `${name} ${version} (${license})${text}\n`
}
