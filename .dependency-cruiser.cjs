/** Imports point down only: the entries, the main and post flow, install and login, blaxel and runner, util. */
const layer = (name, path, mayNot) => ({
  name,
  severity: 'error',
  from: { path },
  to: { path: mayNot },
})

/** @type {import('dependency-cruiser').IConfiguration} */
module.exports = {
  forbidden: [
    { name: 'no-cycles', severity: 'error', from: {}, to: { circular: true } },
    { name: 'no-unresolved', severity: 'error', from: {}, to: { couldNotResolve: true } },
    layer('util-imports-nothing-else', '^src/util/', '^src/(?!util/)'),
    layer('runner-imports-util', '^src/runner/', '^src/(?!util/|runner/)'),
    layer('blaxel-imports-util', '^src/blaxel/', '^src/(?!util/|blaxel/)'),
    layer('install-imports-blaxel-and-util', '^src/install/', '^src/(?!util/|blaxel/|install/)'),
    layer('login-imports-blaxel-and-util', '^src/login/', '^src/(?!util/|blaxel/|login/)'),
    layer(
      'inputs-import-no-flow',
      '^src/(inputs|credentials|state)\\.ts$',
      '^src/(main|post|setup|cleanup|outputs)\\.ts$',
    ),
    layer('flows-import-no-entry', '^src/(setup|cleanup|outputs)\\.ts$', '^src/(main|post)\\.ts$'),
    layer('the-product-knows-no-sandbox', '^src/', '^(sandbox|scripts|__tests__)/'),
    layer('the-sandbox-knows-no-product', '^sandbox/', '^src/'),
    {
      name: 'only-runner-and-entries-import-actions-core',
      severity: 'error',
      from: { path: '^src/', pathNot: '^src/(runner/|main-step\\.ts|main\\.ts|post\\.ts)' },
      to: { path: '@actions/core' },
    },
    {
      name: 'nothing-of-development-ships',
      severity: 'error',
      from: { path: '^src/' },
      to: { dependencyTypes: ['npm-dev', 'npm-no-pkg', 'npm-unknown'] },
    },
  ],
  options: {
    doNotFollow: { path: 'node_modules' },
    tsConfig: { fileName: 'tsconfig.json' },
    tsPreCompilationDeps: true,
    enhancedResolveOptions: { exportsFields: ['exports'], conditionNames: ['import', 'node', 'default', 'types'] },
  },
}
