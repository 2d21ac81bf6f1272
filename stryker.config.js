// Every mutant is tried: few cases of each property are enough to kill one, and thousands would take days.
process.env.PROPERTY_RUNS ??= '20'
// Nobody reads how it was killed.
process.env.PROPERTY_SHRINK ??= '0'

/**
 * Mutation testing of the modules that decide and do nothing else, by the unit tests: the contract tests run what is
 * built from src/, which a mutant of src/ is not.
 */
export default {
  mutate: [
    'src/util/{redact,reason,retry,url,deadline,concurrently}.ts',
    'src/blaxel/{credential,endpoint,values}.ts',
    'src/install/{checksum,platform,version,version-file}.ts',
    'src/login/{config-document,store,warnings}.ts',
    'src/runner/{clean-environment,event,proxy}.ts',
    'src/{inputs,credentials,state}.ts',
  ],
  testRunner: 'jest',
  testRunnerNodeArgs: ['--experimental-vm-modules', '--disable-warning=ExperimentalWarning'],
  jest: {
    config: {
      roots: ['<rootDir>/__tests__/unit'],
      // They wait for locks and files, and test other modules: seconds for each mutant that they pass by.
      testPathIgnorePatterns: ['/(login|tool-cache|archive|sandbox|secrets)\\.test\\.ts$'],
      reporters: [],
    },
  },
  // A static mutant needs a fresh process each.
  ignoreStatic: true,
  concurrency: 2,
  // A busy machine is slow, which kills no mutant.
  timeoutMS: 15_000,
  thresholds: { high: 95, low: 90, break: 85 },
  reporters: ['clear-text', 'progress-append-only', 'html'],
  clearTextReporter: { allowColor: false, logTests: false, reportTests: false },
}
