/** What a run found: one thing that LDAP says and the record does not, or the other way round. */
export type Subject = `account:${string}` | `agency:${string}` | `entry:${string}`;

export const keyOf = (subject: Subject): string => subject.slice(subject.indexOf(':') + 1);

export interface Finding {
  /** An account by id, an agency by code, or an entry by DN that nothing in the record stands for. */
  subject: Subject;
  kind: 'missing' | 'extra' | 'changed';
  accountId: string | null;
  agencyId: string | null;
  dn: string;
  attribute: string | null;
  expected: readonly string[];
  actual: readonly string[];
  /** The DN under which it was done and when, as far as LDAP knows. */
  lastModifiedBy: string | null;
  lastModifiedAt: string | null;
  detail: string | null;
}

export const everyKind = ['missing', 'extra', 'changed'] as const;

/** What a repair touches, in the order in which it does: a name is free only when what should not have it is gone. */
export const repairedKinds = (removeExtra: boolean): Finding['kind'][] =>
  removeExtra ? ['extra', 'missing', 'changed'] : ['missing', 'changed'];
