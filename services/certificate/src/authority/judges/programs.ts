/**
 * For tests: other people's programs as judges of what is made here, from Debian's packages. Each takes one thing to read and throws
 * with its own words unless it accepts it whole. Everything lies in one temporary directory; `close` removes it and ends the agents.
 */
import { spawnSync } from 'node:child_process';
import { hash } from 'node:crypto';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { toPem } from '../certificate.ts';
import type { KeyKind } from '../public-key.ts';

/** What a certificate is used for, in OpenSSL's words. */
export type Use = 'smimesign' | 'smimeencrypt' | 'sslserver' | 'sslclient' | 'ocsphelper';

/** What a reader trusts and has at hand: all DER, the lists of both authorities among it. */
export interface Trust {
  readonly root: Buffer;
  readonly issuing: Buffer;
  readonly lists: readonly Buffer[];
}

/** A key file to be opened, and what must be in it. */
export interface KeyFile {
  readonly file: Buffer;
  readonly form: 'modern' | 'legacy';
  readonly passphrase: string;
  readonly friendlyName: string;
  readonly certificate: Buffer;
}

/**
 * What is put before a program: a certificate or a complete list of its issuer's, a list that is a part or a delta, a message of the
 * holder, a message to the holder, or a key file in one of its forms.
 */
export type Thing = 'certificate' | 'part' | 'signed' | 'decrypted' | 'modern' | 'legacy';

/** A program and what it can judge. Whatever it refuses throws. */
export interface Program {
  readonly name: string;
  /** Whether it knows how to read such a thing with such a key, whoever made it. */
  reads(thing: Thing, keyKind: KeyKind): boolean;
  /** Chain, dates, signatures, revocation and fitness for the use. */
  certificate?(certificate: Buffer, use: Use): void;
  /** Signature and form of a revocation list of the issuing authority. */
  list?(list: Buffer): void;
  /** Signature of an OCSP answer, and that it says `status` of the certificate. */
  answer?(answer: Buffer, certificate: Buffer, status: 'good' | 'revoked' | 'unknown'): void;
  /** Opens the file, and finds key, certificate and chain. */
  keyFile?(file: KeyFile): void;
  /** Signature and signer's chain of a message (CMS SignedData with its content, DER). */
  signed?(message: Buffer): void;
  /** The content of a message to the holder of a key file (CMS EnvelopedData, DER). */
  decrypted?(message: Buffer, file: KeyFile): string;
}

export interface Judges {
  readonly programs: readonly Program[];
  close(): void;
}

/** Key purposes (RFC 5280 section 4.2.1.12) and NSS's letters for them. */
const uses: Readonly<Record<Use, { purpose: string; nss: string }>> = {
  smimesign: { purpose: '1.3.6.1.5.5.7.3.4', nss: 'S' },
  smimeencrypt: { purpose: '1.3.6.1.5.5.7.3.4', nss: 'R' },
  sslserver: { purpose: '1.3.6.1.5.5.7.3.1', nss: 'V' },
  sslclient: { purpose: '1.3.6.1.5.5.7.3.2', nss: 'C' },
  ocsphelper: { purpose: '1.3.6.1.5.5.7.3.9', nss: 'O' },
};

export function openJudges(trust: Trust): Judges {
  const directory = mkdtempSync(join(tmpdir(), 'congvu-judges-'));
  const desk = openDesk(directory, trust);
  desk.write('root.pem', toPem('CERTIFICATE', trust.root));
  desk.write('issuing.pem', toPem('CERTIFICATE', trust.issuing));
  desk.write('lists.pem', trust.lists.map((list) => toPem('X509 CRL', list)).join(''));
  const gpg = gpgsm(desk, trust);
  return {
    programs: [openssl(desk), gnutls(desk), nss(desk, trust), java(desk), gpg.program],
    close: () => {
      gpg.stop();
      rmSync(directory, { recursive: true, force: true });
    },
  };
}

/** A directory with a program's files in it, and a way to run programs there. */
interface Desk {
  readonly directory: string;
  write(name: string, content: string | Buffer): string;
  /** A certificate and the issuing authority's, for readers that take chains. */
  chain(certificate: Buffer): string;
  /** A name that no other file here has. */
  fresh(suffix: string): string;
  /** Output and errors together, or an error that holds both if the program says no. */
  run(program: string, args: readonly string[], input?: string): string;
}

