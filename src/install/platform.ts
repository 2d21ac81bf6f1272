import { SetupError } from '../util/errors.ts'

/** One row of the table of archives that a release of the CLI carries. */
export interface Platform {
  /** As it appears in messages, such as `linux-x64`. */
  readonly name: string
  /** Node's name of the architecture; also the tool cache's. */
  readonly arch: string
  readonly archive: string
  /** The program inside the archive. */
  readonly program: 'blaxel' | 'blaxel.exe'
  /** What users type; it is made from `program`. */
  readonly command: 'bl' | 'bl.exe'
}

const SYSTEMS: Readonly<
  Record<string, { readonly name: string; readonly inArchive: string; readonly archs: readonly string[] }>
> = {
  linux: { name: 'linux', inArchive: 'Linux', archs: ['x64', 'arm64', 'ia32'] },
  darwin: { name: 'macos', inArchive: 'Darwin', archs: ['x64', 'arm64'] },
  win32: { name: 'windows', inArchive: 'Windows', archs: ['x64', 'arm64', 'ia32'] },
}
const ARCH_IN_ARCHIVE: Readonly<Record<string, string>> = { x64: 'x86_64', arm64: 'arm64', ia32: 'i386' }

/**
 * The archive for an operating system and architecture, by Node's names of them. The names of the archives are those of
 * the CLI's .goreleaser.yaml.
 * @throws SetupError listing what exists, for anything else; there is no silent fall-back to another architecture
 */
export function platformFor(os: string, arch: string): Platform {
  const system = Object.hasOwn(SYSTEMS, os) ? SYSTEMS[os] : undefined
  const archInArchive = ARCH_IN_ARCHIVE[arch]
  if (!system || archInArchive === undefined || !system.archs.includes(arch)) {
    const existing = Object.values(SYSTEMS).flatMap(({ name, archs }) => archs.map((known) => `${name}-${known}`))
    throw new SetupError(
      `There is no Blaxel CLI for ${system?.name ?? os}-${arch}.`,
      `Use a runner of one of these kinds: ${existing.join(', ')}.`,
    )
  }
  const windows = os === 'win32'
  return {
    name: `${system.name}-${arch}`,
    arch,
    archive: `blaxel_${system.inArchive}_${archInArchive}.${windows ? 'zip' : 'tar.gz'}`,
    program: windows ? 'blaxel.exe' : 'blaxel',
    command: windows ? 'bl.exe' : 'bl',
  }
}
