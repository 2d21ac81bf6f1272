import type { IncomingMessage, RequestListener, ServerResponse } from 'node:http'
import { setTimeout as sleep } from 'node:timers/promises'

/** One request as it arrived. `status` is 0 until an answer's head is sent, and stays 0 where none is. */
export interface RecordedRequest {
  readonly host: string
  readonly method: string
  /** With its query. */
  readonly path: string
  readonly headers: Readonly<Record<string, string>>
  readonly body: string
  readonly status: number
  /** When it arrived, in milliseconds since the epoch. */
  readonly at: number
}

/** What a server says. An object as body is sent as JSON. */
export interface Reply {
  readonly status: number
  readonly headers?: Readonly<Record<string, string>>
  readonly body?: string | Buffer | object
}

/** The normal behaviour of a host. */
export type Handler = (request: RecordedRequest) => Reply | Promise<Reply>

/** What an intercepted request gets in the place of the normal answer. */
export type Answer =
  | ({ readonly kind: 'respond' } & Reply)
  | { readonly kind: 'reset' }
  | { readonly kind: 'process-then-reset' }
  | { readonly kind: 'hang' }
  | { readonly kind: 'truncate'; readonly bytes: number }
  | { readonly kind: 'stall'; readonly bytes: number }
  /** Late, and where a rate is given no faster than that. */
  | { readonly kind: 'delay'; readonly ms: number; readonly bytesPerMs?: number }
  | { readonly kind: 'endless'; readonly status?: number }
  | { readonly kind: 'handle'; readonly handle: Handler }

/** Which requests get which answer. Rules are asked in the order in which they were added; the first that applies answers. */
export interface Intercept {
  readonly host: string
  readonly method?: string
  /** Compared with the path without its query; a string must be equal. */
  readonly path: string | RegExp
  /** How many requests it answers; without it, all. */
  readonly times?: number
  /** How many matching requests it lets through first, whoever answers them. */
  readonly after?: number
  readonly answer: Answer
}

/** The servers' common ground: it records every request and lets tests step in. */
export interface Wire {
  readonly requests: readonly RecordedRequest[]
  readonly intercept: (rule: Intercept) => () => void
  readonly listener: (host: string, handler: Handler) => RequestListener
}

type Recording = { -readonly [Key in keyof RecordedRequest]: RecordedRequest[Key] }

interface Exchange {
  readonly request: Recording
  readonly response: ServerResponse
  readonly handler: Handler
}

/** A wire on which nothing has happened yet. */
export function createWire(): Wire {
  const requests: Recording[] = []
  const rules = new Map<Intercept, { seen: number; answered: number }>()

  function answerFor(request: RecordedRequest): Answer | undefined {
    const matching = [...rules].filter(([rule]) => matches(rule, request))
    for (const [, count] of matching) count.seen += 1
    const applying = matching.find(([{ after = 0, times = Infinity }, count]) => {
      return count.seen > after && count.answered < times
    })
    if (applying === undefined) return undefined
    const [rule, count] = applying
    count.answered += 1
    return rule.answer
  }

  async function serve(host: string, handler: Handler, incoming: IncomingMessage, response: ServerResponse) {
    const request = begin(host, incoming)
    requests.push(request)
    request.body = await text(incoming)
    const exchange = { request, response, handler }
    const answer = answerFor(request)
    await (answer === undefined ? normally(exchange) : instead(exchange, answer))
  }

  return {
    requests,
    intercept(rule) {
      // A copy, so that one object can be given twice.
      const own = { ...rule }
      rules.set(own, { seen: 0, answered: 0 })
      return () => void rules.delete(own)
    },
    listener: (host, handler) => (incoming, response) => {
      response.on('error', () => undefined)
      serve(host, handler, incoming, response).catch((error: unknown) => {
        if (!response.headersSent) send({ status: 500, body: `sandbox: ${String(error)}` }, response)
        else response.destroy()
      })
    },
  }
}

function begin(host: string, incoming: IncomingMessage): Recording {
  const headers: Record<string, string> = {}
  for (const [name, value] of Object.entries(incoming.headers)) {
    if (value !== undefined) headers[name] = Array.isArray(value) ? value.join(', ') : value
  }
  const { method = '', url = '' } = incoming
  return { host, method, path: url, headers, body: '', status: 0, at: Date.now() }
}

