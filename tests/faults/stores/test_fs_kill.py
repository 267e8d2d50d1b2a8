"""A process is killed with -9 in the middle of many puts; what it was promised is there, and nothing is torn."""

from __future__ import annotations

import importlib.util
import os
import random
import subprocess
import sys
from pathlib import Path

import pytest

from skep.base.errors import ObjectNotFound
from skep.stores.drivers.fs import FsConfig, FsStore

CHILD = Path(__file__).with_name("putting_child.py")
_spec = importlib.util.spec_from_file_location("putting_child", CHILD)
assert _spec is not None
assert _spec.loader is not None
putting_child = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(putting_child)


def killed_at(root: Path, seed: int, lines: int) -> dict[str, set[bytes | None]]:
    """Kill the child after so many lines; by key what may be there."""
    source = str(Path(__file__).resolve().parents[3] / "src")
    child = subprocess.Popen(
        [sys.executable, str(CHILD), str(root), str(seed)],
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": source},
        text=True,
    )
    assert child.stdout is not None
    said = [child.stdout.readline() for _ in range(lines)]
    child.kill()
    said += [line for line in child.stdout.read().splitlines(keepends=True) if line.endswith("\n")]
    child.wait()
    child.stdout.close()
    return promised([line.split() for line in said])


def promised(said: list[list[str]]) -> dict[str, set[bytes | None]]:
    allowed: dict[str, set[bytes | None]] = {}
    under_way: dict[str, bytes | None] = {}
    for act, key, generation in said:
        allowed.setdefault(key, {None})
        if act == "done":
            allowed[key] = {under_way.pop(key)}
        else:
            under_way[key] = None if act == "deleting" else putting_child.value(key, int(generation))
    return {key: values | {under_way[key]} if key in under_way else values for key, values in allowed.items()}


@pytest.mark.parametrize("seed", range(10))
async def test_killed_while_putting(seed: int, tmp_path: Path) -> None:
    kept = killed_at(tmp_path, seed, random.Random(seed).randrange(1, 600))
    store = FsStore(FsConfig(tmp_path))
    for key, allowed in kept.items():
        try:
            found: bytes | None = await store.get(key)
        except ObjectNotFound:
            found = None
        assert found in allowed, f"{key} holds {found and found[:40]!r}"
    listed = [info.key async for info in store.list()]
    assert listed == sorted(listed)
    assert set(listed) <= set(kept)
    assert list((tmp_path / "temp").iterdir()) == []
    await store.close()
