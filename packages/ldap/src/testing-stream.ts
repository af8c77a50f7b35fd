/** For tests: what a thread makes of entries, as modules for `streamMapped` do. */
import type { Entry } from './index.ts';

export default (entries: readonly Entry[]): unknown[] => entries.map(({ attributes }) => attributes.uid?.[0]);
