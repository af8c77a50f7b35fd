/**
 * Answers one OCSP request. Whatever comes in, an OCSPResponse goes out: what cannot be read is answered with malformedRequest,
 * what cannot be done now with tryLater. A certificate that was not issued here is `unknown`, its issuer known or not.
 */
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
  type OcspRequest,
  parseOcspRequest,
  type SingleResponse,
  signResponseData,
} from '../authority/ocsp.ts';
import { type CurrentStatus, type CurrentStatuses, createCurrentStatuses } from './current-statuses.ts';
import { createPreparedAnswers } from './prepared-answers.ts';
import type { NumberedResponder, Responders } from './responders.ts';
import type { StatusReader } from './status-store.ts';

export interface OcspAnswer {
  readonly body: Buffer;
  /** When a cache may keep it; undefined: it may not. Seconds since 1970. */
  readonly cacheable: { readonly thisUpdate: number; readonly nextUpdate: number } | undefined;
}

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

  const find = (id: CertificateId): Promise<CurrentStatus> | undefined => {
    const issuer = numberOf.get(id.issuer.toString('latin1'));
    return issuer === undefined
      ? undefined
      : statuses.find({ issuer, authorityId: names[issuer]!.authorityId, serialNumber: id.serialNumber });
  };

  /** About one certificate and without a nonce: what is ready is sent, what is not is made, kept and sent. */
  const answerOne = async (id: CertificateId, authorityId: string, current: CurrentStatus): Promise<OcspAnswer> => {
    const responses = [{ certificateId: id.raw, status: current.status ?? unknown }];
    const ready = current.prepared;
    const signer = ready && responders.byNumber(ready.responder);
    if (signer) {
      const { thisUpdate, signature } = ready;
      const nextUpdate = nextUpdateOf(thisUpdate, signer);
      const body =
        current.status?.kind === 'good'
          ? assembleGood(signer, id.raw, thisUpdate, nextUpdate, signature)
          : assembleResponse(signer, responseData(signer, thisUpdate, responses), signature);
      return { body, cacheable: { thisUpdate, nextUpdate } };
    }
    const responder = responders.of(authorityId);
    const { body, signature } = await sign(responder, current.asOf, responses);
    current.keep?.(responder.number, signature);
    const nextUpdate = nextUpdateOf(current.asOf, responder);
    return { body, cacheable: current.status && { thisUpdate: current.asOf, nextUpdate } };
  };

  const answerRequest = async ({ certificateIds, nonce }: OcspRequest): Promise<OcspAnswer> => {
    const [first] = certificateIds;
    const alone = certificateIds.length === 1 && !nonce ? numberOf.get(first!.issuer.toString('latin1')) : undefined;
    if (alone !== undefined) {
      const { authorityId } = names[alone]!;
      const wanted = { issuer: alone, authorityId, serialNumber: first!.serialNumber };
      return answerOne(first!, authorityId, await statuses.find(wanted));
    }
    const found = await Promise.all(certificateIds.map(find));
    const issuer = certificateIds
      .map((id) => numberOf.get(id.issuer.toString('latin1')))
      .find((number) => number !== undefined);
    // Of an issuer that nobody here knows somebody has to say so: whoever issues now.
    const authorityId = issuer === undefined ? authorities.all[0]?.id : names[issuer]!.authorityId;
    if (authorityId === undefined) throw new Error('there is no authority');
    const { body } = await sign(
      responders.of(authorityId),
      Math.min(Math.floor(Date.now() / 1000), ...found.map((one) => one?.asOf ?? Number.POSITIVE_INFINITY)),
      certificateIds.map(({ raw }, index) => ({ certificateId: raw, status: found[index]?.status ?? unknown })),
      nonce,
    );
    return { body, cacheable: undefined };
  };

  return {
    answer: async (encoded) => {
      let request: OcspRequest;
      try {
        request = parseOcspRequest(encoded);
      } catch (error) {
        if (!(error instanceof ServiceError)) throw error;
        return { body: errorResponse('malformedRequest'), cacheable: undefined };
      }
      try {
        return await answerRequest(request);
      } catch (error) {
        if (!(error instanceof ServiceError) || error.kind !== 'unavailable') throw error;
        return { body: errorResponse('tryLater'), cacheable: undefined };
      }
    },
    prepare: async (authorityId, serialNumber) => {
      const issuer = issuersOf.get(authorityId)?.[0];
      if (issuer === undefined) return false;
      const known = prepared.find(issuer, serialNumber);
      if (known?.signed && isYoung(known.thisUpdate, known.signed.responder, 1 / 3)) return false;
      // The old one goes first, so that its status is read anew and signed as of now.
      prepared.forget(issuer, serialNumber);
      const current = await statuses.find({ issuer, authorityId, serialNumber });
      const octets = names[issuer]!.octets;
      const id = { raw: certificateIdOf(octets, serialNumber), issuer: octets, serialNumber };
      await answerOne(id, authorityId, current);
      return true;
    },
    forget: () => statuses.forget(),
    prepared: () => prepared.size(),
  };
}

const unknown = { kind: 'unknown' } as const;
