/** The certificate service as an Express app; what tests load. */
import { pingDatabase, translateDatabaseError } from '@congvu/database';
import { type Authenticate, createApp } from '@congvu/http';
import type { Express } from 'express';
import type { Logger } from 'pino';
import { certificateRoutes } from './certificates/routes.ts';
import type { EnrolmentDependencies } from './enrolments/converge-certificates.ts';
import { enrolmentRoutes } from './enrolments/routes.ts';
import { revocationRoutes } from './revocation/routes.ts';

export interface CertificateAppDependencies extends EnrolmentDependencies {
  authenticate: Authenticate;
  issuerUrl: string;
  /** Express's `trust proxy`; nobody is believed unless told. */
  trustProxy?: string | undefined;
  log: Logger;
}

export function createCertificateApp(dependencies: CertificateAppDependencies): Express {
  const { database, ldap, authorities, authenticate, issuerUrl, log } = dependencies;
  return createApp({
    name: 'certificate',
    title: 'Congvu certificate',
    description: 'Enrolments, certificates, revocation, CRLs.',
    version: '0.1.0',
    tokenUrl: `${issuerUrl}/oauth/token`,
    log,
    authenticate,
    translateError: translateDatabaseError,
    trustProxy: dependencies.trustProxy,
    readiness: { database: () => pingDatabase(database), ldap: () => ldap.ping() },
    routes: [
      ...enrolmentRoutes(dependencies),
      ...certificateRoutes(database, authorities),
      ...revocationRoutes(database, authorities),
    ],
  });
}
