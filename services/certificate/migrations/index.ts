/** The certificate schema's history, in order. Names never change once released. */
import type { Migrations } from '@congvu/database';
import { up as initial } from './0001-initial.ts';
import { up as numberedEnrolments } from './0002-numbered-enrolments.ts';
import { up as publishedCertificates } from './0003-published-certificates.ts';
import { up as authorities } from './0004-authorities.ts';
import { up as issuingSpeed } from './0005-issuing-speed.ts';
import { up as crlParts } from './0006-crl-parts.ts';
import { up as ocsp } from './0007-ocsp.ts';
import { up as askedEnrolments } from './0008-asked-enrolments.ts';
import { up as register } from './0009-register.ts';
import { up as rowsInOnePiece } from './0010-rows-in-one-piece.ts';
import { up as rulesWhereTheyApply } from './0011-rules-where-they-apply.ts';
import { up as intents } from './0012-intents.ts';
import { up as publishedTogether } from './0013-published-together.ts';
import { up as writtenOnce } from './0014-written-once.ts';

export const migrations: Migrations = {
  '0001-initial': initial,
  '0002-numbered-enrolments': numberedEnrolments,
  '0003-published-certificates': publishedCertificates,
  '0004-authorities': authorities,
  '0005-issuing-speed': issuingSpeed,
  '0006-crl-parts': crlParts,
  '0007-ocsp': ocsp,
  '0008-asked-enrolments': askedEnrolments,
  '0009-register': register,
  '0010-rows-in-one-piece': rowsInOnePiece,
  '0011-rules-where-they-apply': rulesWhereTheyApply,
  '0012-intents': intents,
  '0013-published-together': publishedTogether,
  '0014-written-once': writtenOnce,
};
