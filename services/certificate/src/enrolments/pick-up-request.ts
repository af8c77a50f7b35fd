/**
 * The files of a whole request in one ZIP, for the agency to hand out: each under a passphrase of its own that its holder alone is
 * shown. They are made one after the other while the answer is on its way, each on record before it leaves; what could not be given
 * stands in a list at the end.
 */
import type { Readable } from 'node:stream';
import { setTimeout } from 'node:timers/promises';
import { ServiceError } from '@congvu/errors';
import { ZipFile } from 'yazl';
import type { Pkcs12Form } from '../authority/pkcs12.ts';
import type { SystemOrActor } from '../certificates/certificate-event.ts';
import { listPickupsOfRequest } from './asked-enrolment-store.ts';
import type { EnrolmentDependencies } from './converge-certificates.ts';
import { pickUp } from './pick-up.ts';

const firstId = '00000000-0000-0000-0000-000000000000';
const pageSize = 100;
/** Octets. */
const mostWaiting = 256 * 1024;

export async function pickUpRequest(
  dependencies: EnrolmentDependencies,
  requestId: string,
  form: Pkcs12Form,
  actor: SystemOrActor & { agencyCode: string },
): Promise<AsyncIterable<Buffer>> {
  const page = (after: string) =>
    listPickupsOfRequest(dependencies.database, requestId, actor.agencyCode, after, pageSize);
  const first = await page(firstId);
  if (first.length === 0)
    throw new ServiceError({
      kind: 'not_found',
      code: 'nothing_to_pick_up',
      detail: 'No key of that request waits to be picked up at or below your agency.',
    });
  const zip = new ZipFile();
  const output = zip.outputStream as Readable;
  zip.on('error', (error: Error) => output.destroy(error));

  const fill = async (): Promise<void> => {
    const left: string[] = [];
    for (let found = first; found.length > 0; found = await page(found.at(-1)!.id)) {
      for (const { id, username, profile } of found) {
        try {
          const file = await pickUp(dependencies, id, { agencyCode: actor.agencyCode }, { form }, actor);
          zip.addBuffer(file, `${username}-${profile}.p12`, { compress: false });
        } catch (error) {
          if (!(error instanceof ServiceError)) throw error;
          left.push(`${username} ${profile}: ${error.detail}`);
        }
        // Not one more before these are taken, and none for somebody who has gone.
        while (output.readableLength > mostWaiting && !output.destroyed) await setTimeout(20);
        if (output.destroyed) return;
      }
      if (found.length < pageSize) break;
    }
    if (left.length > 0) zip.addBuffer(Buffer.from(`${left.join('\r\n')}\r\n`), 'not-included.txt');
    zip.end();
  };
  fill().catch((error: Error) => output.destroy(error));
  return output;
}
