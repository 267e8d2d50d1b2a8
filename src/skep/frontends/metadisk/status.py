"""``GET /api/status``: traffic, storage and queues of this node. All sizes are in bytes; a limit of 0 is none."""

from __future__ import annotations

from typing import Any

from skep.credit.posting import MonthUsage
from skep.frontends.metadisk.call import OWN_ACCOUNT, MetadiskCall


async def status(call: MetadiskCall) -> None:
    """Tell how the node is doing."""
    ground = call.ground
    total, current = await ground.meter.used_of_system(OWN_ACCOUNT, ground.limits)
    used_bytes, files = await ground.publisher.room()
    facts = await ground.facts()
    await call.answer(
        {
            "bandwidth": {
                "total": _both(total),
                "current": _both(current),
                "limits": {"incoming": ground.incoming_bytes, "outgoing": ground.outgoing_bytes},
            },
            "storage": {
                "capacity": _capacity(call, used_bytes),
                "used": used_bytes,
                "max_file_size": ground.file_bytes,
                "files": files,
            },
            "sync": {
                "cloud_queue": _queue(facts),
                "blockchain_queue": {"count": 0, "size": 0},
            },
            "datacoin": {"balance": 0, "address": "", "block": 0},
        }
    )


def _both(usage: MonthUsage) -> dict[str, int]:
    return {"incoming": usage.in_bytes, "outgoing": usage.out_bytes}


def _capacity(call: MetadiskCall, used_bytes: int) -> int:
    """What may be stored: the limit, or what the stores have room for; 0 where they do not know."""
    if call.ground.storage_bytes:
        return call.ground.storage_bytes
    free = call.ground.free_bytes()
    return 0 if free is None else used_bytes + free


def _queue(facts: dict[str, Any]) -> dict[str, int]:
    """Packs that are not on as many stores as they should be, and their bytes."""
    return {"count": int(facts.get("repair_backlog", 0)), "size": int(facts.get("repair_backlog_bytes", 0))}
