/**
 * What the accounts of a request would be called if it were approved now. Nothing is taken or kept: whoever is approved first
 * gets the name. Names within a request depend on the lines before, so a page further on is reached by passing over those.
 */
import type { UsernamePreview } from '@congvu/contracts';
import type { Database } from '@congvu/database';
import type { UsernamePatterns } from '@congvu/vietnamese';
import { displayNameOf, foreseeOpenings } from '../accounts/open-accounts.ts';
import { linesPerPart } from './carry-out-lines.ts';
import { requireSummary } from './request-store.ts';
import { listLinesToName } from './work-store.ts';

/** From the first line on, a part at a time, with the number of the part's last line. */
export async function* previewUsernames(
  { database, usernamePatterns }: { database: Database; usernamePatterns: UsernamePatterns },
  requestId: string,
  scope: string,
): AsyncGenerator<UsernamePreview[]> {
  await requireSummary(database, requestId, scope);
  const foreseen = new Set<string>();
  for (let after = 0; ; ) {
    const lines = await listLinesToName(database, requestId, linesPerPart, after);
    const last = lines.at(-1);
    if (!last) return;
    const waiting = lines.filter((line) => line.username === null);
    const names = await foreseeOpenings(database, waiting, usernamePatterns, foreseen);
    yield lines.map((line) => {
      const username = line.username ?? names.get(line.lineNumber) ?? '';
      return {
        lineNumber: line.lineNumber,
        name: displayNameOf(line),
        agencyCode: line.agencyCode,
        username,
        address: `${username}@${line.mailDomain}`,
        taken: line.username !== null,
      };
    });
    after = last.lineNumber;
  }
}

/** One page of them: at most `limit` behind the line `after`, and whether there are more. */
export async function previewPage(
  previews: AsyncIterable<UsernamePreview[]>,
  limit: number,
  after: number,
): Promise<UsernamePreview[]> {
  const page: UsernamePreview[] = [];
  for await (const part of previews) {
    page.push(...part.filter((preview) => preview.lineNumber > after));
    if (page.length > limit) break;
  }
  return page.slice(0, limit + 1);
}
