"""The desk of pushes: turns are given back however a push ends. The commits are real git's."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

from skep.deploy.hq.control import Body, Call, Order
from skep.deploy.hq.endpoint import Push
from skep.deploy.hq.people import Person
from skep.deploy.hq.pushes import Pushes
from skep.deploy.hq.repositories import NOTHING, Repositories
from skep.deploy.hq.settings import read_settings
from skep.deploy.hq.sqlite_state import SqliteState
from skep.deploy.launch.records import Event, Request, Verdict

from .test_repositories import commit, git

FILES = {"quarry.yml": "web:\n  type: worker\n  run: ./serve\n", "serve": "#!/bin/sh\n"}


class Gate:
    """Stands where the launcher does, and says yes when it is opened."""

    def __init__(self) -> None:
        self.open = asyncio.Event()
        self.entered = asyncio.Event()

    async def deploy(self, request: Request, say: Callable[[Event], Awaitable[None]]) -> Verdict:
        self.entered.set()
        await self.open.wait()
        return Verdict(ok=True, stack=request.stack.name, outcome="released", release=1)


class Nobody:
    """A stream on which nothing comes and nobody listens."""

    async def read(self, n: int = -1) -> bytes:
        return b""

    def write(self, data: bytes) -> None: ...

    async def drain(self) -> None: ...

    def close(self) -> None: ...


async def test_a_push_that_goes_away_while_it_waits_blocks_nobody(tmp_path: Path) -> None:
    repositories = Repositories(tmp_path / "repositories", read_settings(None).git)
    await repositories.open()
    store, gate, work = SqliteState(tmp_path / "state.sqlite"), Gate(), tmp_path / "work"
    target = await repositories.make("shop")
    new = await asyncio.to_thread(commit, work, FILES)
    await asyncio.to_thread(git, work, "push", "-q", str(target), "main:refs/heads/kept")

    async def changed(stack: str) -> None: ...

    desk = Pushes(
        repositories=repositories, launches=gate, store=store, stacks=tmp_path / "stacks", branches=("main",),
        changed=changed,
    )  # fmt: skip

    def begin(token: str) -> tuple[Push, asyncio.Task[dict[str, object]]]:
        push = Push(token, Person(name="ann", roles={"*": "admin"}), "shop")
        desk.opened(push)
        order = Order(command="hook", token=token, updates=[[NOTHING, new, "refs/heads/main"]])
        return push, asyncio.ensure_future(desk.hook(Call(push.person, order, Body(Nobody()), Nobody())))

    first, serving = begin("first")
    async with asyncio.timeout(20):
        await gate.entered.wait()
        second, waiting = begin("second")
        while not desk._turns._next:
            await asyncio.sleep(0.01)  # until the second push waits for its turn
        await desk.closed(second)
        gate.open.set()
        assert (await serving)["ok"] is True
        await desk.closed(first)
        assert (await waiting)["ok"] is False
        assert not desk.is_busy("shop")
    await store.close()
