/** Imports point down only: entries, the two stories, github, cli, blaxel, base. */
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
    layer('base-is-the-bottom', '^src/base/', '^src/(?!base/)'),
    layer('blaxel-knows-base-only', '^src/blaxel/', '^src/(?!base/|blaxel/)'),
    layer('cli-knows-blaxel-and-base', '^src/cli/', '^src/(?!base/|blaxel/|cli/)'),
    layer('github-knows-no-story', '^src/github/', '^src/[^/]+\\.ts$'),
    layer('stories-know-no-entry', '^src/(main|post|state|hand-over)\\.ts$', '^src/(setup|main-step|cleanup)\\.ts$'),
    layer('the-product-knows-no-sandbox', '^src/', '^(sandbox|scripts|__tests__)/'),
    layer('the-sandbox-knows-no-product', '^sandbox/', '^src/'),
    {
      name: 'only-github-knows-the-toolkit-core',
      severity: 'error',
      from: { path: '^src/', pathNot: '^src/(github/|main-step\\.ts|cleanup\\.ts)' },
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
