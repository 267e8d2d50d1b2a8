"""Carrying a plan out: forward until it is decided, back if something goes wrong before, and the ending of what is old.

    begin ─ start what is new, until it is well ─ route ─ COMMIT ─ end ┄ drain ─ kill what is old (in the background)
                     └──────── a failure ────────┘
                                  undo ─ end

What a kill of HQ finds is told by the journal: an open plan that is not committed is undone, a committed one is ended;
slices in state ``old`` are ended. Each step may be done twice.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Awaitable, Iterable, Sequence

import msgspec

from skep.base.errors import ImageNotFound, SkepError, Unavailable
from skep.base.logs import get_logger
from skep.deploy.launch.ground import Ground
from skep.deploy.launch.limits import Limits
from skep.deploy.launch.planning import Situation, depth_of, links_of
from skep.deploy.launch.records import (
    Build,
    Deploy,
    Ensure,
    Event,
    Instruction,
    Kill,
    Plan,
    Release,
    Route,
    Say,
    Scale,
    SliceRecord,
    Verdict,
    urls_of,
)
from skep.deploy.launch.slices import Slices
from skep.deploy.launch.specs import identity, job_spec
from skep.deploy.stack.records import Job

_log = get_logger("skep.launch")


class _Run:
    """One plan on its way: the slices that are there by now."""

    def __init__(self, plan: Plan, after: Release | None, situation: Situation, say: Say) -> None:
        self.plan, self.after, self.situation, self.say = plan, after, situation, say
        self.now = {one.id: one for one in situation.slices}

    def job(self, name: str) -> Job:
        assert self.after is not None, name
        job = self.after.stack.job(name)
        assert job is not None, name
        return job

    def record(self, slice_id: str, name: str) -> SliceRecord:
        """What is written down of a slice before it is started: its variables as they are known by now."""
        assert self.after is not None, name
        job = self.job(name)
        here = msgspec.structs.replace(self.situation, slices=tuple(self.now.values()))
        links = links_of(self.after.stack, here).variables
        spec = job_spec(self.after, job, links, self.situation.global_env, self.situation.stack_env)
        return SliceRecord(
            id=slice_id,
            stack=self.plan.stack,
            job=name,
            kind=job.kind,
            number=int(slice_id.rpartition("-")[2]),
            release=self.after.number,
            plan=self.plan.id,
            identity=identity(self.after, job, spec),
            spec=spec,
            size=job.size,
            tags=job.tags,
            hook=job.hook,
            unhook=job.unhook,
        )


class Carrying:
    """Carries plans out, one at a time for each stack: whoever calls sees to that."""

    def __init__(self, ground: Ground, limits: Limits, slices: Slices) -> None:
        self._ground, self._limits, self._slices = ground, limits, slices
        self.building = asyncio.Lock()
        """Held while images are made or collected."""
        self.in_use: dict[str, frozenset[str]] = {}
        """Images that were built for a release that is not decided."""
        self._retiring: defaultdict[str, set[asyncio.Task[None]]] = defaultdict(set)
        self.retired: set[str] = set()
        """Slices that are being ended."""

    # --- forward --------------------------------------------------------------------------------

    async def carry(self, plan: Plan, after: Release | None, situation: Situation, say: Say) -> Verdict:
        """Carry the plan out; the verdict. Raises LocalFailure when not even that can be written down."""
        journal = self._ground.journal
        await told(say, Event(kind="plan", text=f"{len(plan.instructions)} instructions", plan=plan))
        await journal.begin(plan, after, ())
        try:
            await self._forward(_Run(plan, after, situation, say))
            await journal.commit(plan)
        except Exception as error:
            verdict = await self.undo(plan, _known(error), say)
        else:
            verdict = await self.complete(plan, after)
        await told(say, Event(kind="verdict", text=verdict.reason or verdict.outcome, verdict=verdict))
        return verdict

    async def _forward(self, run: _Run) -> None:
        wave: list[tuple[int, Instruction]] = []
        depth = -1
        for index, instruction in enumerate(run.plan.instructions):
            if isinstance(instruction, Deploy | Scale) and run.after is not None:
                if wave and depth_of(run.after.stack, instruction.job) != depth:
                    await self._wave(run, wave)
                    wave = []
                depth = depth_of(run.after.stack, instruction.job)
                wave.append((index, instruction))
                continue
            await self._wave(run, wave)
            wave = []
            if not isinstance(instruction, Kill):
                await self._step(run, index, instruction)
        await self._wave(run, wave)

    async def _wave(self, run: _Run, wave: Sequence[tuple[int, Instruction]]) -> None:
        """Jobs that do not wait for each other, at the same time."""
        await together([self._step(run, index, instruction) for index, instruction in wave])

    async def _step(self, run: _Run, index: int, instruction: Instruction) -> None:
        text = shown(instruction)
        await self._ground.journal.before(run.plan, index)
        await told(run.say, Event(kind="begun", text=text, instruction=instruction, job=_job(instruction)))
        try:
            await self._do(run, instruction)
        except SkepError as error:
            words = f"{text}: {error.message}"
            await told(run.say, Event(kind="failed", text=words, instruction=instruction, job=_job(instruction)))
            error.details = {"job": _job(instruction), **error.details}
            raise
        await self._ground.journal.after(run.plan, index)
        await told(run.say, Event(kind="done", text=text, instruction=instruction, job=_job(instruction)))

    async def _do(self, run: _Run, instruction: Instruction) -> None:
        match instruction:
            case Build(job=name, image=ref):
                await self._check_image(run, name, ref)
            case Ensure(job=name, slice=slice_id, replaces=old):
                await self._start(run, slice_id, name, old)
            case Deploy(job=name, slices=slices, replaces=olds, in_place=True):
                for slice_id, old in zip(slices, (*olds, *[""] * len(slices)), strict=False):
                    await self._start(run, slice_id, name, old)
            case Deploy(job=name, slices=slices) | Scale(job=name, slices=slices):
                if run.job(name).is_pinned:  # each must be where the first is: their volume is there
                    for slice_id in slices:
                        await self._start(run, slice_id, name)
                else:
                    await together([self._start(run, slice_id, name) for slice_id in slices])
            case Route():
                serving = frozenset(run.now) - frozenset(run.plan.ends)
                self._slices.serving[run.plan.stack] = (run.after, serving)
                await self._slices.route(run.plan.stack)

    async def _check_image(self, run: _Run, name: str, ref: str) -> None:
        """What was built must still be here: hosts get it from nowhere else."""
        job = run.after.stack.job(name) if run.after is not None else None
        built = job is None or job.is_built or job.kind == "static"
        image = await asyncio.to_thread(self._ground.images.image, ref) if built else None
        if image is not None and image.archive is None:
            raise ImageNotFound(f"the image of {name} is not kept any more: push again")

    async def _start(self, run: _Run, slice_id: str, name: str, old: str = "") -> None:
        record = run.record(slice_id, name)
        if old:
            await self._slices.start_in_place(run.now[old], record)
            del run.now[old]
        else:
            await self._slices.start(record, pinned=await self._home(run, name))
        run.now[slice_id] = await self._ground.journal.slice(slice_id) or record

    async def _home(self, run: _Run, name: str) -> str:
        """The block where the volumes of the job are."""
        if not run.job(name).is_pinned:
            return ""
        blocks = {block.facts.id for block in self._ground.grid.blocks}
        for one in run.now.values():
            if one.job == name and one.places:
                return next(reversed(one.places))
        home = await self._ground.journal.home(run.plan.stack, name)
        return home if home in blocks else ""

    # --- after it is decided --------------------------------------------------------------------

    async def complete(self, plan: Plan, after: Release | None) -> Verdict:
        """A committed plan: close it, and end what is old when nothing needs it any more."""
        journal = self._ground.journal
        for one in await journal.slices(plan.stack):
            if one.state == "live" and one.spec.mounts and one.places:
                block = next(reversed(one.places))
                if await journal.home(plan.stack, one.job) != block:
                    await journal.put_home(plan.stack, one.job, block)
        verdict = Verdict(
            ok=True,
            stack=plan.stack,
            outcome="killed" if after is None else "unchanged" if plan.is_empty else "released",
            release=after.number if after is not None else 0,
            urls=urls_of(after.stack) if after is not None else (),
            plan=plan.id,
            ended_us=self._ground.clock.now_us(),
        )
        self._slices.serving.pop(plan.stack, None)
        await journal.end(plan, verdict)
        await journal.keep(plan.stack, self._limits.releases)
        self.in_use.pop(plan.stack, None)
        self.retire(plan.stack, plan.ends, drain=True)
        return verdict

    async def undo(self, plan: Plan, error: SkepError, say: Say, *, after_crash: bool = False) -> Verdict:
        """A plan that is not committed: the release before it serves on, and nothing of the new one is left."""
        journal, stack = self._ground.journal, plan.stack
        await told(say, Event(kind="undoing", text=f"{error.message}: going back to what ran before"))
        was_routed = self._slices.serving.pop(stack, None) is not None or after_crash
        if was_routed:
            await self._try(self._slices.route(stack), "route", stack)
        replaced = {new for _, new in plan.swaps}
        for old_id, new_id in reversed(plan.swaps):
            old = await journal.slice(old_id)
            if old is not None:
                await self._try(self._slices.put_back(old, new_id), "put back", old_id)
        for slice_id in plan.starts:
            record = await journal.slice(slice_id)
            if record is not None:
                await journal.put_slice(msgspec.structs.replace(record, state="old"))
        verdict = failed(stack, error, await journal.current(stack), self._ground.clock.now_us(), plan=plan.id)
        await journal.end(plan, verdict)
        self.in_use.pop(stack, None)
        ending = self.retire(stack, plan.starts, drain=was_routed)
        if ending is not None and not was_routed:
            await asyncio.wait((ending,))
        if replaced:
            await self._try(self._slices.route(stack), "route", stack)
        return verdict

    async def _try(self, doing: Awaitable[object], what: str, about: str) -> None:
        """What must not hold an undoing up: care does it again."""
        try:
            await doing
        except SkepError as error:
            _log.warning("not-undone", what=what, about=about, error=error.message)

    # --- ending what is old ---------------------------------------------------------------------

    def retire(self, stack: str, slice_ids: Iterable[str], *, drain: bool) -> asyncio.Task[None] | None:
        """End these slices in the background, with ``drain`` after what is under way there has ended."""
        wanted = tuple(slice_id for slice_id in slice_ids if slice_id not in self.retired)
        if not wanted:
            return None
        self.retired.update(wanted)
        task = asyncio.ensure_future(self._retire(stack, wanted, drain))
        self._retiring[stack].add(task)
        task.add_done_callback(self._retiring[stack].discard)
        return task

    async def _retire(self, stack: str, slice_ids: Sequence[str], drain: bool) -> None:
        try:
            if stack in self._slices.unrouted:
                await self._try(self._slices.route(stack), "route", stack)
            records = [await self._ground.journal.slice(slice_id) for slice_id in slice_ids]
            if drain and any(one is not None and one.kind == "web" for one in records):
                await self._slices.drained()
            await asyncio.gather(*(self._retire_one(slice_id) for slice_id in slice_ids))
            await self._try(self.tidy(stack), "tidy", stack)
        except Exception as error:
            _log.warning("not-ended", stack=stack, error=str(error))
        finally:
            self.retired.difference_update(slice_ids)

    async def _retire_one(self, slice_id: str) -> None:
        await self._try(self._slices.end(slice_id), "end", slice_id)

    async def idle(self, stack: str = "") -> None:
        """Wait until what is being ended has ended, of one stack or of all."""
        tasks = [task for name, tasks in self._retiring.items() if stack in ("", name) for task in tasks]
        await asyncio.gather(*tasks, return_exceptions=True)

    async def close(self) -> None:
        """Stop ending things."""
        tasks = [task for tasks in self._retiring.values() for task in tasks]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def tidy(self, of_stack: str) -> None:
        """Forget images that no release needs any more, and the stack's files at the router."""
        journal = self._ground.journal
        async with self.building:
            refs = {one.spec.image for one in await journal.slices()} | {
                ref for refs in self.in_use.values() for ref in refs
            }
            for stack in await journal.stacks():
                theirs = {ref for release in await journal.releases(stack) for ref in release.images.values()}
                refs |= theirs
                if stack == of_stack and stack not in self._slices.serving:
                    await self._slices.prune_files(stack, theirs)
            await self._ground.images.collect(refs)


