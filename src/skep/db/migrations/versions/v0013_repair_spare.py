"""How many shards a queued pack can still lose: what decides whose turn it is.

What is queued already is given what it lacks, below nothing: it comes first once and is looked at anew.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from skep.db.migrations.versions.v0001_initial import INT

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the column."""
    if "spare" not in _columns():
        op.add_column("repairs", sa.Column("spare", INT, server_default="0", nullable=False))
        op.execute("UPDATE repairs SET spare = -lost")


def downgrade() -> None:
    """Take it away again."""
    if "spare" in _columns():
        op.drop_column("repairs", "spare")


def _columns() -> set[str]:
    return {column["name"] for column in sa.inspect(op.get_bind()).get_columns("repairs")}
