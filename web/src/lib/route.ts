// The page's places as the hash of its URL, so that any host can serve it and every place can be linked to.

export type Route =
  | { view: 'files'; space: string; path: string }
  | { view: 'trash'; space: string }
  | { view: 'link'; token: string; path: string }
  | { view: 'join'; invite: string }
  | { view: 'shared' | 'account' | 'stores' | 'people' | 'upkeep' | 'log' | 'settings' };

const PLAIN = ['shared', 'account', 'stores', 'people', 'upkeep', 'log', 'settings'] as const;
export const HOME: Route = { view: 'files', space: '', path: '/' };

export function readRoute(hash: string): Route {
  const parts = hash.replace(/^#\/?/, '').split('/').filter(Boolean);
  let names: string[];
  try {
    names = parts.map(decodeURIComponent);
  } catch {
    return HOME;
  }
  const [view, space = '', ...rest] = names;
  if (view === 'l' && space) return { view: 'link', token: space, path: `/${rest.join('/')}` };
  const at = space === 'home' ? '' : space;
  if (view === 'files') return { view, space: at, path: `/${rest.join('/')}` };
  if (view === 'trash') return { view, space: at };
  if (view === 'join' && space) return { view, invite: space };
  const plain = PLAIN.find((name) => name === view);
  return plain ? { view: plain } : HOME;
}

export function writeRoute(route: Route): string {
  if (route.view === 'link') return `#/${['l', route.token, ...route.path.split('/').filter(Boolean)].map(encodeURIComponent).join('/')}`;
  if (route.view === 'join') return `#/join/${encodeURIComponent(route.invite)}`;
  if (route.view !== 'files' && route.view !== 'trash') return `#/${route.view}`;
  const names: string[] = [route.view, route.space || 'home'];
  if (route.view === 'files') names.push(...route.path.split('/').filter(Boolean));
  return `#/${names.map(encodeURIComponent).join('/')}`;
}
