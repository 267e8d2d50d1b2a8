"""What a store key may look like; one place for every driver.

The alphabet leaves out capitals (some filesystems and clouds fold case) and everything that a URL, a shell or a
filesystem treats specially, so that a key can be used as it is by each driver.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from skep.base.errors import BodyTooLarge, InvalidPath
from skep.stores.protocol import Buffer

KEY_MAX_CHARACTERS = 200

_SEGMENT = r"(?!\.{1,2}(?:/|\Z))[a-z0-9._-]+"
_KEY = re.compile(rf"{_SEGMENT}(?:/{_SEGMENT})*")
_PART_OF_KEY = re.compile(r"[a-z0-9._/-]*")


def check_key(key: str) -> None:
    """Raises InvalidPath unless ``key`` is a store key."""
    if len(key) > KEY_MAX_CHARACTERS or _KEY.fullmatch(key) is None:
        raise InvalidPath(
            f"{key[:80]!r} is not a store key: use 1 to {KEY_MAX_CHARACTERS} characters of a-z 0-9 . _ - /, "
            "with no empty segment and no . or .. segment"
        )


def check_list_bounds(prefix: str, after: str) -> None:
    """Raises InvalidPath when no key could start with ``prefix`` or stand at ``after``."""
    for name, text in (("prefix", prefix), ("after", after)):
        if len(text) > KEY_MAX_CHARACTERS or _PART_OF_KEY.fullmatch(text) is None:
            raise InvalidPath(f"{text[:80]!r} cannot be the {name} of a listing: no store key looks like it")


def check_size(key: str, parts: Sequence[Buffer], limit_bytes: int) -> int:
    """The length of all parts together, in bytes. Raises BodyTooLarge above the limit."""
    size_bytes = sum(part.nbytes if isinstance(part, memoryview) else len(part) for part in parts)
    if size_bytes > limit_bytes:
        raise BodyTooLarge(
            f"{key} has {size_bytes} bytes and this store takes objects of at most {limit_bytes}",
            size_bytes=size_bytes,
            limit_bytes=limit_bytes,
        )
    return size_bytes
