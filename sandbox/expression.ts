/** What a name in an expression can stand for. */
export type Value = string | number | boolean | null | { readonly [name: string]: Value | undefined } | readonly Value[]

export type Contexts = Readonly<Record<string, Value>>

/** Replaces every `${{ }}` in a text by its value: a name, and the two forms that action.yml and e2e.yml have besides. */
export function evaluateTemplate(text: string, contexts: Contexts): string {
  return text.replaceAll(/\$\{\{(.*?)\}\}/gs, (_, expression: string) => {
    const choice = /^(\S+) == '([^']*)' && (\S+) \|\| '([^']*)'$/.exec(expression.trim())
    if (choice === null) {
      const name = expression.trim().replace(/ != ''$/, '')
      const value = valueOf(name, contexts)
      return name === expression.trim() ? value : String(value !== '')
    }
    const [, left = '', right = '', name = '', otherwise = ''] = choice
    // GitHub does not tell capitals apart.
    const isSo = valueOf(left, contexts).toLowerCase() === right.toLowerCase()
    return (isSo && valueOf(name, contexts)) || otherwise
  })
}

function valueOf(name: string, contexts: Contexts): string {
  const [context = '', ...members] = name.split('.')
  if (!Object.hasOwn(contexts, context) || !/^[\w-]+(?:\.[\w-]+)+$/.test(name)) {
    throw new Error(`Not an expression that the sandbox knows: ${name}`)
  }
  const value = members.reduce<Value>(member, contexts[context] ?? null)
  if (value === null) return ''
  return typeof value === 'object' ? 'Object' : String(value)
}

function member(value: Value, name: string): Value {
  if (value === null || typeof value !== 'object') return null
  const found = Object.entries(value).find(([key]) => key.toLowerCase() === name.toLowerCase())
  return found?.[1] ?? null
}
