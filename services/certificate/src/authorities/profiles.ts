/** The certificate profiles, read from their data files; with a fault in any of them the service does not start. */
import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { type Fault, invalid } from '@congvu/errors';
import { checkProfile, type Profile, profileFaults } from '../authority/profile.ts';
import type { KeyKind } from '../authority/public-key.ts';
import { orderedProfile } from '../enrolments/ordered-profile.ts';

export const profilesDirectory = join(import.meta.dirname, '../profiles');

/** By id. Throws `invalid` (`profile_invalid`) with every fault of every file, the file's name in front of its pointer. */
export async function loadProfiles(directory: string = profilesDirectory): Promise<ReadonlyMap<string, Profile>> {
  const files = (await readdir(directory)).filter((name) => name.endsWith('.json')).sort();
  const profiles = new Map<string, Profile>();
  const faults: Fault[] = [];
  for (const file of files) {
    const found = await readJson(join(directory, file));
    const wrong = found === undefined ? [unreadable] : profileFaults(found);
    faults.push(...wrong.map((fault) => ({ ...fault, pointer: `${file}${fault.pointer}` })));
    if (wrong.length > 0) continue;
    const profile = checkProfile(found);
    if (`${profile.id}.json` !== file)
      faults.push({ pointer: `${file}/id`, code: 'file_name', detail: `Profile ${profile.id} is in ${file}.` });
    profiles.set(profile.id, profile);
  }
  if (faults.length > 0) throw invalid('profile_invalid', faults);
  return profiles;
}

/** What the directory orders gets keys of this kind, whatever it is; other profiles fall back on one that they take. */
export function requireServerKeyKind(profiles: ReadonlyMap<string, Profile>, kind: KeyKind): void {
  for (const id of Object.values(orderedProfile)) {
    const keyKinds = profiles.get(id)?.keyKinds ?? [];
    if (!keyKinds.includes(kind))
      throw new Error(`SERVER_KEY_KIND is ${kind}, but the profile ${id} takes ${keyKinds.join(', ')}`);
  }
}

const unreadable: Fault = { pointer: '', code: 'json', detail: 'A profile is a file of JSON.' };

async function readJson(path: string): Promise<unknown> {
  try {
    return JSON.parse(await readFile(path, 'utf8'));
  } catch {
    return undefined;
  }
}
