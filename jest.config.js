/** @type {import('jest').Config} */
export default {
  testEnvironment: 'node',
  roots: ['<rootDir>/__tests__'],
  testMatch: ['**/*.test.ts'],
  // These are about what only Windows does.
  testPathIgnorePatterns: ['/node_modules/', ...(process.platform === 'win32' ? [] : ['/__tests__/windows/'])],
  extensionsToTreatAsEsm: ['.ts'],
  transform: { '\\.ts$': ['ts-jest', { useESM: true, diagnostics: false }] },
  // The compiler rewrites relative imports of .ts files to .js.
  moduleNameMapper: { '^(\\.{1,2}/.*)\\.js$': ['$1.ts', '$1.js'] },
  reporters: ['default', '<rootDir>/scripts/closing-line.js'],
  // On two cores: most tests wait for processes, and some for time-outs.
  maxWorkers: 4,
  // A worker that has run many files takes longer than the default 500 ms to end.
  workerGracefulExitTimeout: 10_000,
  // The long sizes take minutes where the ordinary ones take seconds.
  testTimeout: process.env.LONG === '1' ? 3_600_000 : 180_000,
}
