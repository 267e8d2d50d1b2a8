"""Which block goes first when room is needed: two segments, least recently used first (Karedla and others 1994).

What comes in is on probation; what is read again there is protected, up to a part of the room; what is pushed out of
protection goes back on probation. So a long read of many things once, like a repair or a backup, pushes out only what
nobody has asked for twice. Not safe for several threads: whoever owns it has a lock.
"""

from __future__ import annotations

from collections import OrderedDict

PROTECTED_PART = 0.8


class SegmentedOrder:
    """Names with their sizes in bytes, in two segments, each from the longest unused to the last used.

    What always holds: a name is in one segment at most; ``used_bytes`` is the sum of all sizes.
    """

    def __init__(self, room_bytes: int) -> None:
        self._probation: OrderedDict[str, int] = OrderedDict()
        self._protected: OrderedDict[str, int] = OrderedDict()
        self._protected_most_bytes = int(room_bytes * PROTECTED_PART)
        self._protected_bytes = 0
        self.used_bytes = 0

    def __len__(self) -> int:
        return len(self._probation) + len(self._protected)

    def __contains__(self, name: str) -> bool:
        return name in self._probation or name in self._protected

    def add(self, name: str, size_bytes: int) -> None:
        """A new name, on probation; one that is there already counts as removed and added."""
        self.remove(name)
        self._probation[name] = size_bytes
        self.used_bytes += size_bytes

    def touch(self, name: str) -> None:
        """A name is used again."""
        if name in self._protected:
            self._protected.move_to_end(name)
            return
        size_bytes = self._probation.pop(name, None)
        if size_bytes is None:
            return
        self._protected[name] = size_bytes
        self._protected_bytes += size_bytes
        while self._protected_bytes > self._protected_most_bytes:
            pushed, its_bytes = self._protected.popitem(last=False)
            self._protected_bytes -= its_bytes
            self._probation[pushed] = its_bytes

    def remove(self, name: str) -> int:
        """Forget a name; its size, 0 when it was not there."""
        size_bytes = self._probation.pop(name, None)
        if size_bytes is None:
            size_bytes = self._protected.pop(name, 0)
            self._protected_bytes -= size_bytes
        self.used_bytes -= size_bytes
        return size_bytes

    def first(self) -> str | None:
        """The name to give up next, or None when there is none."""
        segment = self._probation or self._protected
        return next(iter(segment), None)
