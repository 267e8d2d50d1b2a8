"""The one relational schema, for SQLite, PostgreSQL and MariaDB.

Conventions: ids are 16 raw bytes, hashes 32; times are UTC microseconds in a BIGINT whose name
ends in ``_us``; sizes end in ``_bytes``; flags are 0 or 1; text that is compared is compared by
its bytes. No foreign keys point across packages except where a row is meaningless without the
other; rows are owned by one package each, named in the section comments, and written only there.

What always holds:
- a chunk row points at exactly one pack row; ``chunks.refs`` is the number of times that versions,
  objects and parts of uploads reference the chunk (fsck recounts it from the manifests);
- chunks of a pack with an owner are of domains of that owner;
- ``spaces.used_bytes`` is the sum of the sizes of all versions of the space, trash included, of what
  uploads into it hold, and of a personal space also of its owner's objects;
- ``nodes.size_bytes`` of a directory is the sum of the current sizes below it;
- ``nodes.changed`` of a directory is the number of the last change at or below it: its ETag;
- ``spaces.locked_until_us`` is not before the end of any lock in the space;
- change numbers of one space have no gaps: they are given in the transaction that makes them.
"""

from __future__ import annotations

import sqlalchemy as sa

from skep.db.tables import BLOB, FLAG, HASH, ID, INT, KEYTEXT, SHORT, TEXT
from skep.db.tables import METADATA as METADATA
from skep.db.tables import column as _column
from skep.db.tables import raw as _bytes
from skep.db.tables import table as _table

# --- db -------------------------------------------------------------------------------------
# What the hive knows of itself: its id, key check, current scheme, format versions, gc epoch.
hive = _table(
    "hive",
    _column("name", SHORT, primary_key=True),
    _column("value", BLOB),
    clustered=True,
)

# --- auth -----------------------------------------------------------------------------------
users = _table(
    "users",
    _column("id", ID, primary_key=True),
    _column("name", KEYTEXT),  # as shown
    _column("name_key", KEYTEXT, unique=True),  # NFC and case-folded: what is compared
    _column("email", KEYTEXT, null=True),
    _column("email_key", KEYTEXT, null=True, unique=True),
    _column("full_name", KEYTEXT, server_default=""),
    _column("password_hash", KEYTEXT, null=True),  # argon2id string; null: no password login
    _column("is_admin", FLAG, server_default="0"),
    _column("state", SHORT),  # active | suspended
    _column("token_epoch", INT, server_default="0"),  # raised to void every access token given so far
    _column("created_us", INT),
)
groups = _table(
    "groups",
    _column("id", ID, primary_key=True),
    _column("name", KEYTEXT),
    _column("name_key", KEYTEXT, unique=True),
    _column("created_us", INT),
)
memberships = _table(
    "memberships",
    _column("group_id", ID, primary_key=True),
    _column("user_id", ID, primary_key=True),
    _column("role", SHORT),  # member | manager
    sa.Index("ix_memberships_user_id", "user_id"),
    clustered=True,
)
app_passwords = _table(
    "app_passwords",
    _column("id", ID, primary_key=True),
    _column("user_id", ID, index=True),
    _column("name", KEYTEXT),
    _column("secret_hash", HASH, unique=True),
    _column("scopes", KEYTEXT),
    _column("created_us", INT),
    _column("last_used_us", INT, null=True),
    _column("expires_us", INT, null=True),
)
ssh_keys = _table(
    "ssh_keys",
    _column("id", ID, primary_key=True),
    _column("user_id", ID, index=True),
    _column("name", KEYTEXT),
    _column("kind", SHORT),
    _column("fingerprint", HASH),  # SHA-256 of the public key; several users may have the same key
    _column("scopes", KEYTEXT),
    _column("created_us", INT),
    _column("last_used_us", INT, null=True),
    sa.UniqueConstraint("user_id", "fingerprint"),
)
sessions = _table(
    "sessions",
    _column("id", ID, primary_key=True),
    _column("user_id", ID, index=True),
    _column("refresh_hash", HASH, unique=True),  # of the newest refresh token
    _column("previous_hash", HASH, null=True, index=True),  # of the one before: its reuse ends the session
    _column("scopes", KEYTEXT),
    _column("agent", KEYTEXT, server_default=""),
    _column("created_us", INT),
    _column("last_used_us", INT),
    _column("expires_us", INT, index=True),
)
invites = _table(
    "invites",
    _column("id", ID, primary_key=True),
    _column("token_hash", HASH, unique=True),
    _column("created_by", ID),
    _column("group_id", ID, null=True),
    _column("is_admin", FLAG, server_default="0"),
    _column("uses_left", INT),
    _column("created_us", INT),
    _column("expires_us", INT),
)
# Keys of programs that sign their requests (S3). The secret is needed in the clear to check a signature: sealed.
access_keys = _table(
    "access_keys",
    _column("id", ID, primary_key=True),
    _column("access_key", SHORT, unique=True),
    _column("user_id", ID, index=True),
    _column("name", KEYTEXT),
    _column("space_id", ID, null=True),  # null: the user's own; zeros: all that the user sees
    _column("sealed_secret", BLOB),
    _column("scopes", KEYTEXT),
    _column("bucket", KEYTEXT, null=True),  # null: every bucket of the space
    _column("prefix", TEXT, null=True),  # null: every key of the bucket
    _column("created_us", INT),
    _column("last_used_us", INT, null=True),
    _column("expires_us", INT, null=True),
)
signing_keys = _table(
    "signing_keys",
    _column("id", SHORT, primary_key=True),  # the JWK thumbprint, RFC 7638
    _column("sealed_private", BLOB),
    _column("public", BLOB),
    _column("created_us", INT),
    _column("retired_us", INT, null=True),
)

