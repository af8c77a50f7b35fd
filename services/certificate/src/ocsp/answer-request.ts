/**
 * Answers one OCSP request. Whatever comes in, an OCSPResponse goes out: what cannot be read is answered with malformedRequest,
 * what cannot be done now with tryLater. A certificate that was not issued here is `unknown`, its issuer known or not.
 */
import { hash } from 'node:crypto';
import { ServiceError } from '@congvu/errors';
import type { Authorities } from '../authorities/authorities.ts';
import {
  assembleGood,
  assembleResponse,
  buildResponseData,
  type CertificateId,
  certificateIdOf,
  errorResponse,
  issuerIds,
  type OcspError,
  type OcspRequest,
  parseOcspRequest,
  type SingleResponse,
  signResponseData,
} from '../authority/ocsp.ts';
import { type CurrentStatus, type CurrentStatuses, createCurrentStatuses, type Wanted } from './current-statuses.ts';
import { createPreparedAnswers } from './prepared-answers.ts';
import type { NumberedResponder, Responders } from './responders.ts';
import type { StatusReader } from './status-store.ts';

export interface OcspAnswer {
  /** Octets, each as a character of Latin 1: so they leave in one piece with the head of the response. */
  readonly body: string;
  /** When a cache may keep it; undefined: it may not. Seconds since 1970. */
  readonly cacheable: { readonly thisUpdate: number; readonly nextUpdate: number; readonly sha1: string } | undefined;
}

/** `octets` are not needed any more afterwards. */
const toAnswer = (octets: Buffer, period?: { thisUpdate: number; nextUpdate: number }): OcspAnswer => ({
  body: octets.toString('latin1'),
  cacheable: period && { ...period, sha1: hash('sha1', octets, 'hex') },
});
/** Never signed, and kept by nobody. */
export const errorAnswer = (error: OcspError): OcspAnswer => toAnswer(errorResponse(error));

export interface OcspAnswers {
  answer(encoded: Buffer): Promise<OcspAnswer>;
  /** Makes the answer about a certificate, unless one is there that lasts: true if it was made. */
  prepare(authorityId: string, serialNumber: Buffer): Promise<boolean>;
  forget(): void;
  /** How many certificates have an answer ready. */
  prepared(): number;
}

/** Clocks jump back: what was signed further than this in what is now the future is made anew. */
const maximumAhead = 60;

