/**
 * Jest runs tests in a realm of their own, where the errors of Node's modules are no `instanceof Error`. In the product
 * they are: here they become so. Import it for its effect where the code under test looks at errors of the disk.
 */
const { isError } = Error as unknown as { isError: (value: unknown) => boolean }
const ordinary = Function.prototype[Symbol.hasInstance] as (this: unknown, value: unknown) => boolean
Object.defineProperty(Error, Symbol.hasInstance, {
  value(this: unknown, value: unknown): boolean {
    return this === Error ? isError(value) : ordinary.call(this, value)
  },
})
