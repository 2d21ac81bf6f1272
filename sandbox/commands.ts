/** A workflow command: what a step prints to speak to the runner. */
export interface Command {
  readonly name: string
  readonly properties: Readonly<Record<string, string>>
  readonly data: string
}

/** Reads `::name key=value,…::data` at the start of a line, or `##[name key=value;…]data` anywhere in it. */
export function parseCommand(line: string, isKnown: (name: string) => boolean): Command | undefined {
  return candidates(line).find(({ name }) => isKnown(name))
}

function candidates(line: string): Command[] {
  const colons = [...line.matchAll(/^\s*::([^\s:]+)(?:\s+(.*?))?::(.*)$/gs)]
  const brackets = [...line.matchAll(/##\[([^\s\]]+)(?:\s+([^\]]*))?\](?=(.*))/gs)]
  return [
    ...colons.map((match) => command(match, ',', { '3A': ':', '2C': ',' })),
    ...brackets.map((match) => command(match, ';', { '3B': ';', '5D': ']' })),
  ]
}

function command(match: RegExpExecArray, separator: string, escapes: Readonly<Record<string, string>>): Command {
  const [, name = '', list = '', data = ''] = match
  const pairs = list
    .split(separator)
    .map((pair) => pair.trim().split('='))
    .filter(([key]) => key !== '')
    .map(([key = '', ...value]) => [key, unescape(value.join('='), escapes)] as const)
  return { name: name.toLowerCase(), properties: Object.fromEntries(pairs), data: unescape(data, {}) }
}

function unescape(text: string, more: Readonly<Record<string, string>>): string {
  const characters: Readonly<Record<string, string>> = { '0A': '\n', '0D': '\r', '25': '%', ...more }
  return text.replace(/%([0-9A-F]{2})/gi, (escaped, hex: string) => characters[hex.toUpperCase()] ?? escaped)
}
