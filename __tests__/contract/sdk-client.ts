/** A program in a later step: it names no credential, no workspace and no API, and leaves all that to the SDK. */
import { listAgents, settings } from '@blaxel/core'

/** What the program prints, as JSON. */
export interface SdkReport {
  readonly workspace: string
  readonly api: string
  readonly status: number
}

const { response } = await listAgents()
const report: SdkReport = { workspace: settings.workspace, api: settings.baseUrl, status: response.status }
process.stdout.write(`${JSON.stringify(report)}\n`)
