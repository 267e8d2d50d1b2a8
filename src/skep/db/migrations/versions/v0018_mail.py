"""Mail to people, and what is known of users and groups beside their names."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from skep.db.migrations.versions.v0001_initial import BLOB, HASH, ID, INT, KEYTEXT, SHORT, _create

revision = "0018"
down_revision = "0017"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add them; run again on MariaDB it finds its work done."""
    _create(
        "mail_tokens",
        sa.Column("token_hash", HASH, nullable=False),
        sa.Column("user_id", ID, nullable=False),
        sa.Column("purpose", SHORT, nullable=False),
        sa.Column("address", KEYTEXT, nullable=False),
        sa.Column("expires_us", INT, nullable=False),
        sa.PrimaryKeyConstraint("token_hash", name="pk_mail_tokens"),
        sa.Index("ix_mail_tokens_user_id", "user_id"),
        sa.Index("ix_mail_tokens_expires_us", "expires_us"),
        clustered=True,
    )
    _create(
        "outbox",
        sa.Column("id", ID, nullable=False),
        sa.Column("sealed", BLOB, nullable=False),
        sa.Column("tries", INT, nullable=False),
        sa.Column("due_us", INT, nullable=False),
        sa.Column("created_us", INT, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_outbox"),
        sa.Index("ix_outbox_due_us", "due_us"),
    )
    _create(
        "user_facts",
        sa.Column("user_id", ID, nullable=False),
        sa.Column("verified_email", KEYTEXT, nullable=True),
        sa.Column("delete_us", INT, nullable=True),
        sa.Column("external_id", KEYTEXT, nullable=True),
        sa.PrimaryKeyConstraint("user_id", name="pk_user_facts"),
        sa.Index("ix_user_facts_delete_us", "delete_us"),
        clustered=True,
    )
    _create(
        "group_facts",
        sa.Column("group_id", ID, nullable=False),
        sa.Column("external_id", KEYTEXT, nullable=True),
        sa.PrimaryKeyConstraint("group_id", name="pk_group_facts"),
        clustered=True,
    )


def downgrade() -> None:
    """Take them away again."""
    for table in ("group_facts", "user_facts", "outbox", "mail_tokens"):
        op.drop_table(table, if_exists=True)
