import { expect, it } from 'vitest';
import { KINDS, placeOf } from '../src/lib/storeforms';

it.each([
  ['directory', { path: '/mnt/disk 2/skep/' }, { url: 'fs:///mnt/disk%202/skep' }],
  ['s3', { endpoint: 's3.example.org', bucket: 'hive', key: 'ID', secret: 'a:b' }, { url: 's3://hive?endpoint=https%3A%2F%2Fs3.example.org', secret: 'ID:a:b' }],
  ['s3', { bucket: 'hive', prefix: '/a/b', region: 'eu-1', key: 'ID', secret: 's' }, { url: 's3://hive/a/b?region=eu-1', secret: 'ID:s' }],
  ['webdav', { address: 'https://dav.example:8443/files/', user: 'ann@home', password: 'x' }, { url: 'webdav+https://ann%40home@dav.example:8443/files', secret: 'x' }],
  ['webdav', { address: 'http://nas' }, { url: 'webdav+http://nas', secret: undefined }],
  ['cloud', { account: 'dropbox:ann' }, { url: 'dropbox:ann' }],
  ['other', { url: ' memory:x ' }, { url: 'memory:x', secret: undefined }],
])('%s %j', (kind, given, wanted) => expect(placeOf(kind, given)).toEqual(wanted));

it('says which field makes no sense', () => {
  expect(() => placeOf('directory', { path: 'mnt/disk' })).toThrow('path');
  expect(() => placeOf('webdav', { address: 'ftp://nas' })).toThrow('address');
  expect(() => placeOf('s3', { endpoint: 'http://', bucket: 'b' })).toThrow('endpoint');
  expect(new Set(KINDS.map((kind) => kind.id)).size).toBe(KINDS.length);
});
