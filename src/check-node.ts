/**
 * Ends the process with one clear error if Node is too old for the rest: node:sqlite needs 22.13. The entries import
 * this first, because the modules that they import after it would already fail to load. It imports nothing itself.
 */
const REQUIRED = [22, 13] as const

const [major = 0, minor = 0] = process.versions.node.split('.').map(Number)
if (major < REQUIRED[0] || (major === REQUIRED[0] && minor < REQUIRED[1])) {
  process.stdout.write(
    `::error::setup-bl needs Node ${REQUIRED.join('.')} or newer, but the runner started it with ${process.version}. ` +
      'Update the runner: GitHub Actions Runner 2.327.1 and newer come with Node 24.\n',
  )
  // The post step never fails a job.
  process.exit(/[/\\]cleanup[/\\][^/\\]+$/.test(process.argv[1] ?? '') ? 0 : 1)
}
