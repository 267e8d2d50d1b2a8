"""The relay: what one process's hub hears of, told to the hubs of the other processes on the same database.

A notice says no more than "space X has changes up to N" (or: a user, or a space's shares, must be looked at again).
Whoever hears it reads the journal, so a forged, repeated or reordered notice does no harm, and a lost one only costs
time: journals are polled too, and everything is looked at again after a connection was lost.

What always holds: publishing never waits; notices of one space that wait together are one; at most ``WAITING_MAX``
wait, beyond that they are dropped and counted; what another process told is never told on.
"""

from __future__ import annotations

import asyncio
import os
import re
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import Protocol

from skep.base.clock import Clock
from skep.base.errors import SkepError, Unavailable
from skep.base.ids import Id
from skep.base.logs import get_logger
from skep.events.hub import Hub

TEXT_MAX = 7_000
"""Bytes of one message; PostgreSQL takes 8,000."""
WAITING_MAX = 10_000
RETRY_MIN_S, RETRY_MAX_S = 0.25, 15.0
SEND_TIMEOUT_S = 10.0
_NOTICE = re.compile(r"([cvd])([0-9a-f]{32})(?::([0-9]{1,18}))?\Z")
log = get_logger("skep.events")


class Courier(Protocol):
    """Carries texts between processes; at most once, in any order. Raises Unavailable when it cannot."""

    async def listen(self, heard: Callable[[str], None], connected: Callable[[], None]) -> None:
        """Call ``connected`` once it hears, then ``heard`` for each text, until cancelled. Raises when cut off."""
        ...

    async def send(self, text: str) -> None:
        """Tell all who listen, oneself included. Raises Unavailable."""
        ...

    async def close(self) -> None:
        """Close what it holds open."""
        ...


class Relay:
    """Listens to the hub and speaks through a courier. Lives on one event loop."""

    def __init__(self, hub: Hub, courier: Courier, clock: Clock, *, on_reconnect: Callable[[], None]) -> None:
        """``on_reconnect`` is called whenever notices may have been missed and no more are."""
        self.connected = False
        self.dropped = 0
        self._hub = hub
        self._courier = courier
        self._clock = clock
        self._on_reconnect = on_reconnect
        self._origin = os.urandom(8).hex()
        self._changes: dict[Id, int] = {}
        self._voids: set[Id] = set()
        self._doubts: set[Id] = set()
        self._due = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []

    def start(self) -> None:
        """Begin to listen and to tell."""
        self._hub.listen(self)
        self._tasks = [asyncio.create_task(self._listen(), name="relay in"), asyncio.create_task(self._tell())]

    async def close(self) -> None:
        """Tell what waits, for a moment; then end."""
        self._hub.leave(self)
        with suppress(SkepError, TimeoutError):
            async with asyncio.timeout(1.0):
                await self._send_waiting()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._courier.close()

    def changed(self, space_id: Id, number: int, *, relayed: bool) -> None:
        """Tell the others."""
        if not relayed and self._has_room():
            self._changes[space_id] = max(number, self._changes.get(space_id, 0))
            self._due.set()

    def voided(self, user_id: Id, *, relayed: bool) -> None:
        """Tell the others."""
        if not relayed and self._has_room():
            self._voids.add(user_id)
            self._due.set()

    def doubted(self, space_id: Id, *, relayed: bool) -> None:
        """Tell the others."""
        if not relayed and self._has_room():
            self._doubts.add(space_id)
            self._due.set()

    def _has_room(self) -> bool:
        has_room = len(self._changes) + len(self._voids) + len(self._doubts) < WAITING_MAX
        self.dropped += not has_room
        return has_room

    async def _tell(self) -> None:
        pause_s = RETRY_MIN_S
        while True:
            await self._due.wait()
            self._due.clear()
            try:
                await self._send_waiting()
                pause_s = RETRY_MIN_S
            except (SkepError, TimeoutError) as error:
                log.warning("other processes could not be told", error=str(error), retry_in_s=pause_s)
                await self._clock.sleep(pause_s)
                pause_s = min(2 * pause_s, RETRY_MAX_S)
                self._due.set()

    async def _send_waiting(self) -> None:
        changes, self._changes = self._changes, {}
        voids, self._voids = self._voids, set()
        doubts, self._doubts = self._doubts, set()
        try:
            for text in _texts(self._origin, _notices(changes, voids, doubts)):
                async with asyncio.timeout(SEND_TIMEOUT_S):
                    await self._courier.send(text)
        except BaseException:  # told again as a whole: hearing twice does no harm
            self._changes = {**changes, **self._changes}
            self._voids |= voids
            self._doubts |= doubts
            raise

    async def _listen(self) -> None:
        pause_s, lost = RETRY_MIN_S, False
        while True:
            began_s = self._clock.monotonic_s()
            try:
                await self._courier.listen(self._heard, self._begin if lost else self._begin_first)
                raise Unavailable("the connection was closed")
            except SkepError as error:
                self.connected, lost = False, True
                if self._clock.monotonic_s() - began_s > RETRY_MAX_S:
                    pause_s = RETRY_MIN_S
                log.warning("other processes cannot be heard", error=str(error), retry_in_s=pause_s)
                await self._clock.sleep(pause_s)
                pause_s = min(2 * pause_s, RETRY_MAX_S)

    def _begin_first(self) -> None:
        self.connected = True

    def _begin(self) -> None:
        self.connected = True
        self._on_reconnect()

    def _heard(self, text: str) -> None:
        origin, _, notices = text.partition(" ")
        if origin == self._origin:
            return
        for notice in notices.split(" "):
            found = _NOTICE.match(notice)
            if found is None:
                continue  # of a newer Skep
            kind, thing = found[1], bytes.fromhex(found[2])
            if kind == "c" and found[3]:
                self._hub.publish(thing, int(found[3]), relayed=True)
            elif kind == "v":
                self._hub.void(thing, relayed=True)
            elif kind == "d":
                self._hub.doubt(thing, relayed=True)


def _notices(changes: dict[Id, int], voids: Iterable[Id], doubts: Iterable[Id]) -> list[str]:
    """Voids and doubts first: what they are about must be known before changes are heard of."""
    return [
        *(f"v{user_id.hex()}" for user_id in voids),
        *(f"d{space_id.hex()}" for space_id in doubts),
        *(f"c{space_id.hex()}:{number}" for space_id, number in changes.items()),
    ]


def _texts(origin: str, notices: list[str]) -> list[str]:
    texts, line = [], origin
    for notice in notices:
        if len(line) + 1 + len(notice) > TEXT_MAX:
            texts.append(line)
            line = origin
        line = f"{line} {notice}"
    return [*texts, line] if line != origin else texts
