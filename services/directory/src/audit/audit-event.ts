/** Who did it: the same few facts for every event, taken from the request or, for what happens by itself, the system. */
import type { AuditAction } from '@congvu/contracts';
import { client, type RouteContext } from '@congvu/http';

export interface Actor {
  kind: 'client' | 'holder' | 'system';
  id: string;
  ip: string | null;
  /** Agency whose subtree the actor may touch; the system's is everything. */
  agencyCode: string | null;
}

export const systemActor: Actor = { kind: 'system', id: 'directory', ip: null, agencyCode: null };

export function actorOf(context: RouteContext): Actor {
  const principal = client(context);
  return { kind: principal.kind, id: principal.id, ip: context.ip || null, agencyCode: principal.agencyCode };
}

/** The actor of a route that keeps to the actor's own subtree. */
export const scopedActorOf = (context: RouteContext): Actor & { agencyCode: string } => ({
  ...actorOf(context),
  agencyCode: client(context).agencyCode,
});

export interface AuditEvent {
  actor: Actor;
  action: AuditAction;
  subjectType: string;
  subjectId: string;
  agencyId: string | null;
  requestId?: string | null;
  /** Only what changed; never a secret, never an identity number. */
  before?: object | null;
  after?: object | null;
}
