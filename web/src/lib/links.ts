// Links: as their makers see them, and as whoever knows an address does.

import { address, call, send } from './api';

export interface Link {
  id: string;
  node_id: string;
  path: string | null;
  name: string;
  rights: 'read' | 'upload';
  has_password: boolean;
  expires_us: number | null;
  downloads_max: number | null;
  downloads: number;
  file_bytes_max: number | null;
  bytes_max: number | null;
  received_bytes: number;
  token?: string;
  url?: string;
}

export interface Rules {
  rights?: Link['rights'];
  name?: string;
  password?: string | null;
  expires_us?: number | null;
  downloads_max?: number | null;
  file_bytes_max?: number | null;
  bytes_max?: number | null;
}

const LINKS = '/api/links';
export const linksOn = (node: string) => call<{ links: Link[] }>('GET', LINKS, { query: { node } }).then((page) => page.links);
export const myLinks = () => call<{ links: Link[] }>('GET', LINKS).then((page) => page.links);
export const makeLink = (id: string, rules: Rules) => call<Link>('POST', LINKS, { body: { id, ...rules } });
export const changeLink = (id: string, rules: Rules & { renew?: boolean }) => call<Link>('PATCH', `${LINKS}/${id}`, { body: rules });
export const endLink = (id: string) => call<void>('DELETE', `${LINKS}/${id}`);

export interface PublicLink {
  needs_password: boolean;
  name: string | null;
  rights: 'read' | 'upload' | null;
  kind: 'file' | 'directory' | null;
  size_bytes: number | null;
  mime: string | null;
  modified_us: number | null;
  expires_us: number | null;
  downloads_left: number | null;
  file_bytes_max: number | null;
  bytes_left: number | null;
}

export interface PublicEntry {
  name: string;
  path: string;
  kind: 'file' | 'directory';
  size_bytes: number;
  mime: string;
  modified_us: number;
}

/** A link as whoever knows its token uses it. The pass for its password lasts as long as the tab. */
export class Guest {
  readonly #at: string;
  readonly #key: string;

  constructor(readonly token: string) {
    this.#at = `/api/public/${encodeURIComponent(token)}`;
    this.#key = `skep.pass.${token}`;
  }

  get passed(): string | null {
    return sessionStorage.getItem(this.#key);
  }

  #ask<T>(method: string, path: string, query: Record<string, string | undefined> = {}, body?: unknown): Promise<T> {
    const headers: Record<string, string> = this.passed ? { 'skep-link-pass': this.passed } : {};
    return send<T>(method, this.#at + path, { query, body, headers });
  }

  look(): Promise<PublicLink> {
    return this.#ask('GET', '');
  }

  async unlock(password: string): Promise<void> {
    const told = await this.#ask<{ pass: string }>('POST', '/unlock', {}, { password });
    sessionStorage.setItem(this.#key, told.pass);
  }

  entries(path: string, after?: string): Promise<{ entries: PublicEntry[]; next: string | null }> {
    return this.#ask('GET', '/entries', { path, after });
  }

  /** An address that the browser reads by itself, as often as it likes: counted as one download, now. */
  async begin(path: string, kind: 'file' | 'directory', save: boolean): Promise<string> {
    const { ticket } = await this.#ask<{ ticket: string }>('POST', '/downloads', {}, { path });
    const pass = this.passed;
    return address(`${this.#at}/${kind === 'file' ? 'data' : 'zip'}`, { path, ticket, pass, download: save || undefined });
  }
}
