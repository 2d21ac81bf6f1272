/**
 * Runs two tasks at the same time. The first failure cancels the other task and is thrown once both have ended, so
 * nothing goes on in the background.
 * @throws the first failure, or the parent's reason
 */
export async function concurrently<A, B>(
  parent: AbortSignal,
  first: (signal: AbortSignal) => Promise<A>,
  second: (signal: AbortSignal) => Promise<B>,
): Promise<[A, B]> {
  const controller = new AbortController()
  const signal = AbortSignal.any([parent, controller.signal])
  let failure: { readonly error: unknown } | undefined
  const cancelOnFailure = async <T>(task: (signal: AbortSignal) => Promise<T>): Promise<T | undefined> => {
    try {
      return await task(signal)
    } catch (error) {
      failure ??= { error }
      controller.abort(error)
      return undefined
    }
  }
  const results = await Promise.all([cancelOnFailure(first), cancelOnFailure(second)])
  if (failure) throw failure.error
  return results as [A, B]
}
