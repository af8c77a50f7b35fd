/** One configuration, two runs: `--selectProjects fast` (units, routes, adapters) and `journeys` (the whole stack, one at a time). */
const shared = {
  testEnvironment: 'node',
  extensionsToTreatAsEsm: ['.ts'],
  transform: { '\\.ts$': '<rootDir>/infra/local/jest-strip-types.mjs' },
  moduleFileExtensions: ['ts', 'mjs', 'js', 'json'],
  modulePathIgnorePatterns: ['<rootDir>/.congvu', '<rootDir>/.turbo'],
  watchPathIgnorePatterns: ['<rootDir>/.congvu'],
};

export default {
  testTimeout: 60_000,
  projects: [
    {
      ...shared,
      displayName: 'fast',
      rootDir: '.',
      testMatch: ['<rootDir>/packages/**/*.test.ts', '<rootDir>/services/**/*.test.ts', '<rootDir>/infra/**/*.test.ts'],
    },
    { ...shared, displayName: 'journeys', rootDir: '.', testMatch: ['<rootDir>/test/**/*.test.ts'] },
  ],
};
