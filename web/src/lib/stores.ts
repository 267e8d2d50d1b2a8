// Stores as the owner's side of the page shows them.

export interface Store {
  id: string; name: string; url: string; zone: string; state: string; healthy: boolean; error: string | null;
  capacity_bytes: number | null; used_bytes: number; free_bytes: number | null; latency_s: number; owner?: string | null; warnings?: string[];
  reputation: { honesty: number; answered: number; suspect: boolean; audits: number; failed: number; unanswered: number; last_audit_us: number | null };
}

export interface Drain {
  shards: number; size_bytes: number; crowded_bytes: number; nowhere_bytes: number; whole: boolean;
  to: { name: string; zone: string; gains_bytes: number; after_bytes: number; capacity_bytes: number | null }[];
}

/** What a store can hold in all; null where nobody knows. */
export function roomOf(store: Store): number | null {
  return store.capacity_bytes ?? (store.free_bytes === null ? null : store.used_bytes + store.free_bytes);
}

export function byZone(list: Store[]): [string, Store[]][] {
  const by = new Map<string, Store[]>();
  for (const one of list) by.set(one.zone, [...(by.get(one.zone) ?? []), one]);
  return [...by];
}
