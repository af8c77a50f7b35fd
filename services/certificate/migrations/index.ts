/** The certificate schema's history, in order. Names never change once released. */
import type { Migrations } from '@congvu/database';
import { up as initial } from './0001-initial.ts';
import { up as numberedEnrolments } from './0002-numbered-enrolments.ts';
import { up as publishedCertificates } from './0003-published-certificates.ts';
import { up as authorities } from './0004-authorities.ts';
import { up as issuingSpeed } from './0005-issuing-speed.ts';

export const migrations: Migrations = {
  '0001-initial': initial,
  '0002-numbered-enrolments': numberedEnrolments,
  '0003-published-certificates': publishedCertificates,
  '0004-authorities': authorities,
  '0005-issuing-speed': issuingSpeed,
};
