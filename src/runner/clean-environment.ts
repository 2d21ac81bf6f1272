type Environment = Record<string, string | undefined>

/** What a request gets of these is decided by what was read from them before, and by nothing else. */
const PROXIES = ['HTTP_PROXY', 'HTTPS_PROXY', 'NO_PROXY']
const CREDENTIALS = ['BL_API_KEY', 'BL_TOKEN', 'BL_CLIENT_CREDENTIALS', 'GITHUB_TOKEN', 'GH_TOKEN']

/**
 * Takes everything out of an environment that a child process or the runtime must not see: inputs, the runner's tokens,
 * credentials, proxies, and settings that weaken TLS or print requests.
 * @returns warnings about what was set and should not be
 */
export function cleanEnvironment(env: Environment): string[] {
  const warnings: string[] = []
  if (env.NODE_TLS_REJECT_UNAUTHORIZED === '0') {
    warnings.push(
      'NODE_TLS_REJECT_UNAUTHORIZED=0 was ignored: certificates are always checked. Set NODE_EXTRA_CA_CERTS to the PEM file of your CA instead.',
    )
  }
  if ((env.NODE_DEBUG ?? '') !== '')
    warnings.push('NODE_DEBUG was ignored: it would print requests with their credentials.')
  for (const name of Object.keys(env)) {
    if (isUnwanted(name)) Reflect.deleteProperty(env, name)
  }
  return warnings
}

function isUnwanted(name: string): boolean {
  const upper = name.toUpperCase()
  return (
    upper.startsWith('INPUT_') ||
    upper.startsWith('ACTIONS_') ||
    CREDENTIALS.includes(upper) ||
    PROXIES.includes(upper) ||
    upper === 'NODE_DEBUG' ||
    upper === 'NODE_TLS_REJECT_UNAUTHORIZED'
  )
}
