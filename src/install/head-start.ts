import { isAbsolute, join } from 'node:path'
import type { Outcome, Run } from '../util/process.ts'
import { isProgram, versionCommand } from '../blaxel/cli.ts'
import { parseChecksumInput, pinnedChecksum } from './checksum.ts'
import knownChecksums from './known-checksums.json' with { type: 'json' }
import { platformFor } from './platform.ts'
import { cacheEntry, isFromArchive, readRecord } from './tool-cache.ts'
import { exactVersion } from './version.ts'

/** A `bl version` of a cached program that runs while the rest of the action is still being loaded. */
export interface HeadStart {
  readonly file: string
  readonly outcome: Promise<Outcome>
  readonly stop: () => void
}

export interface HeadStartEdges {
  readonly run: Run
  readonly env: Readonly<Record<string, string | undefined>>
  readonly childEnv: Readonly<Record<string, string>>
  /** Node's names of the operating system and architecture. */
  readonly os: string
  readonly arch: string
}

/**
 * Runs `bl version` of the cached program that will most likely be used. What may not be run later is not run here
 * either; for all that needs a closer look (ranges, files, mirrors, bad inputs) there is no head start.
 */
export function beginVersion({ run, env, childEnv, os, arch }: HeadStartEdges): HeadStart | undefined {
  const input = (name: string) => (env[`INPUT_${name.toUpperCase()}`] ?? '').trim()
  const version = exactVersion(input('version'))
  const toolCache = env.RUNNER_TOOL_CACHE ?? ''
  if (version === undefined || input('mirror-url') !== '' || !isAbsolute(toolCache)) return undefined
  // Node would print the environment of the child, which may hold a proxy's password.
  if ((env.NODE_DEBUG ?? '') !== '') return undefined
  try {
    const platform = platformFor(os, arch)
    const entry = cacheEntry(toolCache, version, platform, undefined)
    const record = readRecord(entry)
    const pinned = pinnedChecksum(parseChecksumInput(input('checksum')), knownChecksums, version, platform.archive)
    if (!record || !isFromArchive(record, version, platform, pinned) || !isProgram(entry.command)) return undefined
    const stopped = new AbortController()
    // It makes nothing in a HOME that is not there, so that nothing is left however this process ends.
    const command = versionCommand(entry.command, childEnv, join(entry.directory, 'no-home'), entry.directory)
    const outcome = run(command, stopped.signal)
    outcome.catch(() => undefined) // whoever stops it does not wait for it
    return {
      file: entry.command,
      outcome,
      stop: () => {
        stopped.abort()
      },
    }
  } catch {
    return undefined // what is wrong with an input is said where all of them are read
  }
}
