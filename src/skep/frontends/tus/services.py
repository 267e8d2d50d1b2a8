"""What the door of resumable uploads stands on."""

from __future__ import annotations

from dataclasses import dataclass

from skep.auth import Auth
from skep.base.clock import Clock
from skep.base.limits import Gate
from skep.filesystem import Filesystem
from skep.frontends.common.links import LinkGate


@dataclass(frozen=True, slots=True, kw_only=True)
class TusGround:
    """Services and limits. Sizes in bytes, times in seconds."""

    auth: Auth
    filesystem: Filesystem
    links: LinkGate
    clock: Clock
    uploads: Gate
    """How many bodies are taken at once."""
    head_bytes: int
    body_bytes: int
    """The most of one request."""
    file_bytes: int
    """The largest file."""
    idle_timeout_s: float
