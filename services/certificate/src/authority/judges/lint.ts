/**
 * For tests: the rules of RFC 5280 (with 5480, 8410 and 6960) and of the CA/B Forum S/MIME Baseline Requirements, strict generation,
 * held against finished certificates, whatever made them. It reads octets and knows nothing of profiles, so that a fault in a profile or in the
 * encoder is found here. Each finding names the rule that is broken; none is good. SMBR: the S/MIME Baseline Requirements.
 */
import * as der from '../der.ts';
import { extensionType, smimePolicy } from '../oids.ts';
import { lintShape, type Parsed, type Say, sequenceIn } from './lint-shape.ts';

/** What is wrong with an end entity's certificate of `issuer` (both DER). */
export function lintCertificate(certificate: Buffer, issuer: Buffer): string[] {
  const findings: string[] = [];
  const say: Say = (rule, broken) => void (broken && findings.push(rule));
  const parsed = lintShape(certificate, issuer, say);
  const { extensions, purposes } = parsed;
  const has = (type: keyof typeof extensionType) => extensions.has(extensionType[type]);

  say('RFC 5280 4.2.1.9: basicConstraints is for authorities', has('basicConstraints'));
  const forAuthorities = parsed.usages.some((usage) => usage === 'keyCertSign' || usage === 'cRLSign');
  say('RFC 5280 4.2.1.3: keyCertSign and cRLSign are for authorities', forAuthorities);
  say('RFC 5280 4.2.1.12: key purposes are stated', purposes.length === 0);
  const issued = ['emailProtection', 'serverAuth', 'clientAuth', 'OCSPSigning'];
  for (const one of purposes) say(`${one} is no purpose of what is issued here`, !issued.includes(one));
  say('one purpose in one certificate: a key that signs mail answers no server', purposes.length > 1);
  if (purposes.includes('OCSPSigning')) lintResponder(parsed, say);
  else lintSources(extensions, say);
  if (purposes.includes('emailProtection')) lintSmime(parsed, say);
  if (purposes.includes('serverAuth') || purposes.includes('clientAuth')) lintDevice(parsed, say);
  return findings;
}

/** What is wrong with an authority's certificate; `issuer` is itself for a root. */
export function lintAuthority(certificate: Buffer, issuer: Buffer): string[] {
  const findings: string[] = [];
  const say: Say = (rule, broken) => void (broken && findings.push(rule));
  const { extensions, usages, purposes, subject, policies } = lintShape(certificate, issuer, say);
  const isRoot = certificate.equals(issuer);
  const constraints = extensions.get(extensionType.basicConstraints);
  say('RFC 5280 4.2.1.9: basicConstraints is there and critical', !constraints?.critical);
  const [cA, pathLength] = constraints ? sequenceIn(constraints.value) : [];
  say('RFC 5280 4.2.1.9: cA is true', !cA || !der.readBoolean(cA, 'cA'));
  say('an issuing authority makes no authorities', !isRoot && !pathLength?.raw.equals(der.integer(0)));
  say('RFC 5280 4.2.1.3: keyCertSign and cRLSign', !usages.includes('keyCertSign') || !usages.includes('cRLSign'));
  for (const attribute of ['countryName', 'organizationName', 'commonName'])
    say(`SMBR 7.1.4.3: ${attribute} in the name of an authority`, !subject.has(attribute));
  if (isRoot) {
    say('SMBR 7.1.2.1: a root has no key purposes', purposes.length > 0);
    say('SMBR 7.1.2.1: a root has no policies', policies.length > 0);
    return findings;
  }
  lintSources(extensions, say, false);
  say('SMBR 7.1.2.2: an issuing authority has key purposes', purposes.length === 0);
  say('SMBR 7.1.2.2: an issuing authority has policies', policies.length === 0);
  const mixed = ['serverAuth', 'codeSigning', 'timeStamping', '2.5.29.37.0'].some((one) => purposes.includes(one));
  say('SMBR 7.1.2.2: mail and servers are not mixed', purposes.includes('emailProtection') && mixed);
  return findings;
}

