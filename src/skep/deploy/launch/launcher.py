"""The launcher: one launch at a time for each stack, from a push to its verdict.

    launcher = Launcher(ground)
    await launcher.recover()
    verdict = await launcher.deploy(Request(stack=stack, tree=tree, revision="4f2c…"), say)

A launch starts what is new and waits until it is well, leads to it, and is then decided by one write (``commit``). What
goes wrong before that is undone: the release before it serves on, with the same slices. What was replaced ends
afterwards, in the background, when nothing that is under way needs it; the next launch does not wait for that.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Awaitable, Callable, Collection, Mapping
from typing import TypeAlias

import msgspec

from skep.base.errors import BadInput, LimitReached, NotFound, SkepError
from skep.base.logs import get_logger
from skep.deploy.build.images import recipes
from skep.deploy.engines.records import Binding
from skep.deploy.launch.care import Care
from skep.deploy.launch.carrying import Carrying, failed, told
from skep.deploy.launch.crons import Crons
from skep.deploy.launch.ground import Ground
from skep.deploy.launch.journal import release_of
from skep.deploy.launch.limits import Limits
from skep.deploy.launch.planning import Situation, compile_end, compile_plan, new_slices
from skep.deploy.launch.records import Event, Plan, Release, Request, Say, StackView, Verdict
from skep.deploy.launch.slices import Slices
from skep.deploy.launch.viewing import observe_stack
from skep.deploy.stack.crossing import check_tree

_log = get_logger("skep.launch")
Launch: TypeAlias = Callable[[], Awaitable[Verdict]]


class _Turns:
    """Who may launch a stack: one at a time; of the pushes that wait, the newest."""

    def __init__(self) -> None:
        self.lock = asyncio.Lock()
        self.waiting = 0
        self.newest: asyncio.Future[None] | None = None
        """Of the push that waits: done when a newer one has come."""


class Launcher:
    """See the module. Fills ``Launches``. One per grid and journal; use it from one event loop."""

    def __init__(self, ground: Ground, limits: Limits | None = None) -> None:
        self._ground = ground
        self.limits = limits or Limits()
        self._slices = Slices(ground, self.limits)
        self._carrying = Carrying(ground, self.limits, self._slices)
        self._care = Care(ground, self.limits, self._slices, self._carrying)
        self.crons = Crons(ground, self.limits, self._slices, self.situation)
        self._turns: defaultdict[str, _Turns] = defaultdict(_Turns)
        self._tasks: set[asyncio.Task[Verdict]] = set()
        self._refreshes: defaultdict[str, tuple[float, int]] = defaultdict(lambda: (float("-inf"), 0))
        """Stack -> when it was refreshed last, and how often in vain."""

    # --- what people ask for --------------------------------------------------------------------

    async def recover(self) -> tuple[Verdict, ...]:
        """As ``Launches`` says."""
        return await self._care.recover()

    async def deploy(self, request: Request, say: Say) -> Verdict:
        """As ``Launches`` says."""
        stack = request.stack.name

        async def launch() -> Verdict:
            try:
                after = await self._built(request, say)
            except SkepError as error:
                return await self._refused(stack, error, say)
            return await self._launch(after, say)

        return await self._in_turn(stack, launch, say, gives_way=True, overtakes=True)

    async def plan(self, request: Request, say: Say) -> Plan:
        """As ``Launches`` says."""
        after = await self._built(request, say)
        return await self._compiled(after, number=0)

    async def scale(self, stack: str, scales: Mapping[str, int], say: Say) -> Verdict:
        """As ``Launches`` says."""
        current = await self._current(stack)
        for name, count in scales.items():
            job = current.stack.job(name)
            if job is None:
                raise NotFound(f"stack {stack} has no job {name}", stack=stack, job=name)
            if job.kind not in ("web", "worker") or not 0 <= count <= 1000:
                raise BadInput(f"{name} is a {job.kind} job: web jobs and workers run 0 to 1000 slices")
            if count > 1 and any(port.host_port for port in job.expose):
                raise BadInput(f"{name} has a fixed port of the host, which one slice can have")

        async def launch() -> Verdict:
            now = await self._current(stack)
            return await self._launch(msgspec.structs.replace(now, scales={**now.scales, **scales}), say)

        return await self._in_turn(stack, launch, say)

    async def rollback(self, stack: str, number: int | None, say: Say) -> Verdict:
        """As ``Launches`` says."""
        await self._to_restore(stack, number)

        async def launch() -> Verdict:
            kept = await self._to_restore(stack, number)
            after = msgspec.structs.replace(
                kept,
                number=await self._ground.journal.next_number(stack),
                restored_from=kept.number,
                created_us=self._ground.clock.now_us(),
            )
            return await self._launch(after, say)

        return await self._in_turn(stack, launch, say, overtakes=True)

    async def restart(self, stack: str, jobs: Collection[str], say: Say) -> Verdict:
        """As ``Launches`` says."""
        current = await self._current(stack)
        unknown = sorted(set(jobs) - {job.name for job in current.stack.of_kind("service", "web", "worker")})
        if unknown:
            raise NotFound(f"stack {stack} has no running job {', '.join(unknown)}", stack=stack)

        async def launch() -> Verdict:
            now = await self._current(stack)
            force = jobs or {job.name for job in now.stack.of_kind("web", "worker")}
            return await self._launch(now, say, force=force)

        return await self._in_turn(stack, launch, say)

    async def kill(self, stack: str, say: Say) -> Verdict:
        """As ``Launches`` says."""
        await self._known(stack)
        return await self._in_turn(stack, lambda: self._end(stack, say), say, overtakes=True)

    async def remove(self, stack: str, say: Say) -> Verdict:
        """As ``Launches`` says."""
        await self._known(stack)

        async def launch() -> Verdict:
            verdict = await self._end(stack, say)
            if not verdict.ok:
                return verdict
            await self._carrying.idle(stack)
            await self._ground.journal.forget(stack)
            await self._carrying.tidy(stack)
            await self._slices.prune_files(stack, ())
            return msgspec.structs.replace(verdict, outcome="removed")

        return await self._in_turn(stack, launch, say, overtakes=True)

    async def observe(self, stack: str) -> StackView:
        """As ``Launches`` says."""
        await self._known(stack)
        return await observe_stack(self._ground, stack)

    async def tick(self) -> None:
        """As ``Launches`` says."""
        await self._care.tick(self._busy)
        await self.crons.tick()
        now_s = self._ground.clock.monotonic_s()
        for stack in await self._care.stale(self.situation):
            wait_s = min(self.limits.refresh_first_s * 2 ** self._refreshes[stack][1], self.limits.refresh_most_s)
            if not self._turns[stack].lock.locked() and now_s - self._refreshes[stack][0] >= wait_s:
                self._refreshes[stack] = (now_s, self._refreshes[stack][1] + 1)
                self._keep(asyncio.ensure_future(self.refresh(stack)))

    async def refresh(self, stack: str) -> Verdict:
        """Replace what was told an older address of a service than the one it has now."""

        async def launch() -> Verdict:
            verdict = await self._launch(await self._current(stack), _silent)
            if verdict.ok:
                self._refreshes.pop(stack, None)
            return verdict

        return await self._in_turn(stack, launch, _silent)

    def _busy(self) -> set[str]:
        return {stack for stack, turns in self._turns.items() if turns.lock.locked()}

    def _keep(self, task: asyncio.Task[Verdict]) -> None:
        self._tasks.add(task)
        task.add_done_callback(self._forget)

    def _forget(self, task: asyncio.Task[Verdict]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and task.exception() is not None:
            _log.warning("launch-ended", error=str(task.exception()))

    async def host_lost(self, block_id: str) -> tuple[str, ...]:
        """As ``Launches`` says."""
        return await self._care.host_lost(block_id)

    async def host_found(self, block_id: str) -> None:
        """As ``Launches`` says."""
        await self._care.host_found(block_id)

    async def idle(self, stack: str = "") -> None:
        """Wait until all that was replaced has ended and what was started again is well, as far as hosts answer."""
        await self._carrying.idle(stack)
        await self._care.idle(stack)

    async def close(self) -> None:
        """Stop in the middle of whatever is done: the next ``recover`` mends it."""
        tasks = [*self._tasks]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._care.close()
        await self._carrying.close()

    # --- turns ----------------------------------------------------------------------------------

    async def _in_turn(
        self, stack: str, launch: Launch, say: Say, *, gives_way: bool = False, overtakes: bool = False
    ) -> Verdict:
        """Launch when it is this one's turn; whoever asked may go away, the launch goes on."""
        task = asyncio.ensure_future(self._turn(stack, launch, say, gives_way, overtakes))
        self._keep(task)
        return await asyncio.shield(task)

    async def _turn(self, stack: str, launch: Launch, say: Say, gives_way: bool, overtakes: bool) -> Verdict:
        turns = self._turns[stack]
        if turns.waiting >= self.limits.waiting_max:
            raise LimitReached(f"{turns.waiting} launches of {stack} wait already: try again later", stack=stack)
        if overtakes and turns.newest is not None:
            turns.newest.set_result(None)
            turns.newest = None
        overtaken: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        if gives_way:
            turns.newest = overtaken
        if turns.lock.locked():
            await told(say, Event(kind="waiting", text=f"another launch of {stack} is under way"))
        turns.waiting += 1
        try:
            is_mine = await _acquired(turns.lock, overtaken)
        finally:
            turns.waiting -= 1
            if turns.newest is overtaken:
                turns.newest = None
        if not is_mine:
            return await self._superseded(stack, say)
        try:
            await self._care.settle(stack)
            return await launch()
        finally:
            turns.lock.release()

    async def _superseded(self, stack: str, say: Say) -> Verdict:
        current = await self._ground.journal.current(stack)
        verdict = Verdict(
            ok=False,
            stack=stack,
            outcome="superseded",
            release=current.number if current else 0,
            reason="a newer push came",
            ended_us=self._ground.clock.now_us(),
        )
        await told(say, Event(kind="verdict", text=verdict.reason, verdict=verdict))
        return verdict

    # --- launching ------------------------------------------------------------------------------

    async def _built(self, request: Request, say: Say) -> Release:
        stack, journal = request.stack, self._ground.journal
        complaints = await asyncio.to_thread(check_tree, stack, request.tree)
        if complaints:
            raise BadInput("; ".join(complaints))

        async def line(job: str, text: str) -> None:
            await told(say, Event(kind="line", text=text, job=job))

        async with self._carrying.building:
            images = await self._ground.images.build_all(stack, request.tree, self._ground.builder, line)
            number = await journal.next_number(stack.name)
            refs = {name: image.ref for name, image in images.items()}
            self._carrying.in_use[stack.name] = frozenset(refs.values())
        before = await journal.current(stack.name)
        return Release(
            number=number,
            stack=stack,
            images=refs,
            recipes=await asyncio.to_thread(recipes, stack, request.tree),
            scales=_inherited(before, stack_scales={job.name: job.scale for job in stack.jobs}),
            revision=request.revision,
            by=request.by,
            created_us=self._ground.clock.now_us(),
        )

    async def _refused(self, stack: str, error: SkepError, say: Say) -> Verdict:
        """A verdict on what never came to a plan."""
        current = await self._ground.journal.current(stack)
        verdict = failed(stack, error, current, self._ground.clock.now_us())
        await told(say, Event(kind="verdict", text=verdict.reason, verdict=verdict))
        return verdict

    async def _launch(self, after: Release, say: Say, force: Collection[str] = ()) -> Verdict:
        stack = after.stack.name
        try:
            await self._check_domains(after)
            plan = await self._compiled(after, number=await self._ground.journal.next_number(stack), force=force)
        except SkepError as error:
            return await self._refused(stack, error, say)
        return await self._carrying.carry(plan, after, await self.situation(after), say)

    async def _compiled(self, after: Release, *, number: int, force: Collection[str] = ()) -> Plan:
        before = await self._ground.journal.current(after.stack.name)
        plan = compile_plan(before, after, await self.situation(after), number=number, force=force)
        homes = {job.name: await self._ground.journal.home(plan.stack, job.name) for job in after.stack.jobs}
        known = {block.facts.id for block in self._ground.grid.blocks}
        homes = {name: home for name, home in homes.items() if home in known}
        return msgspec.structs.replace(plan, placing=self._ground.grid.preview(new_slices(plan, after, homes)))

    async def _end(self, stack: str, say: Say) -> Verdict:
        journal = self._ground.journal
        before = await journal.current(stack)
        live = [one for one in await journal.slices(stack) if one.state == "live"]
        plan = compile_end(stack, before, live, number=await journal.next_number(stack))
        return await self._carrying.carry(plan, None, Situation(slices=live), say)

    async def situation(self, release: Release) -> Situation:
        """What a plan for a release is made from, as it is now."""
        journal, stack = self._ground.journal, release.stack.name
        records = await journal.slices()
        shared: dict[str, tuple[Binding, ...]] = {}
        for other in await journal.stacks():
            theirs = await journal.current(other) if other != stack else None
            for job in theirs.stack.of_kind("service") if theirs is not None else ():
                found = [one for one in records if (one.stack, one.job, one.state) == (other, job.name, "live")]
                if job.shares and found and found[0].places:
                    shared.setdefault(job.name, found[0].bindings)
        global_env, stack_env = await self._ground.environment(stack)
        return Situation(
            slices=[one for one in records if one.stack == stack and one.state == "live"],
            shared=shared,
            global_env=global_env,
            stack_env=stack_env,
        )

    async def _check_domains(self, after: Release) -> None:
        wanted = {domain for job in after.stack.jobs for domain in job.domains}
        for other in await self._ground.journal.stacks():
            theirs = await self._ground.journal.current(other) if other != after.stack.name else None
            for job in theirs.stack.jobs if theirs is not None else ():
                for domain in job.domains:
                    if domain in wanted:
                        raise BadInput(f"domain {domain} is stack {other}'s: take it out there first", domain=domain)

    # --- what is known --------------------------------------------------------------------------

    async def _known(self, stack: str) -> None:
        if stack not in await self._ground.journal.stacks():
            raise NotFound(f"there is no stack {stack}: push one first", stack=stack)

    async def _current(self, stack: str) -> Release:
        current = await self._ground.journal.current(stack)
        if current is None:
            await self._known(stack)
            raise NotFound(f"stack {stack} does not run: roll it back to a release, or push", stack=stack)
        return current

    async def _to_restore(self, stack: str, number: int | None) -> Release:
        if number is not None:
            return await release_of(self._ground.journal, stack, number)
        current = await self._ground.journal.current(stack)
        kept = await self._ground.journal.releases(stack)
        earlier = [one for one in kept if current is None or one.number < current.number]
        if not earlier:
            raise NotFound(f"stack {stack} has no release before the one that serves", stack=stack)
        return earlier[-1]


def _inherited(before: Release | None, stack_scales: Mapping[str, int]) -> dict[str, int]:
    """What was asked for by ``scale`` holds on, until the file's own number changes."""
    if before is None:
        return {}
    old = {job.name: job.scale for job in before.stack.jobs}
    return {name: count for name, count in before.scales.items() if old.get(name) == stack_scales.get(name, -1)}


async def _acquired(lock: asyncio.Lock, overtaken: asyncio.Future[None]) -> bool:
    """Wait for the lock, unless something newer comes first; whether it is held now."""
    acquiring = asyncio.ensure_future(lock.acquire())
    try:
        await asyncio.wait((acquiring, overtaken), return_when=asyncio.FIRST_COMPLETED)
    finally:
        if not acquiring.done():
            acquiring.cancel()
            await asyncio.gather(acquiring, return_exceptions=True)
    if acquiring.cancelled():
        return False
    if overtaken.done():
        lock.release()
        return False
    return True


async def _silent(event: Event) -> None:
    """Nobody listens."""
