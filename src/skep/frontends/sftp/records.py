"""What the SFTP door stands on."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from skep.auth import Auth, Principal
from skep.base.limits import FairGate
from skep.filesystem import Filesystem

WhoIs = Callable[[], Awaitable[Principal]]
"""Who is signed in, asked anew for each operation: raises when their key or password is no longer good."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SftpGround:
    """The services behind it."""

    auth: Auth
    filesystem: Filesystem
    uploads: FairGate
    """Shared with the other doors: how many files may be written at once."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SftpLimits:
    """The most that clients may take."""

    connections: int = 256
    connections_each: int = 32
    """Of one address."""
    sessions: int = 8
    """Of one connection."""
    warm: int = 8
    """Open files of one session for which what was read ahead is kept."""
    handles: int = 128
    """Open files of one session."""
    sign_in_s: float = 30.0
    idle_s: float = 3600.0
