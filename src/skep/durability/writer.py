"""Writers: a stream of bytes, or a group of small bodies, to durable chunks and a manifest.

A long stream goes through windows in turn: while one fills from the socket, another is cut and
identified in a thread, and a third is sealed in another; all but the first few streams do with two, and in a
crowd with a small one.
What is left of a window after its last cut is carried to the head room of the next, so that the
cuts do not depend on how the bytes arrived. A stream that ends within one minimum chunk, and every
body of a batch that does, is one chunk and takes the short way through ``GroupWriter``: all small
bodies that wait share each step and one durable write.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Any

from skep.base.errors import BadInput, QuotaExceeded, ShuttingDown, SkepError
from skep.chunks.buffers import SHARED_POOL, thin_buffer
from skep.chunks.gear import CHUNK_BYTES_MAX
from skep.chunks.manifest import ChunkRef, Manifest
from skep.chunks.scheme import Scheme
from skep.chunks.split import cuts, split_whole
from skep.crypto.keys import DomainKeys
from skep.durability.intake import Intake, PlainChunk, Stored, identify
from skep.durability.pools import Pool
from skep.durability.records import Content
from skep.stores.protocol import Buffer

WINDOW_BYTES = 3 << 20
WINDOWS = 2
NARROW_WINDOW_BYTES = 512 << 10
"""In a crowd: such a window takes memory as it fills, is given up when it is done, and the next comes only then."""
SPACIOUS_WINDOW_BYTES = 8 << 20
SPACIOUS_WINDOWS = 3
"""For the first few streams: one fills, one is cut, one is sealed; less is looked at twice, and threads change less."""
GROUP_BODIES_MAX = 2048
GROUP_BYTES_MAX = 8 << 20
GROUPS_IN_FLIGHT = 2
SECOND_GROUP_BYTES = 1 << 20
"""What must wait before a second group starts: small bodies do better in one larger group than in two."""
QUIET_TURNS = 10
"""Turns of the event loop without a new body after which a group begins."""
DIGESTS = ("md5", "sha1", "sha256")
_HASHERS = {"md5": hashlib.md5, "sha1": hashlib.sha1, "sha256": hashlib.sha256}
_FEW_BYTES = 16 << 10
_STEP_BYTES = 2047
"""hashlib lets other threads run while it hashes more than this: for a few kilobytes the changes cost more."""


def check_digests(names: Collection[str]) -> tuple[str, ...]:
    """The names in order. Raises BadInput for one that is not offered."""
    if names is DIGESTS:
        return DIGESTS
    for name in names:
        if name not in DIGESTS:
            raise BadInput(f"digest {name!r} is not offered: take {', '.join(DIGESTS)}")
    return tuple(sorted(names))


def digests_of(body: Buffer, names: Collection[str]) -> dict[str, bytes]:
    """Digests of one run of bytes."""
    view = memoryview(body)
    step = _STEP_BYTES if len(view) <= _FEW_BYTES else len(view)
    pieces = [view[start : start + step] for start in range(0, len(view), step)]
    found = {}
    for name in names:
        hasher = _HASHERS[name](usedforsecurity=False)
        for piece in pieces:
            hasher.update(piece)
        found[name] = hasher.digest()
    return found


class Window:
    """A buffer that fills from the front and is cut into chunks."""

    def __init__(self, fresh_bytes: int = WINDOW_BYTES) -> None:
        self.is_narrow = fresh_bytes <= NARROW_WINDOW_BYTES
        size_bytes = CHUNK_BYTES_MAX + fresh_bytes
        self._buffer = thin_buffer(size_bytes) if self.is_narrow else SHARED_POOL.take(size_bytes)
        self._view = memoryview(self._buffer)
        self.start = CHUNK_BYTES_MAX
        self.end = CHUNK_BYTES_MAX

    def take(self, piece: memoryview) -> int:
        """Copy in what fits; returns how many bytes that was."""
        count = min(len(piece), len(self._buffer) - self.end)
        self._view[self.end : self.end + count] = piece[:count]
        self.end += count
        return count

    @property
    def full(self) -> bool:
        """Whether nothing more fits."""
        return self.end == len(self._buffer)

    @property
    def fresh(self) -> memoryview:
        """The bytes that were taken since the last reset, without what was carried over."""
        return self._view[CHUNK_BYTES_MAX : self.end]

    def carry(self, tail: memoryview) -> None:
        """Put the uncut end of the previous window in front. ``tail`` is shorter than a chunk may be."""
        self.start = CHUNK_BYTES_MAX - len(tail)
        self._view[self.start : CHUNK_BYTES_MAX] = tail

    def cut(self, keys: DomainKeys, final: bool) -> tuple[list[memoryview], memoryview]:
        """Chunks, and the tail that has no cut yet (empty when ``final``)."""
        body = self._view[self.start : self.end]
        views = []
        start = 0
        for end in cuts(body, keys.cut_seed, final):
            views.append(body[start:end])
            start = end
        return views, body[start:]

    def close(self) -> None:
        """Give the memory back for use by others; it is used again only when no chunk of it is held."""
        self._view.release()
        if not self.is_narrow:
            SHARED_POOL.give(self._buffer)

    def reset(self) -> None:
        """Forget the content; the memory stays."""
        self.start = self.end = CHUNK_BYTES_MAX


@dataclass(frozen=True, slots=True)
class Steps:
    """How a long stream is saved on its way, so that a crash loses little of it.

    ``save`` is given each next run of chunks once it is durable, in order, one at a time, about every
    ``step_bytes``. What it raises ends the write.
    """

    step_bytes: int
    save: Callable[[Content], Awaitable[None]]


class StreamWriter:
    """Writes one long stream. Used once."""

    def __init__(
        self,
        intake: Intake,
        keys: DomainKeys,
        scheme: Scheme,
        pool: Pool,
        digests: Sequence[str],
        limit_bytes: int | None,
        steps: Steps | None = None,
    ) -> None:
        self._intake = intake
        self._keys = keys
        self._scheme = scheme
        self._pool = pool
        self._limit_bytes = limit_bytes
        self._hashers = {name: hashlib.new(name, usedforsecurity=False) for name in digests}
        self._stored = Stored()
        self._refs: list[ChunkRef] = []
        self._refs_bytes = 0
        self._size_bytes = 0
        self._steps = steps
        self._saving: asyncio.Task[None] | None = None
        self._spacious = False
        self._windows: list[Window] = []
        self._tasks: deque[asyncio.Task[Window]] = deque()
        """One for each window that was handed over, the oldest first; they end in this order."""
        self._digesting: set[asyncio.Task[None]] = set()
        self._cutting, self._sealing, self._hashing = asyncio.Lock(), asyncio.Lock(), asyncio.Lock()

    async def write(self, head: list[Buffer], stream: AsyncIterator[Buffer]) -> Content:
        """Store ``head``, which is emptied, and the rest of the stream; returns when all of it is durable.

        With steps, the result is what came after the last of them.
        """
        self._spacious = self._intake.spacious.take()
        self._intake.streams += 1
        try:
            filling = self._window()
            async for piece in _chain(head, stream):
                self._count(len(piece))
                view = memoryview(piece)
                while len(view):
                    view = view[filling.take(view) :]
                    if filling.full:
                        filling = await self._exchange(filling)
            self._start(filling, None)
            while self._tasks:
                await self._tasks.popleft()
        finally:
            await self._close()
            if self._saving is not None:
                await asyncio.wait([self._saving])
                self._saving.exception()  # raised below, unless something else was first
        await self._saved()
        await self._intake.settle(self._stored)
        manifest = Manifest.of(self._refs)
        digests = {name: hasher.digest() for name, hasher in self._hashers.items()}
        return Content(manifest, manifest.size_bytes, digests)

    async def _saved(self) -> None:
        """Wait for the step that is being saved, which goes on whoever is cancelled. Raises what it raised."""
        if self._saving is not None:
            await asyncio.wait([self._saving])
            self._saving.result()

    async def _begin_step(self, steps: Steps) -> None:
        """Let what has come be saved while more comes."""
        await self._saved()
        step = self._step(steps, self._stored, self._refs)
        self._stored, self._refs, self._refs_bytes = Stored(), [], 0
        self._saving = asyncio.get_running_loop().create_task(step)

    async def _step(self, steps: Steps, stored: Stored, refs: Sequence[ChunkRef]) -> None:
        await self._intake.settle(stored)
        manifest = Manifest.of(refs)
        await steps.save(Content(manifest, manifest.size_bytes))

    def _window(self) -> Window:
        if self._intake.crowded:
            window = Window(NARROW_WINDOW_BYTES)
        else:
            window = Window(SPACIOUS_WINDOW_BYTES if self._spacious and self._windows else WINDOW_BYTES)
        self._windows.append(window)
        return window

    async def _exchange(self, full: Window) -> Window:
        """Hand over a full window for an empty one: a new one, or that of the oldest task when it is done."""
        if self._intake.crowded:
            following = self._window()
            self._start(full, following)
            while self._tasks:
                self._give_up(await self._tasks.popleft())
            return following
        may_grow = len(self._windows) < (SPACIOUS_WINDOWS if self._spacious else WINDOWS)
        following = self._window() if may_grow else await self._tasks.popleft()
        self._start(full, following)
        return following

    def _give_up(self, window: Window) -> None:
        self._windows.remove(window)
        window.close()

    def _start(self, window: Window, following: Window | None) -> None:
        self._tasks.append(asyncio.get_running_loop().create_task(self._process(window, following)))

    async def _close(self) -> None:
        """End what runs, and give the windows back."""
        running: list[asyncio.Task[Any]] = [*self._tasks, *self._digesting]
        for task in running:
            task.cancel()
        try:
            if running:
                await asyncio.wait(running)
        finally:
            for task in running:
                if task.done() and not task.cancelled():
                    task.exception()  # the first failure is raised already
            self._intake.streams -= 1
            if self._spacious:
                self._intake.spacious.give()
            for window in self._windows:
                window.close()

    def _count(self, length: int) -> None:
        self._size_bytes += length
        if self._limit_bytes is not None and self._size_bytes > self._limit_bytes:
            raise QuotaExceeded(
                f"the upload passed the {self._limit_bytes} bytes that there is room for",
                limit_bytes=self._limit_bytes,
            )

    async def _process(self, window: Window, following: Window | None) -> Window:
        """Cut, identify, seal; the tail goes to the window that follows (None: this is the last). Gives this one back.

        The locks serve in the order that they are asked, so windows are cut and sealed in the stream's order. Digests
        go beside that: MD5 takes longer than cutting and identifying together.
        """
        digesting = self._start_digesting(window)
        async with self._cutting:
            chunks = await self._intake.run(self._identify, window, following)
        async with self._sealing:
            await self._intake.store(self._keys, chunks, self._scheme, self._pool, self._stored)
            self._refs += [chunk.ref for chunk in chunks]
            self._refs_bytes += sum(len(chunk.data) for chunk in chunks)
            if digesting is not None:
                await digesting
            window.reset()
            if self._steps is not None and self._refs_bytes >= self._steps.step_bytes and following is not None:
                await self._begin_step(self._steps)
        return window

    def _start_digesting(self, window: Window) -> asyncio.Task[None] | None:
        if not self._hashers:
            return None
        task = asyncio.get_running_loop().create_task(self._digest(window))
        self._digesting.add(task)
        task.add_done_callback(self._digesting.discard)
        return task

    async def _digest(self, window: Window) -> None:
        async with self._hashing:
            for hasher in self._hashers.values():
                await self._intake.run(hasher.update, window.fresh)

    def _identify(self, window: Window, following: Window | None) -> list[PlainChunk]:
        views, tail = window.cut(self._keys, following is None)
        if following is not None:
            following.carry(tail)
        return identify(self._keys, views)


async def _chain(head: list[Buffer], stream: AsyncIterator[Buffer]) -> AsyncIterator[Buffer]:
    for piece in head:
        yield piece
    head.clear()  # a slow stream goes on for long
    async for piece in stream:
        yield piece


@dataclass(eq=False, slots=True)
class _Waiting:
    """Small bodies of one caller, waiting for their group."""

    keys: DomainKeys
    scheme: Scheme
    digests: tuple[str, ...]
    bodies: Sequence[Buffer]
    size_bytes: int
    done: asyncio.Future[list[Content]]


class GroupWriter:
    """Group commit: bodies that arrive while a durable write runs share the next one. All are of one pool."""

    def __init__(self, intake: Intake, pool: Pool) -> None:
        self._intake = intake
        self._pool = pool
        self._queue: deque[_Waiting] = deque()
        self._queued_bytes = 0
        self._running: set[asyncio.Task[None]] = set()
        self._closed = False

    @property
    def queued(self) -> int:
        """Callers that wait for a group."""
        return len(self._queue)

    async def write(
        self, keys: DomainKeys, bodies: Sequence[Buffer], scheme: Scheme, digests: Collection[str] = ()
    ) -> list[Content]:
        """Make whole bodies durable; returns one Content for each, in order."""
        if self._closed:
            raise ShuttingDown("the hive is stopping: send this again when it is back")
        done: asyncio.Future[list[Content]] = asyncio.get_running_loop().create_future()
        size_bytes = sum(len(body) for body in bodies)
        self._queue.append(_Waiting(keys, scheme, tuple(digests), bodies, size_bytes, done))
        self._queued_bytes += size_bytes
        self._start()
        return await done

    def _start(self) -> None:
        room = len(self._running) < GROUPS_IN_FLIGHT
        if self._queue and (not self._running or (room and self._queued_bytes >= SECOND_GROUP_BYTES)):
            task = asyncio.get_running_loop().create_task(self._run_group(), name="group-commit")
            self._running.add(task)
            task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._running.discard(task)
        self._start()

    def _take(self) -> list[_Waiting]:
        group: list[_Waiting] = []
        count = size = 0
        while self._queue and (not group or (count < GROUP_BODIES_MAX and size < GROUP_BYTES_MAX)):
            waiting = self._queue.popleft()
            self._queued_bytes -= waiting.size_bytes
            if waiting.done.cancelled():
                continue
            group.append(waiting)
            count += len(waiting.bodies)
            size += waiting.size_bytes
        return group

    async def _run_group(self) -> None:
        await self._gather()
        group = self._take()
        try:
            await self._write_group(group)
        except BaseException as error:
            for waiting in group:
                if not waiting.done.done():
                    waiting.done.set_exception(_own_copy(error))
            if not isinstance(error, Exception):
                raise

    async def _gather(self) -> None:
        """Let those come along who are about to: until a few turns of the loop have brought nobody, or a group is full.

        A group costs as much as several of its bodies, and turns of a loop that has nothing to do cost nothing.
        """
        known, quiet = -1, 0
        while quiet < QUIET_TURNS and self._queued_bytes < GROUP_BYTES_MAX and len(self._queue) < GROUP_BODIES_MAX:
            await asyncio.sleep(0)
            quiet = quiet + 1 if len(self._queue) == known else 0
            known = len(self._queue)

    async def _write_group(self, group: Sequence[_Waiting]) -> None:
        stored = Stored()
        size_bytes = sum(waiting.size_bytes for waiting in group)
        identified = await self._intake.run_sized(size_bytes, _identify_group, group)
        await self._store_together(group, identified, stored)
        await self._intake.begin(stored)
        contents = await self._intake.run_sized(size_bytes, _contents_of_group, group, identified)
        await self._intake.settle(stored)
        for waiting, content in zip(group, contents, strict=True):
            if not waiting.done.done():
                waiting.done.set_result(content)

    async def _store_together(
        self, group: Sequence[_Waiting], identified: Sequence[Sequence[Sequence[PlainChunk]]], stored: Stored
    ) -> None:
        """One store call for each domain and scheme in the group."""
        sets: dict[tuple[bytes, Scheme], tuple[DomainKeys, list[PlainChunk]]] = {}
        for waiting, chunks in zip(group, identified, strict=True):
            entry = sets.setdefault((waiting.keys.domain_id, waiting.scheme), (waiting.keys, []))
            entry[1].extend(_flat(chunks))
        for (_, scheme), (keys, chunks_of_set) in sets.items():
            await self._intake.store(keys, chunks_of_set, scheme, self._pool, stored)

    @property
    def idle(self) -> bool:
        """Whether nobody waits and nothing runs."""
        return not self._queue and not self._running

    async def close(self) -> None:
        """Take no more and wait for what is under way."""
        self._closed = True
        while self._running:
            await asyncio.wait(self._running)


class Groups:
    """A group writer for each pool, so that slow or failing stores of one hold up nobody else."""

    def __init__(self, intake: Intake) -> None:
        self._intake = intake
        self._writers: dict[Pool, GroupWriter] = {}
        self._closed = False

    @property
    def queued(self) -> int:
        """Callers that wait for a group."""
        return sum(writer.queued for writer in self._writers.values())

    async def write(
        self, pool: Pool, keys: DomainKeys, bodies: Sequence[Buffer], scheme: Scheme, digests: Collection[str] = ()
    ) -> list[Content]:
        """Make whole bodies durable in a pool; returns one Content for each, in order."""
        if self._closed:
            raise ShuttingDown("the hive is stopping: send this again when it is back")
        writer = self._writers.get(pool)
        if writer is None:
            self._writers = {pool: each for pool, each in self._writers.items() if not each.idle}
            writer = self._writers[pool] = GroupWriter(self._intake, pool)
        return await writer.write(keys, bodies, scheme, digests)

    async def close(self) -> None:
        """Take no more and wait for what is under way."""
        self._closed = True
        for writer in list(self._writers.values()):
            await writer.close()


def _own_copy(error: BaseException) -> BaseException:
    """Each waiter raises an exception object of its own, or tracebacks pile up in a shared one."""
    if isinstance(error, SkepError):
        copy = type(error)(error.message, **error.details)
        copy.__cause__ = error
        return copy
    return error


def _flat(chunks: Sequence[Sequence[PlainChunk]]) -> list[PlainChunk]:
    return [chunk for body in chunks for chunk in body]


def _identify_group(group: Sequence[_Waiting]) -> list[list[list[PlainChunk]]]:
    """For each caller, for each of its bodies: its chunks."""
    return [
        [identify(waiting.keys, split_whole(body, waiting.keys.cut_seed)) for body in waiting.bodies]
        for waiting in group
    ]


def _contents_of_group(
    group: Sequence[_Waiting], identified: Sequence[Sequence[Sequence[PlainChunk]]]
) -> list[list[Content]]:
    """For each caller, for each of its bodies: what it is when its chunks are durable."""
    return [
        [_content(body, each, waiting.digests) for body, each in zip(waiting.bodies, chunks, strict=True)]
        for waiting, chunks in zip(group, identified, strict=True)
    ]


def _content(body: Buffer, chunks: Sequence[PlainChunk], digests: Collection[str]) -> Content:
    refs = tuple([chunk.ref for chunk in chunks])
    return Content(Manifest(len(body), refs), len(body), digests_of(body, digests) if digests else {})
