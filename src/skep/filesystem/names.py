"""Names and paths: what is allowed, and how a path becomes segments.

A name is any UTF-8 text of 1 to 255 bytes without ``/`` and NUL, and not ``.`` or ``..``. Names are
kept as they came: no Unicode normalisation, no case folding, so two names are the same exactly when
their bytes are. A path is absolute, its segments are names; doubled slashes and one at the end do not count.
"""

from __future__ import annotations

from skep.base.errors import BadInput, InvalidName, InvalidPath

NAME_BYTES_MAX = 255
DEPTH_MAX = 128
PATH_BYTES_MAX = 4096
TAG_LENGTH_MAX = 64
TIME_US_MIN = -62_135_596_800_000_000
TIME_US_MAX = 253_402_300_799_999_999

Segments = tuple[str, ...]
"""The names of a path from the root down; empty for the root itself."""


def check_name(name: str) -> str:
    """Give the name back if it may be used. Raises InvalidName, saying what is wrong with it."""
    if name in ("", ".", ".."):
        raise InvalidName(f"{name!r} cannot be a name: give one that is not empty, '.' or '..'", name=name)
    if "/" in name or "\0" in name:
        raise InvalidName(f"the name {_short(name)} has a '/' or a NUL in it: leave them out", name=_plain(name))
    if name.isascii():
        size_bytes = len(name)
    else:
        try:
            size_bytes = len(name.encode())
        except UnicodeEncodeError:
            raise InvalidName(
                f"the name {_short(name)} is not valid UTF-8: it holds a lone surrogate; rename it", name=_plain(name)
            ) from None
    if size_bytes > NAME_BYTES_MAX:
        raise InvalidName(
            f"the name {_short(name)} has {size_bytes} bytes in UTF-8; at most {NAME_BYTES_MAX} are allowed",
            name=name,
            size_bytes=size_bytes,
        )
    return name


def split_path(path: str, *, path_bytes_max: int = PATH_BYTES_MAX, depth_max: int = DEPTH_MAX) -> Segments:
    """The segments of an absolute path. Raises InvalidPath (not absolute, too long, too deep) or InvalidName."""
    if not path.startswith("/"):
        raise InvalidPath(f"the path {_short(path)} is not absolute: begin it with '/'", path=_plain(path[:1024]))
    if len(path) > path_bytes_max:
        raise InvalidPath(f"a path of {len(path)} characters is too long; at most {path_bytes_max} bytes are allowed")
    segments = tuple([check_name(segment) for segment in path.split("/") if segment])
    if not path.isascii() and len(path.encode()) > path_bytes_max:
        raise InvalidPath(f"a path of {len(path.encode())} bytes is too long; at most {path_bytes_max} are allowed")
    if len(segments) > depth_max:
        raise InvalidPath(f"a path of {len(segments)} segments is too deep; at most {depth_max} are allowed")
    return segments


def stored_segments(path: str) -> Segments:
    """The segments of a path that Skep itself wrote down."""
    return tuple([segment for segment in path.split("/") if segment])


def join_path(segments: Segments) -> str:
    """The path of segments: ``/`` for none."""
    return "/" + "/".join(segments)


def child_path(parent: str, name: str) -> str:
    """The path of a child of the directory at ``parent``."""
    return f"/{name}" if parent == "/" else f"{parent}/{name}"


def numbered_name(name: str, attempt: int, word: str = "restored") -> str:
    """Another name for a node whose own is taken: ``a (restored).txt``, ``a (restored 2).txt``, ...

    ``attempt`` counts from 1; with no word, give it from 2 on: ``a (2).txt``. The stem is cut where the result would
    pass 255 bytes.
    """
    stem, dot, extension = name.rpartition(".")
    if not stem or len(extension.encode()) > 32:
        stem, dot, extension = name, "", ""
    mark = f" ({word})" if attempt == 1 else f" ({f'{word} {attempt}'.lstrip()})"
    tail = mark + dot + extension
    room = NAME_BYTES_MAX - len(tail.encode())
    return stem.encode()[:room].decode(errors="ignore") + tail


def check_time(time_us: int | None) -> None:
    """Raise BadInput for a time that no calendar, database and HTTP date can hold: outside the years 1 to 9999."""
    if time_us is not None and not TIME_US_MIN <= time_us <= TIME_US_MAX:
        raise BadInput(f"the time {time_us} is outside the years 1 to 9999: give microseconds since 1970", time=time_us)


def check_tag(name: str) -> str:
    """Give the name of a tag back if it may be used: 1 to 64 characters, no control ones. Raises InvalidName."""
    try:
        name.encode()
    except UnicodeEncodeError:
        raise InvalidName(f"the tag {_short(name)} is not valid UTF-8: it holds a lone surrogate") from None
    if not 1 <= len(name) <= TAG_LENGTH_MAX or not name.isprintable() or name != name.strip():
        raise InvalidName(
            f"{_short(name)} cannot be a tag: give 1 to {TAG_LENGTH_MAX} printable characters, no space at either end",
            name=name[:255],
        )
    return name


def _short(text: str) -> str:
    return ascii(text if len(text) <= 64 else text[:61] + "...") if not _is_utf8(text) else repr(text[:64])


def _plain(text: str) -> str:
    return text if _is_utf8(text) else ascii(text)


def _is_utf8(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