# --- durability -----------------------------------------------------------------------------
domains = _table(
    "domains",
    _column("id", ID, primary_key=True),
    _column("kind", SHORT),  # account | hive | public; array | cloud | both: of chunks sent to such members alone
    _column("owner_id", ID, null=True, index=True),
    _column("generation", INT),
    _column("wrapped_secret", BLOB),
    _column("created_us", INT),
)
stores = _table(
    "stores",
    _column("id", ID, primary_key=True),
    _column("name", KEYTEXT, unique=True),
    _column("url", TEXT),  # without secrets
    _column("sealed_secret", BLOB, null=True),
    _column("zone", KEYTEXT),
    _column("capacity_bytes", INT, null=True),  # what Skep may use; null: what is there
    _column("used_bytes", INT, server_default="0"),  # by our shards
    _column("state", SHORT),  # active | readonly | draining | lost
    _column("owner_id", ID, null=True),
    _column("created_us", INT),
    _column("reputation", TEXT, null=True),  # JSON: what audits have shown
    _column("terms", TEXT, null=True),  # JSON: prices, jurisdiction, rates
)
# What was kept in a store and moved to and from it on one day of UTC.
store_traffic = _table(
    "store_traffic",
    _column("store_id", ID, primary_key=True),
    _column("day", INT, primary_key=True, autoincrement=False),  # since 1970
    _column("kib_seconds", INT),
    _column("up_bytes", INT),
    _column("down_bytes", INT),
    clustered=True,
)
packs = _table(
    "packs",
    _column("id", HASH, primary_key=True),
    _column("scheme", SHORT),
    _column("size_bytes", INT),
    _column("live_bytes", INT),  # sealed bytes of chunk rows that point here
    _column("chunk_count", INT),  # chunk rows that point here
    _column("degraded", FLAG, server_default="0"),
    _column("created_us", INT),
    _column("verified_us", INT, null=True),  # last scrub that found it whole
    _column("retired_us", INT, null=True, index=True),  # nothing points here since
    _column("retired_epoch", INT, null=True),
    _column("owner_id", ID, null=True),  # whose content alone it is, where that has a pool of its own
    _column("members", SHORT, server_default=""),  # array | cloud | both: on such stores alone
    sa.Index("ix_packs_verified_us", "verified_us"),
    sa.Index("ix_packs_live_bytes", "live_bytes"),
)
shards = _table(
    "shards",
    _column("pack_id", HASH, primary_key=True),
    _column("number", INT, primary_key=True, autoincrement=False),  # 0 .. k+m-1
    _column("store_id", ID, index=True),
    _column("size_bytes", INT),
    _column("state", SHORT),  # ok | missing | corrupt
    clustered=True,
)
agents = _table(
    "agents",
    _column("id", ID, primary_key=True),
    _column("name", KEYTEXT, unique=True),
    _column("owner_id", ID, null=True),  # whose store it is; null: the hive's
    _column("public_key", HASH, unique=True),  # Ed25519
    _column("store_id", ID, null=True, index=True),
    _column("zone", KEYTEXT),
    _column("capacity_bytes", INT, null=True),  # what the agent said last that it lends
    _column("joins", FLAG),  # 1: becomes a store by itself when it connects first
    _column("state", SHORT),  # active | leaving | revoked
    _column("generation", INT),  # the number that its disk is known to hold
    _column("pending", INT),  # the number that it was told to write down
    _column("trouble", TEXT, null=True),  # what an operator should look at
    _column("created_us", INT),
    _column("seen_us", INT, null=True),
    _column("address", KEYTEXT, null=True),  # where it connected from last
)
agent_invites = _table(
    "agent_invites",
    _column("id", ID, primary_key=True),
    _column("token_hash", HASH, unique=True),
    _column("created_by", ID),
    _column("owner_id", ID, null=True),
    _column("name", KEYTEXT),  # empty: the agent's own
    _column("zone", KEYTEXT),  # empty: the agent's name
    _column("joins", FLAG),
    _column("uses_left", INT),
    _column("created_us", INT),
    _column("expires_us", INT),
)
chunks = _table(
    "chunks",
    _column("domain_id", ID, primary_key=True),
    _column("id", HASH, primary_key=True),
    _column("pack_id", HASH, index=True),
    _column("offset", INT),  # of the sealed chunk in the pack
    _column("size_bytes", INT),  # sealed
    _column("plain_bytes", INT),
    _column("refs", INT),
    _column("unused_us", INT, null=True, index=True),  # since when refs is 0
    _column("condemned_epoch", INT, null=True),  # set: no new upload may reference it by lookup
    clustered=True,
)
repairs = _table(
    "repairs",
    _column("pack_id", HASH, primary_key=True),
    _column("reason", SHORT),  # degraded | missing | corrupt | store-lost | draining | deferred | data-lost
    _column("lost", INT),  # shards known to be lost
    _column("spare", INT, server_default="0"),  # shards that it can still lose: the fewer, the sooner
    _column("attempts", INT, server_default="0"),
    _column("next_try_us", INT),
    _column("created_us", INT),
    _column("last_error", TEXT, null=True),
    sa.Index("ix_repairs_next_try_us", "next_try_us"),
    clustered=True,
)
# Plans of moves between stores; the moves that are not made yet.
rebalances = _table(
    "rebalances",
    _column("version", INT, primary_key=True, autoincrement=False),
    _column("state", SHORT),  # proposed | running | done | stale | cancelled
    _column("layout", HASH),  # of the stores that it was made for
    _column("stores", TEXT),  # JSON: what it does to each
    _column("moves", INT),
    _column("move_bytes", INT),
    _column("moved", INT),
    _column("moved_bytes", INT),
    _column("skipped", INT),
    _column("created_us", INT),
    _column("ended_us", INT, null=True),
    clustered=True,
)
rebalance_moves = _table(
    "rebalance_moves",
    _column("version", INT, primary_key=True, autoincrement=False),
    _column("number", INT, primary_key=True, autoincrement=False),
    _column("pack_id", HASH),
    _column("shard", INT),
    _column("source_id", ID),
    _column("target_id", ID),
    _column("size_bytes", INT),
    _column("attempts", INT),
    clustered=True,
)
# Chunks that somebody stored through /api/chunk/ rather than through a file.
objects = _table(
    "objects",
    _column("id", ID, primary_key=True),
    _column("owner_id", ID, index=True),
    _column("domain_id", ID),
    _column("encryption", SHORT),
    _column("durability", SHORT),
    _column("size_bytes", INT),
    _column("manifest", BLOB),
    _column("created_us", INT),
)
# Names that people gave to objects which lie on members of their own (/api/array/, /api/cloud/).
held_chunks = _table(
    "held_chunks",
    _column("owner_id", ID, primary_key=True),
    _column("service", SHORT, primary_key=True),  # array | cloud | both
    _column("chunk_id", SHORT, primary_key=True),
    _column("object_id", ID, unique=True),
    _column("digest", HASH),  # of the content, keyed
    _column("replicas", INT),
    _column("created_us", INT),
    clustered=True,
)
# Encrypted content that whoever has its hash may read (/api/upload, /api/download/).
published = _table(
    "published",
    _column("hash", HASH, primary_key=True),  # SHA-256 of the encrypted bytes
    _column("object_id", ID, unique=True),
    _column("name", KEYTEXT),
    _column("key_check", HASH),
    _column("created_us", INT),
    clustered=True,
)
published_room = _table(
    "published_room",
    _column("id", SHORT, primary_key=True),  # all
    _column("used_bytes", INT),
    _column("files", INT),
    clustered=True,
)
# What was said of where content may lie.
placements = _table(
    "placements",
    _column("owner_id", ID, primary_key=True),  # a user, a group; zeros: the hive
    _column("kind", SHORT),  # hive | group | user
    _column("policy", TEXT),  # JSON
    _column("changed_us", INT),
    clustered=True,
)
worker_states = _table(
    "worker_states",
    _column("name", SHORT, primary_key=True),
    _column("state", BLOB),
    _column("updated_us", INT),
    clustered=True,
)

