"""A process that puts, replaces and deletes until it is killed, and says on its output what it has been promised.

python putting_child.py ROOT SEED
"""

from __future__ import annotations

import asyncio
import random
import sys
from pathlib import Path

from skep.stores.drivers.fs import FsConfig, FsStore


def value(key: str, generation: int) -> bytes:
    """What belongs under a key: its own text, again and again, so that a torn or mixed value shows."""
    return f"{key} {generation};".encode() * (random.Random(f"{key}{generation}").randrange(1, 4_000))


async def worker(store: FsStore, name: int, chance: random.Random) -> None:
    generations: dict[str, int] = {}
    for _ in range(100_000):
        key = f"shards/{name:02x}{chance.randrange(12):02x}.0"
        generation = generations.get(key, 0) + 1
        generations[key] = generation
        if chance.random() < 0.2:
            sys.stdout.write(f"deleting {key} {generation}\n")
            await store.delete(key)
        else:
            sys.stdout.write(f"putting {key} {generation}\n")
            content = value(key, generation)
            await store.put(key, [content[:100], content[100:]])
        sys.stdout.write(f"done {key} {generation}\n")
        sys.stdout.flush()


async def main(root: str, seed: int) -> None:
    store = FsStore(FsConfig(Path(root)))
    await asyncio.gather(*(worker(store, name, random.Random(f"{seed} {name}")) for name in range(8)))


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], int(sys.argv[2])))
