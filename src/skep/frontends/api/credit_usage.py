"""What accounts have used, and what limits them."""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta

from skep.credit.limits import InForce, Limits
from skep.frontends.api.call import Call
from skep.frontends.api.credit import AccountQuery
from skep.frontends.api.credit_records import Limit
from skep.frontends.api.operation import Operation

TAG = "credit"


class UsageQuery(msgspec.Struct, frozen=True, kw_only=True):
    """Whose, and how many months."""

    account: str = ""
    months: Annotated[int, Meta(ge=1, le=120)] = 12


class MonthRecord(msgspec.Struct, frozen=True):
    """``month``: 202611."""

    month: int
    in_bytes: int
    out_bytes: int
    requests: int
    byte_hours: int
    """What was stored: bytes times hours."""


class Usage(msgspec.Struct, frozen=True):
    """The newest month first; this month always."""

    months: list[MonthRecord]


class LimitsRecord(msgspec.Struct, frozen=True):
    """What is in force, by the plan or beside it; null: no limit. ``traffic_bytes``: downloaded in a month."""

    traffic_bytes: int | None
    objects_max: int | None
    """Files and directories of the space, the trash included, and chunks of ``/api/chunk/``."""
    rate_bytes_s: int | None


class WarningRecord(msgspec.Struct, frozen=True):
    """``what``: ``space``, ``objects`` or ``traffic``; ``percent``: 80 or 95."""

    what: str
    percent: int


class Warnings(msgspec.Struct, frozen=True):
    """What is almost used; a minute old at most."""

    warnings: list[WarningRecord]


class LimitsChange(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Limits beside the plan, which go before it; null: as the plan says."""

    account: str
    traffic_bytes: Limit | None = None
    objects_max: Limit | None = None
    rate_bytes_s: Limit | None = None


async def get_usage(call: Call, query: UsageQuery) -> Usage:
    """Show what an account has used, month by month; some seconds old."""
    found = await call.services.credit.usage(call.principal, query.account, months=query.months)
    return Usage([MonthRecord(*month) for month in found])


async def get_limits(call: Call, query: AccountQuery) -> LimitsRecord:
    """Show what limits an account now."""
    return _record(await call.services.credit.limits(call.principal, query.account))


async def get_warnings(call: Call, query: AccountQuery) -> Warnings:
    """Show which limits an account has almost reached: 80 or 95 percent."""
    found = await call.services.credit.warnings(call.principal, query.account)
    return Warnings([WarningRecord(what, percent) for what, percent in found])


async def set_limits(call: Call, body: LimitsChange) -> LimitsRecord:
    """Limit an account beside its plan; in force within a minute."""
    wanted = Limits(body.traffic_bytes, body.objects_max, body.rate_bytes_s)
    return _record(await call.services.credit.set_limits(call.principal, body.account, wanted))


def _record(found: InForce) -> LimitsRecord:
    return LimitsRecord(found.traffic_bytes, found.objects_max, found.rate_bytes_s)


OPERATIONS = (
    Operation("GET", "/api/credit/usage", get_usage, "account", TAG),
    Operation("GET", "/api/credit/limits", get_limits, "account", TAG),
    Operation("GET", "/api/credit/warnings", get_warnings, "account", TAG),
    Operation("PUT", "/api/credit/limits", set_limits, "admin", TAG, admin=True),
)
