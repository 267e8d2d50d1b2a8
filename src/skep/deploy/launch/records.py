"""What a launch is made of, as frozen records: releases, plans of instructions, slices, verdicts, and what is told.

A **release** is all that is needed to run a stack again: its declaration, its images and the scale that was asked for.
A **plan** leads from one release to the next; its instructions are data, with every slice's id chosen before any engine
is asked. A **verdict** ends every plan.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Literal, TypeAlias

import msgspec

from skep.deploy.engines.records import Binding, JobSpec
from skep.deploy.grid import Step
from skep.deploy.stack.records import Job, Kind, Size, Stack

Downtime: TypeAlias = Literal["none", "restart"]
"""``none``: the old goes on until the new is well. ``restart``: the old must end before the new begins."""
Outcome: TypeAlias = Literal["released", "unchanged", "failed", "superseded", "killed", "removed"]
SliceState: TypeAlias = Literal["new", "live", "old"]
"""``new``: of a plan that is not decided. ``live``: of the release that serves. ``old``: to be ended."""


class Request(msgspec.Struct, frozen=True, kw_only=True):
    """What somebody wants to be launched: a declaration and the tree that it came with."""

    stack: Stack
    tree: Path
    revision: str = ""
    """The commit, or whatever names the tree for people."""
    by: str = ""
    """Who asks."""


class Release(msgspec.Struct, frozen=True, kw_only=True):
    """All that is needed to run a stack once more without building anything."""

    number: int
    """Grows within a stack, never given twice."""
    stack: Stack
    images: dict[str, str] = {}
    """Job -> ref of its image; a static job's is its files. ``JOB/tls``: a certificate and its key."""
    recipes: dict[str, str] = {}
    """Job -> digest of how its image is made, without the tree: what makes a service another one."""
    scales: dict[str, int] = {}
    """Job -> how many slices were asked for apart from the file."""
    revision: str = ""
    by: str = ""
    created_us: int = 0
    restored_from: int = 0
    """The release that this one repeats; 0: none."""

    def scale_of(self, job: Job) -> int:
        """How many slices of the job run."""
        if job.kind == "service":
            return 1
        return self.scales.get(job.name, job.scale) if job.kind in ("web", "worker") else 0


class Build(msgspec.Struct, frozen=True, kw_only=True, tag="build"):
    """BUILD: an image was made, or found made, for a job."""

    job: str
    image: str


class Ensure(msgspec.Struct, frozen=True, kw_only=True, tag="ensure"):
    """ENSURE: a service runs. ``slice`` is started; ``replaces`` is ended first, on the same block."""

    job: str
    slice: str
    replaces: str = ""


class Deploy(msgspec.Struct, frozen=True, kw_only=True, tag="deploy"):
    """DEPLOY: ``slices`` are started and must be well; ``replaces`` are ended by a later KILL.

    ``in_place``: each takes the place of the one that it replaces, which is ended first (a fixed port of the host).
    """

    job: str
    slices: tuple[str, ...]
    replaces: tuple[str, ...] = ()
    in_place: bool = False


class Scale(msgspec.Struct, frozen=True, kw_only=True, tag="scale"):
    """SCALE: an unchanged job gets ``slices`` more, or loses ``drops``, which a later KILL ends."""

    job: str
    count: int
    slices: tuple[str, ...] = ()
    drops: tuple[str, ...] = ()


class Route(msgspec.Struct, frozen=True, kw_only=True, tag="route"):
    """ROUTE: the router serves these domains, job -> domains, from the slices of the new release."""

    domains: dict[str, tuple[str, ...]] = {}


class Kill(msgspec.Struct, frozen=True, kw_only=True, tag="kill"):
    """KILL: slices that nothing leads to any more end."""

    job: str
    slices: tuple[str, ...]


Instruction: TypeAlias = Build | Ensure | Deploy | Scale | Route | Kill


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """How one release becomes the next. ``before`` is 0 where there is none; ``after`` is 0 when all is to end."""

    id: str
    """``STACK.NUMBER``: also the label of what it starts."""
    stack: str
    number: int
    """Of the plan, within its stack, never given twice."""
    before: int
    after: int
    instructions: tuple[Instruction, ...] = ()
    downtime: dict[str, Downtime] = {}
    """Of each job that is started or replaced."""
    notes: tuple[str, ...] = ()
    """What people should know: services that go on with an older environment, shared services, …"""
    placing: tuple[Step, ...] = ()
    """What the grid would do for it when it was made; others may be quicker, so it may do something else."""

    @property
    def starts(self) -> tuple[str, ...]:
        """The slices that it starts."""
        found: list[str] = []
        for one in self.instructions:
            if isinstance(one, Ensure):
                found.append(one.slice)
            elif isinstance(one, Deploy | Scale):
                found += one.slices
        return tuple(found)

    @property
    def ends(self) -> tuple[str, ...]:
        """The slices that are gone once it is done."""
        found = [one.replaces for one in self.instructions if isinstance(one, Ensure) and one.replaces]
        for one in self.instructions:
            if isinstance(one, Kill):
                found += one.slices
            elif isinstance(one, Deploy) and one.in_place:
                found += one.replaces
        return tuple(found)

    @property
    def swaps(self) -> tuple[tuple[str, str], ...]:
        """Pairs of the slice that is ended and the one that takes its place on the same block."""
        found: list[tuple[str, str]] = []
        for one in self.instructions:
            if isinstance(one, Ensure) and one.replaces:
                found.append((one.replaces, one.slice))
            elif isinstance(one, Deploy) and one.in_place:
                found += zip(one.replaces, one.slices, strict=False)
        return tuple(found)

    @property
    def is_empty(self) -> bool:
        """Whether nothing is started, ended or scaled."""
        return not (self.starts or self.ends)


