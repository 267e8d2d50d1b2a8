"""Where content may lie: what administrators say of the hive, of groups and users, and users choose for themselves."""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta

from skep.base.errors import Forbidden
from skep.base.ids import Id
from skep.durability.pools import HIVE, Label, Placement, Policy
from skep.frontends.api.auth_records import id_or_name
from skep.frontends.api.call import Call
from skep.frontends.api.operation import Operation

TAG = "stores"


class SetPolicy(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``placement``: hive, own-first, mixed or own; null says nothing. Jurisdictions: labels, in any case; empty: none.

    Replaces what was said before.
    """

    placement: Placement | None = None
    allowed: Annotated[tuple[Label, ...], Meta(max_length=64)] = ()
    forbidden: Annotated[tuple[Label, ...], Meta(max_length=64)] = ()


class ChoosePlacement(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``placement``: one that the hive offers; null: as the hive says."""

    placement: Placement | None = None


class PlacementPolicy(msgspec.Struct, frozen=True):
    """What was said of the hive, a group or a user; null and empty: nothing."""

    placement: Placement | None
    allowed: tuple[str, ...]
    forbidden: tuple[str, ...]
    chosen: Placement | None
    """What the user chose for themself."""


class PlacementInForce(msgspec.Struct, frozen=True):
    """What follows for somebody's new content. What is stored already stays where it is."""

    placement: Placement
    chosen: Placement | None
    choices: tuple[str, ...]
    """What may be chosen; nothing where administrators decided."""
    allowed: list[list[str]]
    """A store's jurisdiction must be in every one of these lists."""
    forbidden: list[str]
    own_stores: int
    shares_packs: bool
    """Whether it lies in packs with everybody's, on the hive's stores."""


async def get_hive_placement(call: Call) -> PlacementPolicy:
    """Show what is said of everybody's content."""
    return _policy(call.services.chunks.pools.policy("hive"))


async def set_hive_placement(call: Call, body: SetPolicy) -> PlacementPolicy:
    """Say where everybody's content may lie."""
    return await _set(call, "hive", bytes(16), body)


async def get_group_placement(call: Call) -> PlacementPolicy:
    """Show what is said of a group's members and of its space."""
    return _policy(call.services.chunks.pools.policy("group", await _group(call)))


async def set_group_placement(call: Call, body: SetPolicy) -> PlacementPolicy:
    """Say where the content of a group's members may lie. Jurisdictions hold for its space too."""
    return await _set(call, "group", await _group(call), body)


async def get_user_placement(call: Call) -> PlacementPolicy:
    """Show what is said of a user's content."""
    return _policy(call.services.chunks.pools.policy("user", await _user(call)))


async def set_user_placement(call: Call, body: SetPolicy) -> PlacementPolicy:
    """Say where a user's content may lie."""
    return await _set(call, "user", await _user(call), body)


async def get_my_placement(call: Call) -> PlacementInForce:
    """Show where one's own new content lies, and what may be chosen."""
    return _in_force(call)


async def choose_my_placement(call: Call, body: ChoosePlacement) -> PlacementInForce:
    """Choose where one's own new content lies."""
    pools, me = call.services.chunks.pools, call.principal.user_id
    said = pools.policy("user", me)
    if body.placement is not None:
        if said.placement is not None:
            raise Forbidden(f"An administrator decided that your content is placed {said.placement!r}.")
        if body.placement not in pools.choices:
            raise Forbidden(f"This hive lets you choose {', '.join(pools.choices) or 'nothing'}.")
    await pools.set_policy("user", msgspec.structs.replace(said, chosen=body.placement), me)
    await call.services.owning.sync_meters()
    return _in_force(call)


async def _set(call: Call, kind: str, owner_id: Id, body: SetPolicy) -> PlacementPolicy:
    pools = call.services.chunks.pools
    policy = msgspec.convert({**msgspec.structs.asdict(body), "chosen": pools.policy(kind, owner_id).chosen}, Policy)
    await pools.set_policy(kind, policy, owner_id)
    await call.services.owning.sync_meters()
    return _policy(policy)


async def _user(call: Call) -> Id:
    return (await call.services.auth.get_user(call.principal, id_or_name(call.path["user"]))).id


async def _group(call: Call) -> Id:
    return (await call.services.auth.get_group(call.principal, id_or_name(call.path["group"]))).group.id


def _policy(said: Policy) -> PlacementPolicy:
    return PlacementPolicy(said.placement, said.allowed, said.forbidden, said.chosen)


def _in_force(call: Call) -> PlacementInForce:
    pools, me = call.services.chunks.pools, call.principal.user_id
    said, rule = pools.policy("user", me), pools.rule_of(me)
    return PlacementInForce(
        placement=rule.placement,
        chosen=said.chosen,
        choices=() if said.placement is not None else pools.choices,
        allowed=[sorted(names) for names in rule.allowed],
        forbidden=sorted(rule.forbidden),
        own_stores=len(call.services.owning.of(me)),
        shares_packs=pools.of_owner(me) == HIVE,
    )


_OF_HIVE, _MINE = "/api/admin/placement", "/api/auth/me/placement"
_OF_USER, _OF_GROUP = "/api/auth/users/{user}/placement", "/api/auth/groups/{group}/placement"
OPERATIONS = (
    Operation("GET", _OF_HIVE, get_hive_placement, "admin", TAG, admin=True),
    Operation("PUT", _OF_HIVE, set_hive_placement, "admin", TAG, admin=True),
    Operation("GET", _OF_GROUP, get_group_placement, "admin", TAG, admin=True),
    Operation("PUT", _OF_GROUP, set_group_placement, "admin", TAG, admin=True),
    Operation("GET", _OF_USER, get_user_placement, "admin", TAG, admin=True),
    Operation("PUT", _OF_USER, set_user_placement, "admin", TAG, admin=True),
    Operation("GET", _MINE, get_my_placement, "account", TAG),
    Operation("PUT", _MINE, choose_my_placement, "account", TAG),
)
