/** Which packages ship in dist/. Decisions only: no files, no npm. */

interface SbomPackage {
  readonly name: string
  readonly SPDXID: string
  readonly versionInfo: string
  /** The folder that the package is installed in; none for this project. */
  readonly packageFileName?: string
}

/** What is used here of an SPDX document as `npm sbom` writes it. */
export interface Sbom {
  readonly packages: readonly SbomPackage[]
  readonly relationships: readonly { readonly spdxElementId: string; readonly relatedSpdxElement: string }[]
  readonly documentDescribes: readonly string[]
}

interface Lock {
  readonly packages: Readonly<Record<string, { readonly dev?: boolean }>>
}

/** The names in a licenses.txt of ncc: the first line of each entry, which a line with its license follows. */
export function licensedPackages(licenses: string): string[] {
  return [...licenses.matchAll(/(?:^|\n\n)((?:@[\w.-]+\/)?[a-z\d][\w.-]*)\n(?=[A-Z\d(][^\n]*(?:\n|$))/g)].map(
    ([, name = '']) => name,
  )
}

/**
 * The part of an SBOM that is about the packages in dist/.
 * @param everything what `npm sbom` says of all packages
 * @param shipped the names of those in dist/
 * @throws Error if a name is missing, or stands for several versions
 */
export function shippedSbom(everything: Sbom, shipped: readonly string[], lock: Lock): Sbom {
  const isInstalledForUsers = ({ packageFileName = '' }: SbomPackage) => lock.packages[packageFileName]?.dev !== true
  const packages = [...new Set(shipped)].sort().map((name) => {
    const found = everything.packages.filter((one) => one.name === name && isInstalledForUsers(one))
    const [only] = found
    if (!only || found.length > 1) throw new Error(`the SBOM has ${found.length} packages named ${name}, not one`)
    return only
  })
  const project = everything.packages.filter(({ SPDXID }) => everything.documentDescribes.includes(SPDXID))
  const ids = new Set(['SPDXRef-DOCUMENT', ...[...project, ...packages].map(({ SPDXID }) => SPDXID)])
  const relationships = everything.relationships.filter(
    ({ spdxElementId, relatedSpdxElement }) => ids.has(spdxElementId) && ids.has(relatedSpdxElement),
  )
  return { ...everything, packages: [...project, ...packages], relationships }
}
