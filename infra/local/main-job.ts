/**
 * The main job on the sample province: a request goes in; mailboxes, directory entries and certificates come out; an
 * auditor sees it. Every step is done through the API and real mail programs, and prints what it took.
 */
import { ServiceError } from '@congvu/errors';
import { makeCsr, sendMessage, signMessage, verifyCertificate, verifyMessage, waitForMessage } from './mail-client.ts';
import {
  activate,
  approve,
  type Holder,
  importAgencies,
  listCertificates,
  listMailboxes,
  pickUpKey,
  sendCsr,
  submit,
  threePeople,
  waitForAccounts,
  withDirectory,
} from './province.ts';
import { connectClients, type StackDescription } from './stack.ts';

export async function runMainJob(stack: StackDescription, log: (line: string) => void): Promise<void> {
  const clients = connectClients(stack);
  const began = Date.now();
  const step = async <T>(what: string, work: () => Promise<T>, result: (value: T) => string): Promise<T> => {
    const start = Date.now();
    const waiting = setTimeout(() => log(`  … ${what}`), 1_000);
    const value = await work().finally(() => clearTimeout(waiting));
    log(`  ${what}: ${result(value)} (${((Date.now() - start) / 1_000).toFixed(2)} s)`);
    return value;
  };

  log('The main job on the sample province:');
  await step(
    'agencies imported',
    () => importAgencies(clients),
    ({ added, changed, unchanged }) => `${added} added, ${changed} changed, ${unchanged} unchanged`,
  );
  const agencyRequest = await step(
    'the district asks for its own mailbox, the IT admin approves',
    async () =>
      approve(
        clients.administrator,
        (await submit(clients.requester, 'H41.32', [{ kind: 'agency', certificate: 'none' }])).id,
      ),
    (request) => request.lines.map(({ account }) => account?.address).join(', '),
  );
  const request = await step(
    'the district asks for three people',
    () => submit(clients.requester, 'H41.32', threePeople()),
    ({ id }) => `request ${id}`,
  );
  await step(
    'the district cannot approve it itself',
    () => refusalOf(approve(clients.requester, request.id)),
    (code) => code,
  );
  await step(
    'the IT admin approves',
    () => approve(clients.administrator, request.id),
    ({ lines }) => lines.map(({ account }) => account?.address).join(', '),
  );
  const done = await step(
    'LDAP entries, mailboxes and certificates are there',
    async () => {
      await waitForAccounts(clients.requester, agencyRequest.id);
      return waitForAccounts(clients.requester, request.id);
    },
    ({ lines }) => `${lines.length} accounts`,
  );
  const holders = await step(
    'each sets a password with the activation code',
    () => Promise.all(done.lines.map(({ account }) => activate(clients, stack, account?.id as string))),
    (all) => all.map(({ address }) => address).join(', '),
  );
  const [first, second, third] = holders as [Holder, Holder, Holder];
  await step(
    'the welcome message is read over IMAP',
    () => waitForMessage(stack, first, /Chào mừng/),
    ({ subject }) => `"${subject}"`,
  );
  const key = await step(
    'a server-made key is picked up as PKCS#12',
    () => pickUpKey(first),
    ({ pkcs12 }) => `${pkcs12.length} octets, opened by OpenSSL`,
  );
  await step(
    'a CSR brings a certificate',
    async () => sendCsr(third, (await makeCsr()).csrPem),
    (serialNumber) => `serial ${serialNumber}`,
  );

  const subject = 'Báo cáo tuần';
  await step(
    stack.smtp
      ? 'a signed message goes through submission'
      : 'a signed message goes in by LMTP (no Postfix without root)',
    async () =>
      sendMessage(
        stack,
        first,
        second.address,
        await signMessage(key, { to: second.address, subject, text: 'Kính gửi báo cáo.' }),
      ),
    () => `from ${first.address} to ${second.address}`,
  );
  const message = await step(
    'it is read over IMAP',
    () => waitForMessage(stack, second, /Báo cáo tuần/),
    ({ source }) => `${source.length} octets`,
  );

  log('The proof:');
  await withDirectory(stack, async (directory) => {
    const entry = await directory.entry(first.address.split('@')[0] as string);
    const [certificate] = entry?.attributes['userCertificate;binary'] ?? [];
    if (!entry || !Buffer.isBuffer(certificate)) throw new Error('the LDAP entry or its certificate is not there');
    const authority = await directory.authority();
    const chain = { issuingCertificate: authority.certificate, rootCertificateFile: stack.rootCertificateFile };
    log('  LDAP entry, as a connected system reads it:');
    log(`    dn: ${entry.dn}`);
    for (const [name, values] of Object.entries(entry.attributes)) {
      for (const value of values) log(`    ${name}: ${Buffer.isBuffer(value) ? `(${value.length} octets)` : value}`);
    }
    const verified = await verifyCertificate({ certificate, ...chain, crls: [authority.crl] });
    log(`  openssl verify -x509_strict -crl_check: ${verified}`);
    const text = await verifyMessage(message.source, {
      signerCertificate: certificate,
      rootCertificateFile: stack.rootCertificateFile,
    });
    log(`  openssl cms -verify, signer's certificate from LDAP: verified, text "${text.trim().split(/\r?\n/).at(-1)}"`);
  });
  for (const mailbox of await listMailboxes(clients.auditor, request.id)) {
    log(
      `  auditor: mailbox ${mailbox.address}, request ${mailbox.requestId?.slice(0, 8)}, approved by ${mailbox.approvedBy} at ${mailbox.approvedAt}`,
    );
  }
  for (const certificate of await listCertificates(clients.auditor, request.id)) {
    log(
      `  auditor: certificate ${certificate.serialNumber} of ${certificate.address}, by ${certificate.path}, issued ${certificate.issuedAt}`,
    );
  }
  log(`Done in ${((Date.now() - began) / 1_000).toFixed(1)} s.`);
}

const refusalOf = (call: Promise<unknown>): Promise<string> =>
  call.then(
    () => {
      throw new Error('the requester was let approve its own request');
    },
    (error: unknown) => {
      if (error instanceof ServiceError && error.kind === 'forbidden') return `refused, ${error.code}`;
      throw error;
    },
  );
