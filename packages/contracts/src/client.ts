/**
 * A program's way to the three services: gets a token by client credentials (RFC 6749 section 4.4), renews it before it
 * ends, and turns problem documents back into ServiceErrors. Used by the local stack, the journeys and the command line.
 */
import { type ErrorKind, httpStatus, ServiceError } from '@congvu/errors';
import { z } from 'zod';

export interface ServiceUrls {
  directory: string;
  mailbox: string;
  certificate: string;
}

export interface CallOptions {
  method?: 'GET' | 'POST' | 'PUT' | 'PATCH' | 'DELETE';
  /** Sent as JSON, unless `contentType` says otherwise (then a string). */
  body?: unknown;
  contentType?: string;
  accept?: string;
  headers?: Record<string, string>;
  signal?: AbortSignal;
}

export interface ApiClient {
  /** Calls `service` at `path`; the answer is checked against `schema`. Throws a ServiceError made of the problem document. */
  call<T extends z.ZodType>(
    service: keyof ServiceUrls,
    path: string,
    schema: T,
    options?: CallOptions,
  ): Promise<z.infer<T>>;
  /** The answer as it is, for what is not JSON. */
  fetch(service: keyof ServiceUrls, path: string, options?: CallOptions): Promise<Response>;
}

const TokenAnswer = z.object({ access_token: z.string(), expires_in: z.number() });

/** A client with credentials, a holder with a token, or a stranger with neither. */
export function connectApi(
  urls: ServiceUrls,
  credentials: { clientId: string; clientSecret: string } | { token: string } | undefined,
): ApiClient {
  let cached: { token: string; renewAt: number } | undefined;

  async function token(): Promise<string | undefined> {
    if (!credentials) return undefined;
    if ('token' in credentials) return credentials.token;
    if (cached && Date.now() < cached.renewAt) return cached.token;
    const basic = [credentials.clientId, credentials.clientSecret].map(encodeURIComponent).join(':');
    const response = await reach(`${urls.directory}/oauth/token`, {
      method: 'POST',
      headers: { Authorization: `Basic ${Buffer.from(basic).toString('base64')}` },
      body: new URLSearchParams({ grant_type: 'client_credentials' }),
      signal: AbortSignal.timeout(60_000),
    });
    if (!response.ok) throw await toError(response);
    const answer = TokenAnswer.parse(await response.json());
    cached = { token: answer.access_token, renewAt: Date.now() + (answer.expires_in - 30) * 1_000 };
    return cached.token;
  }

  const fetchAnswer: ApiClient['fetch'] = async (service, path, options = {}) => {
    const bearer = await token();
    const contentType = options.contentType ?? 'application/json';
    const response = await reach(`${urls[service]}${path}`, {
      method: options.method ?? (options.body === undefined ? 'GET' : 'POST'),
      headers: {
        ...(bearer ? { Authorization: `Bearer ${bearer}` } : {}),
        ...(options.accept ? { Accept: options.accept } : {}),
        ...(options.body === undefined ? {} : { 'Content-Type': contentType }),
        ...options.headers,
      },
      ...(options.body === undefined
        ? {}
        : { body: contentType === 'application/json' ? JSON.stringify(options.body) : String(options.body) }),
      signal: options.signal ?? AbortSignal.timeout(60_000),
    });
    if (!response.ok) throw await toError(response);
    return response;
  };

  return {
    fetch: fetchAnswer,
    call: async (service, path, schema, options) => {
      const response = await fetchAnswer(service, path, options);
      const body: unknown = await response.json().catch((cause: unknown) => {
        throw unreachable(response.url, cause);
      });
      return schema.parse(body);
    },
  };
}

async function reach(url: string, init: RequestInit): Promise<Response> {
  try {
    return await fetch(url, init);
  } catch (cause) {
    throw unreachable(url, cause);
  }
}

/** Also of an answer that broke off. */
const unreachable = (url: string, cause: unknown): ServiceError => {
  const detail = `${new URL(url).origin} does not answer.`;
  return new ServiceError({ kind: 'unavailable', code: 'service_unreachable', detail, cause });
};

const ProblemAnswer = z.object({
  code: z.string(),
  detail: z.string(),
  errors: z.array(z.object({ pointer: z.string(), code: z.string(), detail: z.string() })).optional(),
});
const OAuthError = z.object({ error: z.string(), error_description: z.string().optional() });

async function toError(response: Response): Promise<ServiceError> {
  const body: unknown = await response.json().catch(() => undefined);
  const kind = (Object.entries(httpStatus).find(([, status]) => status === response.status)?.[0] ??
    'unavailable') as ErrorKind;
  const problem = ProblemAnswer.safeParse(body);
  if (problem.success) {
    const { code, detail, errors } = problem.data;
    return new ServiceError({ kind, code, detail, ...(errors ? { faults: errors } : {}) });
  }
  const refused = OAuthError.safeParse(body);
  if (refused.success) {
    return new ServiceError({
      kind,
      code: refused.data.error,
      detail: refused.data.error_description ?? refused.data.error,
    });
  }
  return new ServiceError({ kind, code: 'http_error', detail: `${response.url} answered ${response.status}.` });
}