async def together(doings: Sequence[Awaitable[None]]) -> None:
    """All of them at once; when one fails the others are cancelled and waited for, and the first error is raised."""
    tasks = [asyncio.ensure_future(doing) for doing in doings]
    if not tasks:
        return
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_EXCEPTION)
    finally:
        for task in tasks:
            task.cancel()
        results = await asyncio.gather(*tasks, return_exceptions=True)
    errors = [one for one in results if isinstance(one, BaseException)]
    real = [one for one in errors if not isinstance(one, asyncio.CancelledError)]
    for error in (*real, *errors):
        raise error


def shown(instruction: Instruction) -> str:
    """An instruction as people read it."""
    match instruction:
        case Build(job=job):
            return f"BUILD {job}"
        case Ensure(job=job, replaces=old):
            return f"ENSURE {job}" + (" (restarted)" if old else "")
        case Deploy(job=job, slices=slices, in_place=in_place):
            return f"DEPLOY {job} x{len(slices)}" + (" (one after the other: a fixed port)" if in_place else "")
        case Scale(job=job, count=count):
            return f"SCALE {job}={count}"
        case Route(domains=domains):
            names = ", ".join(sorted(name for of_job in domains.values() for name in of_job))
            return f"ROUTE {names or 'nothing'}"
        case Kill(job=job, slices=slices):
            return f"KILL {job} x{len(slices)}"


def failed(stack: str, error: SkepError, current: Release | None, now_us: int, *, plan: str = "") -> Verdict:
    """The verdict on a launch that an error ended."""
    lines = error.details.get("last_lines", ())
    return Verdict(
        ok=False,
        stack=stack,
        outcome="failed",
        release=current.number if current is not None else 0,
        reason=error.message,
        job=str(error.details.get("job", "")),
        last_lines=tuple(str(line) for line in lines) if isinstance(lines, list | tuple) else (),
        plan=plan,
        ended_us=now_us,
    )


async def told(say: Say, event: Event) -> None:
    """Tell it; whoever listens cannot stop a launch."""
    try:
        await say(event)
    except Exception as error:
        _log.warning("event-not-told", kind=event.kind, error=str(error))


def _known(error: Exception) -> SkepError:
    if isinstance(error, SkepError):
        return error
    _log.error("launch-broke", error=repr(error))
    return Unavailable(f"the launch broke: {error!r}")


def _job(instruction: Instruction) -> str:
    return "" if isinstance(instruction, Route) else instruction.job
