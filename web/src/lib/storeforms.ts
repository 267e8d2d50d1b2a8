// What a person says of a place, as the hive wants it: a URL without secrets, and the secret beside it.

export type Field = 'path' | 'endpoint' | 'bucket' | 'prefix' | 'region' | 'key' | 'secret' | 'address' | 'user' | 'password' | 'account' | 'url';
export interface Kind {
  id: string;
  fields: readonly Field[];
  /** Those that may stay empty. */
  optional?: readonly Field[];
}

export const KINDS: readonly Kind[] = [
  { id: 'directory', fields: ['path'] },
  { id: 's3', fields: ['endpoint', 'bucket', 'prefix', 'region', 'key', 'secret'], optional: ['prefix', 'region'] },
  { id: 'webdav', fields: ['address', 'user', 'password'], optional: ['user', 'password'] },
  { id: 'cloud', fields: ['account'] },
  { id: 'agent', fields: [] },
  { id: 'other', fields: ['url', 'secret'], optional: ['secret'] },
];
export const HIDDEN: readonly Field[] = ['secret', 'password'];

export type Given = Partial<Record<Field, string>>;

const segments = (path: string) => path.split('/').filter(Boolean).map(encodeURIComponent).join('/');

/** The place that a form describes. Throws with the field that makes no sense. */
export function placeOf(kind: string, given: Given): { url: string; secret?: string } {
  const said = (field: Field) => (given[field] ?? '').trim();
  switch (kind) {
    case 'directory':
      if (!said('path').startsWith('/')) throw new RangeError('path');
      return { url: `fs:///${segments(said('path'))}` };
    case 's3': {
      const options = new URLSearchParams();
      if (said('endpoint')) options.set('endpoint', web(said('endpoint'), 'endpoint').href.replace(/\/$/, ''));
      if (said('region')) options.set('region', said('region'));
      const place = [said('bucket'), segments(said('prefix'))].filter(Boolean).join('/');
      return { url: `s3://${place}${options.size ? `?${options}` : ''}`, secret: `${said('key')}:${said('secret')}` };
    }
    case 'webdav': {
      const address = web(said('address'), 'address');
      const user = said('user') ? `${encodeURIComponent(said('user'))}@` : '';
      return { url: `webdav+${address.protocol}//${user}${address.host}${address.pathname.replace(/\/$/, '')}`, secret: said('password') || undefined };
    }
    case 'cloud':
      return { url: said('account') };
    default:
      return { url: said('url'), secret: said('secret') || undefined };
  }
}

function web(text: string, field: Field): URL {
  try {
    const url = new URL(/^[a-z]+:\/\//i.test(text) ? text : `https://${text}`);
    if (url.protocol === 'https:' || url.protocol === 'http:') return url;
  } catch {
    // told below
  }
  throw new RangeError(field);
}
