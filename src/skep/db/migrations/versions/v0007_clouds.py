"""Cloud providers: the hive's app keys, and the accounts that people granted to it."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from skep.db.migrations.versions.v0001_initial import BLOB, ID, INT, KEYTEXT, SHORT, TEXT, _create

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the two tables."""
    _create(
        "cloud_apps",
        sa.Column("provider", SHORT, nullable=False),
        sa.Column("client_id", TEXT, nullable=False),
        sa.Column("sealed_secret", BLOB, nullable=True),
        sa.Column("base_url", TEXT, nullable=True),
        sa.Column("created_us", INT, nullable=False),
        sa.PrimaryKeyConstraint("provider", name="pk_cloud_apps"),
    )
    _create(
        "cloud_grants",
        sa.Column("id", ID, nullable=False),
        sa.Column("provider", SHORT, nullable=False),
        sa.Column("account", KEYTEXT, nullable=False),
        sa.Column("label", KEYTEXT, nullable=False),
        sa.Column("user_id", ID, nullable=False),
        sa.Column("sealed_tokens", BLOB, nullable=False),
        sa.Column("created_us", INT, nullable=False),
        sa.Column("refreshed_us", INT, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_cloud_grants"),
        sa.UniqueConstraint("provider", "account", name="uq_cloud_grants_provider_account"),
    )


def downgrade() -> None:
    """Forget all grants: the accounts must be linked again."""
    op.drop_table("cloud_grants", if_exists=True)
    op.drop_table("cloud_apps", if_exists=True)
