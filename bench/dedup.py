"""What known and edited content adds at rest."""

from __future__ import annotations

from pathlib import Path

from bench.figures import Figure, Row, median
from bench.hive import BenchHive, bytes_below, running_hive
from bench.material import insert, overwrite, write_noise
from bench.plan import MIB, Plan

EDIT_BYTES = 1_000_000
EDITS_MIN = 5


def dedup(plan: Plan) -> list[Row]:
    """Bytes added by the same file again, by a megabyte of it overwritten, and by one put in, at several places."""
    edits = EDITS_MIN if plan.rounds > 1 else 1
    with plan.room() as place, running_hive(place / "hive") as hive:
        source, longer = write_noise(place / "source", plan.file_bytes), place / "longer"
        first = _added(hive, source, "/a")
        again = _added(hive, source, "/again")
        overwritten, inserted = [], []
        for offset in _places(plan.file_bytes, edits):
            insert(source, longer, offset, EDIT_BYTES)
            inserted.append(_added(hive, longer, "/a"))
            overwrite(source, offset, EDIT_BYTES)
            overwritten.append(_added(hive, source, "/a"))
    ratio = f"the first upload took {first / plan.file_bytes:.4f} bytes at rest for each byte"
    return [
        Figure("same content again, added at rest", again / 1e6, "MB", ratio, at_most=0),
        _edit("1 MB overwritten, added at rest", overwritten, plan),
        _edit("1 MB put in between, added at rest", inserted, plan),
    ]


def _places(file_bytes: int, count: int) -> list[int]:
    """Offsets spread over the file, at no round number."""
    return [file_bytes * (number + 1) // (count + 1) + 12_345 for number in range(count)]


def _added(hive: BenchHive, source: Path, path: str) -> int:
    """What an upload adds to the bytes of all shards."""
    shards = hive.store / "objects" / "shards"
    before = bytes_below(shards) if shards.exists() else 0
    hive.upload(source, path)
    return bytes_below(shards) - before


def _edit(name: str, added: list[int], plan: Plan) -> Figure:
    each = ", ".join(f"{size / 1e6:.2f}" for size in added)
    detail = f"places in a file of {plan.file_bytes / MIB:.0f} MiB: {each}"
    return Figure(name, median(added) / 1e6, "MB", detail, at_most=3)
