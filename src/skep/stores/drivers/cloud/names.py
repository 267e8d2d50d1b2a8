"""A key as the name of a file in a cloud, and back.

    shards/9f3c.2  ->  k-shards+9f3c.2.skep

One folder, flat. The name begins and ends with what no provider forbids: OneDrive refuses names such as ``con``, a
leading ``~$``, a dot at the end and ``_vti_`` anywhere; Box refuses dots alone; Dropbox and WebDAV servers on some
disks fold case, and keys have no capitals. ``+`` and ``=`` stand in no key.
"""

from __future__ import annotations

_THERE = str.maketrans("/_", "+=")
_BACK = str.maketrans("+=", "/_")
_START, _END = "k-", ".skep"


def name_of(key: str) -> str:
    """The file's name."""
    return f"{_START}{key.translate(_THERE)}{_END}"


def key_of(name: str) -> str | None:
    """The key, or None for a file that is not an object of ours."""
    if not (name.startswith(_START) and name.endswith(_END) and len(name) > len(_START) + len(_END)):
        return None
    return name[len(_START) : -len(_END)].translate(_BACK)
