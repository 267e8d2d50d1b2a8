"""Users who write, read, move and delete, and know what must be there: the model that the hive is held to.

Each client works in a directory of its own, one operation after the other. ``beliefs`` are the states that its files
can be in: one, until a crash or a cancelled request leaves open whether the last operation was done; then a look at
everything decides between the state before and the state after, and any third is a mistake of the hive.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field, replace
from typing import TypeAlias

from skep.auth.records import Principal
from skep.base.errors import NodeNotFound, NotFound, SkepError, StoreFull, Unavailable
from skep.base.ids import Id
from skep.filesystem import Filesystem
from skep.filesystem.content import FileContent
from skep.filesystem.records import BatchItem
from skep.filesystem.uploads.records import Draft
from skep.stores.protocol import Buffer
from skep.testing.simulation.world import Broken, World

NAMES = ("a", "b", "c", "d", "sub/a", "sub/b", "sub/deep/c")
POOL = 12
"""Different contents that all clients of a run share: so they deduplicate, and race with collection."""
SIZES = (0, 1, 900, 5_000, 40_000, 40_000, 90_000, 150_000, 300_000, 700_000)
SEEN_MAX = 100
DOOR = "simulated"
"""Under which the uploads in pieces are kept."""
PIECES_MAX = 60

Stack: TypeAlias = tuple[int, ...]
"""The contents of a file's versions, the oldest first; each a number of the pool."""


@dataclass(frozen=True)
class Files:
    """What a client's files can be: paths to versions, and what is in the trash by node id."""

    living: dict[str, Stack] = field(default_factory=dict)
    trash: dict[Id, tuple[str, Stack]] = field(default_factory=dict)

    def with_file(self, path: str, stack: Stack | None) -> Files:
        """The same with another file at a path, or none."""
        rest = {name: each for name, each in self.living.items() if name != path}
        return replace(self, living=rest if stack is None else {**rest, path: stack})

    def with_trash(self, node_id: Id, entry: tuple[str, Stack] | None) -> Files:
        """The same with another entry of the trash, or none."""
        rest = {key: each for key, each in self.trash.items() if key != node_id}
        return replace(self, trash=rest if entry is None else {**rest, node_id: entry})

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Files) and (self.living, self.trash) == (other.living, other.trash)

    __hash__ = None  # type: ignore[assignment]


