const REPLACEMENT = '***'
/** A shorter text would be cut out of ordinary words. */
const SHORTEST_SECRET = 4
const LONGEST_EXCERPT = 300
const LONGEST_LINE = 2000

/**
 * The forms of a secret that the runner is asked to mask besides the secret itself. The runner derives padded base64,
 * URL and JSON escapes on its own, but neither unpadded base64, base64url nor hex
 * (actions/runner, src/Runner.Common/HostContext.cs).
 */
export function maskedForms(secret: string): string[] {
  const bytes = Buffer.from(secret)
  const base64 = bytes.toString('base64')
  const hex = bytes.toString('hex')
  const forms = [secret, base64, base64.replace(/=+$/, ''), bytes.toString('base64url'), hex, hex.toUpperCase()]
  return [...new Set(forms)].filter((form) => form.length >= SHORTEST_SECRET)
}

/** Replaces the job's secrets in text. */
export interface Redactor {
  /** Remembers a secret of at least 4 characters, in the forms that are masked. */
  add(secret: string): void
  /** The text as one printable line: no secret, no control character, no runner command, at most 2,000 characters. */
  redact(text: string): string
}

/** Creates a redactor without secrets. */
export function createRedactor(): Redactor {
  let longestFirst: string[] = []
  return {
    add: (secret) => {
      longestFirst = [...longestFirst, ...maskedForms(secret)].sort((a, b) => b.length - a.length)
    },
    redact: (text) => {
      // First of all: a secret may hold `::`, and would not be recognised in a text that was made harmless.
      const redacted = longestFirst.reduce((rest, form) => rest.replaceAll(form, REPLACEMENT), text)
      return harmless(redacted).slice(0, LONGEST_LINE)
    },
  }
}

/**
 * Text without control characters and with `::` and `##[` broken: the runner takes `::command::` at the start of a line
 * and `##[command]` anywhere in it as commands (actions/runner, src/Runner.Common/ActionCommand.cs).
 */
function harmless(text: string): string {
  return text
    .replace(/[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]+/gu, ' ')
    .replace(/:(?=:)/g, ': ')
    .replace(/#(?=#\[)/g, '# ')
    .trim()
}

/**
 * Foreign text (a server's, a program's) as part of a message, which is redacted when it is printed: without line
 * breaks, at most 300 characters. It is cut between words, since half a secret would not be recognised.
 */
export function excerpt(text: string, longest = LONGEST_EXCERPT): string {
  const line = text.replace(/\s+/g, ' ').trim()
  if (line.length <= longest) return line
  return `${line.slice(0, longest + 1).replace(/\s*\S*$/, '')}…`
}
