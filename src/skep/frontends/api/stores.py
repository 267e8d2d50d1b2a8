"""Stores, for administrators: list, add, check, change, remove. ``{store}`` is a name or an id."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from typing import Annotated, Any

import msgspec
from msgspec import UNSET, Meta, UnsetType

from skep.base.errors import StoreNotFound
from skep.base.ids import id_text
from skep.durability.cost import Used, cost_of
from skep.durability.member import Member
from skep.durability.reputation import Reputation
from skep.durability.terms import Terms
from skep.frontends.api.auth_records import id_or_name
from skep.frontends.api.call import Call
from skep.frontends.api.operation import Operation

TAG = "stores"


class Standing(msgspec.Struct, frozen=True):
    """What audits have shown of a store: how honest it is and how often it answers, 0 to 1."""

    honesty: float
    answered: float
    suspect: bool
    """Whether it gets new shards only where no other store will do."""
    audits: int
    failed: int
    unanswered: int
    last_audit_us: int | None
    last_failure_us: int | None


class Store(msgspec.Struct, frozen=True):
    """One place that holds shards. ``error``: what it said last, where it is not well."""

    id: str
    name: str
    url: str
    zone: str
    state: str
    """active, readonly, draining or lost."""
    healthy: bool
    error: str | None
    capacity_bytes: int | None
    used_bytes: int
    free_bytes: int | None
    latency_s: float
    """The 95th percentile of answers to reads."""
    properties: dict[str, Any] | None
    reputation: Standing
    terms: Terms
    cached: bool
    """Whether what is read from it is kept in the read cache."""


class Stores(msgspec.Struct, frozen=True):
    """All stores of the hive."""

    stores: list[Store]


class NewStore(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``url``: as ``fs:///mnt/disk2``, without secrets; ``secret``: kept sealed; ``zone``: its failure domain."""

    name: str
    url: str
    zone: str = ""
    capacity_bytes: Annotated[int, Meta(ge=1, le=1 << 62)] | None = None
    secret: str | None = None