export function createAnswers(options: {
  authorities: Authorities;
  responders: Responders;
  read: StatusReader['read'];
  /** How long an answer holds; it is renewed before the half is over. */
  validitySeconds: number;
  /** For how many certificates answers are kept ready. */
  capacity: number;
}): OcspAnswers {
  const { authorities, responders, validitySeconds } = options;
  const prepared = createPreparedAnswers(options.capacity);
  // Numbers of the ways in which an authority is named: eight each, the usual one first.
  const names = authorities.all.flatMap(({ id, issuer }) =>
    issuerIds(issuer.certificate).map((octets) => ({ authorityId: id, octets })),
  );
  const numberOf = new Map(names.map(({ octets }, number) => [octets.toString('latin1'), number]));
  const issuersOf = new Map(
    authorities.all.map(({ id }) => [id, names.flatMap((name, number) => (name.authorityId === id ? [number] : []))]),
  );

  const nextUpdateOf = (thisUpdate: number, responder: NumberedResponder): number =>
    Math.min(thisUpdate + validitySeconds, Math.floor(responder.certificate.notAfter.getTime() / 1000));
  /** Less than a share of its life has passed; the share is a half for what is given out. */
  const isYoung = (thisUpdate: number, number: number, share: number): boolean => {
    const responder = responders.byNumber(number);
    const age = Date.now() / 1000 - thisUpdate;
    return (
      responder !== undefined && age > -maximumAhead && age < (nextUpdateOf(thisUpdate, responder) - thisUpdate) * share
    );
  };
  const statuses: CurrentStatuses = createCurrentStatuses({
    read: options.read,
    prepared,
    issuersOf: (authorityId) => issuersOf.get(authorityId) ?? [],
    isUsable: (thisUpdate, responder) => isYoung(thisUpdate, responder, 0.5),
  });

  const sign = async (
    responder: NumberedResponder,
    thisUpdate: number,
    responses: readonly SingleResponse[],
    nonce?: Buffer,
  ): Promise<{ body: Buffer; signature: Buffer }> => {
    const data = responseData(responder, thisUpdate, responses, nonce);
    const signature = await signResponseData(responder, data);
    return { body: assembleResponse(responder, data, signature), signature };
  };
  const responseData = (
    responder: NumberedResponder,
    thisUpdate: number,
    responses: readonly SingleResponse[],
    nonce?: Buffer,
  ): Buffer =>
    buildResponseData({
      responderKeyHash: responder.keyHash,
      producedAt: new Date(thisUpdate * 1000),
      nextUpdate: new Date(nextUpdateOf(thisUpdate, responder) * 1000),
      responses,
      nonce,
    });

  /** Undefined: of an issuer that nobody here knows. */
  const wantedOf = ({ issuer: octets, serialNumber }: CertificateId): Wanted | undefined => {
    const issuer = numberOf.get(octets.toString('latin1'));
    return issuer === undefined ? undefined : { issuer, authorityId: names[issuer]!.authorityId, serialNumber };
  };
  const find = (wanted: Wanted): Promise<CurrentStatus> =>
    new Promise((resolve, reject) => statuses.find(wanted, resolve, reject));

  /** About one certificate and without a nonce: what is ready is sent. */
  const readyAnswer = (id: CertificateId, { status, prepared: ready }: CurrentStatus): OcspAnswer | undefined => {
    const signer = ready && responders.byNumber(ready.responder);
    if (!signer) return undefined;
    const { thisUpdate, signature } = ready;
    const nextUpdate = nextUpdateOf(thisUpdate, signer);
    const body =
      status?.kind === 'good'
        ? assembleGood(signer, id.raw, thisUpdate, nextUpdate, signature)
        : assembleResponse(
            signer,
            responseData(signer, thisUpdate, [{ certificateId: id.raw, status: status ?? unknown }]),
            signature,
          );
    return toAnswer(body, { thisUpdate, nextUpdate });
  };
  /** And what is not is made, kept and sent. */
  const makeAnswer = async (id: CertificateId, authorityId: string, current: CurrentStatus): Promise<OcspAnswer> => {
    const responder = responders.of(authorityId);
    const { asOf, status } = current;
    const { body, signature } = await sign(responder, asOf, [{ certificateId: id.raw, status: status ?? unknown }]);
    current.keep?.(responder.number, signature);
    return toAnswer(body, status && { thisUpdate: asOf, nextUpdate: nextUpdateOf(asOf, responder) });
  };

  /** About several, of an issuer that nobody here knows, or with a nonce. */
  const answerAnew = async ({ certificateIds, nonce }: OcspRequest): Promise<OcspAnswer> => {
    const wanted = certificateIds.map(wantedOf);
    const found = await Promise.all(wanted.map((one) => one && find(one)));
    // Of an issuer that nobody here knows somebody has to say so: whoever issues now.
    const authorityId = wanted.find((one) => one !== undefined)?.authorityId ?? authorities.all[0]?.id;
    if (authorityId === undefined) throw new Error('there is no authority');
    const { body } = await sign(
      responders.of(authorityId),
      Math.min(Math.floor(Date.now() / 1000), ...found.map((one) => one?.asOf ?? Number.POSITIVE_INFINITY)),
      certificateIds.map(({ raw }, index) => ({ certificateId: raw, status: found[index]?.status ?? unknown })),
      nonce,
    );
    return toAnswer(body);
  };

  return {
    answer: (encoded) =>
      // Nearly all are ready: they have this one promise alone.
      new Promise((resolve, reject) => {
        const failed = (error: unknown): void => {
          if (error instanceof ServiceError && error.kind === 'unavailable') resolve(errorAnswer('tryLater'));
          else reject(error);
        };
        const request = readRequest(encoded);
        if (!request) return resolve(errorAnswer('malformedRequest'));
        const [id] = request.certificateIds as [CertificateId];
        const wanted = request.certificateIds.length === 1 && !request.nonce ? wantedOf(id) : undefined;
        if (!wanted) return void answerAnew(request).then(resolve, failed);
        statuses.find(
          wanted,
          (current) => {
            try {
              const ready = readyAnswer(id, current);
              if (ready) resolve(ready);
              else makeAnswer(id, wanted.authorityId, current).then(resolve, failed);
            } catch (error) {
              failed(error);
            }
          },
          failed,
        );
      }),
    prepare: async (authorityId, serialNumber) => {
      const issuer = issuersOf.get(authorityId)?.[0];
      if (issuer === undefined) return false;
      const known = prepared.find(issuer, serialNumber);
      if (known && isYoung(known.thisUpdate, known.responder, 1 / 3)) return false;
      // The old one goes first, so that its status is read anew and signed as of now.
      prepared.forget(issuer, serialNumber);
      const current = await find({ issuer, authorityId, serialNumber });
      const octets = names[issuer]!.octets;
      const id = { raw: certificateIdOf(octets, serialNumber), issuer: octets, serialNumber };
      if (!current.prepared) await makeAnswer(id, authorityId, current);
      return true;
    },
    forget: () => statuses.forget(),
    prepared: () => prepared.size(),
  };
}

const unknown = { kind: 'unknown' } as const;

function readRequest(encoded: Buffer): OcspRequest | undefined {
  try {
    return parseOcspRequest(encoded);
  } catch (error) {
    if (error instanceof ServiceError) return undefined;
    throw error;
  }
}
