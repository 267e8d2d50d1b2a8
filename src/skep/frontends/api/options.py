"""Options: what users choose for their space, and managers for their group's, within what the hive allows."""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import UNSET, Meta, UnsetType

from skep.base.errors import MalformedRequest, SpaceNotFound
from skep.base.ids import Id
from skep.chunks.scheme import Scheme
from skep.filesystem import DurabilityInfo
from skep.frontends.api.call import Call
from skep.frontends.api.operation import Operation

TAG = "account"
Level = Annotated[int, Meta(ge=0, le=3)]
Replicas = Annotated[int, Meta(ge=0, le=31)]


class Options(msgspec.Struct, frozen=True):
    """How new content of a space is kept."""

    scheme: str
    """In force: the chosen one, else the hive's."""
    chosen: str | None
    """None: as the hive says, which may change."""
    allowed: tuple[str, ...]
    """What may be chosen."""
    raid_level: int | None
    """0: striping; 1: mirroring; 3: striping with parity; None: the scheme is none of these."""
    raid_replicas: int | None
    """Copies, or shards with data, besides the first."""


class SetOptions(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``scheme`` (null: the hive's), or ``raid_level`` (1 unless given) and ``raid_replicas`` (1 unless given)."""

    scheme: str | UnsetType | None = UNSET
    raid_level: Level | None = None
    raid_replicas: Replicas | None = None


async def get_options(call: Call) -> Options:
    """Show how new content of one's own space is kept, and what may be chosen."""
    return await _options(call, None)


async def set_options(call: Call, body: SetOptions) -> Options:
    """Choose how new content of one's own space is kept. What is there already stays as it is."""
    return await _set(call, None, body)


async def get_space_options(call: Call) -> Options:
    """Show how new content of a space is kept."""
    return await _options(call, call.id("space_id", SpaceNotFound))


async def set_space_options(call: Call, body: SetOptions) -> Options:
    """Choose how new content of a space is kept: its owner, or the managers of its group."""
    return await _set(call, call.id("space_id", SpaceNotFound), body)


async def _options(call: Call, space: Id | None) -> Options:
    return _record(call, await call.services.filesystem.durability(call.principal, space))


async def _set(call: Call, space: Id | None, body: SetOptions) -> Options:
    scheme = _wanted(body)
    return _record(call, await call.services.filesystem.choose_scheme(call.principal, scheme, space))


def _wanted(body: SetOptions) -> str | None:
    """The scheme that a body asks for."""
    by_level = body.raid_level is not None or body.raid_replicas is not None
    if by_level == (body.scheme is not UNSET):
        raise MalformedRequest("Give `scheme`, or `raid_level` and `raid_replicas`, one of them.")
    if not by_level:
        return body.scheme if isinstance(body.scheme, str) else None
    level = 1 if body.raid_level is None else body.raid_level
    replicas = 1 if body.raid_replicas is None else body.raid_replicas
    if level not in (0, 1, 3):
        raise MalformedRequest("`raid_level` is 0 (striping), 1 (mirroring) or 3 (striping with parity).")
    if level == 3:
        return Scheme.of(1 + replicas, 1).name if replicas else Scheme.of(1, 1).name
    if not replicas:
        return "none"
    return f"raid{level}({1 + replicas})"


def _record(call: Call, found: DurabilityInfo) -> Options:
    name = found.scheme or call.services.chunks.scheme.name
    scheme = Scheme.parse(name)
    k, m = scheme.data_shards, scheme.parity_shards
    level: int | None = None
    replicas: int | None = None
    if k == 1:
        level, replicas = 1, m
    elif m == 0:
        level, replicas = 0, k - 1
    elif m == 1:
        level, replicas = 3, k - 1
    return Options(name, found.scheme, found.allowed, level, replicas)


_MINE = "/api/auth/me/options"
_OF_SPACE = "/api/filesystem/spaces/{space_id}/options"
OPERATIONS = (
    Operation("GET", _MINE, get_options, "files:read", TAG),
    Operation("POST", _MINE, set_options, "files:write", TAG),
    Operation("GET", _OF_SPACE, get_space_options, "files:read", "files"),
    Operation("POST", _OF_SPACE, set_space_options, "files:write", "files"),
)
