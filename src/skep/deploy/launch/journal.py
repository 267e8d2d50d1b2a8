"""The journal: what a launch writes down before and after each thing it does, so that a kill at any line is mended.

What always holds:

- a plan is in the journal, with every slice that it will start, before any engine is asked (``begin``);
- ``commit`` is the one moment at which the new release takes the old one's place: before it a crash is undone, after it
  completed. It changes the current release, the new slices to ``live`` and the replaced ones to ``old`` together;
- a slice's record goes only when the slice is gone from its engine and from the grid (``drop_slice``).

Each call is durable when it returns, and all of it happens or nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import msgspec

from skep.base.errors import NotFound
from skep.deploy.launch.records import CronRun, Plan, Release, SliceRecord, Verdict

VERDICTS_KEPT = 50
RUNS_KEPT = 50


class OpenPlan(msgspec.Struct, frozen=True, kw_only=True):
    """A plan that has not ended: where a crash, or a launch that runs now, left it."""

    plan: Plan
    after: Release | None
    """The release that it leads to; None when all is to end."""
    committed: bool = False
    begun: int = -1
    """The last instruction that was begun."""
    done: int = -1
    """The last instruction that was done."""


class Journal(Protocol):
    """See the module. Safe for concurrent calls from one event loop. Raises LocalFailure, CorruptRecord, KeyMissing."""

    # --- numbers --------------------------------------------------------------------------------

    async def next_number(self, stack: str) -> int:
        """A number for a plan or a release of the stack: never given twice, also not after a crash or ``forget``."""
        ...

    # --- plans ----------------------------------------------------------------------------------

    async def begin(self, plan: Plan, after: Release | None, slices: Sequence[SliceRecord]) -> None:
        """A plan is about to be carried out; ``slices`` are those that are known so far, in state ``new``.

        Raises AlreadyExists while another plan of the stack is open.
        """
        ...

    async def before(self, plan: Plan, index: int) -> None:
        """The instruction ``index`` begins."""
        ...

    async def after(self, plan: Plan, index: int) -> None:
        """The instruction ``index`` is done."""
        ...

    async def commit(self, plan: Plan) -> None:
        """From now on the plan's release is current: ``plan.starts`` are live, ``plan.ends`` are old."""
        ...

    async def end(self, plan: Plan, verdict: Verdict) -> None:
        """The plan is closed; nothing of it is left to be done or undone."""
        ...

    async def open_plans(self) -> tuple[OpenPlan, ...]:
        """Plans that have begun and not ended: at most one for each stack."""
        ...

    async def verdicts(self, stack: str) -> tuple[Verdict, ...]:
        """The last VERDICTS_KEPT, oldest first."""
        ...

    # --- releases -------------------------------------------------------------------------------

    async def stacks(self) -> tuple[str, ...]:
        """Every stack that has a release or slices, by name."""
        ...

    async def current(self, stack: str) -> Release | None:
        """The release that serves."""
        ...

    async def releases(self, stack: str) -> tuple[Release, ...]:
        """All that are kept, oldest first, the current one among them."""
        ...

    async def keep(self, stack: str, count: int) -> None:
        """Forget the oldest releases over ``count``, never the current one."""
        ...

    async def forget(self, stack: str) -> None:
        """Forget all of a stack that has no slices. Its numbers are never given again."""
        ...

    # --- slices ---------------------------------------------------------------------------------

    async def put_slice(self, record: SliceRecord) -> None:
        """Write a slice down, or what has changed about it."""
        ...

    async def slice(self, id: str) -> SliceRecord | None:
        """A slice; None: nobody of ours."""
        ...

    async def slices(self, stack: str = "") -> tuple[SliceRecord, ...]:
        """All slices of a stack, or of all, in the order of their ids."""
        ...

    async def drop_slice(self, id: str) -> None:
        """The slice is gone for good. Not there: fine."""
        ...

    # --- cron jobs ------------------------------------------------------------------------------

    async def put_run(self, run: CronRun) -> None:
        """A run of a cron job has ended; told again of the same slice it takes the place of the first telling."""
        ...

    async def runs(self, stack: str) -> tuple[CronRun, ...]:
        """The last RUNS_KEPT of a stack, oldest first."""
        ...

    # --- volumes --------------------------------------------------------------------------------

    async def home(self, stack: str, job: str) -> str:
        """The block where the volumes of a job are; empty when they are nowhere yet."""
        ...

    async def put_home(self, stack: str, job: str, block: str) -> None:
        """The volumes of a job are there from now on; empty: nowhere."""
        ...


async def release_of(journal: Journal, stack: str, number: int) -> Release:
    """A kept release. Raises NotFound, which says those that are."""
    kept = await journal.releases(stack)
    for release in kept:
        if release.number == number:
            return release
    there = ", ".join(str(release.number) for release in kept) or "none"
    raise NotFound(f"stack {stack} has no release {number}: kept are {there}", stack=stack)
