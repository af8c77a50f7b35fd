/** Every permission there is; OAuth scopes are these words. A route names the one that it needs. */
export const permissions = [
  'agencies:read',
  'agencies:write',
  'requests:submit',
  'requests:read',
  'requests:approve',
  'accounts:read',
  'accounts:write',
  'activation-codes:issue',
  'passwords:reset',
  'service-accounts:write',
  'reconciliations:read',
  'reconciliations:write',
  'clients:write',
  'audit:read',
  'mailboxes:read',
  'mailboxes:write',
  'domains:write',
  'certificates:read',
  'certificates:enrol',
  'certificates:approve',
  'certificates:revoke',
  'external-credentials:write',
  'keys:recover',
] as const;
export type Permission = (typeof permissions)[number];

const administrator = [
  'agencies:read',
  'agencies:write',
  'requests:read',
  'requests:approve',
  'accounts:read',
  'accounts:write',
  'passwords:reset',
  'reconciliations:read',
  'reconciliations:write',
  'clients:write',
  'mailboxes:read',
  'mailboxes:write',
  'certificates:read',
  'certificates:approve',
  'certificates:revoke',
  'external-credentials:write',
] as const satisfies readonly Permission[];

/**
 * The usual bundles, by who holds them; the agency of the client says for which subtree. Who approves cannot submit, and who
 * submits cannot approve.
 */
export const roles = {
  /** An agency: asks, corrects, hands over activation codes. */
  requester: [
    'agencies:read',
    'requests:submit',
    'requests:read',
    'accounts:read',
    'activation-codes:issue',
    'mailboxes:read',
    'certificates:read',
    'certificates:enrol',
    'external-credentials:write',
  ],
  /** Decides on requests and does nothing else. */
  approver: [
    'agencies:read',
    'requests:read',
    'requests:approve',
    'accounts:read',
    'certificates:read',
    'certificates:approve',
  ],
  /** The IT admin of a subtree. */
  administrator,
  /** The IT admin of the whole platform: also the connected systems and the mail domains. */
  platform_administrator: [...administrator, 'service-accounts:write', 'domains:write'],
  auditor: [
    'agencies:read',
    'requests:read',
    'accounts:read',
    'audit:read',
    'reconciliations:read',
    'mailboxes:read',
    'certificates:read',
  ],
  /** One of the two who together recover an escrowed encryption key. */
  recovery_officer: ['accounts:read', 'certificates:read', 'keys:recover'],
} as const satisfies Record<string, readonly Permission[]>;
export type Role = keyof typeof roles;
