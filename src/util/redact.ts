const REPLACEMENT = '***'
/** A shorter text would be cut out of ordinary words; the replacement must also be shorter than what it replaces. */
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
  return unique([secret, base64, base64.replace(/=+$/, ''), bytes.toString('base64url'), hex, hex.toUpperCase()])
}

/** Every form in which a secret could reach a message: the masked ones, base64 of it inside other text, and escapes. */
function redactedForms(secret: string): string[] {
  const inside = [1, 2].flatMap((offset) => {
    const shifted = Buffer.concat([Buffer.alloc(offset), Buffer.from(secret)])
    // The first and last characters also encode bits of the neighbours, so only what lies between is the secret's own.
    const whole = shifted.subarray(0, shifted.length - (shifted.length % 3))
    return [whole.toString('base64').slice(4), whole.toString('base64url').slice(4)]
  })
  const head = Buffer.from(secret).subarray(0, Buffer.byteLength(secret) - (Buffer.byteLength(secret) % 3))
  return unique([
    ...maskedForms(secret),
    head.toString('base64'),
    head.toString('base64url'),
    ...inside,
    percentEncoded(secret),
    // as it looks where it went through `excerpt`
    harmless(secret),
    JSON.stringify(secret).slice(1, -1),
  ])
}

function percentEncoded(secret: string): string {
  try {
    return encodeURIComponent(secret)
  } catch {
    return secret // a lone surrogate has no such form
  }
}

function unique(forms: string[]): string[] {
  return [...new Set(forms)].filter((form) => form.length >= SHORTEST_SECRET)
}

/** Knows the job's secrets and takes them out of text. */
export interface Redactor {
  /** Remembers a secret of at least 4 characters in all its forms. */
  add(secret: string): void
  /** The text as one printable line: no secret, no control character, no runner command, at most 2,000 characters. */
  redact(text: string): string
}

/** Makes a redactor that knows no secret yet. */
export function createRedactor(): Redactor {
  const forms = new Set<string>()
  let longestFirst: string[] = []

  // A replacement can bring the ends of another secret together, hence until nothing changes. Each round makes the
  // text shorter, so it ends.
  const takeOut = (text: string): string => {
    let before: string
    let after = text
    do {
      before = after
      for (const form of longestFirst) after = after.replaceAll(form, REPLACEMENT)
    } while (after !== before)
    return after
  }

  return {
    add: (secret) => {
      for (const form of redactedForms(secret)) forms.add(form)
      longestFirst = [...forms].sort((a, b) => b.length - a.length)
    },
    // Once before, for a secret that would be changed by making the text harmless; once after, for one that arises by it.
    redact: (text) => takeOut(harmless(takeOut(text))).slice(0, LONGEST_LINE),
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

/** Foreign text (a server's, a program's) as part of a message: on one line, at most 300 characters. */
export function excerpt(text: string): string {
  const line = text.replace(/\s+/g, ' ')
  const whole = harmless(line)
  if (whole.length <= LONGEST_EXCERPT) return whole
  // Cut between words: a secret that was cut through would not be recognised any more, and none holds a blank.
  let cut = line.slice(0, LONGEST_EXCERPT)
  do cut = cut.replace(/\S*\s*$/, '')
  while (harmless(cut).length > LONGEST_EXCERPT)
  return `${harmless(cut)}…`
}
