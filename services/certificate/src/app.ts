/** The certificate service: an Express app, and the OCSP responder in front of it; what tests load. */
import type { RequestListener } from 'node:http';
import { pingDatabase, translateDatabaseError } from '@congvu/database';
import { type Authenticate, createApp } from '@congvu/http';
import type { Logger } from 'pino';
import { authorityRoutes } from './authorities/routes.ts';
import { certificateRoutes } from './certificates/routes.ts';
import { compromisedKeyRoutes } from './compromised-keys/routes.ts';
import type { EnrolmentDependencies } from './enrolments/converge-certificates.ts';
import { enrolmentRoutes } from './enrolments/routes.ts';
import { escrowRoutes } from './escrow/routes.ts';
import type { RegisterDependencies } from './external-credentials/register-certificate.ts';
import { externalCredentialRoutes } from './external-credentials/routes.ts';
import { isOcsp } from './ocsp/listener.ts';
import type { Ocsp } from './ocsp/ocsp.ts';
import { registerRoutes } from './register/routes.ts';
import { crlRoutes } from './revocation/crl-routes.ts';
import { revocationRoutes } from './revocation/routes.ts';

export interface CertificateAppDependencies extends EnrolmentDependencies, RegisterDependencies {
  ocsp: Ocsp;
  authenticate: Authenticate;
  issuerUrl: string;
  /** Express's `trust proxy`; nobody is believed unless told. */
  trustProxy?: string | undefined;
  log: Logger;
}

export function createCertificateApp(dependencies: CertificateAppDependencies): RequestListener {
  const { database, ldap, authorities, ocsp, authenticate, issuerUrl, log } = dependencies;
  const app = createApp({
    name: 'certificate',
    title: 'Congvu certificate',
    description: 'Enrolments, certificates, revocation, CRLs; OCSP (RFC 6960) by GET and POST at `/ocsp`.',
    version: '0.1.0',
    tokenUrl: `${issuerUrl}/oauth/token`,
    log,
    authenticate,
    translateError: translateDatabaseError,
    trustProxy: dependencies.trustProxy,
    gauges: {
      ocsp_prepared_answers: {
        help: 'OCSP answers that are ready, in the process that has the fewest',
        read: ocsp.answers.prepared,
        aggregator: 'min',
      },
    },
    readiness: { database: () => pingDatabase(database), ldap: () => ldap.ping() },
    routes: [
      ...authorityRoutes(authorities),
      ...enrolmentRoutes(dependencies),
      ...registerRoutes(database),
      ...externalCredentialRoutes(dependencies),
      ...certificateRoutes(database, authorities),
      ...revocationRoutes(dependencies),
      ...crlRoutes(database, authorities),
      ...compromisedKeyRoutes(database),
      ...escrowRoutes(dependencies),
    ],
  });
  return (request, response) => (isOcsp(request.url) ? ocsp.listener : app)(request, response);
}
