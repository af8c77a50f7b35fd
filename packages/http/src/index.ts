export { type AppOptions, createApp } from './app.ts';
export { type Authenticate, type Principal, remoteKeys, tokenAudience, tokenAuthentication } from './authentication.ts';
export {
  decodeCursor,
  decodeNameCursor,
  decodeNumberCursor,
  decodeSortCursor,
  decodeTimeCursor,
  encodeCursor,
  listAnswer,
  listTypes,
  type Page,
  PageQuery,
  pageAnswer,
  pageOf,
  toCsv,
  toPage,
} from './list.ts';
export { Problem, toProblem } from './problem.ts';
export { answersHttp, serveInProcesses } from './processes.ts';
export {
  client,
  FileBody,
  type Route,
  type RouteAnswer,
  type RouteContext,
  route,
  spreadsheetType,
  versionTag,
} from './route.ts';
export { createLog, exitOnFault, parseConfig, type RunningService, serve, serviceConfig } from './service.ts';
