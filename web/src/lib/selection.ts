// What is selected in a list, as values: who changes it gets a new one.

export interface Selection {
  readonly ids: ReadonlySet<string>;
  /** Where a range begins. */
  readonly anchor: string | null;
  /** Where the keyboard is. */
  readonly at: string | null;
}

export const NOTHING: Selection = { ids: new Set(), anchor: null, at: null };

export interface Keys {
  /** Ctrl or Cmd: one more, or one less. */
  toggle?: boolean;
  /** Shift: everything from the anchor to here. */
  range?: boolean;
}

function between(order: readonly string[], from: string, to: string): string[] {
  const [a, b] = [order.indexOf(from), order.indexOf(to)];
  if (a < 0) return b < 0 ? [] : [to];
  return order.slice(Math.min(a, b), Math.max(a, b) + 1);
}

/** A click, or a tap, on one entry. */
export function pick(selection: Selection, order: readonly string[], id: string, keys: Keys = {}): Selection {
  if (keys.range && selection.anchor) {
    const range = between(order, selection.anchor, id);
    const ids = keys.toggle ? new Set([...selection.ids, ...range]) : new Set(range);
    return { ids, anchor: selection.anchor, at: id };
  }
  if (keys.toggle) {
    const ids = new Set(selection.ids);
    if (!ids.delete(id)) ids.add(id);
    return { ids, anchor: id, at: id };
  }
  return { ids: new Set([id]), anchor: id, at: id };
}

/** A step of the keyboard: `by` entries on, within the list. With `toggle` the selection stays and only the place moves. */
export function step(selection: Selection, order: readonly string[], by: number, keys: Keys = {}): Selection {
  if (!order.length) return NOTHING;
  const here = selection.at === null ? -1 : order.indexOf(selection.at);
  const start = here < 0 ? (by > 0 ? -1 : order.length) : here;
  const target = order[Math.max(0, Math.min(order.length - 1, start + by))];
  if (keys.range) return pick(selection.anchor ? selection : { ...selection, anchor: target }, order, target, { range: true });
  if (keys.toggle) return { ...selection, at: target };
  return pick(selection, order, target);
}

export function all(order: readonly string[], selection: Selection = NOTHING): Selection {
  return { ids: new Set(order), anchor: order[0] ?? null, at: selection.at ?? order[0] ?? null };
}

/** Without what is not in the list any more. */
export function kept(selection: Selection, order: readonly string[]): Selection {
  const there = new Set(order);
  const still = (id: string | null) => (id !== null && there.has(id) ? id : null);
  if ([...selection.ids].every((id) => there.has(id)) && still(selection.at) === selection.at) return selection;
  return {
    ids: new Set([...selection.ids].filter((id) => there.has(id))),
    anchor: still(selection.anchor),
    at: still(selection.at),
  };
}
