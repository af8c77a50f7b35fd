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
  'clients:write',
  'audit:read',
  'mailboxes:read',
  'certificates:read',
  'certificates:enrol',
  'certificates:revoke',
] as const;
export type Permission = (typeof permissions)[number];

/** The usual bundles, by who holds them. The approver's bundle cannot submit, the requester's cannot approve. */
export const roles = {
  requester: [
    'agencies:read',
    'requests:submit',
    'requests:read',
    'accounts:read',
    'activation-codes:issue',
    'mailboxes:read',
    'certificates:read',
    'certificates:enrol',
  ],
  administrator: [
    'agencies:read',
    'agencies:write',
    'requests:read',
    'requests:approve',
    'accounts:read',
    'accounts:write',
    'passwords:reset',
    'clients:write',
    'mailboxes:read',
    'certificates:read',
    'certificates:revoke',
  ],
  auditor: ['agencies:read', 'requests:read', 'accounts:read', 'audit:read', 'mailboxes:read', 'certificates:read'],
} as const satisfies Record<string, readonly Permission[]>;
