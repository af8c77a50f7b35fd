export { type ApiClient, type CachedToken, type CallOptions, connectApi, type ServiceUrls } from './client.ts';
export { type Permission, permissions, type Role, roles } from './permissions.ts';
export * from './wire.ts';
