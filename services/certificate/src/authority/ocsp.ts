/**
 * The Online Certificate Status Protocol (RFC 6960, in the profile of RFC 5019): reads requests and writes responses. Requests
 * are hostile input: at most `maximumRequestSize` octets and `maximumCertificates` certificates, strict DER, and the only thing
 * ever thrown is a ServiceError `invalid`. Building is pure; signing is a step of its own, as with certificates and CRLs.
 */
import { hash, type KeyObject } from 'node:crypto';
import type { Certificate } from './certificate.ts';
import { type RevocationReason, revocationReasonCode } from './crl.ts';
import * as der from './der.ts';
import { type SignatureAlgorithm, signBytes } from './signature.ts';

export const maximumRequestSize = 16 * 1024;
/** RFC 5019 section 2.1.1 has clients ask about one; a chain has a few. */
const maximumCertificates = 16;

/** What a request asks about: octets to be given back as they came, and the two parts that say which certificate it is. */
export interface CertificateId {
  /** The whole CertID (RFC 6960 section 4.1.1). */
  readonly raw: Buffer;
  /** Its hash algorithm, issuerNameHash and issuerKeyHash, as they stand in it: one of `issuerIds` if the issuer is known. */
  readonly issuer: Buffer;
  /** INTEGER content octets. */
  readonly serialNumber: Buffer;
}

export interface OcspRequest {
  readonly certificateIds: readonly CertificateId[];
  /** The Nonce extension, 1 to 128 octets (RFC 9654), as it has to come back: the octets inside extnValue. */
  readonly nonce: Buffer | undefined;
}

export type CertificateStatus =
  | { readonly kind: 'good' }
  | { readonly kind: 'unknown' }
  | { readonly kind: 'revoked'; readonly revokedAt: Date; readonly reason: RevocationReason };

export interface SingleResponse {
  readonly certificateId: Buffer;
  readonly status: CertificateStatus;
}

export interface ResponseData {
  /** SHA-1 of the responder's key (`keyIdentifierOf`). */
  readonly responderKeyHash: Buffer;
  /** Also thisUpdate: the status is known to have been so then. Whole seconds. */
  readonly producedAt: Date;
  readonly nextUpdate: Date;
  readonly responses: readonly SingleResponse[];
  readonly nonce?: Buffer | undefined;
}

/** Who signs responses: a certificate of the authority's for nothing else, and its key. */
export interface Responder {
  readonly certificate: Certificate;
  readonly keyHash: Buffer;
  readonly signatureAlgorithm: SignatureAlgorithm;
  readonly privateKey: KeyObject;
}

/** OCSPResponseStatus other than successful (RFC 6960 section 4.2.1). */
const errorStatus = { malformedRequest: 1, internalError: 2, tryLater: 3, unauthorized: 6 } as const;
export type OcspError = keyof typeof errorStatus;

const basicResponse = der.objectIdentifier('1.3.6.1.5.5.7.48.1.1');
const nonceExtension = der.objectIdentifier('1.3.6.1.5.5.7.48.1.2');

// --------------------------------------------------------------------------------------------------------- requests

/** Throws `invalid` (`malformed_der`). A signature on the request is neither asked for nor looked at: everybody may ask. */
export function parseOcspRequest(encoded: Buffer): OcspRequest {
  if (encoded.length > maximumRequestSize)
    throw der.malformed(`An OCSP request has at most ${maximumRequestSize} octets.`);
  const plain = readPlain(encoded);
  if (plain) return { certificateIds: [plain], nonce: undefined };
  const [tbs, signature, ...rest] = der.readSequence(der.decode(encoded), 'The OCSP request');
  if (rest.length > 0) throw der.malformed('The OCSP request has surplus elements.');
  if (signature) der.checkDeep(der.expect(signature, 0xa0, "The request's signature"));
  const parts = der.readSequence(tbs, 'TBSRequest');
  const version = parts[0]?.tag === 0xa0 ? parts.shift() : undefined;
  if (version && der.readSmallInteger(der.children(version)[0], "The request's version") !== 0)
    throw der.malformed('The OCSP request is not of version 1.');
  const requestor = parts[0]?.tag === 0xa1 ? parts.shift() : undefined;
  if (requestor) der.checkDeep(requestor);
  const [list, extensions, ...surplus] = parts;
  if (surplus.length > 0) throw der.malformed('TBSRequest has surplus elements.');
  const requests = der.readSequence(list, 'The list of certificates');
  if (requests.length === 0 || requests.length > maximumCertificates)
    throw der.malformed(`An OCSP request asks about 1 to ${maximumCertificates} certificates.`);
  return {
    certificateIds: requests.map(readRequest),
    nonce: extensions && readNonce(der.expect(extensions, 0xa2, "The request's extensions")),
  };
}

