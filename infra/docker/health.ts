/**
 * Health check of the mail servers: `node health.ts '10143=* OK' '10024=220 '` ends with 0 when every port greets as said. A
 * master that answers for itself alone (`postfix status`) may have daemons that cannot start.
 */
import { greets } from '../local/dovecot.ts';

const answers = await Promise.all(
  process.argv.slice(2).map((wanted) => {
    const at = wanted.indexOf('=');
    return greets('127.0.0.1', Number(wanted.slice(0, at)), wanted.slice(at + 1));
  }),
);
process.exitCode = answers.length > 0 && answers.every(Boolean) ? 0 : 1;
