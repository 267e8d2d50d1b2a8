"""Credit: accounts, a ledger of two entries for each transfer, prices, plans, promo codes, keys, usage."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from skep.db.migrations.versions.v0001_initial import FLAG, HASH, ID, INT, KEYTEXT, SHORT, _create

revision = "0017"
down_revision = "0016"
branch_labels = None
depends_on = None

_TABLES = (
    "credit_accounts",
    "credit_balances",
    "credit_transfers",
    "credit_entries",
    "credit_prices",
    "credit_plans",
    "credit_subscriptions",
    "credit_promos",
    "credit_promo_uses",
    "credit_keys",
    "credit_usage",
    "credit_limits",
    "credit_warnings",
    "credit_journals",
)


def upgrade() -> None:
    """Make them; run again on MariaDB it finds its work done."""
    _create(
        "credit_accounts",
        sa.Column("id", ID, nullable=False),
        sa.Column("kind", SHORT, nullable=False),
        sa.Column("owner", KEYTEXT, nullable=False),
        sa.Column("parent_id", ID, nullable=True),
        sa.Column("created_us", INT, nullable=False),
        sa.Column("closed_us", INT, nullable=True),
        sa.PrimaryKeyConstraint("id", name="pk_credit_accounts"),
        sa.UniqueConstraint("kind", "owner", name="uq_credit_accounts_kind_owner"),
        sa.Index("ix_credit_accounts_parent_id", "parent_id"),
    )
    _create(
        "credit_balances",
        sa.Column("account_id", ID, nullable=False),
        sa.Column("unit", SHORT, nullable=False),
        sa.Column("amount", INT, nullable=False),
        sa.Column("entries", INT, nullable=False),
        sa.Column("floor", INT, nullable=True),
        sa.PrimaryKeyConstraint("account_id", "unit", name="pk_credit_balances"),
        clustered=True,
    )
    _create(
        "credit_transfers",
        sa.Column("id", ID, nullable=False),
        sa.Column("key", KEYTEXT, nullable=False),
        sa.Column("kind", SHORT, nullable=False),
        sa.Column("unit", SHORT, nullable=False),
        sa.Column("amount", INT, nullable=False),
        sa.Column("from_id", ID, nullable=False),
        sa.Column("to_id", ID, nullable=False),
        sa.Column("at_us", INT, nullable=False),
        sa.Column("note", KEYTEXT, nullable=False, server_default=""),
        sa.Column("refund_of", ID, nullable=True),
        sa.PrimaryKeyConstraint("id", name="pk_credit_transfers"),
        sa.UniqueConstraint("key", name="uq_credit_transfers_key"),
        sa.Index("ix_credit_transfers_refund_of", "refund_of"),
    )
    _create(
        "credit_entries",
        sa.Column("account_id", ID, nullable=False),
        sa.Column("unit", SHORT, nullable=False),
        sa.Column("number", INT, nullable=False, autoincrement=False),
        sa.Column("transfer_id", ID, nullable=False),
        sa.Column("amount", INT, nullable=False),
        sa.Column("balance", INT, nullable=False),
        sa.Column("at_us", INT, nullable=False),
        sa.PrimaryKeyConstraint("account_id", "unit", "number", name="pk_credit_entries"),
        clustered=True,
    )
    _create(
        "credit_prices",
        sa.Column("id", ID, nullable=False),
        sa.Column("bytes", INT, nullable=False),
        sa.Column("cost", INT, nullable=False),
        sa.Column("from_us", INT, nullable=False),
        sa.Column("until_us", INT, nullable=True),
        sa.Column("created_us", INT, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_credit_prices"),
    )
    _create(
        "credit_plans",
        sa.Column("id", ID, nullable=False),
        sa.Column("name", KEYTEXT, nullable=False),
        sa.Column("name_key", KEYTEXT, nullable=False),
        sa.Column("space_bytes", INT, nullable=True),
        sa.Column("traffic_bytes", INT, nullable=True),
        sa.Column("objects_max", INT, nullable=True),
        sa.Column("rate_bytes_s", INT, nullable=True),
        sa.Column("overdraft_bytes", INT, nullable=False, server_default="0"),
        sa.Column("overdraft_money", INT, nullable=False, server_default="0"),
        sa.Column("cost", INT, nullable=False, server_default="0"),
        sa.Column("credit_bytes", INT, nullable=False, server_default="0"),
        sa.Column("is_open", FLAG, nullable=False, server_default="0"),
        sa.Column("created_us", INT, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_credit_plans"),
        sa.UniqueConstraint("name_key", name="uq_credit_plans_name_key"),
    )
    _create(
        "credit_subscriptions",
        sa.Column("id", ID, nullable=False),
        sa.Column("account_id", ID, nullable=False),
        sa.Column("plan_id", ID, nullable=False),
        sa.Column("kind", SHORT, nullable=False),
        sa.Column("state", SHORT, nullable=False),
        sa.Column("duration_us", INT, nullable=True),
        sa.Column("created_us", INT, nullable=False),
        sa.Column("starts_us", INT, nullable=True),
        sa.Column("ends_us", INT, nullable=True),
        sa.Column("paid_until_us", INT, nullable=True),
        sa.PrimaryKeyConstraint("id", name="pk_credit_subscriptions"),
        sa.Index("ix_credit_subscriptions_account_id", "account_id"),
        sa.Index("ix_credit_subscriptions_plan_id", "plan_id"),
        sa.Index("ix_credit_subscriptions_state", "state"),
    )
    _create(
        "credit_promos",
        sa.Column("code", KEYTEXT, nullable=False),
        sa.Column("bytes", INT, nullable=False),
        sa.Column("money", INT, nullable=False),
        sa.Column("plan_id", ID, nullable=True),
        sa.Column("plan_us", INT, nullable=True),
        sa.Column("uses_max", INT, nullable=True),
        sa.Column("uses", INT, nullable=False, server_default="0"),
        sa.Column("from_us", INT, nullable=False),
        sa.Column("until_us", INT, nullable=True),
        sa.Column("created_us", INT, nullable=False),
        sa.PrimaryKeyConstraint("code", name="pk_credit_promos"),
        clustered=True,
    )
    _create(
        "credit_promo_uses",
        sa.Column("code", KEYTEXT, nullable=False),
        sa.Column("account_id", ID, nullable=False),
        sa.Column("at_us", INT, nullable=False),
        sa.PrimaryKeyConstraint("code", "account_id", name="pk_credit_promo_uses"),
        clustered=True,
    )
    _create(
        "credit_keys",
        sa.Column("id", ID, nullable=False),
        sa.Column("name", KEYTEXT, nullable=False),
        sa.Column("key_hash", HASH, nullable=False),
        sa.Column("may", SHORT, nullable=False),
        sa.Column("created_us", INT, nullable=False),
        sa.Column("last_used_us", INT, nullable=True),
        sa.PrimaryKeyConstraint("id", name="pk_credit_keys"),
        sa.UniqueConstraint("name", name="uq_credit_keys_name"),
        sa.UniqueConstraint("key_hash", name="uq_credit_keys_key_hash"),
    )
    _create(
        "credit_usage",
        sa.Column("account_id", ID, nullable=False),
        sa.Column("month", INT, nullable=False, autoincrement=False),
        sa.Column("in_bytes", INT, nullable=False, server_default="0"),
        sa.Column("out_bytes", INT, nullable=False, server_default="0"),
        sa.Column("requests", INT, nullable=False, server_default="0"),
        sa.Column("byte_hours", INT, nullable=False, server_default="0"),
        sa.Column("rest_byte_s", INT, nullable=False, server_default="0"),
        sa.PrimaryKeyConstraint("account_id", "month", name="pk_credit_usage"),
        clustered=True,
    )
    _create(
        "credit_limits",
        sa.Column("account_id", ID, nullable=False),
        sa.Column("traffic_bytes", INT, nullable=True),
        sa.Column("objects_max", INT, nullable=True),
        sa.Column("rate_bytes_s", INT, nullable=True),
        sa.PrimaryKeyConstraint("account_id", name="pk_credit_limits"),
        clustered=True,
    )
    _create(
        "credit_warnings",
        sa.Column("subject", KEYTEXT, nullable=False),
        sa.Column("level", INT, nullable=False),
        sa.Column("month", INT, nullable=False),
        sa.PrimaryKeyConstraint("subject", name="pk_credit_warnings"),
        clustered=True,
    )
    _create(
        "credit_journals",
        sa.Column("id", ID, nullable=False),
        sa.Column("position", INT, nullable=False),
        sa.Column("changed_us", INT, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_credit_journals"),
        clustered=True,
    )


def downgrade() -> None:
    """Take them away again."""
    for table in reversed(_TABLES):
        op.drop_table(table, if_exists=True)
