"""Stores as their owners see them: users their own, administrators all. ``{store}`` is a name or an id.

What administrators alone may do beyond this (the hive's stores, other people's) needs the scope ``admin`` too.
"""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import UNSET, Meta, UnsetType

from skep.base.errors import Forbidden
from skep.base.ids import Id, id_text
from skep.durability.member import Member
from skep.frontends.api.auth_records import id_or_name
from skep.frontends.api.call import Call
from skep.frontends.api.operation import Operation
from skep.frontends.api.stores import Checked, Costs, NewStore, Store, StoreChange, costs_of, store_record
from skep.frontends.common.id_text import text_or_none

TAG = "stores"


class OwnedStore(Store, frozen=True):
    """A store, and whose it is."""

    owner_id: str | None = None
    """None: the hive's."""
    owner: str | None = None
    """Their name; None: the hive's, or of somebody who was deleted."""
    warnings: list[str] = []
    """Of a store that was just added: what would be lost together with it."""


class OwnedStores(msgspec.Struct, frozen=True):
    """The stores that the caller may see, oldest first."""

    stores: list[OwnedStore]


class NewOwnStore(NewStore, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``mine``: the caller's own (users have no others); ``owner``: that user's own, for administrators.

    ``force``: even if so much would lie on one account, household or disk that the hive refuses it.
    """

    mine: bool = False
    owner: Annotated[str, Meta(max_length=255)] | None = None
    force: bool = False


class LintFinding(msgspec.Struct, frozen=True):
    """Stores that hold too much of a pack together. ``kind``: zone, disk, account, household, address or outside."""

    kind: str
    label: str
    owner: str | None
    """Whose packs it is about; None: those on the hive's stores."""
    stores: list[str]
    loses: bool
    """Whether their loss would lose data."""
    packs: int
    """That would be lost with them now; of ``outside``: shards where the policy does not let them lie."""
    message: str


class Lint(msgspec.Struct, frozen=True):
    """What is wrong with the layout as it stands."""

    clean: bool
    findings: list[LintFinding]


class CostQuery(msgspec.Struct, frozen=True, kw_only=True):
    """``mine``: the caller's own alone."""

    mine: bool = False


def _whose(call: Call, mine: bool = False) -> Id | None:
    """Whose stores the caller may see: their own; None: all."""
    return None if call.principal.acts_as_admin and not mine else call.principal.user_id


def _find(call: Call) -> Member:
    return call.services.owning.find(id_or_name(call.path["store"]), _whose(call))


async def list_own_stores(call: Call, query: CostQuery) -> OwnedStores:
    """List stores with their health and room: all to administrators, else the caller's own."""
    owning, whose = call.services.owning, _whose(call, query.mine)
    members = list(call.services.stores) if whose is None else owning.of(whose)
    names = await owning.names(member.owner_id for member in members)
    return OwnedStores([_record(member, names) for member in members])


async def add_own_store(call: Call, body: NewOwnStore) -> OwnedStore:
    """Open a place, claim it, and use it from now on: as the caller's own, or for administrators as the hive's."""
    services, who = call.services, call.principal
    owner_id = await _owner(call, body)
    secret = None if body.secret is None else body.secret.encode()
    if not who.acts_as_admin:
        if body.force:
            raise Forbidden("Only administrators insist on an unsafe layout.")
        await services.owning.check(who.user_id, body.url, secret)
    warnings = await services.layout.try_store(body.url, secret, body.name, body.zone, owner_id, force=body.force)
    member = await services.stores.add(
        body.name, body.url, body.zone, body.capacity_bytes, secret, durable=True, owner_id=owner_id
    )
    return _record(member, await services.owning.names([owner_id]), warnings)


async def _owner(call: Call, body: NewOwnStore) -> Id | None:
    """Whose the new store is. Raises Forbidden, UserNotFound."""
    if not call.principal.acts_as_admin:
        if body.owner is not None:
            raise Forbidden("Only administrators add stores for others.")
        return call.principal.user_id
    if body.owner is not None:
        return (await call.services.auth.get_user(call.principal, id_or_name(body.owner))).id
    return call.principal.user_id if body.mine else None


async def get_own_store(call: Call) -> OwnedStore:
    """Show a store, asking it for its room."""
    member = _find(call)
    await call.services.stores.refresh_usage(member)
    return await _shown(call, member)


async def change_own_store(call: Call, body: StoreChange) -> OwnedStore:
    """Change a store: its state, zone, capacity, terms."""
    member, stores = _find(call), call.services.stores
    if body.state == "draining":
        call.services.owning.check_drain(member)
    terms = None if isinstance(body.terms, UnsetType) else body.terms
    zone = None if isinstance(body.zone, UnsetType) else body.zone
    if (terms, zone, body.capacity_bytes) != (None, None, UNSET):
        await stores.change(member, zone=zone, capacity_bytes=body.capacity_bytes, terms=terms)
    if not isinstance(body.state, UnsetType):
        await stores.set_state(member, body.state)
    return await _shown(call, member)


async def remove_own_store(call: Call) -> None:
    """Forget a store; 409 while it holds shards: drain it first.

    The grant of a cloud's account is withdrawn at the provider too, where it has a call for that.
    """
    member = _find(call)
    await call.services.stores.remove(member)
    await call.services.clouds.grants.forget(member.url)


async def check_own_store(call: Call) -> Checked:
    """Run the conformance suite on a store, under keys of its own that are removed afterwards."""
    passed, report = await call.services.check_store(_find(call))
    return Checked(passed, report)


async def get_own_costs(call: Call, query: CostQuery) -> Costs:
    """Show what stores cost, all of them or the caller's own: the month so far, and its forecast."""
    whose = _whose(call, query.mine)
    return await costs_of(call, list(call.services.stores) if whose is None else call.services.owning.of(whose))


async def lint_stores(call: Call, query: CostQuery) -> Lint:
    """Look for stores that are lost together and hold too much of a pack, and for shards where none should be.

    Of all packs to administrators, else of the caller's own. It counts every shard: not for a loop.
    """
    found = await call.services.layout.standing(_whose(call, query.mine))
    names = await call.services.owning.names(each.owner_id for each in found)
    findings = [
        LintFinding(
            each.kind, each.label, None if each.owner_id is None else names.get(each.owner_id, id_text(each.owner_id)),
            list(each.stores), each.loses, each.packs, each.message,
        )
        for each in found
    ]  # fmt: skip
    return Lint(not findings, findings)


async def _shown(call: Call, member: Member) -> OwnedStore:
    return _record(member, await call.services.owning.names([member.owner_id]))


def _record(member: Member, names: dict[Id, str], warnings: list[str] | None = None) -> OwnedStore:
    plain = msgspec.structs.asdict(store_record(member))
    owner = None if member.owner_id is None else names.get(member.owner_id)
    return OwnedStore(**plain, owner_id=text_or_none(member.owner_id), owner=owner, warnings=warnings or [])


_STORES, _STORE = "/api/stores", "/api/stores/{store}"
OPERATIONS = (
    Operation("GET", _STORES, list_own_stores, "account", TAG),
    Operation("POST", _STORES, add_own_store, "account", TAG, status=201),
    Operation("GET", "/api/stores/costs", get_own_costs, "account", TAG),
    Operation("GET", "/api/stores/lint", lint_stores, "account", TAG),
    Operation("GET", _STORE, get_own_store, "account", TAG),
    Operation("PATCH", _STORE, change_own_store, "account", TAG),
    Operation("DELETE", _STORE, remove_own_store, "account", TAG, status=204),
    Operation("POST", f"{_STORE}/check", check_own_store, "account", TAG),
)