function openDesk(directory: string, trust: Trust): Desk {
  let count = 0;
  const fresh = (suffix: string) => `${++count}${suffix}`;
  const write = (name: string, content: string | Buffer) => {
    writeFileSync(join(directory, name), content);
    return name;
  };
  return {
    directory,
    write,
    fresh,
    chain: (certificate) =>
      write(fresh('.pem'), toPem('CERTIFICATE', certificate) + toPem('CERTIFICATE', trust.issuing)),
    run: (program, args, input) => {
      const { status, signal, error, stdout, stderr } = spawnSync(program, args, {
        cwd: directory,
        encoding: 'utf8',
        // Names are Vietnamese; by themselves Java's tools read and write what the locale has letters for.
        env: { PATH: '/usr/bin:/bin:/usr/sbin:/sbin', HOME: directory, LC_ALL: 'C.UTF-8' },
        input: input ?? '',
        timeout: 60_000,
      });
      if (error) throw error;
      const said = stdout + stderr;
      if (status !== 0) throw new Error(`${program} ${args.join(' ')} ended with ${status ?? signal}:\n${said}`);
      return said;
    },
  };
}

/** Programs that end well whatever they found must also have said the right words. */
function expectWords(said: string, ...words: readonly (string | RegExp)[]): void {
  for (const word of words)
    if (typeof word === 'string' ? !said.includes(word) : !word.test(said))
      throw new Error(`expected ${String(word)} in:\n${said}`);
}

const pem = (desk: Desk, certificate: Buffer) => desk.write(desk.fresh('.pem'), toPem('CERTIFICATE', certificate));
const certificatesIn = (said: string) => said.match(/BEGIN CERTIFICATE/g)?.length ?? 0;

/** OpenSSL 3: reads everything. */
function openssl(desk: Desk): Program {
  const open = ({ file, form, passphrase }: KeyFile) => [
    ...['pkcs12', '-in', desk.write(desk.fresh('.p12'), file), '-passin', `pass:${passphrase}`],
    ...(form === 'legacy' ? ['-legacy'] : []),
  ];
  return {
    name: 'OpenSSL',
    reads: () => true,
    certificate: (certificate, use) => {
      desk.run('openssl', [
        ...['verify', '-x509_strict', '-crl_check_all', '-purpose', use, '-CAfile', 'root.pem'],
        ...['-untrusted', 'issuing.pem', '-CRLfile', 'lists.pem', pem(desk, certificate)],
      ]);
    },
    list: (list) => {
      const file = desk.write(desk.fresh('.crl'), list);
      const said = desk.run('openssl', ['crl', '-inform', 'DER', '-in', file, '-CAfile', 'issuing.pem', '-noout']);
      expectWords(said, 'verify OK');
    },
    answer: (answer, certificate, status) => {
      const cert = pem(desk, certificate);
      const said = desk.run('openssl', [
        ...['ocsp', '-respin', desk.write(desk.fresh('.ocsp'), answer), '-issuer', 'issuing.pem', '-cert', cert],
        ...['-CAfile', 'root.pem', '-verify_other', 'issuing.pem', '-no_nonce'],
      ]);
      expectWords(said, 'Response verify OK', `${cert}: ${status}`);
    },
    keyFile: (file) => {
      const [key, certificate] = [desk.fresh('.key'), desk.fresh('.pem')];
      desk.run('openssl', [...open(file), '-nocerts', '-nodes', '-out', key]);
      desk.run('openssl', [...open(file), '-clcerts', '-nokeys', '-out', certificate]);
      expectWords(desk.run('openssl', ['x509', '-in', certificate]), toPem('CERTIFICATE', file.certificate));
      expectWords(
        desk.run('openssl', ['x509', '-in', certificate, '-noout', '-pubkey']),
        desk.run('openssl', ['pkey', '-in', key, '-pubout']),
      );
      const all = desk.run('openssl', [...open(file), '-nokeys']);
      if (certificatesIn(all) !== 3) throw new Error(`${certificatesIn(all)} certificates in the file instead of 3`);
    },
    signed: (message) => {
      desk.run('openssl', [
        ...['cms', '-verify', '-inform', 'DER', '-in', desk.write(desk.fresh('.p7s'), message)],
        ...['-CAfile', 'root.pem', '-certfile', 'issuing.pem', '-purpose', 'smimesign', '-out', desk.fresh('.txt')],
      ]);
    },
    decrypted: (message, file) => {
      const key = desk.fresh('.key');
      desk.run('openssl', [...open(file), '-nocerts', '-nodes', '-out', key]);
      const [sealed, recipient] = [desk.write(desk.fresh('.p7m'), message), pem(desk, file.certificate)];
      const to = ['-recip', recipient, '-inkey', key];
      return desk.run('openssl', ['cms', '-decrypt', '-inform', 'DER', '-in', sealed, ...to]);
    },
  };
}

