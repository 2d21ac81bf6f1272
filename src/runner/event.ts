/** Why a run may lack its secrets, as far as the event tells. */
export type RunOrigin = 'fork' | 'dependabot' | 'own'

/**
 * Where a run comes from.
 * @param event the webhook's payload (GITHUB_EVENT_PATH)
 */
export function runOrigin(eventName: string, actor: string, event: unknown): RunOrigin {
  // A run of Dependabot's sees Dependabot's secrets alone, whatever its event.
  if (actor === 'dependabot[bot]') return 'dependabot'
  // pull_request_target runs in the base repository, with its secrets.
  if (!eventName.startsWith('pull_request') || eventName === 'pull_request_target') return 'own'
  const head = repositoryName(event, 'head')
  const base = repositoryName(event, 'base')
  // The head repository of a pull request is null once the fork is deleted.
  return base !== undefined && head !== base ? 'fork' : 'own'
}

function repositoryName(event: unknown, side: 'head' | 'base'): string | undefined {
  let value = event
  for (const key of ['pull_request', side, 'repo', 'full_name']) {
    if (typeof value !== 'object' || value === null) return undefined
    value = (value as Record<string, unknown>)[key]
  }
  return typeof value === 'string' ? value : undefined
}

/**
 * What to do where GitHub gave a run no secrets; undefined if it gives them.
 * @param canSkip whether 'on-missing-credentials: skip' would help
 */
export function withheldSecretsRemedy(origin: RunOrigin, canSkip: boolean): string | undefined {
  const skip = canSkip ? " To install only the CLI in such runs, set 'on-missing-credentials: skip'." : ''
  switch (origin) {
    case 'fork':
      return `This run is for a pull request from a fork, and GitHub gives such runs no secrets.${skip}`
    case 'dependabot':
      return `Runs started by Dependabot get only Dependabot secrets: add the missing one there too (Settings, Secrets and variables, Dependabot).${skip}`
    case 'own':
      return undefined
  }
}
