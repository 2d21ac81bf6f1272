import { globSync } from 'node:fs'
import { join, relative, resolve } from 'node:path'
import ts from 'typescript'

/** Stands for what differs from case to case. */
export const HOLE = '…'

/** What the product can say to the person who reads the log. */
export interface Messages {
  /** Every error, warning and notice in every wording, sorted. */
  readonly texts: readonly string[]
  /** Where a text is only passed on, as `file: expression`. */
  readonly passedOn: readonly string[]
}

const root = resolve(import.meta.dirname, '../..')
/** Classes of errors, and which argument is the message. */
const ERRORS: Readonly<Record<string, number>> = { SetupError: 0, MissingFile: 0, NetworkError: 1 }
const ANNOTATIONS = ['warning', 'warn', 'notice']
const FIELDS = ['warning', 'warnings', 'notice']
/** Deeper than any text is put together. */
const DEEPEST = 8

const UNKNOWN = ts.factory.createNull()

/** Reads every message out of src, by the compiler's understanding of it. */
export function readMessages(): Messages {
  const files = globSync('src/**/*.ts', { cwd: root }).map((file) => join(root, file))
  const program = ts.createProgram(files, {
    allowImportingTsExtensions: true,
    module: ts.ModuleKind.ESNext,
    moduleResolution: ts.ModuleResolutionKind.Bundler,
    noEmit: true,
    noLib: true,
    target: ts.ScriptTarget.ESNext,
    types: [],
  })
  const sources = program.getSourceFiles().filter(({ fileName }) => files.includes(resolve(fileName)))
  return new Reader(program.getTypeChecker(), sources).read()
}

class Reader {
  private readonly checker: ts.TypeChecker
  private readonly sources: readonly ts.SourceFile[]
  /** The arguments of every call, by what is called. */
  private readonly calls = new Map<ts.Symbol, (readonly ts.Expression[])[]>()

  constructor(checker: ts.TypeChecker, sources: readonly ts.SourceFile[]) {
    this.checker = checker
    this.sources = sources
    this.visit((node) => {
      if (!ts.isCallExpression(node) && !ts.isNewExpression(node)) return
      const symbol = this.symbolOf(node.expression)
      if (symbol) this.calls.set(symbol, [...(this.calls.get(symbol) ?? []), [...(node.arguments ?? [])]])
    })
  }

  read(): Messages {
    const texts = new Set<string>()
    const passedOn = new Set<string>()
    this.visit((node) => {
      const message = messageIn(node)
      if (!message) return
      for (const text of this.wordings(message, DEEPEST, true)) {
        if (text === HOLE) passedOn.add(`${relative(root, node.getSourceFile().fileName)}: ${message.getText()}`)
        else texts.add(text)
      }
    })
    return { texts: [...texts].sort(), passedOn: [...passedOn].sort() }
  }

  private visit(look: (node: ts.Node) => void): void {
    const descend = (node: ts.Node): void => {
      look(node)
      ts.forEachChild(node, descend)
    }
    this.sources.forEach(descend)
  }

  /** Every text that an expression can be. @param isWhole it is all of the message, not a part of it */
  private wordings(node: ts.Expression, depth: number, isWhole = false): string[] {
    if (depth === 0) return [HOLE]
    const inner = (expression: ts.Expression) => this.wordings(expression, depth - 1, isWhole)
    if (ts.isStringLiteralLike(node) || ts.isNumericLiteral(node)) return [node.text]
    if (ts.isConditionalExpression(node)) return [...inner(node.whenTrue), ...inner(node.whenFalse)]
    if (ts.isArrayLiteralExpression(node)) return node.elements.flatMap(inner)
    if (ts.isTemplateExpression(node)) return this.template(node, depth)
    if (ts.isIdentifier(node)) return node.text === 'undefined' ? [] : this.named(node).flatMap(inner)
    return ts.isCallExpression(node) ? this.called(node, depth, isWhole) : [HOLE]
  }

  private template(node: ts.TemplateExpression, depth: number): string[] {
    return node.templateSpans.reduce<string[]>(
      (beginnings, { expression, literal }) => {
        const parts = this.wordings(expression, depth - 1)
        return beginnings.flatMap((beginning) => parts.map((part) => beginning + part + literal.text))
      },
      [node.head.text],
    )
  }

  /** A constant is what it was made of, a parameter what it is called with; anything else is itself, and so unknown. */
  private named(node: ts.Identifier): readonly ts.Expression[] {
    const declaration = this.symbolOf(node)?.valueDeclaration
    if (declaration && ts.isVariableDeclaration(declaration)) return [declaration.initializer ?? UNKNOWN]
    const given = declaration && ts.isParameter(declaration) ? this.given(declaration) : []
    return given.length === 0 ? [UNKNOWN] : given
  }

  /** What a parameter of a function with a name is given, over all calls. */
  private given(parameter: ts.ParameterDeclaration): ts.Expression[] {
    const owner = parameter.parent
    const name = ts.isArrowFunction(owner) && ts.isVariableDeclaration(owner.parent) ? owner.parent.name : owner.name
    const symbol = name && this.symbolOf(name)
    const calls = (symbol && this.calls.get(symbol)) ?? []
    return calls.flatMap((given) => given[owner.parameters.indexOf(parameter)] ?? [])
  }

  /** Within a text, what a call gives counts only where it is one of a few fixed words. */
  private called(node: ts.CallExpression, depth: number, isWhole: boolean): string[] {
    const texts = this.returned(node, depth)
    return isWhole || !texts.some((text) => text.includes(HOLE)) ? texts : [HOLE]
  }

  private returned(node: ts.CallExpression, depth: number): string[] {
    const declaration = this.symbolOf(node.expression)?.valueDeclaration
    if (!declaration || !ts.isFunctionDeclaration(declaration) || !declaration.body) return [HOLE]
    const texts: string[] = []
    const descend = (child: ts.Node): void => {
      if (ts.isReturnStatement(child) && child.expression)
        texts.push(...this.wordings(child.expression, depth - 1, true))
      ts.forEachChild(child, descend)
    }
    descend(declaration.body)
    return texts
  }

  private symbolOf(node: ts.Node): ts.Symbol | undefined {
    const symbol = this.checker.getSymbolAtLocation(node)
    return symbol && symbol.flags & ts.SymbolFlags.Alias ? this.checker.getAliasedSymbol(symbol) : symbol
  }
}

function messageIn(node: ts.Node): ts.Expression | undefined {
  if (ts.isNewExpression(node) && ts.isIdentifier(node.expression)) {
    const position = ERRORS[node.expression.text]
    return position === undefined ? undefined : node.arguments?.[position]
  }
  if (ts.isCallExpression(node) && ts.isPropertyAccessExpression(node.expression)) {
    const { name, expression } = node.expression
    const isPushed = name.text === 'push' && expression.getText() === 'warnings'
    return isPushed || ANNOTATIONS.includes(name.text) ? node.arguments[0] : undefined
  }
  if (ts.isPropertyAssignment(node) && FIELDS.includes(node.name.getText())) return asText(node.initializer)
  return undefined
}

/** A field of one of those names may also hold a function that prints. */
function asText(value: ts.Expression): ts.Expression | undefined {
  return ts.isArrowFunction(value) ? undefined : value
}