# --- clouds ---------------------------------------------------------------------------------
# The hive's own registration at each cloud provider.
cloud_apps = _table(
    "cloud_apps",
    _column("provider", SHORT, primary_key=True),  # dropbox | gdrive | onedrive | box
    _column("client_id", TEXT),
    _column("sealed_secret", BLOB, null=True),  # null: a public client
    _column("base_url", TEXT, null=True),  # a gateway in front of the provider
    _column("created_us", INT),
)
# Accounts that people granted to the hive.
cloud_grants = _table(
    "cloud_grants",
    _column("id", ID, primary_key=True),
    _column("provider", SHORT),
    _column("account", KEYTEXT),  # the provider's own id for it
    _column("label", KEYTEXT),  # what people call it: an e-mail address
    _column("user_id", ID),  # who linked it
    _column("sealed_tokens", BLOB),
    _column("created_us", INT),
    _column("refreshed_us", INT),
    sa.UniqueConstraint("provider", "account"),
)

# --- filesystem -----------------------------------------------------------------------------
spaces = _table(
    "spaces",
    _column("id", ID, primary_key=True),
    _column("kind", SHORT),  # personal | group
    _column("owner_id", ID, index=True),  # the user or the group
    _column("name", KEYTEXT),
    _column("root_id", ID),
    _column("domain_id", ID),
    _column("quota_bytes", INT, null=True),  # null: no limit
    _column("used_bytes", INT, server_default="0"),
    _column("last_change", INT, server_default="0"),
    _column("first_change", INT, server_default="1"),  # the oldest that the journal still has
    _column("created_us", INT),
    _column("locked_until_us", INT, server_default="0"),  # no lock in it is in force at or after this time
    _column("scheme", SHORT, null=True),  # how its new packs are coded; null: as the hive says
    _column("unmetered", FLAG, server_default="0"),  # 1: its quota does not count: it lies on its owner's stores
    _column("objects_max", INT, null=True),  # files, directories and chunks; null: no limit
    sa.UniqueConstraint("kind", "owner_id"),
)
nodes = _table(
    "nodes",
    _column("id", ID, primary_key=True),
    _column("space_id", ID),
    _column("parent_id", ID, null=True),  # null: a space's root, or in the trash
    _column("name", KEYTEXT),
    _column("kind", SHORT),  # directory | file
    _column("size_bytes", INT, server_default="0"),
    _column("changed", INT),  # number of the last change at or below it
    _column("version_id", ID, null=True),  # of a file: its current version
    _column("version_number", INT, null=True),
    _column("etag", SHORT, null=True),  # of a file: from its content
    _column("mime", KEYTEXT, null=True),
    _column("created_us", INT),
    _column("modified_us", INT),
    _column("attributes", TEXT, null=True),  # JSON object of the owner's own
    sa.UniqueConstraint("parent_id", "name"),
    sa.Index("ix_nodes_space_id", "space_id"),
)
versions = _table(
    "versions",
    _column("id", ID, primary_key=True),
    _column("node_id", ID),
    _column("number", INT),
    _column("size_bytes", INT),
    _column("etag", SHORT),
    _column("mime", KEYTEXT),
    _column("md5", _bytes(16), null=True),
    _column("sha1", _bytes(20), null=True),
    _column("sha256", HASH, null=True),
    _column("manifest", BLOB),
    _column("created_us", INT),
    _column("modified_us", INT),
    _column("created_by", ID, null=True),
    sa.UniqueConstraint("node_id", "number"),
    sa.Index("ix_versions_created_us", "created_us"),
)
# What doors keep of a version, or of a directory by its node's id: an ETag of their own, headers, words of the client.
facts = _table(
    "facts",
    _column("about_id", ID, primary_key=True),
    _column("etag", SHORT, null=True),  # null: the MD5 of the content
    _column("document", TEXT, null=True),  # JSON
    clustered=True,
)
# Directories below a space's root with settings of their own as buckets.
buckets = _table(
    "buckets",
    _column("node_id", ID, primary_key=True),
    _column("document", TEXT),  # JSON: versioning, cors, tags
    clustered=True,
)
trash = _table(
    "trash",
    _column("node_id", ID, primary_key=True),
    _column("space_id", ID),
    _column("parent_id", ID),  # where it was
    _column("path", TEXT),  # where it was, for people
    _column("deleted_us", INT, index=True),  # 0: deleted for good, to be purged
    _column("deleted_by", ID, null=True),
    sa.Index("ix_trash_space_id_deleted_us_node_id", "space_id", "deleted_us", "node_id"),
)
tags = _table(
    "tags",
    _column("user_id", ID, primary_key=True),
    _column("name", SHORT, primary_key=True),
    _column("node_id", ID, primary_key=True, index=True),
    clustered=True,
)
# Access that was given to a user or a group on a node.
shares = _table(
    "shares",
    _column("id", ID, primary_key=True),
    _column("space_id", ID),
    _column("node_id", ID),
    _column("kind", SHORT),  # user | group | link
    _column("principal_id", ID, index=True),  # whom it was given to; of a link its own id
    _column("rights", SHORT),  # read | write | upload
    _column("may_share", FLAG, server_default="0"),  # whether its holder may pass it on
    _column("parent_id", ID, null=True, index=True),  # the share that this one was passed on from
    _column("since_change", INT),  # holders see the changes of the space after this number
    _column("created_by", ID),
    _column("created_us", INT),
    sa.UniqueConstraint("node_id", "kind", "principal_id"),
    sa.Index("ix_shares_space_id", "space_id"),
)
# What each holder made of a share; of a group's share each member for themself.
share_holders = _table(
    "share_holders",
    _column("share_id", ID, primary_key=True),
    _column("user_id", ID, primary_key=True),
    _column("state", SHORT),  # accepted | declined
    _column("name", KEYTEXT),  # the holder's own name for its root
    _column("changed_us", INT),
    sa.Index("ix_share_holders_user_id", "user_id"),
    clustered=True,
)
# Shares that whoever knows an address holds; each has the id of its row in shares.
links = _table(
    "links",
    _column("id", ID, primary_key=True),
    _column("token_hash", HASH, unique=True),  # of the last part of its address
    _column("password_hash", KEYTEXT, null=True),  # argon2id string; null: none is asked for
    _column("expires_us", INT, null=True),
    _column("downloads_max", INT, null=True),
    _column("downloads", INT, server_default="0"),
    _column("file_bytes_max", INT, null=True),  # of one file that is added
    _column("bytes_max", INT, null=True),  # of all that are added
    _column("received_bytes", INT, server_default="0"),
    _column("created_by", ID, index=True),
    _column("created_us", INT),
    _column("last_used_us", INT, null=True),
)

