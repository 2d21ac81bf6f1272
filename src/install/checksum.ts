import { SetupError } from '../util/errors.ts'
import { excerpt } from '../util/redact.ts'

/** Who vouches for an archive, the strongest first. */
export type VerifiedBy = 'checksum-input' | 'known-checksums' | 'release-checksums'

export interface ExpectedChecksum {
  readonly sha256: string
  readonly by: VerifiedBy
}

/** The user's own sums: one for the archive of the runner, or one for each of several archives. */
export type ChecksumInput =
  | { readonly kind: 'one'; readonly sha256: string }
  | { readonly kind: 'by-file'; readonly sums: Readonly<Record<string, string>> }

/** SHA-256 sums by version and archive; those that came from the release itself, and not from the tap, say so. */
export type ChecksumTable = Readonly<
  Record<string, Readonly<Record<string, string | { readonly sha256: string; readonly from: string }>>>
>

const SHA256 = /^[0-9a-f]{64}$/

/**
 * Reads the input `checksum`: a sum, or lines `<sha256>  <file name>` as `sha256sum` prints them.
 * @returns undefined where the input is empty
 * @throws SetupError for anything else
 */
export function parseChecksumInput(input: string): ChecksumInput | undefined {
  if (input === '') return undefined
  const sum = input.toLowerCase()
  if (SHA256.test(sum)) return { kind: 'one', sha256: sum }
  const lines = input.split(/\r?\n/).filter((line) => line.trim() !== '')
  const parsed = lines.map(parseLine)
  const bad = lines.find((_, index) => !parsed[index])
  if (bad !== undefined) {
    throw new SetupError(
      `The input checksum holds '${excerpt(bad)}', which is no SHA-256.`,
      "Give the 64 hex digits that sha256sum prints for the archive, or lines '<64 hex digits>  <file name>' for several.",
    )
  }
  const files = parsed.flatMap((line) => line ?? [])
  const twice = files.find(({ file, sha256 }) => files.some((other) => other.file === file && other.sha256 !== sha256))
  if (twice) throw new SetupError(`The input checksum has two sums for ${excerpt(twice.file)}.`, 'Keep one of them.')
  return { kind: 'by-file', sums: Object.fromEntries(files.map(({ file, sha256 }) => [file, sha256])) }
}

/**
 * The sum that decides without asking the release: the user's, else the one in reviewed source.
 * @throws SetupError where the user gave sums by file, but none for this one
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
 * The sum of one file in the text of a `…_checksums.txt`, whose lines are `<sha256>  <file name>`.
 * Undefined where the file has no line, or lines that disagree.
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
  const [, sum, file] = /^([0-9a-fA-F]{64}) [ *](\S+)$/.exec(line.trim()) ?? []
  return sum === undefined || file === undefined ? undefined : { sha256: sum.toLowerCase(), file }
}
