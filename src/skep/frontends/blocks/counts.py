"""What the door counts, under the names that operators of the Qabel block server know. Plain numbers, one loop."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field


@dataclass(slots=True)
class Counts:
    """Since the hive was started."""

    in_progress: int = 0
    """Requests that are being answered."""
    denied: Counter[str] = field(default_factory=Counter)
    """Answers that were failures, by their reason."""
    too_large: int = 0
    """Bodies over the limit."""
    received_bytes: int = 0
    sent_bytes: int = 0
    auth_hits: int = 0
    """Questions to the accounting server that were answered from memory."""
    auth_sets: int = 0
    """Answers of it that were remembered."""
    sockets: int = 0
    """WebSockets that are open."""
    messages: int = 0
    """Messages of their clients."""
    told: int = 0
    """Changes."""
