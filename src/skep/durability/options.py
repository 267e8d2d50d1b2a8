"""What a chunk service may use and how long it waits, and what it counts."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from skep.durability.domains import Sharing


@dataclass(frozen=True, slots=True)
class Options:
    """Limits and choices of a chunk service. The server fills them from the settings."""

    pack_bytes: int = 16 << 20
    packs_max: int = 4
    """Packs that are open or being written, of all uploads together."""
    compression_level: int = 3
    threads: int = max(2, os.cpu_count() or 2)
    sharing: Sharing = "account"
    repair_delay_s: float = 5.0
    """How long a degraded write waits for its stragglers before repair looks at it."""
    straggler_s: float = 2.0
    """How long a write that has its quorum waits for the other shards."""
    put_timeout_s: float = 120.0
    read_timeout_s: float = 60.0
    """How long one shard's write or read may take in all, tries included."""
    hedge: bool = True
    """Whether a slow store's part is rebuilt from the others."""
    hedge_min_s: float = 0.02
    hedge_max_s: float = 5.0
    """Bounds of how long a read waits for a store before it asks the others."""
    read_ahead_bytes: int = 96 << 20
    """What all reads together may hold before it is wanted."""
    cache_directory: Path | None = None
    """Where the read cache is; None: there is none."""
    cache_bytes: int = 0
    """What it may take of the disk."""
    cache_reserve_bytes: int = 0
    """What it leaves free there."""
    recent_bytes: int = 0
    """What small chunks that were read, opened, may take of memory; 0: none are kept."""


@dataclass(slots=True)
class Counters:
    """What has passed since the start."""

    received_bytes: int = 0
    stored_bytes: int = 0
    """Sealed bytes that were new; received minus stored is what dedup and compression saved."""
    sent_bytes: int = 0
    hedged_reads: int = 0
    """Ranges of shards whose store was slow, so that others were asked as well."""
    rebuilt_reads: int = 0
    """Ranges of shards that were computed from others."""
    damaged_shards: int = 0
    """Shards that a read or scrub found missing or corrupt and that were queued for repair."""
    scrubbed_packs: int = 0
    repaired_packs: int = 0
    lost_packs_found: int = 0
    """Packs that repair has newly found unreadable."""
