/**
 * Passwords in the form in which an engine stores them, computed here so that no statement, argument or log holds one. For our
 * own random secrets of 192 bits, which need no slow hash; people's passwords are hashed by OpenLDAP alone (Argon2).
 */
import { createHash, createHmac, pbkdf2Sync, randomBytes } from 'node:crypto';

/** Dovecot's scheme SSHA512. */
export function saltedHash(password: string): string {
  const salt = randomBytes(16);
  const digest = createHash('sha512').update(password).update(salt).digest();
  return `{SSHA512}${Buffer.concat([digest, salt]).toString('base64')}`;
}

/** What PostgreSQL stores for SCRAM-SHA-256 (RFC 5803); ALTER ROLE takes it in a password's place. */
export function scramVerifier(password: string): string {
  const salt = randomBytes(16);
  const iterations = 4096;
  const salted = pbkdf2Sync(password, salt, iterations, 32, 'sha256');
  const clientKey = createHmac('sha256', salted).update('Client Key').digest();
  const storedKey = createHash('sha256').update(clientKey).digest('base64');
  const serverKey = createHmac('sha256', salted).update('Server Key').digest('base64');
  return `SCRAM-SHA-256$${iterations}:${salt.toString('base64')}$${storedKey}:${serverKey}`;
}
