/**
 * A stretch of a log file, from where reading ended: whole lines alone, a bounded number of octets at a time, across rotation (by
 * renaming, or by copying and truncating): what was begun is read to its end first. A file is known by its number and by how it
 * begins, because a file system gives numbers again.
 */
import { createHash } from 'node:crypto';
import { type FileHandle, open, readdir, stat } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';

export interface LogPosition {
  inode: string;
  headLength: number;
  headHash: string;
  position: number;
  readAt: Date;
}

export interface Stretch {
  lines: string[];
  /** Where reading goes on. */
  next: LogPosition;
  /** The file that was being read is gone, and with it what had not been read of it. */
  isAfterLoss: boolean;
}

interface Generation {
  path: string;
  inode: string;
  size: number;
  changedAt: Date;
}

const stretchBytes = 1024 * 1024;
const headBytes = 512;

/** Undefined when there is nothing new. */
export async function readStretch(path: string, from: LogPosition | undefined): Promise<Stretch | undefined> {
  const files = await generations(path);
  const current = files.find((file) => file.path === path);
  if (!from) return current && readFrom(current, 0, true);
  const known = await findKnown(files, from);
  if (!known) {
    const first = files.find((file) => file.changedAt > from.readAt) ?? current;
    return (
      first && {
        ...((await readFrom(first, 0, first === files.at(-1))) ?? (await beginning(first))),
        isAfterLoss: true,
      }
    );
  }
  const following = files[files.indexOf(known) + 1];
  // Until there is something in the file that follows, this one is still being written to.
  const isGrowing = !following || following.size === 0;
  const stretch = await readFrom(known, from.position, isGrowing);
  if (stretch || isGrowing) return stretch;
  return readFrom(following, 0, following === files.at(-1));
}

/** Another whenever something was written to the log, or to what it was renamed to. */
export const stateOfLog = async (path: string): Promise<string> =>
  JSON.stringify((await generations(path)).map(({ inode, size, changedAt }) => [inode, size, changedAt]));

/** The log and what it was renamed to, oldest first. Compressed ones cannot be read. */
async function generations(path: string): Promise<Generation[]> {
  const name = basename(path);
  const names = (await readdir(dirname(path))).filter(
    (one) => one === name || (one.startsWith(`${name}.`) && !/\.(gz|xz|zst|bz2)$/.test(one)),
  );
  const found = await Promise.all(
    names.map(async (one) => {
      const file = join(dirname(path), one);
      const facts = await stat(file, { bigint: true }).catch(() => undefined); // renamed just now
      return facts?.isFile()
        ? [{ path: file, inode: String(facts.ino), size: Number(facts.size), changedAt: facts.mtime }]
        : [];
    }),
  );
  const isCurrent = (file: Generation): number => Number(file.path === path);
  return found.flat().sort((a, b) => isCurrent(a) - isCurrent(b) || a.changedAt.getTime() - b.changedAt.getTime());
}

/** The file that was being read, or a copy of it that was made before it was truncated. */
async function findKnown(files: readonly Generation[], from: LogPosition): Promise<Generation | undefined> {
  const isNumbered = (file: Generation): number => Number(file.inode === from.inode);
  for (const file of [...files].sort((a, b) => isNumbered(b) - isNumbered(a))) {
    const isCandidate = from.position > 0 ? file.size >= from.position : file.inode === from.inode;
    if (isCandidate && (await opened(file, (handle) => hashHead(handle, from.headLength))) === from.headHash)
      return file;
  }
  return undefined;
}

/** @param isGrowing whether the last line may be half-written. */
const readFrom = (file: Generation, position: number, isGrowing: boolean): Promise<Stretch | undefined> =>
  opened(file, async (handle) => {
    const readAt = new Date();
    const buffer = Buffer.allocUnsafe(stretchBytes);
    const { bytesRead } = await handle.read(buffer, 0, stretchBytes, position);
    const wholeLines = buffer.subarray(0, bytesRead).lastIndexOf(0x0a) + 1;
    const isFull = bytesRead === stretchBytes;
    // A line longer than a stretch is none of these programs': it is passed over.
    const used = isFull ? wholeLines || bytesRead : isGrowing ? wholeLines : bytesRead;
    if (used === 0) return undefined;
    const lines = buffer.toString('utf8', 0, used).split('\n');
    const headLength = Math.min(position + used, headBytes);
    const headHash = await hashHead(handle, headLength);
    const next = { inode: file.inode, headLength, headHash, position: position + used, readAt };
    return { lines, next, isAfterLoss: false };
  });

const beginning = (file: Generation): Promise<Stretch> =>
  opened(file, async (handle) => {
    const next = {
      inode: file.inode,
      headLength: 0,
      headHash: await hashHead(handle, 0),
      position: 0,
      readAt: new Date(),
    };
    return { lines: [], next, isAfterLoss: true };
  });

async function hashHead(handle: FileHandle, length: number): Promise<string> {
  const buffer = Buffer.alloc(length);
  const { bytesRead } = await handle.read(buffer, 0, length, 0);
  return createHash('sha256').update(buffer.subarray(0, bytesRead)).digest('hex');
}

async function opened<T>(file: Generation, work: (handle: FileHandle) => Promise<T>): Promise<T> {
  const handle = await open(file.path);
  try {
    return await work(handle);
  } finally {
    await handle.close();
  }
}
