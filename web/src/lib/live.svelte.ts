// Changes as they happen, over the WebSocket of the hive (docs/events.md). It comes back by itself, from where it was.

import { session } from './session.svelte';
import type { Change } from './types';

type Listener = (changes: Change[], space: string) => void;
const WAITS_MS = [1_000, 2_000, 5_000, 10_000, 30_000];

class Live {
  connected = $state(false);
  #socket: WebSocket | null = null;
  #space = '';
  #cursor: string | null = null;
  #tries = 0;
  #timer: ReturnType<typeof setTimeout> | undefined;
  #listener: Listener = () => {};
  /** Told when changes may have been missed: what is shown is to be read anew. */
  onGap: () => void = () => {};

  follow(space: string, listener: Listener): void {
    this.#listener = listener;
    if (this.#socket && this.#space === space) return;
    this.stop();
    this.#space = space;
    void this.#connect();
  }

  stop(): void {
    clearTimeout(this.#timer);
    this.#cursor = null;
    const socket = this.#socket;
    this.#socket = null;
    this.connected = false;
    socket?.close();
  }

  async #connect(): Promise<void> {
    let token: string;
    try {
      token = await session.token();
    } catch {
      return this.#later();
    }
    const url = new URL('/api/events', location.href);
    url.protocol = url.protocol.replace('http', 'ws');
    const socket = (this.#socket = new WebSocket(url, ['skep.events.v1', `skep.bearer.${token}`]));
    socket.onmessage = ({ data }) => this.#hear(socket, JSON.parse(data));
    socket.onclose = () => {
      if (this.#socket !== socket) return;
      this.connected = false;
      this.#later();
    };
  }

  #later(): void {
    clearTimeout(this.#timer);
    const wait = WAITS_MS[Math.min(this.#tries++, WAITS_MS.length - 1)];
    this.#timer = setTimeout(() => void this.#connect(), wait * (0.75 + Math.random() / 2));
  }

  #hear(socket: WebSocket, message: Record<string, any>): void {
    if (this.#socket !== socket) return;
    if (message.cursor) this.#cursor = message.cursor;
    switch (message.type) {
      case 'hello': {
        const ask: Record<string, string> = { type: 'subscribe', id: 'files' };
        if (this.#space) ask.space = this.#space;
        if (this.#cursor) ask.cursor = this.#cursor;
        socket.send(JSON.stringify(ask));
        if (message.expires_in_s) this.#renewIn(socket, message.expires_in_s);
        break;
      }
      case 'subscribed':
        this.connected = true;
        this.#tries = 0;
        break;
      case 'renewed':
        if (message.expires_in_s) this.#renewIn(socket, message.expires_in_s);
        break;
      case 'changes':
        if (message.changes.length) this.#listener(message.changes, this.#space);
        break;
      case 'resync':
        this.onGap();
        break;
      case 'ended':
        this.stop();
        this.onGap();
    }
  }

  /** Before the token ends a fresh one is shown; the session's own margin makes sure that it is another. */
  #renewIn(socket: WebSocket, seconds: number): void {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(async () => {
      const token = await session.token();
      if (this.#socket === socket && socket.readyState === WebSocket.OPEN) {
        socket.send(JSON.stringify({ type: 'renew', token }));
      }
    }, Math.max(1, seconds - 20) * 1000);
  }
}

export const live = new Live();
