/**
 * The life of a request, whole, in one table: what may be done to it in which state, by whom, and what it is then. Whoever
 * decides is never the client that submitted it, nor the one that made that client.
 */
import type { RequestState } from '@congvu/contracts';
import { ServiceError } from '@congvu/errors';

export type RequestAction = keyof typeof transitions;

interface Transition {
  from: readonly RequestState[];
  /** Undefined: as it was. */
  to?: RequestState;
  by: 'submitter' | 'another';
  /** As it is told to one who came too late. */
  verb: string;
}

export const transitions = {
  correct: { from: ['draft', 'returned'], by: 'submitter', verb: 'corrected' },
  submit: { from: ['draft', 'returned'], to: 'submitted', by: 'submitter', verb: 'submitted' },
  cancel: { from: ['draft', 'submitted', 'returned'], to: 'cancelled', by: 'submitter', verb: 'cancelled' },
  return: { from: ['submitted'], to: 'returned', by: 'another', verb: 'returned' },
  approve: { from: ['submitted'], to: 'approved', by: 'another', verb: 'approved' },
  reject: { from: ['submitted'], to: 'rejected', by: 'another', verb: 'rejected' },
} as const satisfies Record<string, Transition>;

/** What the state machine has to know of a request. */
export interface RequestStanding {
  state: RequestState;
  submitted_by: string;
  /** Who made the client that submitted it. */
  submitter_made_by: string | null;
  version: number;
}

/** Throws unless `clientId` may do this to the request as it is now. `version` is what the client read (If-Match). */
export function checkAction(
  request: RequestStanding,
  action: RequestAction,
  clientId: string,
  version: number | undefined,
): void {
  if (version !== undefined && version !== request.version) {
    throw new ServiceError({
      kind: 'stale',
      code: 'stale_version',
      detail: `The request is now at version ${request.version}; read it again before deciding.`,
    });
  }
  const { by, from, verb }: Transition = transitions[action];
  if (by === 'submitter' && request.submitted_by !== clientId) {
    throw forbidden('not_submitter', `Only the client that submitted a request may have it ${verb}.`);
  }
  if (by === 'another' && request.submitter_made_by === clientId) {
    throw forbidden(
      'own_client',
      'Your client made the client that submitted this; somebody else has to decide on it.',
    );
  }
  if (by === 'another' && request.submitted_by === clientId) {
    throw forbidden('own_request', 'A request is decided on by someone other than its submitter.');
  }
  if (!from.includes(request.state)) {
    const decided = ['approved', 'rejected', 'cancelled', 'fulfilled'].includes(request.state);
    throw new ServiceError({
      kind: 'conflict',
      code: decided ? 'request_decided' : 'request_state',
      detail: decided
        ? `The request is ${request.state} already.`
        : `The request is ${request.state}; only one that is ${from.join(' or ')} can be ${verb}.`,
    });
  }
}

const forbidden = (code: string, detail: string): ServiceError => new ServiceError({ kind: 'forbidden', code, detail });
