// One door to the hive: JSON in and out, failures as Problems.

import { session } from './session.svelte';

export class Problem extends Error {
  constructor(
    readonly status: number,
    readonly code: string,
    detail: string,
    readonly details: Record<string, unknown> = {},
  ) {
    super(detail);
  }
}

/** A password or code in the body was wrong: the session is none of it. */
const ASKS_AGAIN = new Set(['bad-credentials', 'second-factor-needed']);

export interface Options {
  query?: Record<string, string | number | boolean | null | undefined>;
  body?: unknown;
  headers?: Record<string, string>;
  signal?: AbortSignal;
}

export function address(path: string, query: Options['query'] = {}): string {
  const fields = new URLSearchParams();
  for (const [name, value] of Object.entries(query)) {
    if (value !== undefined && value !== null && value !== '') fields.set(name, String(value));
  }
  const text = fields.toString();
  return text ? `${path}?${text}` : path;
}

async function once(method: string, path: string, options: Options, token: string | null): Promise<Response> {
  const headers: Record<string, string> = { accept: 'application/json', ...options.headers };
  if (token) headers.authorization = `Bearer ${token}`;
  if (options.body !== undefined) headers['content-type'] = 'application/json';
  const body = options.body === undefined ? undefined : JSON.stringify(options.body);
  try {
    return await fetch(address(path, options.query), {
      method, headers, body, signal: options.signal, credentials: 'omit', cache: 'no-store',
    });
  } catch (error) {
    if (options.signal?.aborted) throw error;
    throw new Problem(0, 'offline', 'The hive does not answer.');
  }
}

async function problemOf(answer: Response): Promise<Problem> {
  try {
    const told = await answer.json();
    return new Problem(answer.status, told.code ?? 'unknown', told.detail ?? answer.statusText, told.details ?? {});
  } catch {
    return new Problem(answer.status, 'unknown', answer.statusText || String(answer.status));
  }
}

/** A call as who is signed in. A token that ended is exchanged; a session that ended waits for signing in again. */
export async function request(method: string, path: string, options: Options = {}): Promise<Response> {
  const token = await session.token();
  let answer = await once(method, path, options, token);
  if (answer.status === 401) {
    const why = await problemOf(answer);
    if (ASKS_AGAIN.has(why.code)) throw why;
    answer = await once(method, path, options, await session.token(token));
  }
  if (!answer.ok) throw await problemOf(answer);
  return answer;
}

export async function call<T>(method: string, path: string, options: Options = {}): Promise<T> {
  const answer = await request(method, path, options);
  return (answer.status === 204 ? undefined : await answer.json()) as T;
}

/** A call as nobody. */
export function anonymous<T>(method: string, path: string, body?: unknown): Promise<T> {
  return send<T>(method, path, { body });
}

/** A call as nobody, with all that a call may have. */
export async function send<T>(method: string, path: string, options: Options): Promise<T> {
  const answer = await once(method, path, options, null);
  if (!answer.ok) throw await problemOf(answer);
  return (answer.status === 204 ? undefined : await answer.json()) as T;
}
