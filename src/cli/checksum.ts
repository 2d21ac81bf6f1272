import { SetupError } from '../base/errors.ts'
import { excerpt } from '../base/redact.ts'

/** Who vouches for an archive, the strongest first. */
export type VerifiedBy = 'checksum-input' | 'known-checksums' | 'release-checksums'

export interface ExpectedChecksum {
  readonly sha256: string
  readonly by: VerifiedBy
}

/** SHA-256 sums by version and archive name. */
export type ChecksumTable = Readonly<Record<string, Readonly<Record<string, string>>>>

const SHA256 = /^[0-9a-f]{64}$/

/**
 * Reads the input `checksum`.
 * @returns the sum in lower case, or undefined where the input is empty
 * @throws SetupError where it is not 64 hex digits
 */
export function parseChecksumInput(input: string): string | undefined {
  if (input === '') return undefined
  const sum = input.toLowerCase()
  if (!SHA256.test(sum)) {
    throw new SetupError(
      `The input checksum is '${excerpt(input)}', which is no SHA-256.`,
      'Give the 64 hex digits that `sha256sum` prints for the archive.',
    )
  }
  return sum
}

/** The sum that decides without asking the release: the user's, else the one in reviewed source. */
export function pinnedChecksum(
  input: string | undefined,
  table: ChecksumTable,
  version: string,
  archive: string,
): ExpectedChecksum | undefined {
  if (input !== undefined) return { sha256: input, by: 'checksum-input' }
  const known = Object.hasOwn(table, version) ? table[version]?.[archive] : undefined
  return known === undefined ? undefined : { sha256: known, by: 'known-checksums' }
}

/**
 * The sum of one file in the text of a `…_checksums.txt`, whose lines are `<sha256>  <file name>`.
 * Undefined where the file has no line, or lines that disagree.
 */
export function findChecksum(text: string, file: string): string | undefined {
  const sums = text
    .split(/\r?\n/)
    .map((line) => /^([0-9a-fA-F]{64}) [ *](\S+)$/.exec(line.trim()))
    .filter((match) => match?.[2] === file)
    .map((match) => match?.[1]?.toLowerCase())
  return new Set(sums).size === 1 ? sums[0] : undefined
}
