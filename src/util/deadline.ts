/**
 * Runs work under a deadline and under a parent signal, whichever ends first. The work gets the signal; the promise
 * settles at once when it fires, even where the work does not listen.
 * @param ms milliseconds from now
 * @param expired makes the error for the case that the time is up
 * @throws what the work throws, the parent's reason, or the error of `expired`
 */
export async function withDeadline<T>(
  parent: AbortSignal,
  ms: number,
  expired: () => Error,
  work: (signal: AbortSignal) => Promise<T>,
): Promise<T> {
  parent.throwIfAborted()
  const controller = new AbortController()
  const follow = () => {
    controller.abort(parent.reason)
  }
  const timer = setTimeout(() => {
    controller.abort(expired())
  }, ms)
  parent.addEventListener('abort', follow, { once: true })
  try {
    return await unlessAborted(work(controller.signal), controller.signal)
  } finally {
    clearTimeout(timer)
    parent.removeEventListener('abort', follow)
  }
}

/** The promise's outcome, or the signal's reason as soon as it fires. */
export async function unlessAborted<T>(promise: Promise<T>, signal: AbortSignal): Promise<T> {
  let stop: (() => void) | undefined
  const aborted = new Promise<never>((_, reject) => {
    stop = () => {
      reject(signal.reason as Error)
    }
    if (signal.aborted) stop()
    else signal.addEventListener('abort', stop, { once: true })
  })
  try {
    return await Promise.race([promise, aborted])
  } finally {
    if (stop) signal.removeEventListener('abort', stop)
  }
}

/** Waits. @param ms milliseconds @throws the signal's reason when it fires first */
export async function sleep(ms: number, signal: AbortSignal): Promise<void> {
  let timer: NodeJS.Timeout | undefined
  try {
    await unlessAborted(new Promise<void>((resolve) => (timer = setTimeout(resolve, ms))), signal)
  } finally {
    clearTimeout(timer)
  }
}
