"""The short way to a file: what it finds is what the long way finds, and nobody else may take it."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from skep.base.errors import BucketNotFound, NodeNotFound, SpaceNotFound
from skep.filesystem import known_spaces
from skep.testing.files import open_files


async def test_a_space_that_is_known_is_still_its_members_alone(tmp_path: Path) -> None:
    async with open_files(tmp_path) as bench:
        club = await bench.group("club")
        ada, eve = await bench.user("ada", [club]), await bench.user("eve")
        files = bench.filesystem
        space = next(one for one in await files.spaces(ada) if one.owner_id == club)
        await bench.put(ada, "/b/f", b"1", space_id=space.id)
        for _ in range(2):
            assert (await files.open_path(ada, space.id, "/b/f")).size_bytes == 1
            assert (await files.open_key(ada, space.id, files.key("b", "f"))).size_bytes == 1
        left = dataclasses.replace(ada, groups=frozenset())
        for who in (left, eve):
            with pytest.raises(SpaceNotFound):
                await files.open_path(who, space.id, "/b/f")
            with pytest.raises(SpaceNotFound):
                await files.open_key(who, space.id, files.key("b", "f"))
        with pytest.raises(NodeNotFound):
            await files.open_path(eve, None, "/b/f")


async def test_both_ways_tell_the_same(tmp_path: Path) -> None:
    async with open_files(tmp_path) as bench:
        ada = await bench.user("ada")
        deep = "/a/b/c/d/e/f/g/h"
        await bench.put(ada, deep, b"deep")
        await bench.put(ada, deep + "-2/below/it", b"deeper")
        await bench.put(ada, "/f", b"one")
        await bench.put(ada, "/f", b"two")
        files = bench.filesystem
        for path in (deep, deep + "-2/below/it", "/f", "//f/"):
            known = await files.open_path(ada, None, path)
            files._whole_spaces = known_spaces.KnownSpaces()
            anew = await files.open_path(ada, None, path)
            assert (known.node, known.version, known.manifest) == (anew.node, anew.version, anew.manifest)
            assert b"".join([part async for part in known.read()]) == await anew.whole(0, anew.size_bytes)
        for path in ("/", "/a", "/none", "/a/none", "/f/below", deep + "/below", deep + "-2/below"):
            with pytest.raises(NodeNotFound) as found:
                await files.open_path(ada, None, path)
            files._whole_spaces = known_spaces.KnownSpaces()
            with pytest.raises(NodeNotFound) as anew_found:
                await files.open_path(ada, None, path)
            assert found.value.message == anew_found.value.message


async def test_keys_both_ways(tmp_path: Path) -> None:
    async with open_files(tmp_path) as bench:
        ada = await bench.user("ada")
        await bench.put(ada, "/b/x/y", b"1")
        await bench.put(ada, "/file", b"2")
        await bench.filesystem.make_directory(ada, None, "/b/empty", parents=True, exist_ok=False)
        files = bench.filesystem
        for _ in range(2):
            assert await (await files.open_key(ada, None, files.key("b", "x/y"))).whole(0, 1) == b"1"
            empty = await files.open_key(ada, None, files.key("b", "empty/"))
            assert (empty.version, await empty.whole(0, 0)) == (None, b"")
            for name in ("x", "x/", "x/y/", "x/none", "empty"):
                with pytest.raises(NodeNotFound):
                    await files.open_key(ada, None, files.key("b", name))
            for bucket in ("none", "file"):
                with pytest.raises(BucketNotFound):
                    await files.open_key(ada, None, files.key(bucket, "x"))


async def test_few_spaces_are_remembered_and_no_shares(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(known_spaces, "SPACES_MAX", 3)
    async with open_files(tmp_path) as bench:
        for number in range(7):
            user = await bench.user(f"user{number}")
            await bench.put(user, "/f", b"1")
            await bench.filesystem.open_path(user, None, "/f")
            assert len(bench.filesystem._whole_spaces._known) <= 3
