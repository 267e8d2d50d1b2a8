"""Connections that ask nothing: closed after a while, so that nobody keeps others out with them.

The HTTP servers wait without limit for the first bytes of a connection: granian finds out by them which HTTP is spoken,
uvicorn has no limit on a head. Whoever opens connections and is silent, dribbles, or begins TLS or HTTP/2 and goes no
further would in the end have them all. So every few seconds the process's own sockets are looked at.

What always holds: a connection with a request in flight is left alone; one that has had none since it came is closed
after ``head_s``, one that is between requests after ``idle_s``, whatever bytes trickle in. When most places are taken,
those that never asked are closed after ``HURRIED_S``.

WebSockets: the server puts messages together before a door sees them, up to 64 MiB each. So a peer that has not shown
who it is may send ``STRANGER_BYTES``, and is looked at more often; one that has may send what its door allowed.

What is closed is shut down below the server, which sees its client go. Linux alone tells a process of its sockets
(``/proc/self/fd``); elsewhere nothing is closed.
"""

from __future__ import annotations

import asyncio
import os
import socket
import struct
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from skep.base.clock import Clock
from skep.base.logs import get_logger

log = get_logger("skep.http")
HURRIED_S = 2.0
LOOK_MIN_S, LOOK_MAX_S = 0.2, 5.0
CROWDED = 0.75
"""The part of the places from which on it is hurried."""
STRANGER_BYTES = 256 * 1024
STRANGERS_LOOK_S = 0.2
_RECEIVED_AT = 128
"""Where ``tcpi_bytes_received`` is in the system's ``struct tcp_info``."""
_FDS = "/proc/self/fd"
_TOLD = os.path.isdir(_FDS)
Peer = tuple[str, int]


@dataclass(slots=True)
class _Known:
    """A socket of ours, by its inode; ``peer`` None: not a client's."""

    peer: Peer | None
    since_s: float


class Allowance(NamedTuple):
    """What a WebSocket's peer may send: so much at once, and so much more each second."""

    size_bytes: int
    each_s_bytes: int
    since_s: float

    def at(self, now_s: float) -> float:
        """Until a time."""
        return self.size_bytes + self.each_s_bytes * (now_s - self.since_s)


class Connections:
    """Which peers have requests in flight, and when those of the others ended. Used on the event loop."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._busy: dict[Peer, int] = {}
        self._ended_s: dict[Peer, float] = {}
        self.allowances: dict[Peer, Allowance] = {}
        """Of WebSockets whose messages are bounded."""
        self.strangers: set[Peer] = set()

    def meet(self, peer: Peer) -> None:
        """A WebSocket's peer that has not shown yet who it is."""
        self.strangers.add(peer)
        self.allowances[peer] = Allowance(STRANGER_BYTES, 0, self._clock.monotonic_s())

    def know(self, peer: Peer, size_bytes: int | None, each_s_bytes: int = 0) -> None:
        """It has: it may send so much at once and in each second. None: what its door takes."""
        self.strangers.discard(peer)
        if size_bytes is None:
            self.allowances.pop(peer, None)
        else:
            self.allowances[peer] = Allowance(size_bytes, each_s_bytes, self._clock.monotonic_s())

    def part(self, peer: Peer) -> None:
        """The WebSocket is over."""
        self.strangers.discard(peer)
        self.allowances.pop(peer, None)

    def enter(self, peer: Peer) -> None:
        """A request of this peer begins."""
        self._busy[peer] = self._busy.get(peer, 0) + 1

    def leave(self, peer: Peer) -> None:
        """It ended."""
        left = self._busy.get(peer, 0) - 1
        if left > 0:
            self._busy[peer] = left
        else:
            self._busy.pop(peer, None)
        self._ended_s[peer] = self._clock.monotonic_s()

    def is_busy(self, peer: Peer) -> bool:
        """Whether it has a request in flight."""
        return peer in self._busy

    def ended_s(self, peer: Peer) -> float | None:
        """When its last request ended; None: it had none."""
        return self._ended_s.get(peer)

    def keep_only(self, peers: Collection[Peer], before_s: float) -> None:
        """Forget others whose last request ended before a time: their connections are gone."""
        self._ended_s = {peer: at for peer, at in self._ended_s.items() if at >= before_s or peer in peers}


