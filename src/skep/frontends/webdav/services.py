"""What the WebDAV door stands on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from skep.auth import Auth
from skep.base.limits import FairGate
from skep.filesystem import Filesystem

PAGE = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class DavServices:
    """Services and limits. Sizes in bytes, times in seconds."""

    auth: Auth
    filesystem: Filesystem
    uploads: FairGate
    """How many uploads run at once, with those of the other doors."""
    free_bytes: Callable[[], int | None]
    """About how many more bytes the hive's stores can take; None: not known."""
    body_bytes: int
    head_bytes: int = 64 << 10
    xml_bytes: int = 1 << 20
    idle_timeout_s: float = 60.0
    page_items: int = PAGE
    """Members that are looked up and written together."""
    tree_items: int = 9_999
    """Members that a PROPFIND or REPORT of infinite depth may name; fewer than the filesystem lists at once."""
