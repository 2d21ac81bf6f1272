import { dirname, join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import type { ConfigFile } from './world.ts'

/** What the database of the logins holds, as far as tests look at it. */
export interface StoredLogins {
  base?: { text?: string; mode: number }
  logins: { id: string; expiresAt: number; dropsAt: number; endpoint: string; entry: Record<string, unknown> }[]
  [field: string]: unknown
}

/** The database beside a config. */
export function databasePath({ path }: ConfigFile): string {
  return join(dirname(path), 'setup-bl.db')
}

/** Runs SQL in it, as another process could. */
export function inDatabase(config: ConfigFile, sql: string): void {
  const connection = new DatabaseSync(databasePath(config))
  connection.exec(`PRAGMA secure_delete = ON; ${sql}`)
  connection.close()
}

/** The text that it holds. */
export function storedText(config: ConfigFile): string {
  const connection = new DatabaseSync(databasePath(config))
  const value = connection.prepare('SELECT value FROM store').get()?.value
  connection.close()
  return String(value)
}

/** Puts a text into it, as another step could. */
export function storeText(config: ConfigFile, text: string): void {
  inDatabase(config, `UPDATE store SET value = '${text.replaceAll("'", "''")}'`)
}

/** Changes what it holds. */
export function changeStored(config: ConfigFile, change: (stored: StoredLogins) => void): void {
  const stored = JSON.parse(storedText(config)) as StoredLogins
  change(stored)
  storeText(config, JSON.stringify(stored))
}

/** Lets the time of every login pass, as if their jobs had been killed days ago. */
export function abandonLogins(config: ConfigFile): void {
  changeStored(config, ({ logins }) => {
    for (const login of logins) Object.assign(login, { expiresAt: 1, dropsAt: 1 })
  })
}
