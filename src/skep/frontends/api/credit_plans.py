"""Plans, and who has which."""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta

from skep.credit import PlanTerms
from skep.frontends.api.call import Call
from skep.frontends.api.credit import AccountQuery
from skep.frontends.api.credit_records import (
    Limit,
    PlanRecord,
    SubscriptionRecord,
    plan_record,
    subscription_record,
)
from skep.frontends.api.operation import Operation

TAG = "credit"
CENTURY_S = 100 * 365 * 86_400


class Terms(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a plan gives; null: no limit of its own. ``cost`` and ``credit_bytes`` are of 30 days."""

    space_bytes: Limit | None = None
    traffic_bytes: Limit | None = None
    objects_max: Limit | None = None
    rate_bytes_s: Limit | None = None
    overdraft_bytes: Limit = 0
    overdraft_money: Limit = 0
    cost: Limit = 0
    credit_bytes: Limit = 0
    is_open: bool = False


class Plans(msgspec.Struct, frozen=True):
    """By name."""

    plans: list[PlanRecord]


class Subscriptions(msgspec.Struct, frozen=True):
    """The oldest first."""

    subscriptions: list[SubscriptionRecord]


class Choice(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``plan`` null: none."""

    plan: str | None
    account: str = ""


class Prepaid(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A plan for a time that begins when it is first used."""

    account: str
    plan: str
    duration_s: Annotated[int, Meta(ge=1, le=CENTURY_S)]


async def list_credit_plans(call: Call) -> Plans:
    """List the plans that one may choose; administrators see all."""
    return Plans([plan_record(plan) for plan in await call.services.credit.list_plans(call.principal)])


async def put_plan(call: Call, body: Terms) -> PlanRecord:
    """Make a plan, or give it other terms, which hold at once for all who have it."""
    terms = PlanTerms(**msgspec.structs.asdict(body))
    return plan_record(await call.services.credit.put_plan(call.principal, call.path["plan"], terms))


async def remove_plan(call: Call) -> None:
    """Take a plan away; 409 while somebody has it."""
    await call.services.credit.remove_plan(call.principal, call.path["plan"])


async def list_subscriptions(call: Call, query: AccountQuery) -> Subscriptions:
    """List the plans of an account that hold or may still hold."""
    found = await call.services.credit.subscriptions(call.principal, query.account)
    return Subscriptions([subscription_record(one, plan.name) for one, plan in found])


async def choose_plan(call: Call, body: Choice) -> Subscriptions:
    """Choose the standing plan of an account; 402 where its first 30 days cannot be paid.

    What is left of the plan before is given back.
    """
    await call.services.credit.choose_plan(call.principal, body.plan, who=body.account)
    return await list_subscriptions(call, AccountQuery(account=body.account))


async def prepay_plan(call: Call, body: Prepaid) -> SubscriptionRecord:
    """Give an account a plan for a time that begins when it is first used."""
    made = await call.services.credit.prepay_plan(call.principal, body.account, body.plan, body.duration_s * 1_000_000)
    return subscription_record(made, body.plan)


_AT = "/api/credit/plans"
OPERATIONS = (
    Operation("GET", _AT, list_credit_plans, "account", TAG),
    Operation("PUT", f"{_AT}/{{plan}}", put_plan, "admin", TAG, admin=True),
    Operation("DELETE", f"{_AT}/{{plan}}", remove_plan, "admin", TAG, admin=True, status=204),
    Operation("GET", "/api/credit/subscriptions", list_subscriptions, "account", TAG),
    Operation("PUT", "/api/credit/subscriptions", choose_plan, "account", TAG),
    Operation("POST", "/api/credit/subscriptions", prepay_plan, "admin", TAG, admin=True, status=201),
)
