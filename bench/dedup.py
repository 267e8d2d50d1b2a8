"""What known and edited content adds at rest."""

from __future__ import annotations

import itertools

from bench.figures import Figure, Row
from bench.hive import bytes_below, running_hive
from bench.material import insert, overwrite, write_noise
from bench.plan import MIB, Plan

EDIT_BYTES = 1_000_000


def dedup(plan: Plan) -> list[Row]:
    """Bytes added by the same file again, by a megabyte of it overwritten, and by one put in."""
    with plan.room() as place, running_hive(place / "hive") as hive:
        source = write_noise(place / "source", plan.file_bytes)
        shards = hive.store / "objects" / "shards"
        sizes = []
        for path in ("/a", "/again"):
            hive.upload(source, path)
            sizes.append(bytes_below(shards))
        overwrite(source, plan.file_bytes // 2 + 12_345, EDIT_BYTES)
        hive.upload(source, "/a")
        sizes.append(bytes_below(shards))
        insert(source, place / "longer", plan.file_bytes // 3 + 54_321, EDIT_BYTES)
        hive.upload(place / "longer", "/a")
        sizes.append(bytes_below(shards))
    added = [after - before for before, after in itertools.pairwise(sizes)]
    of = f"in a file of {plan.file_bytes / MIB:.0f} MiB"
    first = f"the first upload took {sizes[0] / plan.file_bytes:.4f} bytes at rest for each byte"
    return [
        Figure("same content again, added at rest", added[0] / 1e6, "MB", first, at_most=0),
        Figure("1 MB overwritten, added at rest", added[1] / 1e6, "MB", of, at_most=3),
        Figure("1 MB put in between, added at rest", added[2] / 1e6, "MB", of, at_most=3),
    ]
