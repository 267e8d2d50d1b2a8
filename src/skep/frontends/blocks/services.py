"""What the door stands on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from skep.base.clock import Clock
from skep.base.limits import FairGate, Shares
from skep.filesystem import Filesystem
from skep.frontends.blocks.callers import Callers
from skep.frontends.blocks.counts import Counts
from skep.frontends.blocks.news import News

if TYPE_CHECKING:
    from skep.frontends.blocks.internal import Internal


@dataclass(frozen=True, slots=True, kw_only=True)
class BlocksGround:
    """Services and limits. Sizes in bytes, times in seconds."""

    filesystem: Filesystem
    clock: Clock
    counts: Counts
    callers: Callers
    """Who asks."""
    internal: Internal | None
    """What answers other servers that ask who somebody is; None: nothing does."""
    news: News
    """Who wants to hear of changes."""
    transfers: FairGate
    """How many large uploads run at once."""
    sockets: Shares
    """Listeners of one address, and of all."""
    head_bytes: int
    body_bytes: int
    """The largest file."""
    idle_timeout_s: float