/**
 * What nearly all requests are (RFC 5019 section 2.1): five sequences around the one CertID, which is by SHA-1, and nothing else. Read
 * by its fixed places, in a fraction of the time; anything that differs in any octet is left to who reads it element by element.
 */
function readPlain(encoded: Buffer): CertificateId | undefined {
  const { length } = encoded;
  if (length < plainSerialAt + 3 || length > 127) return undefined;
  for (let at = 0; at < 10; at += 2)
    if (encoded[at] !== der.tag.sequence || encoded[at + 1] !== length - at - 2) return undefined;
  if (encoded.compare(plainHash, 0, plainHash.length, 10, 10 + plainHash.length) !== 0) return undefined;
  if (encoded.readUInt16BE(plainSerialAt - 22) !== 0x0414 || encoded[plainSerialAt] !== der.tag.integer)
    return undefined;
  const serialNumber = encoded.subarray(plainSerialAt + 2);
  const [first, second] = serialNumber;
  // Positive and in its shortest form.
  if (encoded[plainSerialAt + 1] !== serialNumber.length || first! >= 0x80) return undefined;
  if (first === 0 && second !== undefined && second < 0x80) return undefined;
  return { raw: encoded.subarray(8), issuer: encoded.subarray(10, plainSerialAt), serialNumber };
}

/** SHA-1 with NULL for parameters, and the header of the first of two hashes of 20 octets. */
const plainHash = Buffer.from('300906052b0e03021a05000414', 'hex');
const plainSerialAt = 10 + plainHash.length + 20 + 22;

function readRequest(request: der.DerElement): CertificateId {
  const [certificateId, extensions, ...rest] = der.readSequence(request, 'A request');
  if (rest.length > 0) throw der.malformed('A request has surplus elements.');
  if (extensions) readExtensions(der.expect(extensions, 0xa0, "A request's extensions"), () => undefined);
  const id = der.expect(certificateId, der.tag.sequence, 'A CertID');
  const [algorithm, nameHash, keyHash, serialNumber, ...surplus] = der.children(id);
  if (surplus.length > 0) throw der.malformed('A CertID has surplus elements.');
  const identifier = der.readSequence(algorithm, 'The hash algorithm of a CertID');
  der.expect(identifier[0], der.tag.objectIdentifier, 'The hash algorithm of a CertID');
  const issuerLength =
    algorithm!.raw.length +
    der.expect(nameHash, der.tag.octetString, 'issuerNameHash').raw.length +
    der.expect(keyHash, der.tag.octetString, 'issuerKeyHash').raw.length;
  return {
    raw: id.raw,
    issuer: id.content.subarray(0, issuerLength),
    serialNumber: der.readInteger(serialNumber, 'The serial number of a CertID'),
  };
}

function readNonce(extensions: der.DerElement): Buffer | undefined {
  let nonce: Buffer | undefined;
  readExtensions(extensions, (type, value) => {
    if (!type.raw.equals(nonceExtension)) return;
    const { content } = der.expect(der.decode(value), der.tag.octetString, 'The nonce');
    if (nonce || content.length === 0 || content.length > 128)
      throw der.malformed('A request has one nonce, of 1 to 128 octets.');
    nonce = value;
  });
  return nonce;
}

/** Those nobody here knows are passed over, unless they are critical (RFC 6960 section 4.4). */
function readExtensions(wrapper: der.DerElement, take: (type: der.DerElement, value: Buffer) => void): void {
  const [list, ...rest] = der.children(wrapper);
  if (rest.length > 0) throw der.malformed('Extensions have surplus elements.');
  for (const extension of der.readSequence(list, 'The extensions')) {
    const [type, ...parts] = der.readSequence(extension, 'An extension');
    der.readObjectIdentifier(type, "An extension's type");
    const critical = parts[0]?.tag === der.tag.boolean && der.readBoolean(parts.shift(), 'critical');
    const value = der.expect(parts[0], der.tag.octetString, "An extension's value").content;
    if (parts.length > 1) throw der.malformed('An extension has surplus elements.');
    if (critical && !type!.raw.equals(nonceExtension))
      throw der.malformed('A critical extension of the request is not known here.');
    take(type!, value);
  }
}

