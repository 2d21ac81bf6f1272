/**
 * A stand-in for undici, which @actions/http-client imports only for `getAgentDispatcher`. This action sends every
 * request through `HttpClient.request`, so the real package would cost 440 kB and 45 ms at start for nothing.
 */
export class ProxyAgent {
  constructor() {
    throw new Error('undici is not part of this build: send requests through HttpClient.request')
  }
}
