/** A config.yaml that can't be changed without risk. `line` counts from 1. */
export class ConfigTextError extends Error {
  override readonly name = 'ConfigTextError'
  readonly line: number

  constructor(line: number, what: string) {
    super(what)
    this.line = line
  }
}
