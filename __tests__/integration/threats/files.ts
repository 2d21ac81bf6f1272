import { createHash } from 'node:crypto'
import { lstatSync, readdirSync, readFileSync, readlinkSync } from 'node:fs'
import { join, relative } from 'node:path'

/** Everything below a directory, by its path: kind, permissions and content, to see that nothing was touched. */
export function contents(directory: string): Readonly<Record<string, string>> {
  const entries = readdirSync(directory, { recursive: true, withFileTypes: true })
  const described = entries.map((entry) => {
    const path = join(entry.parentPath, entry.name)
    const mode = (lstatSync(path).mode & 0o7777).toString(8)
    const what = entry.isSymbolicLink()
      ? `link to ${readlinkSync(path)}`
      : entry.isFile()
        ? createHash('sha256').update(readFileSync(path)).digest('hex')
        : entry.isDirectory()
          ? 'directory'
          : 'special file'
    return [relative(directory, path), `${mode} ${what}`] as const
  })
  return Object.fromEntries(described.sort(([a], [b]) => (a < b ? -1 : 1)))
}