class Place(msgspec.Struct, frozen=True, kw_only=True):
    """How a slice runs on a block."""

    bindings: tuple[Binding, ...] = ()
    """Where its ports are reached."""
    spec: JobSpec | None = None
    """What its engine was given: the slice's spec with the image as this host calls it."""
    is_ready: bool = True
    """Of a web slice: whether requests are led there. Not while it is started again after it had ended by itself."""


class SliceRecord(msgspec.Struct, frozen=True, kw_only=True):
    """One slice as the journal knows it: enough to start it elsewhere without its release."""

    id: str
    stack: str
    job: str
    kind: Kind
    number: int
    """Among the slices of its job, from 0 on."""
    release: int
    plan: str
    identity: str
    """Equal for slices that need not be replaced by each other."""
    spec: JobSpec
    size: Size
    tags: tuple[str, ...] = ()
    hook: str = ""
    unhook: str = ""
    state: SliceState = "new"
    places: dict[str, Place] = {}
    """Block -> how it runs there; two while it moves."""

    @property
    def bindings(self) -> tuple[Binding, ...]:
        """Where its ports are reached; on the block that it came to last."""
        return next(reversed(self.places.values()), Place()).bindings


class Verdict(msgspec.Struct, frozen=True, kw_only=True):
    """How a launch ended. What failed left the release before it serving."""

    ok: bool
    stack: str
    outcome: Outcome
    release: int = 0
    """The one that serves now; 0: none."""
    reason: str = ""
    job: str = ""
    """The job that failed."""
    last_lines: tuple[str, ...] = ()
    """Of the job's output, or of the build's."""
    urls: tuple[str, ...] = ()
    plan: str = ""
    ended_us: int = 0


class Event(msgspec.Struct, frozen=True, kw_only=True):
    """What is told while a launch runs."""

    kind: Literal["waiting", "line", "plan", "begun", "done", "failed", "undoing", "verdict"]
    text: str
    """For people, one line."""
    job: str = ""
    plan: Plan | None = None
    """With ``plan``."""
    instruction: Instruction | None = None
    """With ``begun``, ``done`` and ``failed``."""
    verdict: Verdict | None = None
    """With ``verdict``, which is the last."""


Say: TypeAlias = Callable[[Event], Awaitable[None]]
"""Told events in their order. What it raises is logged and changes nothing."""


class CronRun(msgspec.Struct, frozen=True, kw_only=True):
    """A run of a cron job that has ended."""

    stack: str
    job: str
    slice: str
    started_us: int
    ended_us: int
    exit_code: int | None
    reason: str = ""
    last_lines: tuple[str, ...] = ()


class StackView(msgspec.Struct, frozen=True, kw_only=True):
    """A stack as it is: ``Launcher.observe``."""

    stack: str
    release: Release | None
    slices: tuple[SliceView, ...] = ()
    urls: tuple[str, ...] = ()
    open_plan: str = ""
    """The launch that is under way."""
    runs: tuple[CronRun, ...] = ()
    """How its cron jobs ended lately, oldest first."""


class SliceView(msgspec.Struct, frozen=True, kw_only=True):
    """A slice as it is."""

    id: str
    job: str
    release: int
    block: str
    state: str
    """What its engine says; ``unknown`` when the host does not answer, ``absent`` when it is not there."""
    health: str = "none"
    restarts: int = 0
    bindings: tuple[Binding, ...] = ()
    started_us: int = 0


def urls_of(stack: Stack) -> tuple[str, ...]:
    """Where people reach a stack: one address for each domain but wildcards, HTTPS where it brings a certificate."""
    found = []
    for job in stack.of_kind("web", "static"):
        scheme = "https" if job.ssl_cert else "http"
        found += [f"{scheme}://{domain}/" for domain in job.domains if not domain.startswith("*")]
    return tuple(found)
