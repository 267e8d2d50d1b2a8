"""What the MetaDisk door stands on."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from skep.auth import Auth
from skep.base.limits import FairGate
from skep.credit import Credit
from skep.credit.limits import InForce
from skep.credit.meter import Meter
from skep.durability.published import Publisher


@dataclass(frozen=True, slots=True, kw_only=True)
class MetadiskGround:
    """Services and limits. Sizes in bytes, times in seconds; limits of 0 are none."""

    auth: Auth
    credit: Credit
    meter: Meter
    publisher: Publisher
    uploads: FairGate
    """How many bodies are taken at once."""
    access: Literal["accounts", "anyone"]
    passphrase: str
    public_url: str
    spool: Path
    """Where uploads wait until they are whole, encrypted."""
    head_bytes: int
    file_bytes: int
    storage_bytes: int
    incoming_bytes: int
    outgoing_bytes: int
    idle_timeout_s: float
    facts: Callable[[], Awaitable[dict[str, Any]]]
    """Counts and bytes of the whole hive."""
    free_bytes: Callable[[], int | None]

    @property
    def limits(self) -> InForce:
        """What may pass in a month."""
        return InForce(traffic_bytes=self.outgoing_bytes or None, in_bytes=self.incoming_bytes or None)
