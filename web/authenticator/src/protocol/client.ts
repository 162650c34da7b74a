// Requests to this page's own server. Nothing here ever talks to another origin.

import { randomToken } from './bytes';
import type { DeviceKey } from './keys';
import { type ServerInfo, UnreadableError, readServer, readTime } from './messages';
import { makeProof } from './proof';

const TIMEOUT_MS = 12_000;

/** The server said no. */
export class RefusedError extends Error {
  override name = 'RefusedError';
  constructor(
    readonly status: number,
    readonly code: string,
    readonly problem: Record<string, unknown>,
  ) {
    super(`${status} ${code}`);
  }
  /** Seconds. */
  retryAfter = 0;
}

/** No answer came: no network, no server, or a certificate that this browser does not take. */
export class UnreachableError extends Error {
  override name = 'UnreachableError';
}

export interface Clock {
  /** Milliseconds since 1970 by the server's clock, as far as it is known. */
  now(): number;
  /** The server said what time it is. */
  learn(serverTime: number): void;
}

interface Call {
  method: string;
  path: string;
  body?: string | undefined;
  signal?: AbortSignal | undefined;
}

export class Client {
  #nonce: string | null = null;
  #asking: Promise<ServerInfo> | null = null;

  constructor(
    readonly origin: string,
    private readonly clock: Clock,
  ) {}

  /** Who the server is; also how the first nonce comes. Several who ask at once share one answer. */
  server(): Promise<ServerInfo> {
    this.#asking ??= this.#server().finally(() => (this.#asking = null));
    return this.#asking;
  }

  async #server(): Promise<ServerInfo> {
    const sent = Date.now();
    const response = await this.#fetch({ method: 'GET', path: 'server' }, {});
    const server = readServer(await json(response));
    // What the answer took on its way is shared between both directions.
    this.clock.learn(server.time + (Date.now() - sent) / 2);
    return server;
  }

  /** Sends a request with a proof and gives the JSON of the answer; undefined for 204. */
  async call(key: DeviceKey, method: string, path: string, body?: string): Promise<unknown> {
    const response = await this.#proven(key, { method, path, body });
    return response.status === 204 ? undefined : json(response);
  }

  /** Opens the stream; it lives as long as `signal` lets it. */
  async events(key: DeviceKey, signal: AbortSignal): Promise<ReadableStream<Uint8Array>> {
    const response = await this.#proven(key, { method: 'GET', path: 'events', signal });
    if (response.body === null) throw new UnreadableError('a stream without a body');
    return response.body;
  }

  /** A stale nonce and a wrong clock are each mended once. */
  async #proven(key: DeviceKey, call: Call): Promise<Response> {
    const mended = new Set<string>();
    for (;;) {
      try {
        return await this.#once(key, call);
      } catch (error) {
        if (!(error instanceof RefusedError) || mended.has(error.code)) throw error;
        if (error.code === 'proof_expired') this.clock.learn(readTime(error.problem.time));
        else if (error.code !== 'use_dpop_nonce') throw error;
        mended.add(error.code);
      }
    }
  }

  async #once(key: DeviceKey, call: Call): Promise<Response> {
    if (this.#nonce === null) await this.server();
    const claims = {
      htm: call.method,
      htu: `${this.origin}/device/v1/${call.path}`,
      iat: this.clock.now() / 1000,
      jti: randomToken(),
      nonce: this.#nonce ?? 'none',
    };
    return this.#fetch(call, { DPoP: await makeProof(key, claims, call.body ?? '') });
  }

  async #fetch({ method, path, body, signal }: Call, headers: Record<string, string>): Promise<Response> {
    let response: Response;
    try {
      response = await fetch(`/device/v1/${path}`, {
        method,
        headers: body === undefined ? headers : { ...headers, 'Content-Type': 'application/json' },
        ...(body === undefined ? {} : { body }),
        signal: signal ?? AbortSignal.timeout(TIMEOUT_MS),
        cache: 'no-store',
        credentials: 'omit',
        redirect: 'error',
        referrerPolicy: 'no-referrer',
      });
    } catch (cause) {
      throw new UnreachableError('no answer', { cause });
    }
    this.#nonce = response.headers.get('DPoP-Nonce') ?? this.#nonce;
    if (response.ok) return response;
    throw await refusal(response);
  }
}

async function refusal(response: Response): Promise<Error> {
  const isProblem = response.headers.get('Content-Type')?.startsWith('application/problem+json') === true;
  // A proxy that finds no server behind it answers in its own words.
  if (!isProblem && response.status >= 502) return new UnreachableError(`status ${response.status}`);
  const problem = isProblem ? await response.json().catch(() => ({})) : {};
  const code = typeof problem.code === 'string' ? problem.code : `status_${response.status}`;
  const error = new RefusedError(response.status, code, problem);
  error.retryAfter = Number(response.headers.get('Retry-After')) || 0;
  return error;
}

async function json(response: Response): Promise<unknown> {
  try {
    return await response.json();
  } catch (cause) {
    if (cause instanceof SyntaxError) throw new UnreadableError('no JSON');
    throw new UnreachableError('no answer', { cause });
  }
}
