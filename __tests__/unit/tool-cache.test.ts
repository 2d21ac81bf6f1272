import './realm.ts'
import { afterEach, beforeEach, describe, expect, jest, test } from '@jest/globals'
import fc from 'fast-check'
import {
  chmodSync,
  copyFileSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { setTimeout as pause } from 'node:timers/promises'
import { platformFor, type Platform } from '../../src/install/platform.ts'
import {
  cacheEntry,
  dropEntry,
  lookUp,
  publish,
  removeReplacedPrograms,
  stagingDirectory,
  type CacheEntry,
  type CacheRecord,
} from '../../src/install/tool-cache.ts'
import { holdsAsync } from './property.ts'
import { testWith } from './system.ts'

const VERSION = '9.9.2'
/** Windows seldom lets a user make a link, so `bl` is a copy there. */
const isCopy = process.platform === 'win32'
const linux = platformFor('linux', 'x64')

let toolCache: string
let entry: CacheEntry
let count = 0
const before = process.env.RUNNER_TOOL_CACHE
beforeEach(() => {
  toolCache = mkdtempSync(join(tmpdir(), 'tools-'))
  entry = cacheEntry(toolCache, VERSION, linux, undefined)
  process.env.RUNNER_TOOL_CACHE = toolCache
  // @actions/tool-cache prints what it does.
  jest.spyOn(process.stdout, 'write').mockReturnValue(true)
})
afterEach(() => {
  jest.restoreAllMocks()
  if (before === undefined) delete process.env.RUNNER_TOOL_CACHE
  else process.env.RUNNER_TOOL_CACHE = before
  rmSync(toolCache, { recursive: true, force: true })
})

const script = (name: string) => `#!/bin/sh\n# ${name}\n`

function recordOf(name: string, { archive }: Platform = linux, version = VERSION): CacheRecord {
  return { version, archive, sha256: `sum of ${name}`, verifiedBy: 'release-checksums', size: script(name).length }
}

/** A staged directory with a program. */
function stage(name: string): string {
  const directory = join(stagingDirectory(toolCache, `.staging-${count++}`), 'entry')
  mkdirSync(directory, { recursive: true })
  writeFileSync(join(directory, 'blaxel'), script(name), { mode: 0o755 })
  if (isCopy) copyFileSync(join(directory, 'blaxel'), join(directory, 'bl'))
  else symlinkSync('blaxel', join(directory, 'bl'))
  return directory
}

async function publishNew(name: string): Promise<void> {
  await publish(stage(name), entry, recordOf(name))
  await removeReplacedPrograms(entry)
}
const program = () => (isCopy ? entry.command : join(entry.directory, 'blaxel'))
const recordFile = () => join(entry.directory, 'setup-bl.json')
const marker = () => `${entry.directory}.complete`

/** The entry, as a job that comes now finds it. */
function seen() {
  return {
    lookup: lookUp(entry, undefined),
    program: readFileSync(entry.command, 'utf8'),
    files: readdirSync(entry.directory).sort(),
  }
}

const intact = (name: string) => ({
  lookup: { kind: 'hit', record: recordOf(name) },
  program: script(name),
  files: ['bl', 'blaxel', 'setup-bl.json'],
})

describe('a published entry', () => {
  test('is a hit', async () => {
    expect(lookUp(entry, undefined)).toEqual({ kind: 'missing' })
    await publishNew('one')
    expect(seen()).toEqual(intact('one'))
    expect(lookUp(entry, 'sum of one')).toMatchObject({ kind: 'hit' })
  })

  test.each([
    ['another version', () => cacheEntry(toolCache, '9.9.3', linux, undefined)],
    ['another architecture', () => cacheEntry(toolCache, VERSION, platformFor('linux', 'arm64'), undefined)],
    ['a mirror', () => cacheEntry(toolCache, VERSION, linux, 'https://mirror.example/bl')],
  ])('is not one for %s', async (_, other) => {
    await publishNew('one')
    expect(lookUp(other(), undefined)).toEqual({ kind: 'missing' })
  })

  test('from a mirror is not one for another mirror', async () => {
    const [first, second] = ['https://mirror.example/bl', 'https://mirror.example/bl2'].map((url) =>
      cacheEntry(toolCache, VERSION, linux, url),
    ) as [CacheEntry, CacheEntry]
    await publish(stage('one'), first, recordOf('one'))
    expect([lookUp(first, undefined).kind, lookUp(second, undefined).kind]).toEqual(['hit', 'missing'])
  })

  test('that another job has just published stays', async () => {
    const winner = stage('one')
    writeFileSync(join(winner, 'theirs'), '')
    await publish(winner, entry, recordOf('one'))
    await publishNew('one')
    expect(seen()).toEqual({ ...intact('one'), files: ['bl', 'blaxel', 'setup-bl.json', 'theirs'] })
  })

  test('that was dropped is replaced, though it looks intact', async () => {
    await publishNew('one')
    writeFileSync(program(), script('two'))
    await dropEntry(entry.directory)
    expect(lookUp(entry, undefined)).toEqual({ kind: 'missing' })
    await publishNew('one')
    expect(seen()).toEqual(intact('one'))
  })

  test('with a record of before, which has no size, is a hit', async () => {
    await publishNew('one')
    const old: { size?: number } = { ...recordOf('one') }
    delete old.size
    writeFileSync(recordFile(), JSON.stringify(old))
    expect(lookUp(entry, undefined)).toEqual({ kind: 'hit', record: old })
    writeFileSync(program(), '')
    expect(lookUp(entry, undefined)).toMatchObject({ kind: 'unusable' })
  })
})

/** What can have happened to an entry, and what the next lookup says. */
const damages: Readonly<Record<string, [() => void, string]>> = {
  'one from another archive': [
    () => {
      writeFileSync(recordFile(), JSON.stringify(recordOf('other')))
    },
    'unusable',
  ],
  'one without a record': [
    () => {
      rmSync(recordFile())
    },
    'unusable',
  ],
  'one whose record is damaged': [
    () => {
      writeFileSync(recordFile(), '{"version":')
    },
    'unusable',
  ],
  'one whose record is of another version': [
    () => {
      writeFileSync(recordFile(), JSON.stringify({ ...recordOf('old'), version: '9.9.1' }))
    },
    'unusable',
  ],
  'one for another platform': [
    () => {
      writeFileSync(recordFile(), JSON.stringify(recordOf('old', platformFor('linux', 'arm64'))))
    },
    'unusable',
  ],
  'one that is not marked as complete': [
    () => {
      rmSync(marker())
    },
    'missing',
  ],
  'a half-written one': [
    () => {
      for (const path of [marker(), entry.command, recordFile()]) rmSync(path)
      writeFileSync(program(), 'ha')
    },
    'missing',
  ],
  'an empty directory': [
    () => {
      rmSync(entry.directory, { recursive: true })
      mkdirSync(entry.directory)
    },
    'unusable',
  ],
  'a file in the place of the directory': [
    () => {
      rmSync(entry.directory, { recursive: true })
      writeFileSync(entry.directory, 'not a directory')
    },
    'unusable',
  ],
  'a directory in the place of the program': [
    () => {
      rmSync(program())
      mkdirSync(join(program(), 'inside'), { recursive: true })
    },
    'unusable',
  ],
  'a link that leads nowhere': [
    () => {
      rmSync(program())
    },
    'unusable',
  ],
  'a shortened program': [
    () => {
      writeFileSync(program(), '#!/bin/sh\n')
    },
    'unusable',
  ],
  'a program of zeros': [
    () => {
      writeFileSync(program(), Buffer.alloc(script('old').length))
    },
    'unusable',
  ],
}

testWith('execute permissions')('a program without its x bit is not a hit, and is replaced', async () => {
  await publishNew('old')
  chmodSync(program(), 0o644)
  expect(lookUp(entry, 'sum of old').kind).toBe('unusable')
  await publishNew('old')
  expect(seen()).toEqual(intact('old'))
})

describe.each(Object.entries(damages))('%s', (_, [damage, kind]) => {
  test('is not a hit, and is replaced', async () => {
    await publishNew('old')
    damage()
    expect(lookUp(entry, 'sum of old').kind).toBe(kind)
    await publishNew('new')
    expect(seen()).toEqual(intact('new'))
  })

  test('is replaced by the same archive too', async () => {
    await publishNew('old')
    damage()
    await publishNew('old')
    expect(seen()).toEqual(intact('old'))
  })
})

test('a job that is using an entry while it is replaced never finds it gone', async () => {
  await publishNew('old')
  const contents = new Set<string>()
  const done = new AbortController()
  const user = (async () => {
    while (!done.signal.aborted) {
      contents.add(readFileSync(entry.command, 'utf8'))
      await pause(0)
    }
  })()
  for (const name of ['two', 'three', 'four']) await publishNew(name)
  done.abort()
  await user
  for (const content of contents) expect(['old', 'two', 'three', 'four'].map(script)).toContain(content)
  expect(seen()).toEqual(intact('four'))
})

test('many jobs that publish the same archive at once leave one intact entry', async () => {
  await holdsAsync(
    fc.asyncProperty(fc.integer({ min: 2, max: 6 }), fc.boolean(), async (jobs, isStale) => {
      rmSync(dirname(entry.directory), { recursive: true, force: true })
      if (isStale) await publishNew('stale')
      await Promise.all(Array.from({ length: jobs }, () => publishNew('one')))
      expect(seen()).toEqual(intact('one'))
    }),
    60,
  )
})

test('a program that was running when it was replaced is deleted by a later job', async () => {
  await publishNew('one')
  writeFileSync(join(entry.directory, 'bl.exe.00000000-0000-4000-8000-000000000000.old'), 'old')
  await removeReplacedPrograms(entry)
  expect(seen()).toEqual(intact('one'))
})

test('a record with a field of another type is none', async () => {
  await publishNew('one')
  const good: Record<string, unknown> = { ...recordOf('one') }
  const wrong = Object.keys(good).flatMap((field) =>
    [null, field === 'size' ? 'x' : 17, ['x'], { x: 1 }].map((value) => ({ ...good, [field]: value })),
  )
  for (const value of [...wrong, { ...good, verifiedBy: 'me' }, null, [], 'text', 17]) {
    writeFileSync(recordFile(), JSON.stringify(value))
    expect([value, lookUp(entry, undefined)]).toEqual([value, { kind: 'unusable', why: 'has no valid record' }])
  }
})
