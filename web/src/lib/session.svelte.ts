// Who is signed in. Tabs share one session: a refresh token is good once, so one tab exchanges it for all.

import { anonymous, call, Problem } from './api';
import type { Me, Pair } from './types';
import { usePasskey, type GetJson } from './webauthn';

const KEY = 'skep.session';
const LOCK = 'skep.refresh';
const EARLY_MS = 30_000;

interface Kept {
  access: string;
  refresh: string;
  ends: number;
}

function kept(): Kept | null {
  try {
    return JSON.parse(localStorage.getItem(KEY) ?? 'null');
  } catch {
    return null;
  }
}

function keep(pair: Pair): void {
  const ends = Date.now() + pair.expires_in_s * 1000;
  localStorage.setItem(KEY, JSON.stringify({ access: pair.access_token, refresh: pair.refresh_token, ends }));
}

/** What the list of sessions calls this one. */
export function agent(): string {
  return `page: ${navigator.userAgent}`.slice(0, 200);
}

/** Over plain HTTP browsers have no locks: there tabs may meet in a refresh, and what was kept meanwhile is taken. */
function alone<T>(work: () => Promise<T>): Promise<T> {
  return navigator.locks ? (navigator.locks.request(LOCK, work) as Promise<T>) : work();
}

class Session {
  me = $state.raw<Me | null>(null);
  /** The session ended while the page was open: what waits goes on after signing in again. */
  ended = $state(false);
  #refreshing: Promise<string | null> | null = null;
  #waiting: (() => void)[] = [];

  constructor() {
    addEventListener('storage', (event) => {
      if (event.key !== KEY) return;
      if (!event.newValue) this.me = null;
      else if (this.ended || !this.me) void this.#welcome();
    });
  }

  /** At the start of the page: whoever was signed in still is. */
  async open(): Promise<void> {
    if (!kept()) return;
    try {
      this.me = await call<Me>('GET', '/api/auth/me');
    } catch (error) {
      if (error instanceof Problem && error.code === 'offline') throw error;
    }
    this.ended = false;
  }

  async signIn(name: string, password: string): Promise<void> {
    keep(await anonymous<Pair>('POST', '/api/auth/login', { name, password, agent: agent() }));
    await this.#welcome();
  }

  /** The second step of a login that asked for one: a code of the authenticator, or a recovery code. */
  async answer(question: string, code: string): Promise<void> {
    keep(await anonymous<Pair>('POST', '/api/auth/login/second', { question, code }));
    await this.#welcome();
  }

  /** A passkey in place of name and password, or, to a login's question, as the second factor. */
  async passkey(question: string | null = null): Promise<void> {
    const path = question ? '/api/auth/login/second' : '/api/auth/login';
    const begin = question ? `${path}/ask` : `${path}/passkey/ask`;
    const asked = await anonymous<{ question: string; options: GetJson }>('POST', begin, question ? { question } : { agent: agent() });
    const credential = await usePasskey(asked.options);
    keep(await anonymous<Pair>('POST', `${path}/passkey`, { question: asked.question, credential }));
    await this.#welcome();
  }

  async signOut(): Promise<void> {
    await call('POST', '/api/auth/logout').catch(() => {}); // a session that has ended is what was wanted
    localStorage.removeItem(KEY);
    this.me = null;
    this.ended = false;
  }

  take(pair: Pair): void {
    keep(pair);
  }

  async #welcome(): Promise<void> {
    this.me = await call<Me>('GET', '/api/auth/me');
    this.ended = false;
    this.#waiting.splice(0).forEach((go) => go());
  }

  /** An access token that is good; `refused` was not. Waits for signing in again if the session ended. */
  async token(refused: string | null = null): Promise<string> {
    for (;;) {
      const now = kept();
      if (now && now.access !== refused && now.ends - Date.now() > EARLY_MS) return now.access;
      const fresh = now ? await (this.#refreshing ??= this.#refresh(now.access)) : null;
      if (fresh) return fresh;
      if (!this.me) throw new Problem(401, 'token-expired', '');
      this.ended = true;
      await new Promise<void>((go) => this.#waiting.push(go));
    }
  }

  async #refresh(old: string): Promise<string | null> {
    try {
      return await alone(async () => {
        const now = kept();
        if (!now) return null;
        if (now.access !== old && now.ends > Date.now()) return now.access; // another tab was first
        try {
          const pair = await anonymous<Pair>('POST', '/api/auth/refresh', { refresh_token: now.refresh });
          keep(pair);
          return pair.access_token;
        } catch (error) {
          if (error instanceof Problem && error.status === 401) {
            if (kept()?.refresh === now.refresh) localStorage.removeItem(KEY);
            return null;
          }
          throw error;
        }
      });
    } finally {
      this.#refreshing = null;
    }
  }
}

export const session = new Session();
