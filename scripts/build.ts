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

const ENTRIES = { setup: 'main', cleanup: 'post' }
const root = resolve(import.meta.dirname, '..')
const { values } = parseArgs({ options: { out: { type: 'string', default: join(root, 'dist') } } })

/**
 * The packages of the toolkit do nothing on import, but do not say so: without this, @actions/core would drag in the
 * HTTP client, TLS and the promises of fs for what nobody here calls.
 */
const unusedActions: Plugin = {
  name: 'unused-actions',
  setup: (bundler) => {
    bundler.onResolve(
      { filter: /^@actions\/|\/(oidc-utils|summary|platform|path-utils)/ },
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

/** Bundled CommonJS gets Node's own modules without a `require`, which an ECMAScript module does not have. */
const requiredBuiltins: Plugin = {
  name: 'required-builtins',
  setup: (bundler) => {
    bundler.onResolve({ filter: /./ }, ({ path, kind }) =>
      kind === 'require-call' && isBuiltin(path) ? { path, namespace: 'builtin' } : undefined,
    )
    bundler.onLoad({ filter: /./, namespace: 'builtin' }, ({ path }) => ({
      contents: `module.exports=${builtin(path)}`,
    }))
  },
}

const staging = mkdtempSync(join(tmpdir(), 'build-'))
for (const [folder, entry] of Object.entries(ENTRIES)) await bundle(entry, join(staging, folder))
// Only a build that has worked takes the place of the last one.
for (const name of Object.keys(ENTRIES)) {
  const folder = join(resolve(values.out), name)
  rmSync(folder, { recursive: true, force: true })
  cpSync(join(staging, name), folder, { recursive: true })
}
rmSync(staging, { recursive: true })

async function bundle(entry: string, folder: string): Promise<void> {
  const { metafile, outputFiles } = await build({
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
    write: false,
    // Of yaml's two builds only the one for browsers consists of modules, of which unused ones can be left out.
    alias: { yaml: './node_modules/yaml/browser/dist/index.js' },
    plugins: [unusedActions, requiredBuiltins],
    loader: { '.json': 'copy' },
    assetNames: '[name]',
    chunkNames: '[hash]',
    logLevel: 'warning',
  })
  mkdirSync(folder, { recursive: true })
  for (const { path, contents, text } of outputFiles) {
    writeFileSync(path, path.endsWith('.js') ? withQuickBuiltins(text) : contents)
  }
  writeFileSync(join(folder, 'package.json'), '{ "type": "module" }\n')
  writeFileSync(join(folder, 'licenses.txt'), licences(metafile))
}

/**
 * Asks for Node's own modules by name instead of importing them: `import` reads every export, and so loads what hides
 * behind getters. With 'http' that is a second HTTP client for `WebSocket` (40 ms instead of 12), with 'node:crypto' all
 * of WebCrypto.
 */
function withQuickBuiltins(code: string): string {
  return code.replace(
    /\bimport(?: ([\w$]+) |\*as ([\w$]+) |\{([^{}]*)\})from"([^"]+)";/g,
    (statement: string, whole?: string, namespace?: string, names?: string, path?: string) => {
      if (path === undefined || !isBuiltin(path)) return statement
      const bound = whole ?? namespace ?? `{${(names ?? '').replace(/([\w$]+) as /g, '$1:')}}`
      return `const ${bound}=${builtin(path)};`
    },
  )
}

function builtin(name: string): string {
  return `process.getBuiltinModule(${JSON.stringify(name)})`
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
