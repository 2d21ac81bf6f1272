import * as core from '@actions/core'
import { messageOf } from '../util/errors.ts'
import { createRedactor, maskedForms } from '../util/redact.ts'

/** The runner that executes the step: everything printed or handed on goes through here. */
export interface Runner {
  /** Keeps a secret out of the log: the runner masks it from now on, and nothing of ours prints it. */
  readonly hide: (secret: string) => void
  /** Keeps a secret out of what we print, without asking the runner to mask it. */
  readonly redact: (secret: string) => void
  readonly info: (text: string) => void
  readonly debug: (text: string) => void
  readonly notice: (text: string) => void
  readonly warning: (text: string) => void
  /** Prints one error and fails the step. */
  readonly fail: (error: unknown) => void
  readonly setOutput: (name: string, value: string) => void
  readonly exportVariable: (name: string, value: string) => void
  readonly addPath: (directory: string) => void
  /** The last value saved is the one that the post step gets. */
  readonly saveState: (value: string) => void
}

const STATE = 'setup-bl'

/** The only place that prints, and the only one that knows @actions/core's outputs. */
export function createRunner(): Runner {
  const redactor = createRedactor()
  const clean = (text: string) => redactor.redact(text)
  return {
    hide: (secret) => {
      redactor.add(secret)
      for (const form of maskedForms(secret)) core.setSecret(form)
    },
    redact: (secret) => {
      redactor.add(secret)
    },
    info: (text) => {
      core.info(clean(text))
    },
    debug: (text) => {
      core.debug(clean(text))
    },
    notice: (text) => {
      core.notice(clean(text))
    },
    warning: (text) => {
      core.warning(clean(text))
    },
    fail: (error) => {
      core.setFailed(clean(messageOf(error)))
    },
    setOutput: core.setOutput,
    exportVariable: core.exportVariable,
    addPath: core.addPath,
    saveState: (value) => {
      core.saveState(STATE, value)
    },
  }
}

/** What the main step has saved for the post step; empty if it saved nothing. */
export function savedState(): string {
  return core.getState(STATE)
}
