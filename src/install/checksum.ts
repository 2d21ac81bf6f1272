import { SetupError } from '../util/errors.ts'
import { excerpt } from '../util/redact.ts'

/** Where the expected checksum comes from, the most independent source first. */
export type VerifiedBy = 'checksum-input' | 'known-checksums' | 'release-checksums'

export interface ExpectedChecksum {
  readonly sha256: string
  readonly by: VerifiedBy
}

/** The input `checksum`: one for the runner's archive, or one for each of several archives. */
export type ChecksumInput =
  | { readonly kind: 'one'; readonly sha256: string }
  | { readonly kind: 'by-file'; readonly sums: Readonly<Record<string, string>> }

/** SHA-256 by version and archive; those that come from the release itself, and not from the tap, say so. */
export type ChecksumTable = Readonly<
  Record<string, Readonly<Record<string, string | { readonly sha256: string; readonly from: string }>>>
>

/**
 * Reads the input `checksum`: a SHA-256 in hex, with or without the `sha256:` of GitHub's digests, or lines
 * `<sha256>  <file name>` as `sha256sum` prints them.
 * @returns undefined if the input is empty
 * @throws SetupError for anything else
 */
export function parseChecksumInput(input: string): ChecksumInput | undefined {
  if (input === '') return undefined
  const sha256 = parseSha256(input)
  if (sha256 !== undefined) return { kind: 'one', sha256 }
  const lines = input.split(/\r?\n/).filter((line) => line.trim() !== '')
  const parsed = lines.map(parseLine)
  const bad = lines.find((_, index) => !parsed[index])
  if (bad !== undefined) {
    throw new SetupError(
      `The input checksum contains '${excerpt(bad)}', which is not a SHA-256.`,
      "Use the archive's SHA-256 in hex (64 digits), or lines '<64 hex digits>  <file name>' for several archives.",
    )
  }
  const files = parsed.flatMap((line) => line ?? [])
  const twice = files.find(({ file, sha256 }) => files.some((other) => other.file === file && other.sha256 !== sha256))
  if (twice)
    throw new SetupError(`The input checksum has two checksums for ${excerpt(twice.file)}.`, 'Keep one of them.')
  return { kind: 'by-file', sums: Object.fromEntries(files.map(({ file, sha256 }) => [file, sha256])) }
}

/**
 * The checksum that is known without asking the release: the user's, else the one in the table.
 * @throws SetupError if the user gave checksums by file, but none for this archive
 */
export function pinnedChecksum(
  input: ChecksumInput | undefined,
  table: ChecksumTable,
  version: string,
  archive: string,
): ExpectedChecksum | undefined {
  if (input) return { sha256: input.kind === 'one' ? input.sha256 : sumFor(input.sums, archive), by: 'checksum-input' }
  const known = Object.hasOwn(table, version) ? table[version]?.[archive] : undefined
  if (known === undefined) return undefined
  return { sha256: typeof known === 'string' ? known : known.sha256, by: 'known-checksums' }
}

function sumFor(sums: Readonly<Record<string, string>>, archive: string): string {
  const sum = Object.hasOwn(sums, archive) ? sums[archive] : undefined
  if (sum !== undefined) return sum
  throw new SetupError(
    `The input checksum has no line for ${archive}, the archive for this runner.`,
    `Add a line '<64 hex digits>  ${archive}'.`,
  )
}

/**
 * The checksum of one file in the text of a `…_checksums.txt`, whose lines are `<sha256>  <file name>`.
 * Undefined if the file has no line, or lines that differ.
 */
export function findChecksum(text: string, file: string): string | undefined {
  const sums = text
    .split(/\r?\n/)
    .flatMap((line) => parseLine(line) ?? [])
    .filter((line) => line.file === file)
    .map(({ sha256 }) => sha256)
  return new Set(sums).size === 1 ? sums[0] : undefined
}

function parseLine(line: string): { readonly sha256: string; readonly file: string } | undefined {
  const [, sum = '', file = ''] = /^(\S+) [ *](\S+)$/.exec(line.trim()) ?? []
  const sha256 = parseSha256(sum)
  return sha256 === undefined ? undefined : { sha256, file }
}

function parseSha256(text: string): string | undefined {
  return /^(?:sha256:)?([0-9a-f]{64})$/.exec(text.toLowerCase())?.[1]
}

/**
 * Compares an archive's checksum with the expected one.
 * @throws SetupError naming both and what to do
 */
export function assertChecksum(archive: string, version: string, actual: string, expected: ExpectedChecksum): void {
  if (actual === expected.sha256) return
  const { name, remedy } = SOURCES[expected.by]
  throw new SetupError(
    `The SHA-256 of ${archive} of bl ${version} is ${actual}, but ${name} says ${expected.sha256}. Nothing was installed.`,
    remedy,
  )
}

const SOURCES: Readonly<Record<VerifiedBy, { readonly name: string; readonly remedy: string }>> = {
  'checksum-input': {
    name: 'the input checksum',
    remedy: 'Correct the input checksum, or find out who changed the archive.',
  },
  'known-checksums': {
    name: "setup-bl's table of known checksums",
    remedy: 'The archive was changed after its release: report it, and use another version.',
  },
  'release-checksums': {
    name: "the release's checksums file",
    remedy: 'The archive is damaged or was changed: run the job again, or use another version.',
  },
}
