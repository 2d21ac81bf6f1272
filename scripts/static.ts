// Runs what checks the sources without running them, two at a time, and shows the output of what fails.
import { spawn } from 'node:child_process'

const waiting = ['lint', 'types', 'format', 'import-rules', 'unused']

async function runNext(): Promise<void> {
  const name = waiting.shift()
  if (name === undefined) return
  const child = spawn(`npm run -s ${name}`, { shell: true, stdio: ['ignore', 'pipe', 'pipe'] })
  const output: Buffer[] = []
  for (const stream of [child.stdout, child.stderr]) stream.on('data', (chunk: Buffer) => output.push(chunk))
  const code = await new Promise<number | null>((resolve) => child.on('close', resolve))
  if (code !== 0) {
    process.stderr.write(`npm run ${name}:\n${Buffer.concat(output).toString()}\n`)
    process.exitCode = 1
  }
  await runNext()
}

await Promise.all([runNext(), runNext()])
