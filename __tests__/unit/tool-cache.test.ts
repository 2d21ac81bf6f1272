import './realm.ts'
import * as toolCacheOfActions from '@actions/tool-cache'
import { afterEach, beforeEach, describe, expect, jest, test } from '@jest/globals'
import fc from 'fast-check'
import {
  chmodSync,
  existsSync,
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
import { platformFor } from '../../src/install/platform.ts'
import { publish, writeRecord } from '../../src/install/publish.ts'
import {
  cacheEntry,
  readRecord,
  stagingDirectory,
  type CacheEntry,
  type CacheRecord,
} from '../../src/install/tool-cache.ts'
import { holds, holdsAsync } from './property.ts'

const VERSION = '9.9.2'
const linux = platformFor('linux', 'x64')

let toolCache: string
let entry: CacheEntry
let count = 0
const before = process.env.RUNNER_TOOL_CACHE
beforeEach(() => {
  toolCache = mkdtempSync(join(tmpdir(), 'tools-'))
  entry = cacheEntry(toolCache, VERSION, linux, undefined)
  process.env.RUNNER_TOOL_CACHE = toolCache
})
afterEach(() => {
  if (before === undefined) delete process.env.RUNNER_TOOL_CACHE
  else process.env.RUNNER_TOOL_CACHE = before
  rmSync(toolCache, { recursive: true, force: true })
})

function recordOf(program: string): CacheRecord {
  return { version: VERSION, archive: linux.archive, sha256: `sum of ${program}`, verifiedBy: 'release-checksums' }
}

/** What @actions/tool-cache finds; it tells a runner of every step on stdout. */
function find(...parameters: Parameters<typeof toolCacheOfActions.find>): string {
  const stdout = jest.spyOn(process.stdout, 'write').mockReturnValue(true)
  try {
    return toolCacheOfActions.find(...parameters)
  } finally {
    stdout.mockRestore()
  }
}

/** A staged entry whose program is this text. */
function stage(program: string): string {
  const directory = join(stagingDirectory(toolCache, `.staging-${count++}`), 'entry')
  mkdirSync(directory, { recursive: true })
  writeFileSync(join(directory, linux.program), program)
  symlinkSync(linux.program, join(directory, linux.command))
  writeRecord(directory, recordOf(program))
  return directory
}

async function publishNew(program: string, unusable?: CacheRecord): Promise<void> {
  await publish(stage(program), entry, recordOf(program), unusable)
}

/** What stands in the entry's place. */
function seen() {
  return {
    found: find('bl', VERSION, linux.arch),
    program: readFileSync(entry.program, 'utf8'),
    command: readFileSync(entry.command, 'utf8'),
    record: readRecord(entry),
    files: readdirSync(entry.directory).sort(),
  }
}

const whole = (program: string) => ({
  found: entry.directory,
  program,
  command: program,
  record: recordOf(program),
  files: ['bl', 'blaxel', 'setup-bl.json'],
})

describe('a published entry', () => {
  test('stands where @actions/tool-cache looks for it', async () => {
    expect(find('bl', VERSION, 'x64')).toBe('')
    await publishNew('one')
    expect(seen()).toEqual(whole('one'))
    expect(find('bl', VERSION, 'arm64')).toBe('')
    expect(find('bl', '9.9.x', 'x64')).toBe(entry.directory)
  })

  test.each([
    ['linux', 'arm64', '0.1.108'],
    ['darwin', 'x64', '0.1.27-rc1'],
    ['win32', 'ia32', '1.20.300'],
  ])('of %s-%s in version %s stands there too', async (os, arch, version) => {
    const place = cacheEntry(toolCache, version, platformFor(os, arch), undefined)
    await publish(stage('one'), place, recordOf('one'), undefined)
    expect(find('bl', version, arch)).toBe(place.directory)
  })

  test('from a mirror is never found as one from GitHub, nor as one from another mirror', async () => {
    const mirrors = [undefined, 'https://mirror.example/bl', 'https://mirror.example/bl2']
    const places = mirrors.map((mirror) => cacheEntry(toolCache, VERSION, linux, mirror))
    for (const [index, place] of places.entries()) {
      await publish(stage(`from ${index}`), place, recordOf(`from ${index}`), undefined)
    }
    expect(places.map(({ program }) => readFileSync(program, 'utf8'))).toEqual(['from 0', 'from 1', 'from 2'])
    expect(find('bl', VERSION, 'x64')).toBe(places[0]?.directory)
  })

  test('that another job has put there meanwhile is taken as it is', async () => {
    const winner = stage('one')
    writeFileSync(join(winner, 'theirs'), '')
    await publish(winner, entry, recordOf('one'), undefined)
    await publishNew('one')
    expect(seen()).toEqual({ ...whole('one'), files: ['bl', 'blaxel', 'setup-bl.json', 'theirs'] })
  })

  test('that another job has put there, but has not marked as whole yet, is marked', async () => {
    await publishNew('one')
    rmSync(entry.marker)
    expect(find('bl', VERSION, 'x64')).toBe('')
    await publishNew('one')
    expect(seen()).toEqual(whole('one'))
  })

  test('that was turned down is replaced, though it came from the same archive', async () => {
    await publishNew('one')
    writeFileSync(entry.program, 'damaged')
    await publishNew('one', recordOf('one'))
    expect(seen()).toEqual(whole('one'))
  })
})

describe('a bad entry is replaced:', () => {
  const bad: Readonly<Record<string, () => void>> = {
    'one from another archive': () => {
      writeFileSync(join(entry.directory, 'setup-bl.json'), JSON.stringify(recordOf('other')))
    },
    'one without our record': () => {
      rmSync(join(entry.directory, 'setup-bl.json'))
    },
    'one whose record is damaged': () => {
      writeFileSync(join(entry.directory, 'setup-bl.json'), '{"version":')
    },
    'a half-written one': () => {
      for (const path of [entry.marker, entry.command, join(entry.directory, 'setup-bl.json')]) rmSync(path)
      writeFileSync(entry.program, 'ha')
    },
    'an empty directory': () => {
      rmSync(entry.directory, { recursive: true })
      mkdirSync(entry.directory)
    },
    'a directory in the place of the program': () => {
      rmSync(entry.program)
      mkdirSync(join(entry.program, 'inside'), { recursive: true })
      rmSync(join(entry.directory, 'setup-bl.json'))
    },
    'a link that leads nowhere': () => {
      rmSync(entry.command)
      symlinkSync('/nowhere', entry.command)
      rmSync(join(entry.directory, 'setup-bl.json'))
    },
    'a program that may not be written': () => {
      chmodSync(entry.program, 0o400)
      rmSync(join(entry.directory, 'setup-bl.json'))
    },
    'a file in the place of the directory': () => {
      rmSync(entry.directory, { recursive: true })
      writeFileSync(entry.directory, 'not a directory')
    },
  }

  test.each(Object.keys(bad))('%s', async (name) => {
    await publishNew('old')
    bad[name]?.()
    await publishNew('new')
    expect(seen()).toEqual(whole('new'))
  })

  test('while a job uses it, which never finds it gone', async () => {
    await publishNew('old')
    rmSync(join(entry.directory, 'setup-bl.json'))
    const contents = new Set<string>()
    const done = new AbortController()
    const user = (async () => {
      while (!done.signal.aborted) {
        contents.add(readFileSync(entry.command, 'utf8'))
        await pause(0)
      }
    })()
    for (const program of ['two', 'three', 'four']) await publishNew(program)
    done.abort()
    await user
    for (const content of contents) expect(['old', 'two', 'three', 'four']).toContain(content)
    expect(seen()).toEqual(whole('four'))
  })
})

test('many jobs that publish the same archive at once leave one whole entry', async () => {
  await holdsAsync(
    fc.asyncProperty(fc.integer({ min: 2, max: 6 }), fc.boolean(), async (jobs, isStale) => {
      rmSync(dirname(entry.directory), { recursive: true, force: true })
      if (isStale) await publishNew('stale')
      await Promise.all(Array.from({ length: jobs }, () => publishNew('one')))
      expect(seen()).toEqual(whole('one'))
    }),
    60,
  )
})

describe('a record', () => {
  const verifiedBy = fc.constantFrom('checksum-input', 'known-checksums', 'release-checksums')
  const record = fc.record({ version: fc.string(), archive: fc.string(), sha256: fc.string(), verifiedBy })

  test('is read as it was written', async () => {
    await publishNew('one')
    holds(
      fc.property(record, (written) => {
        writeRecord(entry.directory, written)
        expect(readRecord(entry)).toEqual(written)
      }),
    )
  })

  test('is none where the entry is not marked as whole', async () => {
    await publishNew('one')
    rmSync(entry.marker)
    expect(readRecord(entry)).toBeUndefined()
  })

  test('is none where it has not every field in its form', async () => {
    await publishNew('one')
    const good: Record<string, unknown> = { ...recordOf('one') }
    const wrong = Object.keys(good).flatMap((field) =>
      [undefined, null, 17, ['x'], { x: 1 }].map((value) => ({ ...good, [field]: value })),
    )
    for (const value of [...wrong, { ...good, verifiedBy: 'me' }, null, [], 'text', 17]) {
      writeFileSync(join(entry.directory, 'setup-bl.json'), JSON.stringify(value))
      expect([value, readRecord(entry)]).toEqual([value, undefined])
    }
    rmSync(join(entry.directory, 'setup-bl.json'))
    expect(readRecord(entry)).toBeUndefined()
    expect(existsSync(entry.program)).toBe(true)
  })
})
