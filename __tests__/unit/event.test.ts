import { describe, expect, test } from '@jest/globals'
import fc from 'fast-check'
import { runOrigin, withheldSecretsRemedy, type RunOrigin } from '../../src/runner/event.ts'
import { holds } from './property.ts'

const pullRequest = (head: unknown, base: unknown) => ({ pull_request: { head: { repo: head }, base: { repo: base } } })
const OURS = { full_name: 'acme/app' }
const FORK = { full_name: 'mallory/app' }

describe('a run', () => {
  test.each<[string, string, string, unknown, RunOrigin]>([
    ['a push', 'push', 'jane', { head_commit: {} }, 'own'],
    ['a pull request of a branch', 'pull_request', 'jane', pullRequest(OURS, OURS), 'own'],
    ['a pull request from a fork', 'pull_request', 'jane', pullRequest(FORK, OURS), 'fork'],
    ['a pull request from a fork that is deleted', 'pull_request', 'jane', pullRequest(null, OURS), 'fork'],
    ['a review of a pull request from a fork', 'pull_request_review', 'jane', pullRequest(FORK, OURS), 'fork'],
    ['a comment on a review', 'pull_request_review_comment', 'jane', pullRequest(FORK, OURS), 'fork'],
    // GitHub runs this one in the context of the base, with its secrets.
    ['a pull request target from a fork', 'pull_request_target', 'jane', pullRequest(FORK, OURS), 'own'],
    ['a comment on an issue, whatever it says', 'issue_comment', 'jane', pullRequest(FORK, OURS), 'own'],
    ['a pull request whose base is not named', 'pull_request', 'jane', pullRequest(FORK, null), 'own'],
    ['a push of Dependabot', 'push', 'dependabot[bot]', {}, 'dependabot'],
    ['a pull request of Dependabot', 'pull_request', 'dependabot[bot]', pullRequest(OURS, OURS), 'dependabot'],
    ['somebody who is called dependabot', 'push', 'dependabot', {}, 'own'],
    ['a schedule, whose event says little', 'schedule', 'jane', { schedule: '0 0 * * *' }, 'own'],
    ['a manual start', 'workflow_dispatch', 'jane', { inputs: null }, 'own'],
    ['an event that could not be read', 'pull_request', 'jane', undefined, 'own'],
    ['an event of another form', 'pull_request', 'jane', { pull_request: 'x' }, 'own'],
    ['no event at all', '', '', undefined, 'own'],
  ])('for %s', (_, name, actor, event, origin) => {
    expect(runOrigin(name, actor, event)).toBe(origin)
  })

  test('has an origin whatever the event holds', () => {
    const eventName = fc.constantFrom('push', 'pull_request', 'pull_request_target')
    const side = fc.oneof(
      fc.jsonValue(),
      fc.record({ repo: fc.oneof(fc.jsonValue(), fc.record({ full_name: fc.jsonValue() })) }),
    )
    const event = fc.oneof(
      fc.jsonValue(),
      fc.record({ pull_request: fc.oneof(fc.jsonValue(), fc.record({ head: side, base: side })) }),
    )
    holds(
      fc.property(eventName, fc.string(), event, (name, actor, payload) => {
        expect(['own', 'fork', 'dependabot']).toContain(runOrigin(name, actor, payload))
      }),
    )
  })
})

describe('what to do where GitHub withholds the secrets', () => {
  test.each<[RunOrigin, RegExp]>([
    ['fork', /from a fork, and GitHub gives such runs no secrets.*'on-missing-credentials: skip'/],
    ['dependabot', /only Dependabot secrets: add the missing one there too.*'on-missing-credentials: skip'/],
  ])('is told for a run of origin %s', (origin, remedy) => {
    expect(withheldSecretsRemedy(origin, true)).toMatch(remedy)
    expect(withheldSecretsRemedy(origin, false)).not.toContain('skip')
  })

  test('is nothing special in other runs', () => {
    expect(withheldSecretsRemedy('own', true)).toBeUndefined()
  })
})
