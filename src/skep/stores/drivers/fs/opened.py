"""Open descriptors kept for reuse: a small least-recently-used set whose members are closed when nobody uses them."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(slots=True)
class Opened:
    """A descriptor, how many calls use it now, and whether it left the set."""

    fd: int
    users: int = 1
    dropped: bool = False


class OpenedSet:
    """Descriptors by name, at most ``limit`` of them besides those in use.

    What always holds, under the lock: a descriptor is closed exactly once, when it has left the set and has no users.
    A descriptor opened before a ``drop`` of any name is used once and not kept, since it may be of what was dropped.
    """

    def __init__(self, limit: int, close: Callable[[int], None]) -> None:
        self._limit = limit
        self._close = close
        self._lock = threading.Lock()
        self._members: OrderedDict[str, Opened] = OrderedDict()
        self._drops = 0

    @property
    def drops(self) -> int:
        """Read it before opening, and give it to ``add``."""
        return self._drops

    def take(self, name: str) -> Opened | None:
        """The open descriptor of this name, now in use by the caller too, or None."""
        with self._lock:
            member = self._members.get(name)
            if member is not None:
                member.users += 1
                self._members.move_to_end(name)
            return member

    def add(self, name: str, fd: int, drops: int) -> Opened:
        """Keep a descriptor that the caller opened and uses. Of two that open one name at once the first is kept."""
        member = Opened(fd)
        with self._lock:
            if drops != self._drops or name in self._members:
                member.dropped = True
                return member
            self._members[name] = member
            oldest = self._members.popitem(last=False)[1] if len(self._members) > self._limit else None
            idle = oldest is not None and self._leave(oldest)
        if oldest is not None and idle:
            self._close(oldest.fd)
        return member

    def release(self, member: Opened) -> None:
        """The caller uses it no more."""
        with self._lock:
            member.users -= 1
            idle = member.dropped and member.users == 0
        if idle:
            self._close(member.fd)

    def drop(self, name: str) -> None:
        """Forget a name: who comes next opens anew; who is reading goes on with what was there."""
        with self._lock:
            self._drops += 1
            member = self._members.pop(name, None)
            idle = member is not None and self._leave(member)
        if member is not None and idle:
            self._close(member.fd)

    def drop_all(self) -> None:
        with self._lock:
            self._drops += 1
            idle = [member for member in self._members.values() if self._leave(member)]
            self._members.clear()
        for member in idle:
            self._close(member.fd)

    def _leave(self, member: Opened) -> bool:
        member.dropped = True
        return member.users == 0