/** GnuTLS, which GNOME's and KDE's programs and many servers read certificates with. */
function gnutls(desk: Desk): Program {
  return {
    name: 'GnuTLS',
    reads: () => true,
    certificate: (certificate, use) => {
      // It wants a purpose of the whole chain; a responder has its own from its authority, whatever else that certifies.
      const purpose = use === 'ocsphelper' ? [] : [`--verify-purpose=${uses[use].purpose}`];
      const said = desk.run('certtool', [
        ...['--verify', '--load-ca-certificate=root.pem', '--load-crl=lists.pem', '--verify-profile=medium'],
        ...[...purpose, `--infile=${desk.chain(certificate)}`],
      ]);
      expectWords(said, 'Chain verification output: Verified.', 'Checked against CRL');
    },
    list: (list) => {
      const file = desk.write(desk.fresh('.pem'), toPem('X509 CRL', list));
      const said = desk.run('certtool', ['--verify-crl', '--load-ca-certificate=issuing.pem', `--infile=${file}`]);
      expectWords(said, 'Verification output: Verified.');
    },
    answer: (answer, certificate, status) => {
      const file = desk.write(desk.fresh('.ocsp'), answer);
      const said = desk.run('ocsptool', [
        ...['--verify-response', `--load-response=${file}`, '--load-trust=issuing.pem'],
        ...['--load-issuer=issuing.pem', `--load-cert=${pem(desk, certificate)}`],
      ]);
      expectWords(said, 'Verifying OCSP Response: Success');
      const info = desk.run('ocsptool', ['--response-info', `--load-response=${file}`]);
      expectWords(info, `Certificate Status: ${status}`);
    },
    keyFile: ({ file, passphrase, friendlyName }) => {
      const name = desk.write(desk.fresh('.p12'), file);
      const said = desk.run('certtool', ['--p12-info', '--inder', `--password=${passphrase}`, `--infile=${name}`]);
      expectWords(said, `Friendly name: ${friendlyName}`, 'BEGIN ENCRYPTED PRIVATE KEY');
      if (certificatesIn(said) !== 3) throw new Error(`${certificatesIn(said)} certificates in the file instead of 3`);
    },
    signed: (message) => {
      const file = desk.write(desk.fresh('.p7s'), message);
      const said = desk.run('certtool', [
        ...['--p7-verify', '--inder', `--infile=${file}`, '--load-ca-certificate=root.pem', '--verify-profile=medium'],
      ]);
      expectWords(said, 'Signature status: ok');
    },
  };
}

/** NSS, which Thunderbird and Firefox read certificates with. */
function nss(desk: Desk, trust: Trust): Program {
  const newDatabase = (): string => {
    const name = `sql:${desk.fresh('.nss')}`;
    mkdirSync(join(desk.directory, name.slice(4)));
    desk.run('certutil', ['-N', '-d', name, '--empty-password']);
    desk.run('certutil', ['-A', '-d', name, '-n', 'root', '-t', 'CT,C,C', '-a', '-i', 'root.pem']);
    desk.run('certutil', ['-A', '-d', name, '-n', 'issuing', '-t', ',,', '-a', '-i', 'issuing.pem']);
    return name;
  };
  const keepList = (list: Buffer, where: string) =>
    desk.run('crlutil', ['-I', '-d', where, '-i', desk.write(desk.fresh('.crl'), list), '-t', '1']);
  const database = once(() => {
    const name = newDatabase();
    for (const list of trust.lists) keepList(list, name);
    return name;
  });
  return {
    name: 'NSS',
    // 3.87 knows no Ed25519, agrees on no key for a message, and takes complete lists alone.
    reads: (thing, keyKind) =>
      keyKind !== 'ed25519' && thing !== 'part' && (thing !== 'decrypted' || keyKind.startsWith('rsa')),
    certificate: (certificate, use) => {
      const nickname = desk.fresh('');
      const file = pem(desk, certificate);
      desk.run('certutil', ['-A', '-d', database(), '-n', nickname, '-t', ',,', '-a', '-i', file]);
      try {
        // -e: signatures are checked too.
        const said = desk.run('certutil', ['-V', '-d', database(), '-n', nickname, '-u', uses[use].nss, '-e']);
        expectWords(said, 'certificate is valid');
      } finally {
        desk.run('certutil', ['-D', '-d', database(), '-n', nickname]);
      }
    },
    list: (list) => void keepList(list, newDatabase()),
    keyFile: ({ file, passphrase, friendlyName }) => {
      const where = newDatabase();
      const name = desk.write(desk.fresh('.p12'), file);
      const said = desk.run('pk12util', ['-i', name, '-d', where, '-W', passphrase, '-K', '']);
      expectWords(said, 'PKCS12 IMPORT SUCCESSFUL');
      expectWords(desk.run('certutil', ['-K', '-d', where]), friendlyName);
    },
    signed: (message) => {
      const said = desk.run('cmsutil', [
        '-D',
        '-d',
        database(),
        '-i',
        desk.write(desk.fresh('.p7s'), message),
        '-h',
        '1',
      ]);
      expectWords(said, 'signer0.status=GoodSignature');
    },
    decrypted: (message, { file, passphrase }) => {
      const where = newDatabase();
      desk.run('pk12util', ['-i', desk.write(desk.fresh('.p12'), file), '-d', where, '-W', passphrase, '-K', '']);
      return desk.run('cmsutil', ['-D', '-d', where, '-i', desk.write(desk.fresh('.p7m'), message)]);
    },
  };
}

