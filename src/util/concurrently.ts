/**
 * Runs two pieces of work at the same time. The first failure cancels the other and is the one thrown, after both have
 * ended: nothing goes on in the background.
 * @throws the first failure, or the parent's reason
 */
export async function together<A, B>(
  parent: AbortSignal,
  first: (signal: AbortSignal) => Promise<A>,
  second: (signal: AbortSignal) => Promise<B>,
): Promise<[A, B]> {
  const controller = new AbortController()
  const signal = AbortSignal.any([parent, controller.signal])
  let failure: { readonly error: unknown } | undefined
  const watched = async <T>(work: (signal: AbortSignal) => Promise<T>): Promise<T | undefined> => {
    try {
      return await work(signal)
    } catch (error) {
      failure ??= { error }
      controller.abort(error)
      return undefined
    }
  }
  const results = await Promise.all([watched(first), watched(second)])
  if (failure) throw failure.error
  return results as [A, B]
}
