"""Identity providers and whom they vouch for; programs for which the hive vouches."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from skep.db.migrations.versions.v0001_initial import BLOB, HASH, ID, INT, KEYTEXT, SHORT, TEXT, _create

revision = "0016"
down_revision = "0015"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add them; run again on MariaDB it finds its work done."""
    _create(
        "identity_providers",
        sa.Column("id", ID, nullable=False),
        sa.Column("name", SHORT, nullable=False),
        sa.Column("issuer", TEXT, nullable=False),
        sa.Column("client_id", KEYTEXT, nullable=False),
        sa.Column("sealed_secret", BLOB, nullable=True),
        sa.Column("rules", TEXT, nullable=False),
        sa.Column("created_us", INT, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_identity_providers"),
        sa.UniqueConstraint("name", name="uq_identity_providers_name"),
    )
    _create(
        "identities",
        sa.Column("provider_id", ID, nullable=False),
        sa.Column("subject", KEYTEXT, nullable=False),
        sa.Column("user_id", ID, nullable=False),
        sa.Column("created_us", INT, nullable=False),
        sa.Column("last_used_us", INT, nullable=False),
        sa.PrimaryKeyConstraint("provider_id", "subject", name="pk_identities"),
        sa.Index("ix_identities_user_id", "user_id"),
        clustered=True,
    )
    _create(
        "oauth_clients",
        sa.Column("id", SHORT, nullable=False),
        sa.Column("name", KEYTEXT, nullable=False),
        sa.Column("secret_hash", HASH, nullable=True),
        sa.Column("redirect_uris", TEXT, nullable=False),
        sa.Column("scopes", KEYTEXT, nullable=False),
        sa.Column("created_us", INT, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_oauth_clients"),
    )
    _create(
        "client_sessions",
        sa.Column("session_id", ID, nullable=False),
        sa.Column("client_id", SHORT, nullable=False),
        sa.PrimaryKeyConstraint("session_id", name="pk_client_sessions"),
        sa.Index("ix_client_sessions_client_id", "client_id"),
        clustered=True,
    )
    _create(
        "identity_keys",
        sa.Column("id", SHORT, nullable=False),
        sa.Column("sealed_private", BLOB, nullable=False),
        sa.Column("public", TEXT, nullable=False),
        sa.Column("created_us", INT, nullable=False),
        sa.Column("retired_us", INT, nullable=True),
        sa.PrimaryKeyConstraint("id", name="pk_identity_keys"),
    )


def downgrade() -> None:
    """Take them away again."""
    for table in ("identity_keys", "client_sessions", "oauth_clients", "identities", "identity_providers"):
        op.drop_table(table, if_exists=True)
