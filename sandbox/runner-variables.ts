import type { Value } from './expression.ts'

export type RunnerEnvironment = 'github-hosted' | 'self-hosted'

/** What a job may say about itself; the rest is made up. */
export interface JobFacts {
  readonly eventName?: string
  readonly actor?: string
  readonly refName?: string
  readonly serverUrl?: string
  readonly debug?: boolean
}

interface Facts extends JobFacts {
  readonly eventPath: string
  readonly temp: string
  readonly workspace: string
  readonly toolCache: string
  readonly runnerEnvironment: RunnerEnvironment
  readonly trackingId: string
}

const REPOSITORY = 'blaxel-ai/setup-bl'
const REF = 'v1'
const SYSTEMS: Readonly<Record<string, string>> = { linux: 'Linux', darwin: 'macOS', win32: 'Windows' }
const ARCHITECTURES: Readonly<Record<string, string>> = { x64: 'X64', arm64: 'ARM64', ia32: 'X86', arm: 'ARM' }

/** How a workflow names the action. */
export const ACTION_NAME = `${REPOSITORY}@${REF}`

/** The variables that the runner sets for every step of a job. */
export function runnerVariables(facts: Facts): Record<string, string> {
  const { serverUrl = 'https://github.com', actor = 'octocat', refName = 'main' } = facts
  return {
    CI: 'true',
    GITHUB_ACTIONS: 'true',
    GITHUB_ACTOR: actor,
    GITHUB_API_URL: serverUrl === 'https://github.com' ? 'https://api.github.com' : `${serverUrl}/api/v3`,
    GITHUB_EVENT_NAME: facts.eventName ?? 'push',
    GITHUB_EVENT_PATH: facts.eventPath,
    GITHUB_JOB: 'build',
    GITHUB_REF: `refs/heads/${refName}`,
    GITHUB_REF_NAME: refName,
    GITHUB_REPOSITORY: 'octo-org/hello',
    GITHUB_REPOSITORY_OWNER: 'octo-org',
    GITHUB_RUN_ATTEMPT: '1',
    // The same in every job: jobs of one run share it, so nothing may be told apart by it.
    GITHUB_RUN_ID: '1000',
    GITHUB_RUN_NUMBER: '1',
    GITHUB_SERVER_URL: serverUrl,
    GITHUB_SHA: '0'.repeat(40),
    GITHUB_TRIGGERING_ACTOR: actor,
    GITHUB_WORKFLOW: 'CI',
    GITHUB_WORKSPACE: facts.workspace,
    RUNNER_ARCH: ARCHITECTURES[process.arch] ?? process.arch.toUpperCase(),
    RUNNER_ENVIRONMENT: facts.runnerEnvironment,
    RUNNER_NAME: 'sandbox',
    RUNNER_OS: SYSTEMS[process.platform] ?? process.platform,
    RUNNER_TEMP: facts.temp,
    RUNNER_TOOL_CACHE: facts.toolCache,
    RUNNER_TRACKING_ID: facts.trackingId,
    ...(facts.debug === true ? { RUNNER_DEBUG: '1' } : {}),
  }
}

/** The variables that only an action gets, and a script does not. */
export function actionVariables(runtimeToken: string): Record<string, string> {
  return {
    ACTIONS_CACHE_URL: 'https://artifactcache.actions.githubusercontent.com/sandbox/',
    ACTIONS_ID_TOKEN_REQUEST_TOKEN: runtimeToken,
    ACTIONS_ID_TOKEN_REQUEST_URL: 'https://run-actions.actions.githubusercontent.com/idtoken',
    ACTIONS_RESULTS_URL: 'https://results-receiver.actions.githubusercontent.com/',
    ACTIONS_RUNTIME_TOKEN: runtimeToken,
    ACTIONS_RUNTIME_URL: 'https://pipelines.actions.githubusercontent.com/sandbox/',
    GITHUB_ACTION_REF: REF,
    GITHUB_ACTION_REPOSITORY: REPOSITORY,
  }
}

/** The variables with a prefix, as the expression context of that name has them. */
export function contextOf(variables: Readonly<Record<string, string>>, prefix: string): Record<string, Value> {
  const entries = Object.entries(variables)
    .filter(([name]) => name.startsWith(prefix))
    .map(([name, value]) => [name.slice(prefix.length).toLowerCase(), value] as const)
  return Object.fromEntries(entries)
}
