/** Replaces secrets in the log, in the forms that GitHub's runner knows: it knows neither hex nor base64url. */
export class Masker {
  readonly #forms = new Set<string>()

  /** Masks a value from now on, and each of its lines. */
  add(value: string): void {
    for (const part of [value, ...value.split(/[\r\n]/)]) {
      if (part.trim() === '') continue
      for (const form of formsOf(part)) this.#forms.add(form)
    }
  }

  mask(text: string): string {
    const hits = [...this.#forms].flatMap((form) => occurrences(text, form)).sort((a, b) => a.start - b.start)
    let result = ''
    let at = 0
    for (const { start, end } of hits) {
      if (start > at || (start === 0 && at === 0)) result += `${text.slice(at, start)}***`
      at = Math.max(at, end)
    }
    return result + text.slice(at)
  }
}

interface Span {
  readonly start: number
  readonly end: number
}

function occurrences(text: string, form: string): Span[] {
  const spans: Span[] = []
  for (let at = text.indexOf(form); at >= 0; at = text.indexOf(form, at + 1)) {
    spans.push({ start: at, end: at + form.length })
  }
  return spans
}

function formsOf(value: string): string[] {
  const bytes = Buffer.from(value)
  // Where a secret stands in a longer text that gets encoded, its place decides which of three forms shows.
  const encoded = [0, 1, 2].map((offset) => (bytes.length > offset ? bytes.subarray(offset) : bytes).toString('base64'))
  return [
    value,
    ...encoded,
    value.replaceAll('"', '\\"'),
    value.replaceAll("'", "''"),
    JSON.stringify(value).slice(1, -1),
    encodeURIComponent(value).replace(
      /[!'()*]/g,
      (character) => `%${character.charCodeAt(0).toString(16).toUpperCase()}`,
    ),
    value.replace(/[<>&"']/g, (character) => XML[character] ?? character),
    value.length > 8 ? value.replace(/^"(.*)"$/s, '$1') : value,
  ]
}

const XML: Readonly<Record<string, string>> = { '<': '&lt;', '>': '&gt;', '&': '&amp;', '"': '&quot;', "'": '&apos;' }