class Pool:
    """The contents of a run."""

    def __init__(self, chance: random.Random) -> None:
        self._bodies = [self._body(chance) for _ in range(POOL)]
        self._numbers = {body: number for number, body in enumerate(self._bodies)}

    def _body(self, chance: random.Random) -> bytes:
        size = chance.choice(SIZES)
        size += chance.randrange(min(size, 97) + 1)
        if chance.random() < 0.3:
            return (chance.randbytes(max(1, size // 7)) * 8)[:size]
        return chance.randbytes(size)

    def body(self, number: int) -> bytes:
        """The bytes of a content."""
        return self._bodies[number]

    def number(self, body: bytes) -> int:
        """Which content this is; the first of equal ones. Raises KeyError."""
        return self._numbers[body]

    def draw(self, chance: random.Random) -> int:
        """Some content."""
        return self.number(self._bodies[chance.randrange(POOL)])


def excused(error: BaseException) -> bool:
    """Whether an operation may fail like this while stores fail: a clear error that says to try again, or no room."""
    return isinstance(error, Unavailable | StoreFull)


class Client:
    """One user's program. Outlives the hive's lives."""

    def __init__(self, name: str, user: str, world: World, pool: Pool, operations: int) -> None:
        self.name = name
        self.user = user
        self.left = operations
        self.beliefs = [Files()]
        self._world = world
        self._pool = pool
        self._chance = world.chance_of(f"client {name}")
        self._filesystem: Filesystem | None = None
        self._who: Principal | None = None
        self._collect: Callable[[], Awaitable[object]] | None = None
        self.done: dict[str, int] = {}
        """How often each kind of operation succeeded."""

    def connect(self, filesystem: Filesystem, who: Principal, collect: Callable[[], Awaitable[object]]) -> None:
        """Use this life's hive; ``collect`` collects its garbage without a grace period."""
        self._filesystem, self._who, self._collect = filesystem, who, collect

    @property
    def _fs(self) -> Filesystem:
        assert self._filesystem is not None
        return self._filesystem

    @property
    def _me(self) -> Principal:
        assert self._who is not None
        return self._who

    async def run(self, think_s: float) -> None:
        """Work until all operations are done or the process ends."""
        while self.left > 0:
            self.left -= 1
            await asyncio.sleep(self._chance.expovariate(1 / think_s))
            if len(self.beliefs) > 1 and not await self._decide():
                continue
            await self._operate()

    async def _decide(self) -> bool:
        """Look which belief is true; False when the stores did not let us."""
        try:
            await self.look()
        except SkepError as error:
            if not excused(error):
                raise self._broken("look", error) from error
            return False
        return True

    async def look(self) -> None:
        """Read everything and compare. Raises Broken, and what reading raises."""
        seen = await self._observe()
        if not self.beliefs:  # the process died while everything was being deleted
            self.beliefs = [seen]
        for belief in self.beliefs:
            if seen == belief:
                self.beliefs = [belief]
                return
        raise Broken(f"client {self.name} sees {_shown(seen)} and believed {' or '.join(map(_shown, self.beliefs))}")

    async def _observe(self) -> Files:
        living: dict[str, Stack] = {}
        for name in NAMES:
            try:
                node = await self._fs.by_path(self._me, None, self._path(name))
            except NodeNotFound:
                continue
            infos = await self._fs.versions(self._me, node.id, SEEN_MAX)
            living[name] = tuple([await self._content(node.id, info.number) for info in reversed(infos)])
        entries = await self._fs.trash(self._me, None, SEEN_MAX)
        mine = {each.node_id: each for each in entries if each.path.startswith(self._path(""))}
        known = {key: entry for belief in self.beliefs for key, entry in belief.trash.items()}
        trash = {}
        for key, each in mine.items():
            name = each.path.removeprefix(self._path(""))
            stack = known[key][1] if key in known else self._lost_stack(name)
            trash[key] = (name, stack)
        return Files(living, trash)

    def _lost_stack(self, name: str) -> Stack:
        """Of a trashed file whose id we never heard: what the path had before."""
        stacks = [belief.living[name] for belief in self.beliefs if name in belief.living]
        return stacks[0] if stacks else ()

    async def _content(self, node_id: Id, version: int | None) -> int:
        opened = await self._fs.open_file(self._me, node_id, version)
        body = b"".join([part async for part in opened.read()])
        try:
            return self._pool.number(body)
        except KeyError:
            raise Broken(f"client {self.name} was given {len(body)} bytes that nobody ever wrote") from None

    def _path(self, name: str) -> str:
        return f"/{self.name}/{name}"

    def _broken(self, what: str, error: BaseException) -> Broken:
        return Broken(f"client {self.name}: {what} failed with {type(error).__name__}: {error}")

    async def _operate(self) -> None:
        """One operation. What was not done leaves the files as they were; what we do not know leaves two beliefs."""
        kind = self._chance.choice(OPERATIONS)
        files = self.beliefs[0]
        try:
            doing = await self._OPERATIONS[kind](self, files)
            if doing is None:
                return
            after, action = doing
            self.beliefs = [files, *after] if after[0] is not files else [files]
            self._world.note(self.name, kind, "begins")
            if self._chance.random() < 0.06:
                await self._impatient(action)
                return
            await action
        except NotFound as error:
            raise self._broken(kind, error) from error
        except SkepError as error:
            self.beliefs = [files]
            if not excused(error):
                raise self._broken(kind, error) from error
            self._world.note(self.name, kind, "refused:", error.code)
            return
        self.beliefs = [after[-1]]
        self.done[kind] = self.done.get(kind, 0) + 1
        self._world.note(self.name, kind, "done")

    async def _impatient(self, action: Awaitable[None]) -> None:
        """Give up after a while: done or not, we do not know."""
        task = asyncio.ensure_future(action)
        await asyncio.wait([task], timeout=self._chance.random() ** 2 * 2)
        task.cancel()
        await asyncio.wait([task])
        error = None if task.cancelled() else task.exception()
        if error is not None and not (isinstance(error, SkepError) and excused(error)):
            raise self._broken("a cancelled operation", error) from error
        self._world.note(self.name, "gave up")
        await self._decide()

    # Each gives the states that the files pass through when it is done, the last one being the end, and what does it;
    # or None when there is nothing to do it with.

    async def _put(self, files: Files) -> Doing | None:
        name, number = self._chance.choice(NAMES), self._pool.draw(self._chance)
        body = self._pool.body(number)
        known = self._chance.random() < 0.7
        after = files.with_file(name, (*files.living.get(name, ()), number))

        async def act() -> None:
            await self._fs.write_file(
                self._me,
                None,
                self._path(name),
                self._stream(body),
                length=len(body) if known else None,
                parents=True,
            )

        return [after], act()

    async def _stream(self, body: bytes) -> AsyncIterator[Buffer]:
        step = self._chance.choice((10_000, 100_000, 1 << 20))
        for at in range(0, len(body), step):
            if self._chance.random() < 0.3:
                await asyncio.sleep(self._chance.random() * 0.5)
            yield body[at : at + step]

    async def _upload(self, files: Files) -> Doing | None:
        """A file that comes in pieces, some of which break off, and which may be given up in the middle."""
        name, number = self._chance.choice(NAMES), self._pool.draw(self._chance)
        body = self._pool.body(number)
        after = files.with_file(name, (*files.living.get(name, ()), number))

        async def act() -> None:
            draft = Draft(DOOR, path=self._path(name), length_bytes=len(body))
            upload = await self._fs.open_upload(self._me, None, draft)
            for _ in range(PIECES_MAX):
                offset = upload.offset_bytes
                end = self._chance.randrange(offset, len(body) + 1) if self._chance.random() < 0.6 else len(body)
                some = self._stream(body[offset:end])
                done = await self._fs.append(self._me, DOOR, upload.id, offset, some)
                if done.written is not None:
                    return
                upload = await self._fs.upload(self._me, DOOR, upload.id)
                if not done.upload.offset_bytes <= upload.offset_bytes <= len(body):
                    raise Broken(f"client {self.name}: an upload stood at {done.upload} and now at {upload}")
            raise Broken(f"client {self.name}: an upload of {len(body)} bytes does not end: {upload}")

        return [after], act()

    async def _batch(self, files: Files) -> Doing | None:
        names = self._chance.sample(NAMES, self._chance.randrange(1, 5))
        numbers = [self._pool.draw(self._chance) for _ in names]
        after = files
        for name, number in zip(names, numbers, strict=True):
            after = after.with_file(name, (*after.living.get(name, ()), number))
        items = [
            BatchItem(self._path(name), self._pool.body(number)) for name, number in zip(names, numbers, strict=True)
        ]

        async def act() -> None:
            for outcome in await self._fs.write_batch(self._me, None, items):
                if isinstance(outcome, SkepError):
                    raise self._broken("one file of a batch", outcome)

        return [after], act()

    async def _get(self, files: Files) -> Doing | None:
        if not files.living:
            return None
        name = self._chance.choice(sorted(files.living))
        body = self._pool.body(files.living[name][-1])

        async def act() -> None:
            opened = await self._fs.open_path(self._me, None, self._path(name))
            if self._chance.random() < 0.5:
                await self._compare(name, b"".join([part async for part in opened.read()]), body)
                return
            offset = self._chance.randrange(len(body) + 1)
            length = min(len(body) - offset, self._chance.choice((1, 1000, 300_000)))
            found = b"".join([part async for part in opened.read(offset, length)])
            await self._compare(f"{name} {offset}+{length}", found, body[offset : offset + length])

        return [files], act()

    async def _compare(self, what: str, found: bytes, wanted: bytes) -> None:
        if found != wanted:
            raise Broken(f"client {self.name}: {what} has {len(found)} bytes that are not the {len(wanted)} put there")

    async def _get_going(self, files: Files) -> Doing | None:
        """Read a file that is deleted for good meanwhile, and its garbage collected: what is being read stays."""
        if not files.living:
            return None
        name = self._chance.choice(sorted(files.living))
        body = self._pool.body(files.living[name][-1])
        node = await self._fs.by_path(self._me, None, self._path(name))

        async def act() -> None:
            opened = await self._fs.open_path(self._me, None, self._path(name))
            reading = asyncio.ensure_future(self._read_slowly(opened))
            try:
                await asyncio.sleep(self._chance.random() ** 2 * 0.1)
                await self._fs.delete(self._me, node.id, permanently=True)
                assert self._collect is not None
                for _ in range(3):  # chunks, then packs
                    await self._collect()
                found = await reading
            except BaseException:
                reading.cancel()
                await asyncio.wait([reading])
                raise
            if found is not None:
                await self._compare(f"{name}, being deleted,", found, body)

        return [files.with_file(name, None)], act()

    async def _read_slowly(self, opened: FileContent) -> bytes | None:
        """The content; None when the stores did not let us."""
        parts, reading = list[bytes](), opened.read()
        try:
            async for part in reading:
                parts.append(part)
                await asyncio.sleep(self._chance.random() * 0.2)
        except SkepError as error:
            if not excused(error):
                raise self._broken("reading what is being deleted", error) from error
            return None
        finally:
            await reading.aclose()  # type: ignore[attr-defined]
        return b"".join(parts)

    async def _get_old(self, files: Files) -> Doing | None:
        if not files.living:
            return None
        name = self._chance.choice(sorted(files.living))
        stack = files.living[name]
        at = self._chance.randrange(len(stack))

        async def act() -> None:
            node = await self._fs.by_path(self._me, None, self._path(name))
            infos = await self._fs.versions(self._me, node.id, SEEN_MAX)
            if len(infos) != len(stack):
                raise Broken(f"client {self.name}: {name} has {len(infos)} versions and {len(stack)} were written")
            if await self._content(node.id, infos[len(infos) - 1 - at].number) != stack[at]:
                raise Broken(f"client {self.name}: version {at} of {name} has another one's content")

        return [files], act()

    async def _delete(self, files: Files) -> Doing | None:
        if not files.living:
            return None
        name = self._chance.choice(sorted(files.living))
        node = await self._fs.by_path(self._me, None, self._path(name))
        for_good = self._chance.random() < 0.4
        after = files.with_file(name, None)
        if not for_good:
            after = after.with_trash(node.id, (name, files.living[name]))
        return [after], self._fs.delete(self._me, node.id, permanently=for_good)

    async def _restore(self, files: Files) -> Doing | None:
        gone = [(key, entry) for key, entry in sorted(files.trash.items()) if entry[0] not in files.living]
        if not gone:
            return None
        key, (name, stack) = self._chance.choice(gone)

        async def act() -> None:
            await self._fs.restore_from_trash(self._me, key)

        return [files.with_trash(key, None).with_file(name, stack)], act()

    async def _purge(self, files: Files) -> Doing | None:
        if not files.trash:
            return None
        key = self._chance.choice(sorted(files.trash))
        return [files.with_trash(key, None)], self._fs.purge(self._me, key)

    async def _move(self, files: Files) -> Doing | None:
        free = [name for name in NAMES if name not in files.living]
        if not files.living or not free:
            return None
        name, target = self._chance.choice(sorted(files.living)), self._chance.choice(free)
        node = await self._fs.by_path(self._me, None, self._path(name))
        after = files.with_file(name, None).with_file(target, files.living[name])

        async def act() -> None:
            if "/" in target:
                await self._fs.ensure_directory(self._me, None, self._path(target.rpartition("/")[0]), parents=True)
            await self._fs.move(self._me, node.id, None, self._path(target))

        return [after], act()

    async def _copy(self, files: Files) -> Doing | None:
        free = [name for name in NAMES if name not in files.living and "/" not in name]
        if not files.living or not free:
            return None
        name, target = self._chance.choice(sorted(files.living)), self._chance.choice(free)
        node = await self._fs.by_path(self._me, None, self._path(name))

        async def act() -> None:
            await self._fs.copy(self._me, node.id, None, self._path(target))

        return [files.with_file(target, files.living[name][-1:])], act()

    async def _restore_version(self, files: Files) -> Doing | None:
        many = sorted(name for name, stack in files.living.items() if len(stack) > 1)
        if not many:
            return None
        name = self._chance.choice(many)
        stack = files.living[name]
        at = self._chance.randrange(len(stack) - 1)
        node = await self._fs.by_path(self._me, None, self._path(name))
        infos = await self._fs.versions(self._me, node.id, SEEN_MAX)
        number = infos[len(infos) - 1 - at].number

        async def act() -> None:
            await self._fs.restore_version(self._me, node.id, number)

        return [files.with_file(name, (*stack, stack[at]))], act()

    def forget(self) -> None:
        """Believe whatever is seen next: everything is being deleted, and the process may die in the middle of it."""
        self.beliefs = []

    async def delete_everything(self) -> None:
        """Leave nothing: what is left in the stores afterwards is garbage. ``forget`` comes first, for all clients."""
        try:
            node = await self._fs.by_path(self._me, None, f"/{self.name}")
        except NodeNotFound:
            pass
        else:
            await self._fs.delete(self._me, node.id, permanently=True)
        await self._fs.empty_trash(self._me)
        for upload in await self._fs.uploads(self._me, DOOR, None):
            if upload.state == "open":
                await self._fs.abort_upload(self._me, DOOR, upload.id)
        self.beliefs = [Files()]

    _OPERATIONS: dict[str, Callable[[Client, Files], Awaitable[Doing | None]]] = {
        "put": _put,
        "upload": _upload,
        "batch": _batch,
        "get": _get,
        "get old": _get_old,
        "get going": _get_going,
        "delete": _delete,
        "restore": _restore,
        "purge": _purge,
        "move": _move,
        "copy": _copy,
        "restore version": _restore_version,
    }


Doing: TypeAlias = tuple[list[Files], Awaitable[None]]
OPERATIONS = (
    *("put",) * 9, *("get",) * 6, "get old", *("get going",) * 2, *("upload",) * 3, *("batch",) * 2, *("delete",) * 3,
    "restore", "purge", "move", "copy", "restore version",
)  # fmt: skip


def _shown(files: Files) -> str:
    living = ", ".join(f"{name}={list(stack)}" for name, stack in sorted(files.living.items()))
    trashed = ", ".join(f"{key.hex()[-6:]}:{name}={list(stack)}" for key, (name, stack) in sorted(files.trash.items()))
    return f"{{{living} | trash {trashed}}}"
