/**
 * The one error that crosses module borders in Congvu. Everything thrown on purpose is a ServiceError of a closed set
 * of kinds; everything else is a fault of ours, and only its request id is shown outside.
 */

/** What went wrong, in terms of what the caller can do about it. The HTTP status of each is in `httpStatus`. */
export type ErrorKind =
  | 'malformed'
  | 'invalid'
  | 'unauthenticated'
  | 'forbidden'
  | 'not_found'
  | 'conflict'
  | 'stale'
  | 'too_large'
  | 'rate_limited'
  | 'unavailable';

/** HTTP status of each kind (RFC 9110 section 15, RFC 6585 for 429). */
export const httpStatus: Readonly<Record<ErrorKind, number>> = {
  malformed: 400,
  invalid: 422,
  unauthenticated: 401,
  forbidden: 403,
  not_found: 404,
  conflict: 409,
  stale: 412,
  too_large: 413,
  rate_limited: 429,
  unavailable: 503,
};

/** One fault in what was sent: `pointer` is a JSON Pointer (RFC 6901) into the body, or `query/…`, `header/…`, `row/…`. */
export interface Fault {
  pointer: string;
  code: string;
  detail: string;
}

export interface ServiceErrorOptions {
  kind: ErrorKind;
  /** Stable, machine-readable, `snake_case`; never renamed once released. */
  code: string;
  /** One plain sentence for the caller: what, where, what to do. Must hold no secret and no personal data. */
  detail: string;
  /** Every fault at once, for `invalid`. */
  faults?: readonly Fault[];
  /** Seconds after which trying again makes sense (RFC 9110 section 10.2.3), for `rate_limited` and `unavailable`. */
  retryAfterSeconds?: number;
  /** What happened underneath; for the log only, never shown outside. */
  cause?: unknown;
}

export class ServiceError extends Error {
  override readonly name = 'ServiceError';
  readonly kind: ErrorKind;
  readonly code: string;
  readonly detail: string;
  readonly faults: readonly Fault[];
  readonly retryAfterSeconds: number | undefined;

  constructor(options: ServiceErrorOptions) {
    super(options.detail, { cause: options.cause });
    this.kind = options.kind;
    this.code = options.code;
    this.detail = options.detail;
    this.faults = options.faults ?? [];
    this.retryAfterSeconds = options.retryAfterSeconds;
  }
}

/** `invalid` with all its faults; `detail` says how many there are and what the first is. */
export function invalid(code: string, faults: readonly Fault[]): ServiceError {
  const [first] = faults;
  const detail =
    faults.length === 1 && first
      ? first.detail
      : `${faults.length} faults were found; each is listed in errors. The first: ${first?.detail ?? ''}`;
  return new ServiceError({ kind: 'invalid', code, detail, faults });
}

/** An Idempotency-Key that came before, with something else. */
export const keyReused = (): ServiceError =>
  new ServiceError({
    kind: 'conflict',
    code: 'idempotency_key_reused',
    detail: 'This Idempotency-Key was sent before with something else; use a new key for what is new.',
  });
