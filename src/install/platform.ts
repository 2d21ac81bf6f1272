import { SetupError } from '../util/errors.ts'

/** An operating system and architecture that a release of the CLI has an archive for. */
export interface Platform {
  /** As it appears in messages, such as `linux-x64`. */
  readonly name: string
  /** Node's name of the architecture, which is also the tool cache's. */
  readonly arch: string
  readonly archive: string
  readonly format: 'tar.gz' | 'zip'
  /** The program in the archive. */
  readonly program: 'blaxel' | 'blaxel.exe'
  /** What users type; it is made from `program`. */
  readonly command: 'bl' | 'bl.exe'
  /** How an executable file starts, in hex. */
  readonly magic: readonly string[]
}

const UNIX = { format: 'tar.gz', program: 'blaxel', command: 'bl' } as const
const WINDOWS = { format: 'zip', program: 'blaxel.exe', command: 'bl.exe' } as const
/** `#!`: a script names its interpreter. Anything else would be given to /bin/sh (execvp(3), ENOEXEC). */
const SCRIPT = '2321'
const LINUX = { ...UNIX, magic: ['7f454c46', SCRIPT] }
/** Mach-O: 64-bit, 32-bit and universal. */
const MACOS = { ...UNIX, magic: ['cffaedfe', 'cefaedfe', 'cafebabe', SCRIPT] }
const MZ = { ...WINDOWS, magic: ['4d5a'] }

/** By Node's `process.platform` and `process.arch`. The names of the archives are those of the CLI's .goreleaser.yaml. */
const PLATFORMS: Readonly<Record<string, Platform>> = {
  'linux x64': { name: 'linux-x64', arch: 'x64', archive: 'blaxel_Linux_x86_64.tar.gz', ...LINUX },
  'linux arm64': { name: 'linux-arm64', arch: 'arm64', archive: 'blaxel_Linux_arm64.tar.gz', ...LINUX },
  'linux ia32': { name: 'linux-ia32', arch: 'ia32', archive: 'blaxel_Linux_i386.tar.gz', ...LINUX },
  'darwin x64': { name: 'macos-x64', arch: 'x64', archive: 'blaxel_Darwin_x86_64.tar.gz', ...MACOS },
  'darwin arm64': { name: 'macos-arm64', arch: 'arm64', archive: 'blaxel_Darwin_arm64.tar.gz', ...MACOS },
  'win32 x64': { name: 'windows-x64', arch: 'x64', archive: 'blaxel_Windows_x86_64.zip', ...MZ },
  'win32 arm64': { name: 'windows-arm64', arch: 'arm64', archive: 'blaxel_Windows_arm64.zip', ...MZ },
  'win32 ia32': { name: 'windows-ia32', arch: 'ia32', archive: 'blaxel_Windows_i386.zip', ...MZ },
}

/**
 * The platform for Node's names of the operating system and architecture.
 * @throws SetupError listing the supported ones, for anything else; there is no fallback to another architecture
 */
export function platformFor(os: string, arch: string): Platform {
  const platform = Object.hasOwn(PLATFORMS, `${os} ${arch}`) ? PLATFORMS[`${os} ${arch}`] : undefined
  if (platform) return platform
  const supported = Object.values(PLATFORMS).map(({ name }) => name)
  throw new SetupError(
    `There is no Blaxel CLI for ${os}-${arch}.`,
    `Use one of these runners: ${supported.join(', ')}.`,
  )
}
