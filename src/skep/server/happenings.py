"""What happens in a hive, for its operators: each event becomes a line of the log."""

from __future__ import annotations

import asyncio

import msgspec

from skep.base.logs import get_logger
from skep.events import RESYNC, Hub

log = get_logger("skep.events")


def follow(hub: Hub) -> asyncio.Task[None]:
    """Write down what the hub tells from now on, until the task is cancelled."""
    return asyncio.create_task(_follow(hub), name="events")


async def _follow(hub: Hub) -> None:
    with hub.subscribe_events() as heard:
        async for event in heard:
            if event is RESYNC:
                log.warning("events were missed: more happened at once than is kept")
            else:
                log.info(event.kind(), **_fields(event))


def _fields(event: msgspec.Struct) -> dict[str, object]:
    """Its fields, identifiers in hexadecimal; the time is that of the line."""
    found = {name: getattr(event, name) for name in event.__struct_fields__ if name != "at_us"}
    return {name: value.hex() if isinstance(value, bytes) else value for name, value in found.items()}
