"""The first schema.

Written out in full and never edited: it says what the first Skep made, whatever
``skep.db.schema`` says today. A test compares both on each of the three databases.
"""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import mysql, postgresql

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

_COLLATION = "utf8mb4_nopad_bin"


def _bytes(length: int) -> sa.types.TypeEngine[bytes]:
    return sa.LargeBinary(length).with_variant(mysql.VARBINARY(length), "mysql", "mariadb")


def _text(length: int) -> sa.types.TypeEngine[str]:
    return (
        sa.String(length)
        .with_variant(mysql.VARCHAR(length, charset="utf8mb4", collation=_COLLATION), "mysql", "mariadb")
        .with_variant(postgresql.VARCHAR(length, collation="C"), "postgresql")
    )


ID = _bytes(16)
HASH = _bytes(32)
KEYTEXT = _text(255)
SHORT = _text(64)
TEXT = sa.Text().with_variant(mysql.LONGTEXT(charset="utf8mb4", collation=_COLLATION), "mysql", "mariadb")
BLOB = sa.LargeBinary().with_variant(mysql.LONGBLOB(), "mysql", "mariadb")
INT = sa.BigInteger()
FLAG = sa.SmallInteger()


def _create(name: str, *items: sa.schema.SchemaItem, clustered: bool = False) -> None:
    """A table, then its indexes: what an earlier run on MariaDB has made before it was killed stays."""
    options: dict[str, Any] = {"sqlite_with_rowid": False} if clustered else {}
    op.create_table(
        name,
        *(item for item in items if not isinstance(item, sa.Index)),
        mysql_engine="InnoDB",
        mysql_charset="utf8mb4",
        mysql_collate=_COLLATION,
        if_not_exists=op.get_bind().dialect.name == "mysql",  # no transaction around DDL: may be run again
        **options,
    )
    there = {index["name"] for index in sa.inspect(op.get_bind()).get_indexes(name)}
    for item in items:
        if isinstance(item, sa.Index) and item.name not in there:
            op.create_index(item.name, name, list(item.expressions))


