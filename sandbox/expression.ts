export type Value =
  string | number | boolean | null | { readonly [name: string]: Value | undefined } | readonly (Value | undefined)[]

/** What the names in an expression stand for, and the functions it may call. */
export interface Scope {
  readonly contexts: Readonly<Record<string, Value>>
  readonly functions?: Readonly<Record<string, () => Value>>
}

/** Replaces every `${{ }}` in a text by its value. */
export function evaluateTemplate(text: string, scope: Scope): string {
  let result = ''
  let at = 0
  for (;;) {
    const open = text.indexOf('${{', at)
    if (open < 0) return result + text.slice(at)
    const expression = new Expression(text, open + 3, scope)
    result += text.slice(at, open) + asText(expression.value())
    at = expression.end(/\s*\}\}/y)
  }
}

/** Evaluates a condition as `if:` and `post-if:` have it, with or without `${{ }}`. */
export function evaluateCondition(text: string, scope: Scope): boolean {
  const bare = text.trim().replace(/^\$\{\{(.*)\}\}$/s, '$1')
  const expression = new Expression(bare, 0, scope)
  const value = expression.value()
  expression.end(/\s*$/y)
  return isTrue(value)
}

/** Computes while it parses: nothing in an expression has side effects, so no tree is needed. */
class Expression {
  readonly #text: string
  readonly #scope: Scope
  #at: number

  constructor(text: string, at: number, scope: Scope) {
    this.#text = text
    this.#at = at
    this.#scope = scope
  }

  value(): Value {
    let left = this.#and()
    while (this.#take(/\s*\|\|/y) !== undefined) {
      const right = this.#and()
      left = isTrue(left) ? left : right
    }
    return left
  }

  end(pattern: RegExp): number {
    if (this.#take(pattern) === undefined) this.#fail()
    return this.#at
  }

  #and(): Value {
    let left = this.#equality()
    while (this.#take(/\s*&&/y) !== undefined) {
      const right = this.#equality()
      left = isTrue(left) ? right : left
    }
    return left
  }

  #equality(): Value {
    let left = this.#unary()
    for (;;) {
      const operator = this.#take(/\s*([=!]=)/y)
      if (operator === undefined) return left
      left = isEqual(left, this.#unary()) === (operator === '==')
    }
  }

  #unary(): Value {
    return this.#take(/\s*(!)(?!=)/y) === undefined ? this.#operand() : !isTrue(this.#unary())
  }

  #operand(): Value {
    if (this.#take(/\s*(\()/y) !== undefined) {
      const value = this.value()
      this.end(/\s*\)/y)
      return value
    }
    const text = this.#take(/\s*'((?:[^']|'')*)'/y)
    if (text !== undefined) return text.replaceAll("''", "'")
    const number = this.#take(/\s*(-?\d+(?:\.\d+)?)/y)
    if (number !== undefined) return Number(number)
    return this.#name()
  }

  #name(): Value {
    const name = this.#take(/\s*([A-Za-z_][\w-]*)/y)
    if (name === undefined) return this.#fail()
    if (name in CONSTANTS) return CONSTANTS[name] ?? null
    if (this.#take(/\s*\(\s*\)/y) !== undefined) {
      const called = this.#scope.functions?.[name]
      return called === undefined ? this.#fail() : called()
    }
    const context = this.#scope.contexts[name]
    return context === undefined ? this.#fail() : this.#members(context)
  }

  #members(context: Value): Value {
    let value = context
    for (;;) {
      const name = this.#take(/\s*\.\s*([A-Za-z_][\w-]*)/y)
      if (name !== undefined) {
        value = member(value, name)
      } else if (this.#take(/\s*(\[)/y) !== undefined) {
        value = member(value, asText(this.value()))
        this.end(/\s*\]/y)
      } else {
        return value
      }
    }
  }

  #take(pattern: RegExp): string | undefined {
    pattern.lastIndex = this.#at
    const match = pattern.exec(this.#text)
    if (match === null) return undefined
    this.#at = pattern.lastIndex
    return match[1] ?? match[0]
  }

  #fail(): never {
    throw new Error(`Not a valid expression at character ${this.#at + 1}: ${this.#text}`)
  }
}

const CONSTANTS: Readonly<Record<string, Value>> = { true: true, false: false, null: null }

function member(value: Value, name: string): Value {
  if (value === null || typeof value !== 'object') return null
  const found = Object.entries(value).find(([key]) => key.toLowerCase() === name.toLowerCase())
  return found?.[1] ?? null
}

function isTrue(value: Value): boolean {
  return typeof value === 'object' ? value !== null : Boolean(value)
}

function isEqual(left: Value, right: Value): boolean {
  if (typeof left === 'string' && typeof right === 'string') return left.toLowerCase() === right.toLowerCase()
  return typeof left === typeof right && left !== null && right !== null
    ? left === right
    : asNumber(left) === asNumber(right)
}

function asNumber(value: Value): number {
  return typeof value === 'object' && value !== null ? NaN : Number(value)
}

function asText(value: Value): string {
  if (value === null) return ''
  return typeof value === 'object' ? 'Object' : String(value)
}
