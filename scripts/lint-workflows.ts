/**
 * Lints the workflows, and what else of GitHub's is written in YAML, with actionlint and zizmor. A tool that is not on
 * the PATH is left out, and a line says so.
 *
 *   npm run lint:workflows
 */
import { spawnSync } from 'node:child_process'

const TOOLS = [
  { name: 'actionlint', args: [], home: 'https://github.com/rhysd/actionlint' },
  { name: 'zizmor', args: ['--pedantic', '--offline', '--quiet', '.'], home: 'https://docs.zizmor.sh' },
]

for (const { name, args, home } of TOOLS) {
  const { error, status, signal } = spawnSync(name, args, { stdio: 'inherit' })
  if ((error as NodeJS.ErrnoException | undefined)?.code === 'ENOENT')
    console.log(`${name}: not run, for it is not installed (${home})`)
  else if (status === 0) console.log(`${name}: clean`)
  else {
    console.error(`${name}: failed (${error?.message ?? signal ?? `exit ${String(status)}`})`)
    process.exitCode = 1
  }
}