async function text(incoming: IncomingMessage): Promise<string> {
  const chunks: Buffer[] = []
  for await (const chunk of incoming) chunks.push(chunk as Buffer)
  return Buffer.concat(chunks).toString()
}

function matches(rule: Intercept, request: RecordedRequest): boolean {
  const [path = ''] = request.path.split('?')
  if (rule.host !== request.host) return false
  if (rule.method !== undefined && rule.method !== request.method) return false
  return typeof rule.path === 'string' ? rule.path === path : new RegExp(rule.path.source, rule.path.flags).test(path)
}

async function normally({ request, response, handler }: Exchange): Promise<void> {
  const reply = await handler(request)
  request.status = reply.status
  send(reply, response)
}

async function instead(exchange: Exchange, answer: Answer): Promise<void> {
  const { request, response, handler } = exchange
  switch (answer.kind) {
    case 'respond':
      return normally({ ...exchange, handler: () => answer })
    case 'handle':
      return normally({ ...exchange, handler: answer.handle })
    case 'delay':
      return late(exchange, answer)
    case 'reset':
      response.socket?.destroy()
      return
    case 'process-then-reset':
      await handler(request)
      response.socket?.destroy()
      return
    case 'hang':
      return
    case 'truncate':
    case 'stall':
      return cutShort(exchange, answer.bytes, answer.kind === 'truncate')
    case 'endless':
      flood(exchange, answer)
  }
}

function send(reply: Reply, response: ServerResponse): void {
  const { headers, body } = encoded(reply)
  response.writeHead(reply.status, headers)
  response.end(response.req.method === 'HEAD' ? undefined : body)
}

async function cutShort({ request, response, handler }: Exchange, bytes: number, close: boolean): Promise<void> {
  const reply = await handler(request)
  const { headers, body } = encoded(reply)
  request.status = reply.status
  response.writeHead(reply.status, headers)
  response.flushHeaders()
  response.write(body.subarray(0, bytes), () => {
    if (close) response.socket?.destroy()
  })
}

async function late(exchange: Exchange, answer: Extract<Answer, { kind: 'delay' }>): Promise<void> {
  await sleep(answer.ms, undefined, { ref: false })
  return answer.bytesPerMs === undefined ? normally(exchange) : trickle(exchange, answer.bytesPerMs)
}

/** Sends the body no faster than a network of this rate would bring it. */
async function trickle({ request, response, handler }: Exchange, bytesPerMs: number): Promise<void> {
  const reply = await handler(request)
  const { headers, body } = encoded(reply)
  request.status = reply.status
  response.writeHead(reply.status, headers)
  const began = performance.now()
  for (let sent = 0; sent < body.length && !response.destroyed;) {
    const due = Math.min(body.length, Math.floor((performance.now() - began) * bytesPerMs))
    response.write(body.subarray(sent, due))
    sent = due
    await sleep(5, undefined, { ref: false })
  }
  response.end()
}

function encoded(reply: Reply): { headers: Record<string, string>; body: Buffer } {
  const { body = '' } = reply
  if (Buffer.isBuffer(body)) return withLength('application/octet-stream', body, reply)
  if (typeof body === 'string') return withLength('text/plain; charset=utf-8', Buffer.from(body), reply)
  return withLength('application/json', Buffer.from(JSON.stringify(body)), reply)
}

function withLength(type: string, body: Buffer, { headers = {} }: Reply) {
  return { headers: { 'content-type': type, 'content-length': `${body.length}`, ...headers }, body }
}

function flood({ request, response }: Exchange, { status = 200 }: { readonly status?: number }): void {
  request.status = status
  response.writeHead(status, { 'content-type': 'application/octet-stream' })
  const chunk = Buffer.alloc(64 * 1024, '0123456789abcde\n')
  const more = (): void => {
    if (response.destroyed) return
    // Never in one turn: the process that floods is often the one that reads.
    if (response.write(chunk)) setImmediate(more)
    else response.once('drain', more)
  }
  more()
}
