import { CLIENT_ID, credentials } from './world.ts'

export const HOST = 'api.blaxel.ai'
/** The keys of the service account. */
export const KEYS = `/v0/service_accounts/${CLIENT_ID}/api_keys`

/** The three requests on the way to a session, and the inputs that make the action send each. */
export const requests = {
  token: { method: 'POST', path: '/v0/oauth/token', credential: credentials.oauth },
  // `bl login` asks for the workspace, too.
  workspace: {
    method: 'GET',
    path: '/v0/workspaces/acme',
    credential: { ...credentials['api-key'], login: 'false' },
  },
  mint: { method: 'POST', path: KEYS, credential: credentials['service-account'] },
} as const
