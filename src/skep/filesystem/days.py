"""When what a space holds came: bytes by day, for a picture of how it filled."""

from __future__ import annotations

from typing import NamedTuple

import sqlalchemy as sa

from skep.base.ids import Id
from skep.db import Transaction, prepared
from skep.db import schema as s

DAY_US = 86_400_000_000
DAYS_MAX = 20_000
"""More than fifty years of them."""

_v, _n = s.versions.c, s.nodes.c
# A literal: databases group by the text of an expression, and two parameters are not the same text.
_day = (_v.created_us // sa.literal_column(str(DAY_US), sa.BigInteger)).label("day")
_BY_DAY = prepared(
    sa.select(_day, sa.func.sum(_v.size_bytes), sa.func.count())
    .join_from(s.nodes, s.versions, _v.node_id == _n.id)
    .where(_n.space_id == sa.bindparam("space"))
    .group_by(_day)
    .order_by(_day)
    .limit(DAYS_MAX)
)


class Day(NamedTuple):
    """What came on one day (UTC) and is there still, old versions and the trash counted."""

    day_us: int
    """When it began."""
    added_bytes: int
    versions: int


def by_day(tx: Transaction, space_id: Id) -> list[Day]:
    """The days on which something came into a space that is still there, the oldest first."""
    return [Day(int(day) * DAY_US, int(size), int(count)) for day, size, count in tx.rows(_BY_DAY, {"space": space_id})]
