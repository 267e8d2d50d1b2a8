"""Listings of keys against the plain model: sorted keys, cut and rolled up by hand."""

from __future__ import annotations

import tempfile
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from skep.filesystem.flat import Entry
from skep.testing.hive import PASSWORD, open_test_hive

NAME = st.text(st.sampled_from("ab-./ é~0"), min_size=1, max_size=9)


def _possible(keys: set[str]) -> set[str]:
    """Keys that can be files together: no empty or dotted names, none a directory of another."""
    good: set[str] = set()
    for key in sorted(keys):
        names = key.split("/")
        if any(name in ("", ".", "..") for name in names):
            continue
        if any(other.startswith(key + "/") or key.startswith(other + "/") for other in good):
            continue
        good.add(key)
    return good


def _model(keys: set[str], prefix: str, after: str, *, rolled: bool) -> list[str]:
    found: list[str] = []
    for key in sorted(keys):
        if not key.startswith(prefix):
            continue
        slash = key.find("/", len(prefix)) if rolled else -1
        shown = key if slash < 0 else key[: slash + 1]
        if key > after and shown != after and shown not in found:
            found.append(shown)
    return found


@settings(max_examples=20)
@given(st.sets(NAME, max_size=14), st.lists(st.tuples(NAME, NAME, st.booleans()), max_size=6))
async def test_keys_are_listed_as_the_model_says(keys, looks):
    with tempfile.TemporaryDirectory() as place:
        async with open_test_hive(Path(place)) as hive:
            await hive.user("ada")
            filesystem = hive.hive.filesystem
            pair = await hive.hive.auth.login("ada", PASSWORD)
            ada = await hive.hive.auth.authenticate_token(pair.access_token)
            await filesystem.make_directory(ada, None, "/b")
            good = _possible(keys)
            for key in good:
                await filesystem.write_file(ada, None, f"/b/{key}", _nothing(), length=0, parents=True)
            for prefix, after, rolled in [("", "", False), ("", "", True), *looks]:
                prefix = prefix[:3]
                found = await filesystem.keys(ada, None, "b", prefix=prefix, after=after, rolled=rolled, count=1000)
                assert [_name(one) for one in found] == _model(good, prefix, after, rolled=rolled)
                paged: list[str] = []
                last = after
                while page := await filesystem.keys(ada, None, "b", prefix=prefix, after=last, rolled=rolled, count=1):
                    last = _name(page[0])
                    paged.append(last)
                    assert len(paged) <= len(good)
                assert paged == _model(good, prefix, after, rolled=rolled)


def _name(one: Entry | str) -> str:
    return one if isinstance(one, str) else one.key


async def _nothing():
    parts: tuple[bytes, ...] = ()
    for part in parts:
        yield part
