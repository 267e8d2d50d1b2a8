"""What the WebDAV door stands on."""

from __future__ import annotations

from dataclasses import dataclass

from skep.auth import Auth
from skep.base.limits import FairGate
from skep.filesystem import Filesystem


@dataclass(frozen=True, slots=True, kw_only=True)
class DavServices:
    """Services and limits. Sizes in bytes, times in seconds."""

    auth: Auth
    filesystem: Filesystem
    uploads: FairGate
    """How many uploads run at once, with those of the other doors."""
    body_bytes: int
    head_bytes: int = 64 << 10
    xml_bytes: int = 1 << 20
    idle_timeout_s: float = 60.0
    tree_items: int = 10_000
    """Members that a PROPFIND or REPORT of infinite depth may name; beyond, it is refused."""
