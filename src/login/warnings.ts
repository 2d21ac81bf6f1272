import { dirname } from 'node:path'
import { isInside } from '../util/fs.ts'
import type { KnownLogin } from './store.ts'

/** Tokens of the same lifetime, requested at the same time, expire at nearly the same time. */
const NEARLY_MS = 300_000
const OWN_HOME = 'Give each runner its own HOME to keep them apart.'

/**
 * What a job should know of the logins that other jobs have on this machine.
 * @param others live logins, those of the same job among them
 * @param directory `~/.blaxel`
 */
export function loginWarnings(login: KnownLogin, others: readonly KnownLogin[], directory: string): string[] {
  const foreign = others.filter(({ job }) => job !== login.job)
  const { workspace: name } = login
  const sharing = foreign.filter(({ workspace }) => workspace === name)
  const isOther = ({ credential, tokenHash }: KnownLogin) =>
    credential !== login.credential && tokenHash !== login.tokenHash
  const warnings: string[] = []
  if (sharing.some(isOther)) {
    warnings.push(
      `Another job on this machine is logged in to workspace '${name}' with another credential: bl uses the newest login in both jobs. ${OWN_HOME}`,
    )
  }
  if (sharing.some(({ expiresAt }) => expiresAt > login.expiresAt + NEARLY_MS)) {
    warnings.push(
      `This login to workspace '${name}' expires before that of another job on this machine, whose bl commands fail from then on. ${OWN_HOME}`,
    )
  }
  const elsewhere = foreign.filter(({ workspace }) => workspace !== name)
  const follower = elsewhere.find(({ followsContext }) => followsContext)
  if (elsewhere[0] && login.followsContext) {
    warnings.push(
      `bl uses the current workspace in ${directory}, which another job on this machine can change (now to '${elsewhere[0].workspace}'): pass '--workspace ${name}' to bl. ${OWN_HOME}`,
    )
  } else if (follower) {
    warnings.push(
      `Another job on this machine uses the current workspace in ${directory}, which is now '${name}' instead of '${follower.workspace}'. ${OWN_HOME}`,
    )
  }
  return warnings
}

/** Whether a version of `bl` ignores BL_WORKSPACE, as those before 0.1.64 do, and takes the config's current workspace. */
export function ignoresWorkspaceVariable(version: string): boolean {
  const [major = 0, minor = 0, patch = 0] = version.split(/[.-]/).map(Number)
  return major === 0 && (minor < 1 || (minor === 1 && patch < 64))
}

/**
 * A warning where the login is written below the checkout, from where it may get into artifacts and images.
 * @param directory `~/.blaxel`
 */
export function loginInCheckoutWarning(directory: string, checkout: string | undefined): string | undefined {
  if (checkout === undefined || !isInside(dirname(directory), checkout)) return undefined
  return `HOME is inside the checkout: ${directory} holds the session token until the job ends. Keep it out of artifacts and images, or move HOME.`
}
