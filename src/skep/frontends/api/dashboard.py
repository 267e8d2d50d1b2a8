"""What the owner's side of the page draws, for administrators: counts over time, and the settings in force."""

from __future__ import annotations

from typing import Any

import msgspec

from skep.durability.draining import preview_drain
from skep.frontends.api.auth_records import id_or_name
from skep.frontends.api.call import Call
from skep.frontends.api.operation import Operation

TAG = "upkeep"


class SampleRecord(msgspec.Struct, frozen=True):
    """The counts at one time. Those of what has passed (requests, errors, bytes) grow until a restart."""

    at_us: int
    counts: dict[str, float]


class HistoryRecord(msgspec.Struct, frozen=True):
    """A day at most, the oldest first; the last is of now."""

    samples: list[SampleRecord]


class SettingRecord(msgspec.Struct, frozen=True):
    """One setting; ``value`` is "(hidden)" for a secret that is set."""

    key: str
    value: Any
    source: str
    """``default``, a file with its line, a variable, or that it was given at the start."""


class SettingsRecord(msgspec.Struct, frozen=True):
    """All settings, in the order of the annotated file."""

    settings: list[SettingRecord]


class DrainTarget(msgspec.Struct, frozen=True):
    """What a store would take, and what it would hold then."""

    name: str
    zone: str
    gains_bytes: int
    after_bytes: int
    capacity_bytes: int | None


class DrainRecord(msgspec.Struct, frozen=True):
    """What draining a store would move where, as the stores are now. Nothing has moved."""

    shards: int
    size_bytes: int
    to: list[DrainTarget]
    """The one that takes most first."""
    crowded_bytes: int
    """What would share a zone with another shard of its pack."""
    nowhere_bytes: int
    """What has no place: add a store, or more room, first."""
    whole: bool
    """False: there are so many packs that only the first were looked at."""


async def get_history(call: Call) -> HistoryRecord:
    """Show what the hive has counted in the last day, minute by minute."""
    return HistoryRecord([SampleRecord(one.at_us, dict(one.counts)) for one in call.services.history()])


async def get_settings(call: Call) -> SettingsRecord:
    """Show the settings in force and where each comes from."""
    return SettingsRecord([SettingRecord(one.key, one.value, one.source) for one in call.services.settings()])


async def preview_store_drain(call: Call) -> DrainRecord:
    """Show what draining a store would move where. It reads the list of packs: not for a loop."""
    services = call.services
    member = services.owning.find(id_or_name(call.path["store"]), None)
    found = await preview_drain(services.db, services.chunks, member)
    targets = [
        DrainTarget(each.name, each.zone, found.to[each.id], each.used_bytes + found.to[each.id], each.capacity_bytes)
        for each in services.stores
        if each.id in found.to
    ]
    return DrainRecord(
        shards=found.shards,
        size_bytes=found.size_bytes,
        to=sorted(targets, key=lambda each: -each.gains_bytes),
        crowded_bytes=found.crowded_bytes,
        nowhere_bytes=found.nowhere_bytes,
        whole=found.whole,
    )


OPERATIONS = (
    Operation("GET", "/api/admin/history", get_history, "admin", TAG, admin=True),
    Operation("GET", "/api/admin/settings", get_settings, "admin", TAG, admin=True),
    Operation("GET", "/api/admin/stores/{store}/drain", preview_store_drain, "admin", TAG, admin=True),
)
