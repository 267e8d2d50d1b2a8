// The folder that is open: its entries as they come, their order, and what is selected.

import * as files from './files';
import { Problem } from './api';
import { base, join, parent } from './paths';
import * as selecting from './selection';
import { filtered, sorted, type Column, type Order } from './sorting';
import type { Change, Entry } from './types';

const PATCHES_MAX = 30;

function keptOrder(): Order {
  try {
    const order = JSON.parse(localStorage.getItem('skep.order') ?? '') as Order;
    if (['name', 'size', 'modified', 'kind'].includes(order.column)) return order;
  } catch {
    // nothing was kept
  }
  return { column: 'name', down: false };
}

export class Folder {
  space = $state('');
  path = $state('/');
  here = $state.raw<Entry | null>(null);
  entries = $state.raw<Entry[]>([]);
  loading = $state(false);
  /** There are more entries than the page takes. */
  cut = $state(false);
  error = $state.raw<Problem | null>(null);
  order = $state.raw<Order>(keptOrder());
  filter = $state('');
  tiles = $state(localStorage.getItem('skep.tiles') === 'yes');
  selection = $state.raw<selecting.Selection>(selecting.NOTHING);
  shown = $derived(sorted(filtered(this.entries, this.filter), this.order));
  ids = $derived(this.shown.map((entry) => entry.id));
  selected = $derived(this.shown.filter((entry) => this.selection.ids.has(entry.id)));
  #loading: AbortController | null = null;
  /** To select once it is there: what was just made. */
  #wanted: string | null = null;

  async open(space: string, path: string): Promise<void> {
    const same = this.space === space && this.path === path && this.here !== null;
    if (!same) {
      [this.entries, this.here, this.filter, this.cut] = [[], null, '', false];
      this.selection = selecting.NOTHING;
    }
    [this.space, this.path, this.error] = [space, path, null];
    this.#loading?.abort();
    const mine = (this.#loading = new AbortController());
    this.loading = true;
    let found: Entry[] = [];
    try {
      const here = await files.list(space, path, (page, more) => {
        found = found.concat(page);
        if (!same) this.entries = found; // a folder that is shown already is changed at once, at the end
        this.cut = more && found.length >= files.ENTRIES_MAX;
      }, mine.signal);
      this.entries = found;
      this.here = here;
      this.#settle();
    } catch (error) {
      if (mine.signal.aborted) return;
      if (error instanceof Problem) this.error = error;
      else throw error;
    } finally {
      if (this.#loading === mine) this.loading = false;
    }
  }

  reload(): Promise<void> {
    return this.open(this.space, this.path);
  }

  select(selection: selecting.Selection): void {
    this.selection = selection;
  }

  selectNamed(name: string): void {
    this.#wanted = name;
    this.#settle();
  }

  sortBy(column: Column): void {
    this.order = { column, down: this.order.column === column ? !this.order.down : column === 'modified' || column === 'size' };
    localStorage.setItem('skep.order', JSON.stringify(this.order));
  }

  showTiles(tiles: boolean): void {
    this.tiles = tiles;
    localStorage.setItem('skep.tiles', tiles ? 'yes' : 'no');
  }

  named(name: string): Entry | undefined {
    return this.entries.find((entry) => entry.name === name);
  }

  /** What the hive answered to a change of this page's own, or of others. */
  put(entry: Entry): void {
    const without = this.entries.filter((other) => other.id !== entry.id);
    this.entries = parent(entry.path) === this.path ? [...without, entry] : without;
    this.#settle();
  }

  drop(ids: Iterable<string>): void {
    const gone = new Set(ids);
    this.entries = this.entries.filter((entry) => !gone.has(entry.id));
    this.#settle();
  }

  /** Changes by others, or by this page. Returns where the folder itself went: its new path, null if it is gone. */
  async follow(changes: readonly Change[]): Promise<string | null | undefined> {
    let gone: string | null | undefined;
    const touched = new Set<string>();
    for (const change of changes) {
      const went = change.kind === 'trashed' || change.kind === 'deleted';
      const top = change.kind === 'moved' ? change.old_path : went ? change.path : null;
      if (top && top !== '/' && (this.path === top || this.path.startsWith(`${top}/`))) {
        gone = went ? null : change.path + this.path.slice(top.length);
      }
      const inHere = (path: string | null | undefined) => path && path !== '/' && parent(path) === this.path;
      if (went) this.drop([change.node_id]);
      else if (inHere(change.path) || inHere(change.old_path)) touched.add(change.node_id);
      else this.#touchAbove(change.path, touched);
    }
    if (gone !== undefined) return gone;
    if (touched.size > PATCHES_MAX) await this.reload();
    else await Promise.all([...touched].map((id) => this.#look(id)));
    return undefined;
  }

  /** A change deeper down: the folder in here above it has another size. */
  #touchAbove(path: string, touched: Set<string>): void {
    const prefix = this.path === '/' ? '/' : `${this.path}/`;
    if (!path.startsWith(prefix)) return;
    const top = this.named(path.slice(prefix.length).split('/')[0]);
    if (top) touched.add(top.id);
  }

  async #look(id: string): Promise<void> {
    const [space, path] = [this.space, this.path];
    try {
      const found = (await files.info(id)).info;
      if (space === this.space && path === this.path) this.put({ ...found, path: join(parent(found.path), base(found.path)) });
    } catch (error) {
      if (error instanceof Problem && error.status === 404) this.drop([id]);
    }
  }

  #settle(): void {
    this.selection = selecting.kept(this.selection, this.ids);
    const wanted = this.#wanted && this.named(this.#wanted);
    if (wanted) {
      this.selection = selecting.pick(this.selection, this.ids, wanted.id);
      this.#wanted = null;
    }
  }
}

export const folder = new Folder();
