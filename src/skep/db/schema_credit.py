"""The tables of the package ``credit``: part of the one schema, and of its conventions.

What always holds:
- every transfer has two entries whose amounts add up to nothing, so that all balances of a unit do, too;
- a balance is the sum of its account's entries, whose numbers begin with 1 and have no gap;
- rows of ``credit_transfers`` and ``credit_entries`` are only ever added;
- a balance never falls below its floor (null: the hive's own accounts, which have none).
"""

from __future__ import annotations

import sqlalchemy as sa

from skep.db.tables import FLAG, HASH, ID, INT, KEYTEXT, SHORT, column, table

accounts = table(
    "credit_accounts",
    column("id", ID, primary_key=True),
    column("kind", SHORT),  # user | group | token | system | held
    column("owner", KEYTEXT),  # the user's or group's id in hex; a token's hash; a system account's name; what holds
    column("parent_id", ID, null=True, index=True),  # held: whose credit it is
    column("created_us", INT),
    column("closed_us", INT, null=True),
    sa.UniqueConstraint("kind", "owner"),
)
balances = table(
    "credit_balances",
    column("account_id", ID, primary_key=True),
    column("unit", SHORT, primary_key=True),  # bytes | money
    column("amount", INT),
    column("entries", INT),  # how many there are: the number of the last
    column("floor", INT, null=True),  # as low as it may fall; null: any
    clustered=True,
)
transfers = table(
    "credit_transfers",
    column("id", ID, primary_key=True),
    column("key", KEYTEXT, unique=True),  # the same key is the same transfer
    column("kind", SHORT),
    column("unit", SHORT),
    column("amount", INT),  # more than 0
    column("from_id", ID),
    column("to_id", ID),
    column("at_us", INT),
    column("note", KEYTEXT, server_default=""),
    column("refund_of", ID, null=True, index=True),
)
entries = table(
    "credit_entries",
    column("account_id", ID, primary_key=True),
    column("unit", SHORT, primary_key=True),
    column("number", INT, primary_key=True, autoincrement=False),
    column("transfer_id", ID),
    column("amount", INT),  # less than 0: it went out
    column("balance", INT),  # after it
    column("at_us", INT),
    clustered=True,
)
prices = table(
    "credit_prices",
    column("id", ID, primary_key=True),
    column("bytes", INT),
    column("cost", INT),  # in the smallest coin
    column("from_us", INT),
    column("until_us", INT, null=True),
    column("created_us", INT),
)
plans = table(
    "credit_plans",
    column("id", ID, primary_key=True),
    column("name", KEYTEXT),
    column("name_key", KEYTEXT, unique=True),
    column("space_bytes", INT, null=True),  # null, here and below: no limit
    column("traffic_bytes", INT, null=True),  # in a month
    column("objects_max", INT, null=True),
    column("rate_bytes_s", INT, null=True),
    column("overdraft_bytes", INT, server_default="0"),
    column("overdraft_money", INT, server_default="0"),
    column("cost", INT, server_default="0"),  # of 30 days, in the smallest coin
    column("credit_bytes", INT, server_default="0"),  # given every 30 days
    column("is_open", FLAG, server_default="0"),  # 1: users may choose it
    column("created_us", INT),
)
subscriptions = table(
    "credit_subscriptions",
    column("id", ID, primary_key=True),
    column("account_id", ID, index=True),
    column("plan_id", ID, index=True),
    column("kind", SHORT),  # standing | prepaid
    column("state", SHORT, index=True),  # standing: standing | unpaid | ended; prepaid: pristine | in-use | expired
    column("duration_us", INT, null=True),
    column("created_us", INT),
    column("starts_us", INT, null=True),
    column("ends_us", INT, null=True),
    column("paid_until_us", INT, null=True),
)
promos = table(
    "credit_promos",
    column("code", KEYTEXT, primary_key=True),
    column("bytes", INT),
    column("money", INT),
    column("plan_id", ID, null=True),
    column("plan_us", INT, null=True),
    column("uses_max", INT, null=True),
    column("uses", INT, server_default="0"),
    column("from_us", INT),
    column("until_us", INT, null=True),
    column("created_us", INT),
    clustered=True,
)
promo_uses = table(
    "credit_promo_uses",
    column("code", KEYTEXT, primary_key=True),
    column("account_id", ID, primary_key=True),
    column("at_us", INT),
    clustered=True,
)
keys = table(
    "credit_keys",
    column("id", ID, primary_key=True),
    column("name", KEYTEXT, unique=True),
    column("key_hash", HASH, unique=True),
    column("may", SHORT),  # deposit | withdraw | both
    column("created_us", INT),
    column("last_used_us", INT, null=True),
)
usage = table(
    "credit_usage",
    column("account_id", ID, primary_key=True),
    column("month", INT, primary_key=True, autoincrement=False),  # 202611
    column("in_bytes", INT, server_default="0"),
    column("out_bytes", INT, server_default="0"),
    column("requests", INT, server_default="0"),
    column("byte_hours", INT, server_default="0"),
    column("rest_byte_s", INT, server_default="0"),  # byte seconds that are not a whole byte hour yet
    clustered=True,
)
limits = table(
    "credit_limits",
    column("account_id", ID, primary_key=True),
    column("traffic_bytes", INT, null=True),
    column("objects_max", INT, null=True),
    column("rate_bytes_s", INT, null=True),
    clustered=True,
)
warnings = table(
    "credit_warnings",
    column("subject", KEYTEXT, primary_key=True),
    column("level", INT),  # percent
    column("month", INT),
    clustered=True,
)
meter_journals = table(
    "credit_journals",
    column("id", ID, primary_key=True),
    column("position", INT),  # how many bytes of it are in the ledger
    column("changed_us", INT),
    clustered=True,
)