/** Where a reader looks further: lists, responder and the issuer's certificate, all by plain HTTP at a host that has a public name. */
function lintSources(extensions: Parsed['extensions'], say: Say, withResponder = true): void {
  const isPublic = (url: string) => /^http:\/\/([a-z0-9-]+\.)+[a-z]{2,}(:\d+)?\/\S*$/.test(url);
  const points = extensions.get(extensionType.cRLDistributionPoints);
  say('SMBR 7.1.2.3 b: CRL distribution points', !points);
  for (const point of points ? sequenceIn(points.value) : []) {
    const [name, ...more] = der.readSequence(point, 'a distribution point');
    say('RFC 5280 4.2.1.13: a distribution point has a name and no more', name?.tag !== 0xa0 || more.length > 0);
    const fullName = name && der.children(name)[0];
    say('SMBR 7.1.2.3 b: the name is a full one', fullName?.tag !== 0xa0);
    for (const one of fullName ? der.children(fullName) : [])
      say(
        'SMBR 7.1.2.3 b: an http URL at a public host',
        one.tag !== 0x86 || !isPublic(one.content.toString('latin1')),
      );
  }
  const access = extensions.get(extensionType.authorityInfoAccess);
  const methods = (access ? sequenceIn(access.value) : []).map((one) => {
    const [method, location] = der.readSequence(one, 'an access description');
    say(
      'SMBR 7.1.2.3 c: an http URL at a public host',
      location?.tag !== 0x86 || !isPublic(location.content.toString('latin1')),
    );
    return der.readObjectIdentifier(method, 'an access method');
  });
  say('SMBR 7.1.2.3 c: the issuer’s certificate is to be had', !methods.includes('1.3.6.1.5.5.7.48.2'));
  say('a responder is named', withResponder && !methods.includes('1.3.6.1.5.5.7.48.1'));
}

const strict = new Map<
  string,
  { needs: readonly string[]; may: readonly string[]; commonName: (parsed: Parsed) => boolean }
>([
  [smimePolicy.mailboxValidatedStrict, { needs: [], may: ['commonName', 'serialNumber'], commonName: () => false }],
  [
    smimePolicy.organizationValidatedStrict,
    {
      needs: ['organizationName', 'organizationIdentifier'],
      may: [
        'commonName',
        'organizationalUnitName',
        'serialNumber',
        'localityName',
        'stateOrProvinceName',
        'countryName',
      ],
      commonName: ({ subject }) => subject.get('commonName') === subject.get('organizationName'),
    },
  ],
  ...(['sponsorValidatedStrict', 'individualValidatedStrict'] as const).map((level) => {
    const organization = level === 'sponsorValidatedStrict' ? ['organizationName', 'organizationIdentifier'] : [];
    const person = ['commonName', 'surname', 'givenName', 'title', 'serialNumber', 'countryName'];
    const place = ['localityName', 'stateOrProvinceName'];
    const sponsored = organization.length > 0 ? ['organizationalUnitName'] : [];
    return [
      smimePolicy[level],
      {
        needs: organization,
        may: [...person, ...place, ...sponsored],
        commonName: ({ subject }: Parsed) => subject.has('surname') || subject.has('givenName'),
      },
    ] as const;
  }),
]);

