/** What a release may be made of, and where it moves the tag of its major version. Decisions only: no files, no git. */

/** A tag of the remote: what it points to, and the commit behind that. */
export interface Tag {
  readonly object: string
  readonly commit: string
}

export interface Facts {
  /** vX.Y.Z, perhaps with a prerelease. */
  readonly tag: string
  /** The commit that is checked out. */
  readonly head: string
  /** Tags of the remote by name. */
  readonly tags: ReadonlyMap<string, Tag>
  /** The tag is not there yet: what would happen if it were set now? */
  readonly dryRun: boolean
  /** The versions in package.json and in its lock file. */
  readonly versions: Readonly<Record<string, string | undefined>>
  readonly changelog: string
  /** Files of dist/ that are not as src/ builds them. */
  readonly stale: readonly string[]
}

export interface Version {
  readonly numbers: readonly [major: number, minor: number, patch: number]
  readonly prerelease: boolean
}

/** Where the tag of the major version goes, or why it stays. A tag that is not there yet has no lease. */
export type MajorMove =
  | { readonly kind: 'move'; readonly major: string; readonly from: string | undefined; readonly to: string }
  | { readonly kind: 'stay'; readonly because: string }

/** Reads vX.Y.Z or vX.Y.Z-prerelease; undefined for anything else, build metadata included. */
export function parseTag(tag: string): Version | undefined {
  const number = '(0|[1-9]\\d{0,8})'
  const match = new RegExp(`^v${number}\\.${number}\\.${number}(-[0-9A-Za-z]+(?:[.-][0-9A-Za-z]+)*)?$`).exec(tag)
  if (!match) return undefined
  const [, major, minor, patch, prerelease] = match
  return { numbers: [Number(major), Number(minor), Number(patch)], prerelease: prerelease !== undefined }
}

/** Everything that speaks against a release; empty where it may be made. */
export function problemsOf(facts: Facts): string[] {
  if (!parseTag(facts.tag)) return [`${facts.tag} is not a tag of the form vX.Y.Z or vX.Y.Z-prerelease.`]
  const version = facts.tag.slice(1)
  return [
    ...tagProblems(facts),
    ...Object.entries(facts.versions)
      .filter(([, own]) => own !== version)
      .map(([file, own]) => `${file} has version ${own ?? '(none)'}, the tag says ${version}.`),
    ...changelogProblems(facts.changelog, version),
    ...facts.stale.map((file) => `dist/${file} is not as src/ builds it: run npm run build, and commit both together.`),
  ]
}

function tagProblems({ tag, tags, head, dryRun }: Facts): string[] {
  const there = tags.get(tag)
  if (dryRun) return there ? [`${tag} is taken: give package.json a new version.`] : []
  if (!there) return [`The remote has no tag ${tag}.`]
  return there.commit === head ? [] : [`${tag} is commit ${there.commit}, but ${head} is checked out.`]
}

function changelogProblems(changelog: string, version: string): string[] {
  const section = sectionOf(changelog, version)
  if (!section) return [`CHANGELOG.md has no section ## [${version}] - YYYY-MM-DD.`]
  return section.notes === '' ? [`CHANGELOG.md says nothing about ${version}.`] : []
}

/** What the changelog says about a version: the text below its heading, without the links at the end of the page. */
export function sectionOf(changelog: string, version: string): { readonly notes: string } | undefined {
  const lines = changelog.split(/\r?\n/)
  const start = lines.findIndex((line) => {
    const [, named, date = ''] = /^## \[([^\]]+)\] - (\d{4}-\d{2}-\d{2})$/.exec(line) ?? []
    return named === version && isDate(date)
  })
  if (start === -1) return undefined
  const rest = lines.slice(start + 1)
  const end = rest.findIndex((line) => /^## |^\[[^\]]+\]: /.test(line))
  return {
    notes: rest
      .slice(0, end === -1 ? undefined : end)
      .join('\n')
      .trim(),
  }
}

/** Date.parse alone takes the 30th of February. */
function isDate(text: string): boolean {
  const date = new Date(`${text}T00:00:00Z`)
  return !Number.isNaN(date.getTime()) && date.toISOString().startsWith(text)
}

/**
 * v1 is always the newest stable v1.Y.Z of the remote: neither a prerelease nor a fix of an older version moves it.
 * @param head the commit that the tag names, or would name
 */
export function majorMove(tag: string, head: string, tags: ReadonlyMap<string, Tag>): MajorMove {
  const version = parseTag(tag)
  if (!version) return { kind: 'stay', because: `${tag} is no release` }
  const major = `v${version.numbers[0]}`
  if (version.prerelease) return { kind: 'stay', because: `${tag} is a prerelease` }
  const newer = [...tags.keys()].find((other) => isNewer(parseTag(other), version))
  if (newer !== undefined) return { kind: 'stay', because: `${newer} is newer than ${tag}` }
  const now = tags.get(major)
  if (now?.object === head) return { kind: 'stay', because: `${major} is there already` }
  return { kind: 'move', major, from: now?.object, to: head }
}

/** Whether a tag is a stable release of the same major version, and newer. */
function isNewer(other: Version | undefined, version: Version): boolean {
  if (!other || other.prerelease) return false
  const [major, minor, patch] = version.numbers
  const [otherMajor, otherMinor, otherPatch] = other.numbers
  return otherMajor === major && (otherMinor > minor || (otherMinor === minor && otherPatch > patch))
}