/** Java's own tool. It judges chains only together with their key. */
function java(desk: Desk): Program {
  const quick = ['-J-Duser.language=en', '-J-XX:TieredStopAtLevel=1', '-J-Xshare:auto', '-J-XX:+UseSerialGC'];
  const keytool = (...args: string[]) => desk.run('keytool', [...quick, ...args]);
  const issuers = once(() => {
    const file = desk.fresh('.jks');
    keytool(...['-importcert', '-noprompt', '-alias', 'issuing', '-file', 'issuing.pem'], ...store(file, 'changeit'));
    return file;
  });
  return {
    name: 'Java',
    reads: () => true,
    certificate: (certificate) =>
      expectWords(keytool('-printcert', '-v', '-file', pem(desk, certificate)), 'Version: 3'),
    list: (list) => {
      const said = keytool('-printcrl', '-file', desk.write(desk.fresh('.crl'), list), ...store(issuers(), 'changeit'));
      expectWords(said, 'Verified by issuing in keystore');
    },
    keyFile: ({ file, passphrase, friendlyName, certificate }) => {
      const name = desk.write(desk.fresh('.p12'), file);
      // Its own chain as an answer to the key: keytool verifies it up to the root, once it trusts that.
      keytool('-importcert', '-noprompt', '-alias', 'root', '-file', 'root.pem', ...store(name, passphrase));
      const reply = ['-file', desk.chain(certificate), ...store(name, passphrase)];
      expectWords(keytool('-importcert', '-alias', friendlyName, ...reply), 'Certificate reply was installed');
    },
  };
}

/** Made when it is first needed: not every program can hold every authority. */
function once<T>(make: () => T): () => T {
  let made: { value: T } | undefined;
  return () => {
    made ??= { value: make() };
    return made.value;
  };
}

const store = (file: string, password: string) => ['-keystore', file, '-storepass', password];

/** GnuPG's S/MIME half, version 2.2: KMail's and Claws' reader. */
function gpgsm(desk: Desk, trust: Trust): { program: Program; stop(): void } {
  const homes: string[] = [];
  const newHome = (): string => {
    const home = desk.fresh('.gnupg');
    mkdirSync(join(desk.directory, home), { mode: 0o700 });
    homes.push(home);
    const fingerprint = hash('sha1', trust.root, 'hex').toUpperCase();
    desk.write(`${home}/trustlist.txt`, `${fingerprint} S relax\n`);
    // It would fetch lists over the network; it is the one reader that is not asked about revocation.
    desk.write(`${home}/gpgsm.conf`, 'disable-crl-checks\n');
    run(home, '', '--import', 'root.pem', 'issuing.pem');
    return home;
  };
  const run = (home: string, passphrase: string, ...args: string[]) =>
    desk.run(
      'gpgsm',
      ['--homedir', home, '--batch', '--yes', '--pinentry-mode', 'loopback', '--passphrase-fd', '0', ...args],
      `${passphrase}\n`,
    );
  const home = once(newHome);
  const importKey = (where: string, { file, passphrase }: KeyFile) =>
    expectWords(
      run(where, passphrase, '--import', desk.write(desk.fresh('.p12'), file)),
      /secret keys (imported|unchanged): 1/,
    );
  return {
    stop: () => {
      for (const one of homes) spawnSync('gpgconf', ['--homedir', one, '--kill', 'all'], { cwd: desk.directory });
    },
    program: {
      name: 'gpgsm',
      // Of key files, triple DES with RSA keys and no other: of EC keys it dies, and PBES2 with SHA-256 comes with 2.4.
      reads: (thing, keyKind) =>
        thing === 'certificate' || thing === 'signed'
          ? keyKind !== 'ed25519'
          : thing !== 'modern' && keyKind.startsWith('rsa'),
      certificate: (certificate) => {
        run(home(), '', '--import', pem(desk, certificate));
        const fingerprint = hash('sha1', certificate, 'hex').toUpperCase();
        const said = run(home(), '', '--with-validation', '--list-keys', `0x${fingerprint}`);
        expectWords(said, '[certificate is good]');
      },
      keyFile: (file) => importKey(newHome(), file),
      signed: (message) => {
        const said = run(home(), '', '--verify', desk.write(desk.fresh('.p7s'), message));
        expectWords(said, 'Good signature from');
      },
      decrypted: (message, file) => {
        const where = newHome();
        importKey(where, file);
        return run(where, file.passphrase, '--decrypt', desk.write(desk.fresh('.p7m'), message));
      },
    },
  };
}
