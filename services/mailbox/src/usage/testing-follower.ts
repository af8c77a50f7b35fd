/** For tests: follows logs in a process of its own, which can be killed at any line. Told on standard input what and where. */
import { text } from 'node:stream/consumers';
import { openDatabase } from '@congvu/database';
import { pino } from 'pino';
import { type FollowedLog, followLogs } from './follow-logs.ts';

const { url, logs } = JSON.parse(await text(process.stdin)) as { url: string; logs: FollowedLog[] };
const parent = process.ppid;
setInterval(() => process.ppid !== parent && process.exit(), 500); // a test that died leaves no follower behind
followLogs({ database: openDatabase({ url, name: 'follower', poolSize: 3 }), logs, log: pino({ level: 'silent' }) });