class StoreChange(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``draining`` moves its shards away, ``lost`` rebuilds them elsewhere, ``readonly`` takes no new ones."""

    state: str | UnsetType = UNSET
    zone: str | UnsetType = UNSET
    capacity_bytes: Annotated[int, Meta(ge=1, le=1 << 62)] | UnsetType | None = UNSET
    terms: Terms | UnsetType = UNSET
    """Replaces all of the terms."""


class StoreCost(msgspec.Struct, frozen=True):
    """One store in the month at hand; money is null where no price is known."""

    name: str
    used_bytes: int
    average_bytes: int
    """Kept on average since the month began."""
    up_bytes: int
    down_bytes: int
    so_far: Decimal | None
    forecast: Decimal | None


class Costs(msgspec.Struct, frozen=True):
    """What the stores cost this month, in the owner's currency."""

    month: str
    stores: list[StoreCost]
    so_far: Decimal
    forecast: Decimal


class Checked(msgspec.Struct, frozen=True):
    """What the conformance suite found on a store."""

    passed: bool
    report: Any


async def list_stores(call: Call) -> Stores:
    """List the stores with their health and room."""
    return Stores([store_record(member) for member in call.services.stores])


async def add_store(call: Call, body: NewStore) -> Store:
    """Open a place, claim it for this hive and use it from now on."""
    secret = None if body.secret is None else body.secret.encode()
    member = await call.services.stores.add(body.name, body.url, body.zone, body.capacity_bytes, secret, durable=True)
    return store_record(member)


async def get_store(call: Call) -> Store:
    """Show a store, asking it for its room."""
    member = find_store(call)
    await call.services.stores.refresh_usage(member)
    return store_record(member)


async def change_store(call: Call, body: StoreChange) -> Store:
    """Change a store: its state, zone, capacity, terms."""
    member = find_store(call)
    terms = None if isinstance(body.terms, UnsetType) else body.terms
    zone = None if isinstance(body.zone, UnsetType) else body.zone
    if (terms, zone, body.capacity_bytes) != (None, None, UNSET):
        await call.services.stores.change(member, zone=zone, capacity_bytes=body.capacity_bytes, terms=terms)
    if not isinstance(body.state, UnsetType):
        await call.services.stores.set_state(member, body.state)
    return store_record(member)


async def get_costs(call: Call) -> Costs:
    """Show what the stores cost: the month so far, and its forecast."""
    return await costs_of(call, list(call.services.stores))


async def costs_of(call: Call, members: Sequence[Member]) -> Costs:
    """What these stores cost this month."""
    services = call.services
    await services.traffic.look(now=True)
    month, used = await services.traffic.month()
    lines = []
    for member in members:
        so_far = used.get(member.id, Used())
        cost = cost_of(member.terms, so_far, member.used_bytes, month)
        average = so_far.byte_seconds // max(1, month.elapsed_s)
        lines.append(
            StoreCost(
                member.name, member.used_bytes, average, so_far.up_bytes, so_far.down_bytes, _money(cost.so_far),
                _money(cost.forecast),
            )
        )  # fmt: skip
    total = sum((line.so_far or Decimal(0) for line in lines), Decimal(0))
    return Costs(month.name, lines, total, sum((line.forecast or Decimal(0) for line in lines), Decimal(0)))


def _money(value: Decimal | None) -> Decimal | None:
    return None if value is None else value.quantize(Decimal("0.0001"))


async def remove_store(call: Call) -> None:
    """Forget a store; 409 while it holds shards: drain it first.

    The grant of a cloud's account is withdrawn at the provider too, where it has a call for that.
    """
    member = find_store(call)
    await call.services.stores.remove(member)
    await call.services.clouds.grants.forget(member.url)


async def check_store(call: Call) -> Checked:
    """Run the conformance suite on a store, under keys of its own that are removed afterwards."""
    member = find_store(call)
    passed, report = await call.services.check_store(member)
    return Checked(passed, report)


def find_store(call: Call) -> Member:
    """The store that the URL names. Raises StoreNotFound."""
    text = call.path["store"]
    wanted = id_or_name(text)
    if isinstance(wanted, bytes):
        member = call.services.stores.get(wanted)
        if member is None:
            raise StoreNotFound(f"There is no store with the id {text}.")
        return member
    return call.services.stores.by_name(wanted)


def store_record(member: Member) -> Store:
    """The JSON of a store."""
    properties = None if member.store is None else member.store.properties
    return Store(
        id=id_text(member.id),
        name=member.name,
        url=member.url,
        zone=member.zone,
        state=member.state,
        healthy=not member.down,
        error=member.error,
        capacity_bytes=member.capacity_bytes,
        used_bytes=member.used_bytes,
        free_bytes=member.free_bytes,
        latency_s=round(member.latency_s, 6),
        properties=None if properties is None else msgspec.to_builtins(properties),
        reputation=_standing(member.reputation),
        terms=member.terms,
        cached=member.cached,
    )


def _standing(known: Reputation) -> Standing:
    return Standing(
        honesty=round(known.honesty, 4),
        answered=round(known.answered, 4),
        suspect=known.suspect,
        audits=known.audits,
        failed=known.failed,
        unanswered=known.unanswered,
        last_audit_us=known.last_audit_us,
        last_failure_us=known.last_failure_us,
    )


_STORES, _STORE = "/api/admin/stores", "/api/admin/stores/{store}"
OPERATIONS = (
    Operation("GET", _STORES, list_stores, "admin", TAG, admin=True),
    Operation("POST", _STORES, add_store, "admin", TAG, admin=True, status=201),
    Operation("GET", "/api/admin/costs", get_costs, "admin", TAG, admin=True),
    Operation("GET", _STORE, get_store, "admin", TAG, admin=True),
    Operation("PATCH", _STORE, change_store, "admin", TAG, admin=True),
    Operation("DELETE", _STORE, remove_store, "admin", TAG, admin=True, status=204),
    Operation("POST", f"{_STORE}/check", check_store, "admin", TAG, admin=True),
)
