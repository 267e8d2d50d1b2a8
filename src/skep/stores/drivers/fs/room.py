"""How many bytes the values of a store take, kept by counting.

A scan gives the start; it runs beside puts and deletes. A change counts only if the scan has passed its key already,
since otherwise the scan will meet it. A change to the very directory that the scan is reading may be missed or met
twice: the figure is exact after a quiet start and close to it otherwise.
"""

from __future__ import annotations

import threading


class Room:
    """Used bytes and the rest of the capacity. Safe from any thread."""

    def __init__(self, capacity_bytes: int | None) -> None:
        self.capacity_bytes = capacity_bytes
        self._lock = threading.Lock()
        self._used_bytes = 0
        self._reserved_bytes = 0
        self._scanned_to: str | None = None
        self._known = False

    def reserve(self, size_bytes: int, replaced_bytes: int = 0) -> bool:
        """Set bytes aside for a put that is to replace some others; False when they do not fit."""
        with self._lock:
            after_bytes = self._used_bytes + self._reserved_bytes + size_bytes - replaced_bytes
            if self.capacity_bytes is not None and after_bytes > self.capacity_bytes and size_bytes > replaced_bytes:
                return False
            self._reserved_bytes += size_bytes
            return True

    def unreserve(self, size_bytes: int) -> None:
        """The put is over, either way."""
        with self._lock:
            self._reserved_bytes -= size_bytes

    def changed(self, key: str, grown_bytes: int) -> None:
        """The value under ``key`` grew or, with a negative number, shrank."""
        with self._lock:
            if self._known or (self._scanned_to is not None and key <= self._scanned_to):
                self._used_bytes += grown_bytes

    def scan_begins(self) -> None:
        with self._lock:
            self._used_bytes, self._scanned_to, self._known = 0, "", False

    def scan_met(self, key: str, size_bytes: int) -> None:
        """The scan goes in key order."""
        with self._lock:
            self._used_bytes += size_bytes
            self._scanned_to = key

    def scan_ended(self) -> None:
        with self._lock:
            self._known = True

    def used_bytes(self) -> int | None:
        """None until the scan is through."""
        with self._lock:
            return self._used_bytes if self._known else None

    def rest_bytes(self) -> int | None:
        """What the capacity leaves, as far as it is known; None without a capacity."""
        with self._lock:
            if self.capacity_bytes is None:
                return None
            return max(0, self.capacity_bytes - self._used_bytes - self._reserved_bytes)