/** The hashes that clients name issuers by; SHA-1 is what RFC 5019 has them use, and protects nothing here. */
const hashAlgorithms = [
  ['sha1', '1.3.14.3.2.26'],
  ['sha256', '2.16.840.1.101.3.4.2.1'],
  ['sha384', '2.16.840.1.101.3.4.2.2'],
  ['sha512', '2.16.840.1.101.3.4.2.3'],
] as const;

/**
 * Every way in which a CertID can name this authority: by each hash, its algorithm with NULL for parameters or with none, as
 * both are met. The first is what nearly all clients write.
 */
export function issuerIds(authority: Certificate): Buffer[] {
  const [, bits] = der.readSequence(der.decode(authority.subjectPublicKeyInfo), "The authority's key");
  const key = der.readOctetAlignedBits(bits, "The authority's key");
  return hashAlgorithms.flatMap(([name, oid]) => {
    const hashes = [authority.subject, key].map((octets) => der.octetString(hash(name, octets, 'buffer')));
    return [[der.nullValue], []].map((parameters) =>
      Buffer.concat([der.sequence(der.objectIdentifier(oid), ...parameters), ...hashes]),
    );
  });
}

/** The CertID of one certificate of the authority that `issuer` (of `issuerIds`) names. */
export const certificateIdOf = (issuer: Buffer, serialNumber: Buffer): Buffer =>
  der.sequence(issuer, der.element(der.tag.integer, serialNumber));

/** A request about one certificate, as RFC 5019 section 2.1 has it; `nonce` is the value itself. */
export const buildOcspRequest = (certificateId: Buffer, nonce?: Buffer): Buffer =>
  der.sequence(
    der.sequence(
      der.sequence(der.sequence(certificateId)),
      ...(nonce ? [der.explicit(2, der.sequence(nonceOf(der.octetString(nonce))))] : []),
    ),
  );

const nonceOf = (value: Buffer): Buffer => der.sequence(nonceExtension, der.octetString(value));

// -------------------------------------------------------------------------------------------------------- responses

/** OCSPResponse that says nothing but what went wrong. Never signed. */
export const errorResponse = (error: OcspError): Buffer => der.sequence(der.enumerated(errorStatus[error]));

/** GeneralizedTime of whole seconds; responses know no UTCTime. */
function generalizedTime(date: Date): Buffer {
  return der.element(der.tag.generalizedTime, Buffer.from(`${digitsOf(date)}Z`, 'latin1'));
}

const digitsOf = (date: Date): string => date.toISOString().replace(/\D/g, '').slice(0, 14);

const goodStatus = der.implicit(0, Buffer.alloc(0));
const unknownStatus = der.implicit(2, Buffer.alloc(0));

function statusOf(status: CertificateStatus): Buffer {
  if (status.kind === 'good') return goodStatus;
  if (status.kind === 'unknown') return unknownStatus;
  const reason = revocationReasonCode[status.reason];
  // Left out for `unspecified`, as in CRLs (RFC 5280 section 5.3.1).
  const reasonCode = reason === 0 ? [] : [der.explicit(0, der.enumerated(reason))];
  return der.implicitConstructed(1, generalizedTime(status.revokedAt), ...reasonCode);
}

/** DER of the ResponseData: what is signed. */
export function buildResponseData(data: ResponseData): Buffer {
  const producedAt = generalizedTime(data.producedAt);
  const nextUpdate = der.explicit(0, generalizedTime(data.nextUpdate));
  return der.sequence(
    // By key, so that a response is small and names nobody (RFC 5019 section 2.2.2).
    der.explicit(2, der.octetString(data.responderKeyHash)),
    producedAt,
    der.sequence(
      ...data.responses.map(({ certificateId, status }) =>
        der.sequence(certificateId, statusOf(status), producedAt, nextUpdate),
      ),
    ),
    ...(data.nonce ? [der.explicit(1, der.sequence(nonceOf(data.nonce)))] : []),
  );
}

