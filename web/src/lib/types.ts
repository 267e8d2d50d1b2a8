// What the API gives, as far as the page uses it (docs/api.md).

export interface Entry {
  id: string;
  space_id: string;
  parent_id: string | null;
  name: string;
  extension: string;
  path: string;
  kind: 'file' | 'directory';
  size_bytes: number;
  etag: string;
  mime: string;
  version_number: number | null;
  created_us: number;
  modified_us: number;
  tags: string[];
}

export interface Version {
  id: string;
  number: number;
  size_bytes: number;
  etag: string;
  mime: string;
  created_us: number;
  modified_us: number;
  created_by: string | null;
  is_current: boolean;
}

export interface Info {
  info: Entry;
  dirs: Entry[];
  files: Entry[];
  next?: string;
  version?: Version;
  versions?: Version[];
  chunks?: Record<string, number>;
  shared_with?: Share[];
}

export interface Space {
  id: string;
  kind: 'personal' | 'group' | 'share';
  name: string;
  owner_id: string;
  root_id: string;
  quota_bytes: number | null;
  used_bytes: number;
  cursor: string;
  rights: 'read' | 'write' | 'upload';
}

export interface Trashed {
  id: string;
  space_id: string;
  name: string;
  kind: 'file' | 'directory';
  path: string;
  size_bytes: number;
  deleted_us: number;
}

export interface Me {
  id: string;
  name: string;
  email: string | null;
  full_name: string | null;
  is_admin: boolean;
  is_active: boolean;
  created_us: number;
}

export interface Pair {
  access_token: string;
  expires_in_s: number;
  refresh_token: string;
  refresh_expires_in_s: number;
}

export interface Share {
  id: string;
  node_id: string;
  space_id: string;
  path: string;
  holder: { kind: string; id: string; name: string };
  rights: 'read' | 'write' | 'upload';
  may_share: boolean;
  state: string;
}

export interface HeldShare {
  id: string;
  name: string;
  node_id: string;
  node_kind: 'file' | 'directory';
  rights: 'read' | 'write' | 'upload';
  may_share: boolean;
  state: 'pending' | 'accepted' | 'declined';
  owner: { id: string; name: string } | string;
  given_by: { id: string; name: string } | string;
  group_id: string | null;
}

export interface Change {
  number: number;
  kind: 'created' | 'updated' | 'moved' | 'trashed' | 'restored' | 'deleted' | 'metadata';
  node_id: string;
  node_kind: 'file' | 'directory';
  path: string;
  old_path?: string | null;
}
