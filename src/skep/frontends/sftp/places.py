"""Paths as SFTP clients say them: ``/`` is one's own space, ``/.spaces/<name>`` each other that one may see."""

from __future__ import annotations

import posixpath
from collections.abc import Sequence
from dataclasses import dataclass

from skep.base.errors import BadInput, InvalidPath, NodeNotFound
from skep.base.ids import Id
from skep.filesystem.records import SpaceInfo

SPACES = ".spaces"
"""The directory of the other spaces. It is listed in none, so that nobody downloads them by accident."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where a path leads: into a space, or (``space_id`` and ``path`` None) to the directory of spaces."""

    space_id: Id | None
    path: str | None

    @property
    def is_list(self) -> bool:
        """Whether it is the directory of spaces."""
        return self.path is None

    @property
    def is_root(self) -> bool:
        """Whether it is the root of a space."""
        return self.path == "/"


def normal_path(raw: bytes) -> str:
    """An absolute path without ``.`` and ``..``; the login directory is ``/``. Raises InvalidPath."""
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError:
        raise InvalidPath("names in a hive are UTF-8 text; this path is not") from None
    if "\0" in text:
        raise InvalidPath("a path has no zero bytes")
    return "/" + posixpath.normpath("/" + text).lstrip("/")


def names_other_space(path: str) -> bool:
    """Whether the spaces have to be known to place a path."""
    return path.split("/", 2)[1] == SPACES


def place_of(path: str, others: Sequence[SpaceInfo]) -> Place:
    """The place of a normal path; ``others`` are the spaces beside one's own. Raises NodeNotFound."""
    if not names_other_space(path):
        return Place(None, path)
    _, _, name, *rest = path.split("/", 3) if path.count("/") > 1 else ["", "", ""]
    if not name:
        return Place(None, None)
    for shown, space in zip(shown_names(others), others, strict=True):
        if shown == name:
            return Place(space.id, "/" + (rest[0] if rest else ""))
    raise NodeNotFound(f"there is no space {name!r} for you; ls /{SPACES} shows them")


def shown_names(spaces: Sequence[SpaceInfo]) -> list[str]:
    """A directory name for each space: its own, and where that is taken or no name of a file, its id."""
    names: list[str] = []
    for space in spaces:
        name = space.name.replace("/", "_")
        names.append(name if name not in ("", ".", "..") and name not in names else space.id.hex())
    return names


def inside(place: Place) -> tuple[Id | None, str]:
    """The space and path of a place that must be in a space. Raises BadInput for the directory of spaces."""
    if place.path is None:
        raise BadInput(f"/{SPACES} holds spaces alone: nothing is made or changed in it")
    return place.space_id, place.path