# Contents that arrive in pieces, over many requests, and become a version when they are complete.
uploads = _table(
    "uploads",
    _column("id", ID, primary_key=True),  # random: not to be guessed
    _column("user_id", ID),
    _column("space_id", ID, index=True),  # which pays for it
    _column("through_id", ID),  # the same, or the share through which it is seen
    _column("door", SHORT),  # tus | s3 | ...: who gave it out, and so who finds it
    _column("key", KEYTEXT, null=True),  # what the client calls it, where clients choose
    _column("path", TEXT, null=True),  # where it goes; null: known at the end
    _column("state", SHORT),  # open | done | gone (to be purged)
    _column("length_bytes", INT, null=True),  # null: not known yet
    _column("held_bytes", INT),  # of its parts: counted in spaces.used_bytes
    _column("part_count", INT),
    _column("mime", KEYTEXT, null=True),
    _column("modified_us", INT, null=True),
    _column("conditions", TEXT, null=True),  # JSON: what must hold of the path at the end
    _column("digests", TEXT, null=True),  # JSON: what the whole must have, in hex
    _column("metadata", TEXT, null=True),  # JSON: the door's own
    _column("node_id", ID, null=True),  # done: what it became
    _column("version_number", INT, null=True),
    _column("joined_id", ID, null=True),  # done: the upload that it became a piece of
    _column("created_us", INT),
    _column("expires_us", INT, index=True),
    sa.UniqueConstraint("user_id", "door", "key"),
)
upload_parts = _table(
    "upload_parts",
    _column("upload_id", ID, primary_key=True),
    _column("number", INT, primary_key=True, autoincrement=False),
    _column("size_bytes", INT),
    _column("manifest", BLOB),
    _column("md5", _bytes(16), null=True),
    _column("checksums", TEXT, null=True),  # JSON: others that the door asked for, in hex
    _column("created_us", INT),
    clustered=True,
)
# Properties that clients put on nodes for themselves, which mean nothing to Skep (RFC 4918: dead properties).
properties = _table(
    "properties",
    _column("node_id", ID, primary_key=True),
    _column("name", KEYTEXT, primary_key=True),  # {namespace}local
    _column("value", TEXT),  # the whole XML element
    clustered=True,
)
# Write locks that clients hold (RFC 4918 section 7).
locks = _table(
    "locks",
    _column("token", ID, primary_key=True),
    _column("space_id", ID, index=True),
    _column("node_id", ID),
    _column("is_shared", FLAG),
    _column("is_deep", FLAG),  # holds for all that is below, too
    _column("owner", TEXT),  # the XML element by which the client calls itself
    _column("user_id", ID),
    _column("created_us", INT),
    _column("expires_us", INT, index=True),
)

# --- events ---------------------------------------------------------------------------------
changes = _table(
    "changes",
    _column("space_id", ID, primary_key=True),
    _column("number", INT, primary_key=True, autoincrement=False),
    _column("kind", SHORT),  # created | updated | moved | trashed | restored | deleted | metadata
    _column("node_id", ID),
    _column("node_kind", SHORT),
    _column("path", TEXT),  # after the change (before it, where the node went away)
    _column("old_path", TEXT, null=True),  # moved: where it was
    _column("version_number", INT, null=True),
    _column("etag", SHORT, null=True),
    _column("size_bytes", INT),
    _column("actor_id", ID, null=True),
    _column("at_us", INT),
    sa.Index("ix_changes_at_us", "at_us"),
    clustered=True,
)