class Doorkeeper:
    """Looks at the connections of some ports and closes those that ask nothing."""

    def __init__(
        self,
        connections: Connections,
        clock: Clock,
        ports: Collection[int],
        *,
        head_s: float,
        idle_s: float,
        places: int,
    ) -> None:
        self._connections = connections
        self._clock = clock
        self._ports = frozenset(ports)
        self._head_s = head_s
        self._idle_s = idle_s
        self._places = places
        self._known: dict[int, _Known] = {}
        self._bases: dict[int, int] = {}

    async def watch(self) -> None:
        """Look for ever."""
        if not _TOLD:
            log.warning("silent connections are not closed: this system does not tell of them")
            return
        period_s = min(LOOK_MAX_S, max(LOOK_MIN_S, self._head_s / 3))
        rested_s = 0.0
        while True:
            step_s = min(period_s, STRANGERS_LOOK_S)
            await self._clock.sleep(step_s)
            rested_s += step_s
            if rested_s >= period_s or self._connections.strangers:
                rested_s = 0.0
                await self.look()

    async def look(self) -> int:
        """Look once; how many were closed."""
        now_s = self._clock.monotonic_s()
        await asyncio.to_thread(self._learn, now_s)
        clients = [(inode, known) for inode, known in self._known.items() if known.peer is not None]
        head_s = HURRIED_S if len(clients) > CROWDED * self._places else self._head_s
        loud = await self._too_loud(clients)
        silent = [inode for inode, known in clients if self._is_silent(known, now_s, min(head_s, self._head_s))]
        self._connections.keep_only({known.peer for _, known in clients if known.peer}, now_s)
        if not silent and not loud:
            return 0
        closed = await asyncio.to_thread(_close, frozenset((*silent, *loud)))
        log.info("connections are closed", silent=len(silent), too_loud=len(loud), of=len(clients))
        return closed

    async def _too_loud(self, clients: Sequence[tuple[int, _Known]]) -> list[int]:
        """WebSockets that have received more than their peers may send, counted from the first look at them."""
        allowances = self._connections.allowances
        bounded = {inode: allowances[known.peer] for inode, known in clients if known.peer in allowances}
        if not bounded:
            self._bases.clear()
            return []
        received = await asyncio.to_thread(_received, bounded.keys())
        self._bases = {inode: self._bases.get(inode, count) for inode, count in received.items()}
        now_s = self._clock.monotonic_s()
        return [inode for inode, count in received.items() if count - self._bases[inode] > bounded[inode].at(now_s)]

    def _is_silent(self, known: _Known, now_s: float, head_s: float) -> bool:
        assert known.peer is not None
        if self._connections.is_busy(known.peer):
            return False
        ended_s = self._connections.ended_s(known.peer)
        if ended_s is None or ended_s < known.since_s - LOOK_MAX_S:  # a port may be used again
            return now_s - known.since_s > head_s
        return now_s - ended_s > self._idle_s

    def _learn(self, now_s: float) -> None:
        """Which sockets there are. What is known of one is asked once."""
        found: dict[int, _Known] = {}
        for fd, inode in _sockets():
            known = self._known.get(inode)
            found[inode] = known or _Known(_client_of(fd, inode, self._ports), now_s)
        self._known = found


def _sockets() -> list[tuple[int, int]]:
    """The process's sockets: descriptors and inodes."""
    found = []
    for name in os.listdir(_FDS):
        try:
            target = os.readlink(f"{_FDS}/{name}")
        except OSError:
            continue  # closed meanwhile
        if target.startswith("socket:["):
            found.append((int(name), int(target[8:-1])))
    return found


def _client_of(fd: int, inode: int, ports: Collection[int]) -> Peer | None:
    """Who is at the other end of a connection to one of the ports; None where it is none."""
    try:
        with _held(fd, inode) as held:
            if held.getsockname()[1] not in ports:
                return None
            peer = held.getpeername()
            return str(peer[0]), int(peer[1])
    except (OSError, IndexError, TypeError):
        return None


def _received(inodes: Collection[int]) -> dict[int, int]:
    """How many bytes these sockets have received since they came."""
    found = {}
    for fd, inode in _sockets():
        if inode not in inodes:
            continue
        try:
            with _held(fd, inode) as held:
                info = held.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _RECEIVED_AT + 8)
        except OSError:
            continue
        if len(info) >= _RECEIVED_AT + 8:
            found[inode] = struct.unpack_from("Q", info, _RECEIVED_AT)[0]
    return found


def _close(inodes: Collection[int]) -> int:
    closed = 0
    for fd, inode in _sockets():
        if inode in inodes:
            try:
                with _held(fd, inode) as held:
                    held.shutdown(socket.SHUT_RDWR)
                closed += 1
            except OSError:
                continue  # it went by itself
    return closed


def _held(fd: int, inode: int) -> socket.socket:
    """A socket by a descriptor of our own, so that it stays the same one. Raises OSError if it went."""
    copy = os.dup(fd)
    if os.fstat(copy).st_ino != inode:
        os.close(copy)
        raise OSError("another took its number")
    return socket.socket(fileno=copy)
