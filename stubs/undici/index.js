/**
 * Stands in for undici, which @actions/http-client imports only for the `ProxyAgent` that its
 * `getAgentDispatcher` hands to fetch. This action sends every request, proxied ones too, through
 * node:http(s) and tunnel, so 440 kB and 45 ms at start would be loaded for nothing.
 */
export class ProxyAgent {
  constructor() {
    throw new Error("undici's ProxyAgent is not part of this build: send requests through HttpClient.request")
  }
}
