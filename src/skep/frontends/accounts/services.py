"""What the door stands on."""

from __future__ import annotations

from dataclasses import dataclass

from skep.credit import Credit


@dataclass(frozen=True, slots=True, kw_only=True)
class AccountsGround:
    """``body_bytes``: the largest JSON body; ``idle_timeout_s``: the longest wait for more of it."""

    credit: Credit
    head_bytes: int
    body_bytes: int
    idle_timeout_s: float
