"""Paths of SFTP clients."""

from __future__ import annotations

import pytest

from skep.base.errors import BadInput, InvalidPath, NodeNotFound
from skep.filesystem.records import SpaceInfo
from skep.frontends.sftp.places import Place, inside, normal_path, place_of


def space(name: str, number: int) -> SpaceInfo:
    return SpaceInfo(
        id=bytes([number]) * 16, kind="group", owner_id=bytes(16), name=name, root_id=bytes(16), quota_bytes=None,
        used_bytes=0, cursor="", created_us=0,
    )  # fmt: skip


OTHERS = [space("club", 1), space("a/b", 2), space("club", 3)]


@pytest.mark.parametrize(
    ("raw", "path"),
    [(b"", "/"), (b".", "/"), (b"a", "/a"), (b"//a//b/", "/a/b"), (b"/a/../../b", "/b"), (b"/../..", "/")],
)
def test_paths_are_made_absolute_and_cannot_escape(raw: bytes, path: str) -> None:
    assert normal_path(raw) == path


@pytest.mark.parametrize("raw", [b"\xff", b"a\0b"])
def test_what_is_no_text_is_refused(raw: bytes) -> None:
    with pytest.raises(InvalidPath):
        normal_path(raw)


@pytest.mark.parametrize(
    ("path", "place"),
    [
        ("/", Place(None, "/")),
        ("/x/y", Place(None, "/x/y")),
        ("/.spaces", Place(None, None)),
        ("/.spaces/club", Place(b"\1" * 16, "/")),
        ("/.spaces/a_b/x/y", Place(b"\2" * 16, "/x/y")),
        ("/.spaces/" + "03" * 16 + "/x", Place(b"\3" * 16, "/x")),
    ],
)
def test_where_paths_lead(path: str, place: Place) -> None:
    assert place_of(path, OTHERS) == place


def test_a_space_that_is_not_there() -> None:
    with pytest.raises(NodeNotFound):
        place_of("/.spaces/none/x", OTHERS)
    with pytest.raises(BadInput):
        inside(Place(None, None))
