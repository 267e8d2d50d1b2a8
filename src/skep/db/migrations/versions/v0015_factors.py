"""Second factors, their recovery codes, and the audit log."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from skep.db.migrations.versions.v0001_initial import BLOB, HASH, ID, INT, KEYTEXT, SHORT, TEXT, _create

revision = "0015"
down_revision = "0014"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add them; run again on MariaDB it finds its work done."""
    _create(
        "factors",
        sa.Column("id", ID, nullable=False),
        sa.Column("user_id", ID, nullable=False),
        sa.Column("kind", SHORT, nullable=False),
        sa.Column("name", KEYTEXT, nullable=False),
        sa.Column("credential_hash", HASH, nullable=True),
        sa.Column("sealed", BLOB, nullable=False),
        sa.Column("counter", INT, nullable=False),
        sa.Column("created_us", INT, nullable=False),
        sa.Column("confirmed_us", INT, nullable=True),
        sa.Column("last_used_us", INT, nullable=True),
        sa.PrimaryKeyConstraint("id", name="pk_factors"),
        sa.UniqueConstraint("credential_hash", name="uq_factors_credential_hash"),
        sa.Index("ix_factors_user_id", "user_id"),
    )
    _create(
        "recovery_codes",
        sa.Column("user_id", ID, nullable=False),
        sa.Column("code_hash", HASH, nullable=False),
        sa.Column("used_us", INT, nullable=True),
        sa.PrimaryKeyConstraint("user_id", "code_hash", name="pk_recovery_codes"),
        clustered=True,
    )
    _create(
        "audit_entries",
        sa.Column("number", INT, nullable=False, autoincrement=False),
        sa.Column("at_us", INT, nullable=False),
        sa.Column("action", SHORT, nullable=False),
        sa.Column("actor_id", ID, nullable=True),
        sa.Column("actor", KEYTEXT, nullable=False),
        sa.Column("subject_id", ID, nullable=True),
        sa.Column("subject", KEYTEXT, nullable=False),
        sa.Column("address", KEYTEXT, nullable=False),
        sa.Column("facts", TEXT, nullable=False),
        sa.Column("hash", HASH, nullable=False),
        sa.PrimaryKeyConstraint("number", name="pk_audit_entries"),
        sa.Index("ix_audit_entries_actor_id_number", "actor_id", "number"),
        sa.Index("ix_audit_entries_subject_id_number", "subject_id", "number"),
        clustered=True,
    )
    _create(
        "audit_ends",
        sa.Column("name", SHORT, nullable=False),
        sa.Column("number", INT, nullable=False),
        sa.Column("hash", HASH, nullable=False),
        sa.PrimaryKeyConstraint("name", name="pk_audit_ends"),
        clustered=True,
    )


def downgrade() -> None:
    """Take them away again."""
    for table in ("audit_ends", "audit_entries", "recovery_codes", "factors"):
        op.drop_table(table, if_exists=True)