def upgrade() -> None:
    _create(
        "hive",
        sa.Column("name", SHORT, nullable=False),
        sa.Column("value", BLOB, nullable=False),
        sa.PrimaryKeyConstraint("name", name="pk_hive"),
        clustered=True,
    )
    _create(
        "users",
        sa.Column("id", ID, nullable=False),
        sa.Column("name", KEYTEXT, nullable=False),
        sa.Column("name_key", KEYTEXT, nullable=False),
        sa.Column("email", KEYTEXT, nullable=True),
        sa.Column("email_key", KEYTEXT, nullable=True),
        sa.Column("full_name", KEYTEXT, nullable=False, server_default=""),
        sa.Column("password_hash", KEYTEXT, nullable=True),
        sa.Column("is_admin", FLAG, nullable=False, server_default="0"),
        sa.Column("state", SHORT, nullable=False),
        sa.Column("token_epoch", INT, nullable=False, server_default="0"),
        sa.Column("created_us", INT, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_users"),
        sa.UniqueConstraint("email_key", name="uq_users_email_key"),
        sa.UniqueConstraint("name_key", name="uq_users_name_key"),
    )
    _create(
        "groups",
        sa.Column("id", ID, nullable=False),
        sa.Column("name", KEYTEXT, nullable=False),
        sa.Column("name_key", KEYTEXT, nullable=False),
        sa.Column("created_us", INT, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_groups"),
        sa.UniqueConstraint("name_key", name="uq_groups_name_key"),
    )
    _create(
        "memberships",
        sa.Column("group_id", ID, nullable=False),
        sa.Column("user_id", ID, nullable=False),
        sa.Column("role", SHORT, nullable=False),
        sa.PrimaryKeyConstraint("group_id", "user_id", name="pk_memberships"),
        sa.Index("ix_memberships_user_id", "user_id"),
        clustered=True,
    )
    _create(
        "app_passwords",
        sa.Column("id", ID, nullable=False),
        sa.Column("user_id", ID, nullable=False),
        sa.Column("name", KEYTEXT, nullable=False),
        sa.Column("secret_hash", HASH, nullable=False),
        sa.Column("scopes", KEYTEXT, nullable=False),
        sa.Column("created_us", INT, nullable=False),
        sa.Column("last_used_us", INT, nullable=True),
        sa.Column("expires_us", INT, nullable=True),
        sa.PrimaryKeyConstraint("id", name="pk_app_passwords"),
        sa.UniqueConstraint("secret_hash", name="uq_app_passwords_secret_hash"),
        sa.Index("ix_app_passwords_user_id", "user_id"),
    )
    _create(
        "sessions",
        sa.Column("id", ID, nullable=False),
        sa.Column("user_id", ID, nullable=False),
        sa.Column("refresh_hash", HASH, nullable=False),
        sa.Column("previous_hash", HASH, nullable=True),
        sa.Column("scopes", KEYTEXT, nullable=False),
        sa.Column("agent", KEYTEXT, nullable=False, server_default=""),
        sa.Column("created_us", INT, nullable=False),
        sa.Column("last_used_us", INT, nullable=False),
        sa.Column("expires_us", INT, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_sessions"),
        sa.UniqueConstraint("refresh_hash", name="uq_sessions_refresh_hash"),
        sa.Index("ix_sessions_expires_us", "expires_us"),
        sa.Index("ix_sessions_previous_hash", "previous_hash"),
        sa.Index("ix_sessions_user_id", "user_id"),
    )
    _create(
        "invites",
        sa.Column("id", ID, nullable=False),
        sa.Column("token_hash", HASH, nullable=False),
        sa.Column("created_by", ID, nullable=False),
        sa.Column("group_id", ID, nullable=True),
        sa.Column("is_admin", FLAG, nullable=False, server_default="0"),
        sa.Column("uses_left", INT, nullable=False),
        sa.Column("created_us", INT, nullable=False),
        sa.Column("expires_us", INT, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_invites"),
        sa.UniqueConstraint("token_hash", name="uq_invites_token_hash"),
    )
    _create(
        "signing_keys",
        sa.Column("id", SHORT, nullable=False),
        sa.Column("sealed_private", BLOB, nullable=False),
        sa.Column("public", BLOB, nullable=False),
        sa.Column("created_us", INT, nullable=False),
        sa.Column("retired_us", INT, nullable=True),
        sa.PrimaryKeyConstraint("id", name="pk_signing_keys"),
    )
    _create(
        "domains",
        sa.Column("id", ID, nullable=False),
        sa.Column("kind", SHORT, nullable=False),
        sa.Column("owner_id", ID, nullable=True),
        sa.Column("generation", INT, nullable=False),
        sa.Column("wrapped_secret", BLOB, nullable=False),
        sa.Column("created_us", INT, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_domains"),
        sa.Index("ix_domains_owner_id", "owner_id"),
    )
    _create(
        "stores",
        sa.Column("id", ID, nullable=False),
        sa.Column("name", KEYTEXT, nullable=False),
        sa.Column("url", TEXT, nullable=False),
        sa.Column("sealed_secret", BLOB, nullable=True),
        sa.Column("zone", KEYTEXT, nullable=False),
        sa.Column("capacity_bytes", INT, nullable=True),
        sa.Column("used_bytes", INT, nullable=False, server_default="0"),
        sa.Column("state", SHORT, nullable=False),
        sa.Column("owner_id", ID, nullable=True),
        sa.Column("created_us", INT, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_stores"),
        sa.UniqueConstraint("name", name="uq_stores_name"),
    )
    _create(
        "packs",
        sa.Column("id", HASH, nullable=False),
        sa.Column("scheme", SHORT, nullable=False),
        sa.Column("size_bytes", INT, nullable=False),
        sa.Column("live_bytes", INT, nullable=False),
        sa.Column("chunk_count", INT, nullable=False),
        sa.Column("degraded", FLAG, nullable=False, server_default="0"),
        sa.Column("created_us", INT, nullable=False),
        sa.Column("verified_us", INT, nullable=True),
        sa.Column("retired_us", INT, nullable=True),
        sa.Column("retired_epoch", INT, nullable=True),
        sa.PrimaryKeyConstraint("id", name="pk_packs"),
        sa.Index("ix_packs_live_bytes", "live_bytes"),
        sa.Index("ix_packs_retired_us", "retired_us"),
        sa.Index("ix_packs_verified_us", "verified_us"),
    )
    _create(
        "shards",
        sa.Column("pack_id", HASH, nullable=False),
        sa.Column("number", INT, nullable=False, autoincrement=False),
        sa.Column("store_id", ID, nullable=False),
        sa.Column("size_bytes", INT, nullable=False),
        sa.Column("state", SHORT, nullable=False),
        sa.PrimaryKeyConstraint("pack_id", "number", name="pk_shards"),
        sa.Index("ix_shards_store_id", "store_id"),
        clustered=True,
    )
    _create(
        "chunks",
        sa.Column("domain_id", ID, nullable=False),
        sa.Column("id", HASH, nullable=False),
        sa.Column("pack_id", HASH, nullable=False),
        sa.Column("offset", INT, nullable=False),
        sa.Column("size_bytes", INT, nullable=False),
        sa.Column("plain_bytes", INT, nullable=False),
        sa.Column("refs", INT, nullable=False),
        sa.Column("unused_us", INT, nullable=True),
        sa.Column("condemned_epoch", INT, nullable=True),
        sa.PrimaryKeyConstraint("domain_id", "id", name="pk_chunks"),
        sa.Index("ix_chunks_pack_id", "pack_id"),
        sa.Index("ix_chunks_unused_us", "unused_us"),
        clustered=True,
    )
    _create(
        "repairs",
        sa.Column("pack_id", HASH, nullable=False),
        sa.Column("reason", SHORT, nullable=False),
        sa.Column("lost", INT, nullable=False),
        sa.Column("attempts", INT, nullable=False, server_default="0"),
        sa.Column("next_try_us", INT, nullable=False),
        sa.Column("created_us", INT, nullable=False),
        sa.Column("last_error", TEXT, nullable=True),
        sa.PrimaryKeyConstraint("pack_id", name="pk_repairs"),
        sa.Index("ix_repairs_next_try_us", "next_try_us"),
        clustered=True,
    )
    _create(
        "objects",
        sa.Column("id", ID, nullable=False),
        sa.Column("owner_id", ID, nullable=False),
        sa.Column("domain_id", ID, nullable=False),
        sa.Column("encryption", SHORT, nullable=False),
        sa.Column("durability", SHORT, nullable=False),
        sa.Column("size_bytes", INT, nullable=False),
        sa.Column("manifest", BLOB, nullable=False),
        sa.Column("created_us", INT, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_objects"),
        sa.Index("ix_objects_owner_id", "owner_id"),
    )
    _create(
        "worker_states",
        sa.Column("name", SHORT, nullable=False),
        sa.Column("state", BLOB, nullable=False),
        sa.Column("updated_us", INT, nullable=False),
        sa.PrimaryKeyConstraint("name", name="pk_worker_states"),
        clustered=True,
    )
    _create(
        "spaces",
        sa.Column("id", ID, nullable=False),
        sa.Column("kind", SHORT, nullable=False),
        sa.Column("owner_id", ID, nullable=False),
        sa.Column("name", KEYTEXT, nullable=False),
        sa.Column("root_id", ID, nullable=False),
        sa.Column("domain_id", ID, nullable=False),
        sa.Column("quota_bytes", INT, nullable=True),
        sa.Column("used_bytes", INT, nullable=False, server_default="0"),
        sa.Column("last_change", INT, nullable=False, server_default="0"),
        sa.Column("first_change", INT, nullable=False, server_default="1"),
        sa.Column("created_us", INT, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_spaces"),
        sa.UniqueConstraint("kind", "owner_id", name="uq_spaces_kind_owner_id"),
        sa.Index("ix_spaces_owner_id", "owner_id"),
    )
    _create(
        "nodes",
        sa.Column("id", ID, nullable=False),
        sa.Column("space_id", ID, nullable=False),
        sa.Column("parent_id", ID, nullable=True),
        sa.Column("name", KEYTEXT, nullable=False),
        sa.Column("kind", SHORT, nullable=False),
        sa.Column("size_bytes", INT, nullable=False, server_default="0"),
        sa.Column("changed", INT, nullable=False),
        sa.Column("version_id", ID, nullable=True),
        sa.Column("version_number", INT, nullable=True),
        sa.Column("etag", SHORT, nullable=True),
        sa.Column("mime", KEYTEXT, nullable=True),
        sa.Column("created_us", INT, nullable=False),
        sa.Column("modified_us", INT, nullable=False),
        sa.Column("attributes", TEXT, nullable=True),
        sa.PrimaryKeyConstraint("id", name="pk_nodes"),
        sa.UniqueConstraint("parent_id", "name", name="uq_nodes_parent_id_name"),
        sa.Index("ix_nodes_space_id", "space_id"),
    )
    _create(
        "versions",
        sa.Column("id", ID, nullable=False),
        sa.Column("node_id", ID, nullable=False),
        sa.Column("number", INT, nullable=False),
        sa.Column("size_bytes", INT, nullable=False),
        sa.Column("etag", SHORT, nullable=False),
        sa.Column("mime", KEYTEXT, nullable=False),
        sa.Column("md5", _bytes(16), nullable=True),
        sa.Column("sha1", _bytes(20), nullable=True),
        sa.Column("sha256", HASH, nullable=True),
        sa.Column("manifest", BLOB, nullable=False),
        sa.Column("created_us", INT, nullable=False),
        sa.Column("modified_us", INT, nullable=False),
        sa.Column("created_by", ID, nullable=True),
        sa.PrimaryKeyConstraint("id", name="pk_versions"),
        sa.UniqueConstraint("node_id", "number", name="uq_versions_node_id_number"),
        sa.Index("ix_versions_created_us", "created_us"),
    )
    _create(
        "trash",
        sa.Column("node_id", ID, nullable=False),
        sa.Column("space_id", ID, nullable=False),
        sa.Column("parent_id", ID, nullable=False),
        sa.Column("path", TEXT, nullable=False),
        sa.Column("deleted_us", INT, nullable=False),
        sa.Column("deleted_by", ID, nullable=True),
        sa.PrimaryKeyConstraint("node_id", name="pk_trash"),
        sa.Index("ix_trash_deleted_us", "deleted_us"),
        sa.Index("ix_trash_space_id_deleted_us_node_id", "space_id", "deleted_us", "node_id"),
    )
    _create(
        "tags",
        sa.Column("user_id", ID, nullable=False),
        sa.Column("name", SHORT, nullable=False),
        sa.Column("node_id", ID, nullable=False),
        sa.PrimaryKeyConstraint("user_id", "name", "node_id", name="pk_tags"),
        sa.Index("ix_tags_node_id", "node_id"),
        clustered=True,
    )
    _create(
        "changes",
        sa.Column("space_id", ID, nullable=False),
        sa.Column("number", INT, nullable=False, autoincrement=False),
        sa.Column("kind", SHORT, nullable=False),
        sa.Column("node_id", ID, nullable=False),
        sa.Column("node_kind", SHORT, nullable=False),
        sa.Column("path", TEXT, nullable=False),
        sa.Column("old_path", TEXT, nullable=True),
        sa.Column("version_number", INT, nullable=True),
        sa.Column("etag", SHORT, nullable=True),
        sa.Column("size_bytes", INT, nullable=False),
        sa.Column("actor_id", ID, nullable=True),
        sa.Column("at_us", INT, nullable=False),
        sa.PrimaryKeyConstraint("space_id", "number", name="pk_changes"),
        sa.Index("ix_changes_at_us", "at_us"),
        clustered=True,
    )


def downgrade() -> None:
    for name in (
        "changes",
        "tags",
        "trash",
        "versions",
        "nodes",
        "spaces",
        "worker_states",
        "objects",
        "repairs",
        "chunks",
        "shards",
        "packs",
        "stores",
        "domains",
        "signing_keys",
        "invites",
        "sessions",
        "app_passwords",
        "memberships",
        "groups",
        "users",
        "hive",
    ):
        op.drop_table(name, if_exists=True)