/** SMBR 6.1.5, 6.3.2, 7.1.2.3, 7.1.4.2: the strict generation. */
function lintSmime(parsed: Parsed, say: Say): void {
  const { subject, names, policies, usages, keyKind, days } = parsed;
  say('SMBR 6.3.2: 825 days are not used up', days > 824);
  const reserved = policies.filter((policy) => policy.startsWith('2.23.140.1.5.'));
  const rules = strict.get(reserved[0] ?? '');
  say('SMBR 7.1.2.3 a: one reserved policy of the strict generation', reserved.length !== 1 || !rules);
  say('SMBR 7.1.2.3 a: any policy is for authorities', policies.includes('2.5.29.32.0'));
  for (const attribute of rules?.needs ?? []) say(`SMBR 7.1.4.2: needs ${attribute}`, !subject.has(attribute));
  for (const attribute of subject.keys())
    say(
      `SMBR 7.1.4.2: may not have ${attribute}`,
      ![...(rules?.needs ?? []), ...(rules?.may ?? [])].includes(attribute),
    );
  if (reserved[0] === smimePolicy.sponsorValidatedStrict || reserved[0] === smimePolicy.individualValidatedStrict)
    say('SMBR 7.1.4.2.5: surname or givenName', !subject.has('surname') && !subject.has('givenName'));

  const addresses = names.filter(({ tag }) => tag === 1).map(({ value }) => value);
  say(
    'SMBR 7.1.4.2.1: an address of mail, and no name of another kind',
    addresses.length === 0 || addresses.length !== names.length,
  );
  for (const address of addresses)
    say(
      `RFC 5280 4.2.1.6: ${address} is a mailbox of a public domain`,
      !/^[\x21-\x3f\x41-\x7e]{1,64}@([a-z0-9-]+\.)+[a-z]{2,}$/.test(address),
    );
  const commonName = subject.get('commonName');
  const fromNames = commonName !== undefined && addresses.includes(commonName);
  say('SMBR 7.1.4.2.2 a: where the common name comes from', !fromNames && !rules?.commonName(parsed));
  for (const value of subject.values())
    say(`SMBR 7.1.4.2.1: ${value} is in subjectAltName too`, value.includes('@') && !addresses.includes(value));
  const identifier = subject.get('organizationIdentifier');
  if (identifier !== undefined) {
    // For a government without a register of its own: GOV, country, and the subdivision's number (SMBR appendix A).
    const country = /^GOV([A-Z]{2})(\+[A-Z0-9]{1,3})?$/.exec(identifier)?.[1];
    say('SMBR 7.1.4.2.2 d: the form of organizationIdentifier', country === undefined);
    say(
      'SMBR appendix A: the country of organizationIdentifier is countryName',
      country !== subject.get('countryName'),
    );
  }
  const signs = usages.includes('digitalSignature');
  const transports = usages.includes(keyKind.startsWith('rsa') ? 'keyEncipherment' : 'keyAgreement');
  const allowed = [
    ...(signs ? ['digitalSignature', 'nonRepudiation'] : []),
    ...(transports && keyKind !== 'ed25519' ? [keyKind.startsWith('rsa') ? 'keyEncipherment' : 'keyAgreement'] : []),
  ];
  say('SMBR 7.1.2.3 e: for signing or for transport of keys', !signs && !transports);
  say('a key that signs is never one that is kept for others', signs && transports);
  for (const usage of usages) say(`SMBR 7.1.2.3 e: ${usage} with a key of kind ${keyKind}`, !allowed.includes(usage));
}

/** Internal, so outside of the TLS BR; these are their rules that readers enforce by themselves (RFC 9525, Apple's and Chrome's limits). */
function lintDevice({ subject, names, usages, keyKind, days }: Parsed, say: Say): void {
  say('readers refuse more than 398 days', days > 398);
  const hosts = names.filter(({ tag }) => tag === 2).map(({ value }) => value);
  say(
    'RFC 9525 6.3: a host name in subjectAltName, and no name of another kind',
    hosts.length === 0 || hosts.length !== names.length,
  );
  for (const host of hosts)
    say(`RFC 5280 4.2.1.6: ${host} is a host name`, !/^([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\.)+[a-z]{2,63}$/.test(host));
  const commonName = subject.get('commonName');
  say('TLS BR 7.1.4.3: the common name is one of the names', commonName !== undefined && !hosts.includes(commonName));
  const allowed = keyKind.startsWith('rsa') ? ['digitalSignature', 'keyEncipherment'] : ['digitalSignature'];
  say('TLS 1.3: digitalSignature', !usages.includes('digitalSignature'));
  for (const usage of usages)
    say(`TLS BR 7.1.2.7.11: ${usage} with a key of kind ${keyKind}`, !allowed.includes(usage));
}

/** RFC 6960 4.2.2.2. */
function lintResponder({ extensions, usages, days, names }: Parsed, say: Say): void {
  const noCheck = extensions.get(extensionType.ocspNoCheck);
  say('RFC 6960 4.2.2.2.1: nocheck, NULL, not critical', !noCheck?.value.equals(der.nullValue) || noCheck.critical);
  say('who is trusted unasked lives shortly', days > 31);
  say('a responder signs and does no more', usages.join() !== 'digitalSignature');
  say('a responder has no other name', names.length > 0);
}
