"""From URLs to paths in spaces, and back.

    /dav/notes/a.txt                 the caller's own space, path /notes/a.txt
    /dav-spaces/                     a collection of all spaces that the caller sees
    /dav-spaces/family/notes/a.txt   the space called family (or whose id stands there), path /notes/a.txt

A segment is decoded by itself, so an encoded slash is part of a name (and refused with it) and never a separator.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import quote, unquote_to_bytes

from skep.base.errors import InvalidPath, SkepError, SpaceNotFound
from skep.base.ids import Id, id_text, parse_id
from skep.filesystem import SpaceInfo
from skep.frontends.common.asgi import Scope

if TYPE_CHECKING:
    from skep.auth import Principal
    from skep.filesystem import Filesystem

OWN = "dav"
SPACES = "dav-spaces"
_PLAIN = re.compile(r"[A-Za-z0-9_.~/-]*\Z")
_SAFE = "/~!$'()*,;:@="


class Url(NamedTuple):
    """A path of this door, decoded."""

    door: str
    segments: tuple[str, ...]
    is_collection: bool
    """Whether it ended with a slash."""

    @property
    def is_list_of_spaces(self) -> bool:
        """Whether this is the collection of spaces itself."""
        return self.door == SPACES and not self.segments


class Root(NamedTuple):
    """A space under the URL that leads to it."""

    space_id: Id | None
    prefix: str
    """Of all URLs in it, percent-encoded, without a slash at the end."""

    def href(self, path: str, *, is_directory: bool) -> str:
        """The URL of a path in the space; a collection's ends with a slash."""
        text = self.prefix + encoded(path)
        return text + "/" if is_directory and not text.endswith("/") else text


class Place(NamedTuple):
    """What a URL names: a path in a space."""

    root: Root
    path: str

    @property
    def parent(self) -> str:
        """The path one level up."""
        return self.path.rpartition("/")[0] or "/"


def prefix_of(url: Url) -> str:
    """The prefix of the root that a URL is in."""
    return f"/{OWN}" if url.door == OWN else f"/{SPACES}/{encoded(url.segments[0]) if url.segments else ''}"


def encoded(path: str) -> str:
    """A path as it stands in a URL."""
    return path if _PLAIN.match(path) else quote(path, safe=_SAFE)


def encoded_all(paths: Sequence[str]) -> Sequence[str]:
    """``encoded`` of many paths, which seldom need it: one look at all of them together."""
    return paths if _PLAIN.match("/".join(paths)) else list(map(encoded, paths))


def url_of_scope(scope: Scope) -> Url:
    """The URL of a request. Raises InvalidPath."""
    raw = scope.get("raw_path") or quote(scope["path"]).encode()
    return parse_url_path(raw.partition(b"?")[0])


def parse_url_path(raw: bytes) -> Url:
    """The percent-encoded path of a URL. Raises InvalidPath for what is not UTF-8 or not of this door."""
    try:
        parts = [unquote_to_bytes(part).decode() for part in raw.split(b"/") if part]
    except UnicodeDecodeError:
        raise InvalidPath("The path of the URL is not UTF-8: percent-encode it as UTF-8.") from None
    if not parts or parts[0] not in (OWN, SPACES):
        raise InvalidPath("The path is not of a WebDAV collection of this hive: those begin with /dav/.")
    for part in parts:
        if "/" in part or part in (".", ".."):
            raise InvalidPath(f"{part[:64]!r} cannot be a name: it would lead elsewhere.")
    return Url(parts[0], tuple(parts[1:]), raw.endswith(b"/"))


async def place_of(url: Url, filesystem: Filesystem, principal: Principal) -> Place:
    """The path in a space that a URL names. Raises SpaceNotFound; not for the list of spaces."""
    if url.door == OWN:
        return Place(Root(None, prefix_of(url)), path_of(url))
    space = await _space_called(url.segments[0], filesystem, principal)
    return Place(Root(space.id, prefix_of(url)), path_of(url))


def path_of(url: Url) -> str:
    """The path in its space that a URL names."""
    return "/" + "/".join(url.segments if url.door == OWN else url.segments[1:])


async def _space_called(name: str, filesystem: Filesystem, principal: Principal) -> SpaceInfo:
    spaces = await filesystem.spaces(principal)
    for space in spaces:
        if name in (space.name, id_text(space.id)):
            return space
    try:
        return await filesystem.space(principal, parse_id(name))
    except SkepError as error:
        if isinstance(error, SpaceNotFound) or error.code == "invalid-id":
            raise SpaceNotFound(f"There is no space called {name[:64]!r} for you.") from None
        raise


def roots_of(spaces: Sequence[SpaceInfo]) -> list[tuple[SpaceInfo, Root]]:
    """Each space with its root below the list: under its name, or its id where that name is not its alone."""
    counts = Counter(space.name for space in spaces)
    return [(space, Root(space.id, f"/{SPACES}/{encoded(_shown(space, counts))}")) for space in spaces]


def _shown(space: SpaceInfo, counts: Counter[str]) -> str:
    usable = counts[space.name] == 1 and "/" not in space.name and space.name not in ("", ".", "..")
    return space.name if usable else id_text(space.id)