export const signResponseData = (responder: Responder, responseData: Buffer): Promise<Buffer> =>
  signBytes(responder.privateKey, responder.signatureAlgorithm, responseData);

/** The whole successful OCSPResponse, with the certificate of who signed it. */
export function assembleResponse(responder: Responder, responseData: Buffer, signature: Buffer): Buffer {
  const basic = der.sequence(
    responseData,
    responder.signatureAlgorithm.identifier,
    der.bitString(signature),
    der.explicit(0, der.sequence(responder.certificate.der)),
  );
  return der.sequence(der.enumerated(0), der.explicit(0, der.sequence(basicResponse, der.octetString(basic))));
}

/** Where in a response the parts lie that differ from one good answer of a responder to the next. */
interface GoodTemplate {
  readonly body: Buffer;
  readonly producedAt: number;
  readonly certificateId: number;
  readonly thisUpdate: number;
  readonly nextUpdate: number;
  readonly signature: number;
}

const goodTemplates = new WeakMap<Responder, Map<number, GoodTemplate>>();

/**
 * What `assembleResponse` makes of one good answer without a nonce, in a fraction of the time: an earlier one of the same lengths,
 * with everything filled in that differs. The octets are good until the next call, which writes over them: thousands of buffers a
 * second would keep the garbage collector busy. Times are seconds since 1970.
 */
export function assembleGood(
  responder: Responder,
  certificateId: Buffer,
  thisUpdate: number,
  nextUpdate: number,
  signature: Buffer,
): Buffer {
  const ofResponder = goodTemplates.get(responder) ?? new Map<number, GoodTemplate>();
  const shape = certificateId.length * 256 + signature.length;
  let template = ofResponder.get(shape);
  if (!template) {
    template = goodTemplate(responder, certificateId, signature);
    goodTemplates.set(responder, ofResponder.set(shape, template));
  }
  const { body } = template;
  certificateId.copy(body, template.certificateId);
  signature.copy(body, template.signature);
  writeTime(body, template.producedAt, thisUpdate);
  body.copy(body, template.thisUpdate, template.producedAt, template.producedAt + 14);
  writeTime(body, template.nextUpdate, nextUpdate);
  return body;
}

function goodTemplate(responder: Responder, certificateId: Buffer, signature: Buffer): GoodTemplate {
  const date = new Date(0);
  const data = buildResponseData({
    responderKeyHash: responder.keyHash,
    producedAt: date,
    nextUpdate: date,
    responses: [{ certificateId, status: { kind: 'good' } }],
  });
  const body = assembleResponse(responder, data, signature);
  const dataAt = body.indexOf(data);
  const [responderId] = der.children(der.decode(data));
  const content = dataAt + data.length - der.decode(data).content.length;
  const idAt = dataAt + data.indexOf(certificateId);
  const afterStatus = idAt + certificateId.length + goodStatus.length;
  return {
    body,
    producedAt: content + responderId!.raw.length + 2,
    certificateId: idAt,
    thisUpdate: afterStatus + 2,
    nextUpdate: afterStatus + 17 + 4,
    signature: body.indexOf(signature, dataAt + data.length),
  };
}

/** The fourteen digits of a GeneralizedTime. Making a string of them first would take three times as long. */
function writeTime(body: Buffer, at: number, seconds: number): void {
  const day = Math.floor(seconds / 86_400);
  let date = dates.get(day);
  if (!date) {
    if (dates.size >= 1_000) dates.clear();
    date = Buffer.from(digitsOf(new Date(day * 86_400_000)), 'latin1');
    dates.set(day, date);
  }
  for (let index = 0; index < 8; index++) body[at + index] = date[index]!;
  const rest = seconds - day * 86_400;
  writeTwoDigits(body, at + 8, Math.trunc(rest / 3_600));
  writeTwoDigits(body, at + 10, Math.trunc(rest / 60) % 60);
  writeTwoDigits(body, at + 12, rest % 60);
}

function writeTwoDigits(body: Buffer, at: number, value: number): void {
  body[at] = 0x30 + Math.trunc(value / 10);
  body[at + 1] = 0x30 + (value % 10);
}

/** Those of answers that are ready are of few days. */
const dates = new Map<number, Buffer>();
