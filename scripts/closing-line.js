/** Ends a run of all suites with one line that counts: `N passed, N failed`. */
export default class ClosingLine {
  onRunComplete(_, { numPassedTests, numFailedTests, numPendingTests, numRuntimeErrorTestSuites }) {
    const skipped = numPendingTests === 0 ? '' : `, ${numPendingTests} skipped`
    console.log(`\n${numPassedTests} passed, ${numFailedTests + numRuntimeErrorTestSuites} failed${skipped}`)
  }
}
