import type { AccountSource } from './enrolment-store.ts';

/** Of which profile the certificate is that the directory orders for an account. */
export const orderedProfile: Readonly<Partial<Record<AccountSource['kind'], string>>> = {
  person: 'person-signature',
  position: 'authority-signature',
  agency: 'agency-seal',
};
