/** Every query on directory.people. */
import type { Transaction } from '@congvu/database';

export interface NewPerson {
  id: string;
  fullName: string;
  surname: string;
  middleNames: string;
  givenName: string;
  birthDate: string;
  sex: 'male' | 'female' | null;
  mobile: string | null;
  nationalIdSealed: Buffer;
  nationalIdHash: Buffer;
}

/**
 * Inserts people, or finds those who are in the record by their identity number: who comes back is called as was approved now,
 * and keeps a mobile number only where none is given. Returns id by wished id.
 */
export async function savePeople(transaction: Transaction, people: readonly NewPerson[]): Promise<Map<string, string>> {
  if (people.length === 0) return new Map();
  const rows = people.map(({ nationalIdSealed, nationalIdHash, ...person }) => ({
    ...person,
    sealed: nationalIdSealed.toString('hex'),
    hash: nationalIdHash.toString('hex'),
  }));
  const { rows: saved } = await transaction.raw<{ rows: { id: string; hash: string }[] }>(
    `insert into directory.people (id, full_name, surname, middle_names, given_name, birth_date, sex, mobile,
       national_id_sealed, national_id_hash)
     select distinct on (hash) id, "fullName", surname, "middleNames", "givenName", "birthDate", sex, mobile, decode(sealed, 'hex'),
       decode(hash, 'hex')
     from json_to_recordset(?::json) as row(id uuid, "fullName" text, surname text, "middleNames" text, "givenName" text,
       "birthDate" date, sex text, mobile text, sealed text, hash text) order by hash
     on conflict (national_id_hash) do update set full_name = excluded.full_name, surname = excluded.surname,
       middle_names = excluded.middle_names, given_name = excluded.given_name,
       mobile = coalesce(excluded.mobile, people.mobile)
     returning id, encode(national_id_hash, 'hex') as hash`,
    [JSON.stringify(rows)],
  );
  const idByHash = new Map(saved.map(({ id, hash }) => [hash, id]));
  return new Map(rows.map(({ id, hash }) => [id, idByHash.get(hash) as string]));
}

/** Another name. */
export async function renamePerson(
  transaction: Transaction,
  id: string,
  name: Pick<NewPerson, 'fullName' | 'surname' | 'middleNames' | 'givenName'>,
): Promise<void> {
  await transaction('directory.people').where({ id }).update({
    full_name: name.fullName,
    surname: name.surname,
    middle_names: name.middleNames,
    given_name: name.givenName,
  });
}
