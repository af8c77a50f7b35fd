export { addJobs, inTurn, type JobSpec, type JobWorker, startWorker, type Task, type WorkerOptions } from './jobs.ts';
export { type Migrations, migrate } from './migrate.ts';
export {
  brokenConstraint,
  byteaArray,
  type Connection,
  type Database,
  openDatabase,
  pingDatabase,
  prepared,
  type Transaction,
  translateDatabaseError,
} from './open.ts';
export { openReader, type Reader, type ReadRow } from './reader.ts';
