"""What a launch stands on, and what it gives: protocols. The docstrings are the contract.

``Ground`` is filled by whoever runs launches: HQ, or a laptop. ``Launches`` is what they call.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Protocol

from skep.base.clock import Clock
from skep.deploy.build.images import Images
from skep.deploy.engines.protocol import Builder, Engine
from skep.deploy.engines.records import Image
from skep.deploy.grid import SliceGrid
from skep.deploy.launch.journal import Journal
from skep.deploy.launch.records import Plan, Request, Say, StackView, Verdict
from skep.deploy.router.records import Site


class Router(Protocol):
    """What leads domains to slices. ``hq.routers.Routers`` is nginx on the servers of an HQ."""

    async def apply(self, stack: str, sites: Sequence[Site]) -> None:
        """Serve these sites for a stack from now on, none to take it out; returns when new requests go there.

        It may add certificates to sites that have none. Raises AlreadyExists, BadInput, CommandFailed, TimedOut,
        HostUnavailable; then the stack is served as before, or, where that cannot be known, as one of the two.
        """
        ...

    async def drained(self, timeout_s: float) -> bool:
        """Wait until nothing that is under way knows older sites; False when something does after that time."""
        ...

    async def place(self, stack: str, files: Image) -> str:
        """Bring the files of an archive to the router; the absolute path of their folder there. Done once for a ref."""
        ...

    async def prune(self, stack: str, refs: Collection[str]) -> None:
        """Forget all files of the stack but these."""
        ...


class Hooks(Protocol):
    """Runs what a stack file says under ``hook`` and ``unhook``."""

    async def run(self, command: str, env: Mapping[str, str], timeout_s: float) -> None:
        """Run a shell command to its end. Raises CommandFailed, TimedOut."""
        ...


class Ground(Protocol):
    """What a launch stands on."""

    @property
    def fleet(self) -> str:
        """A name of this HQ, ``a-z0-9-``: jobs on hosts that begin with another's are left alone. Never changed."""
        ...

    @property
    def grid(self) -> SliceGrid:
        """Where slices lie; the launcher takes its events ``added`` and ``removed``, and opens it in ``recover``."""
        ...

    @property
    def journal(self) -> Journal: ...

    @property
    def images(self) -> Images: ...

    @property
    def builder(self) -> Builder: ...

    @property
    def router(self) -> Router: ...

    @property
    def hooks(self) -> Hooks: ...

    @property
    def clock(self) -> Clock: ...

    def engine(self, block_id: str) -> Engine:
        """The engine of a block: the same one each time. Raises EngineUnavailable when there is no way to it."""
        ...

    async def environment(self, stack: str) -> tuple[Mapping[str, str], Mapping[str, str]]:
        """The global variables and those of the stack, opened."""
        ...


class Launches(Protocol):
    """What HQ and a laptop call: ``launcher.Launcher``.

    Whatever ends a launch is a Verdict, not an error: a stack that does not build, does not start, finds no room, or is
    overtaken by a newer push. Errors are for what is no launch: NotFound (no such stack, release or job), BadInput.
    """

    async def recover(self) -> tuple[Verdict, ...]:
        """Open the grid, and bring every launch that a crash cut short to exactly its old or exactly its new state.

        Call it once, before all else. Hosts that do not answer are cleaned by a later ``tick``.
        """
        ...

    async def deploy(self, request: Request, say: Say) -> Verdict:
        """Build, and replace what runs by it. The newest of those that wait for one stack wins."""
        ...

    async def plan(self, request: Request, say: Say) -> Plan:
        """What ``deploy`` would do: builds, and touches nothing else."""
        ...

    async def scale(self, stack: str, scales: Mapping[str, int], say: Say) -> Verdict:
        """Run so many slices of these jobs. Raises NotFound, BadInput for a job that has no number."""
        ...

    async def rollback(self, stack: str, number: int | None, say: Say) -> Verdict:
        """Launch a kept release again (None: the one before the current) without building. Raises NotFound."""
        ...

    async def restart(self, stack: str, jobs: Collection[str], say: Say) -> Verdict:
        """Replace the slices of these jobs (none named: all but services) by new ones of the current release."""
        ...

    async def kill(self, stack: str, say: Say) -> Verdict:
        """End all slices and take the stack out of the router. Releases stay: ``rollback`` starts it again."""
        ...

    async def remove(self, stack: str, say: Say) -> Verdict:
        """``kill``, and forget the stack's releases. Volumes are kept on their hosts."""
        ...

    async def observe(self, stack: str) -> StackView:
        """What runs, as the engines see it now. Raises NotFound."""
        ...

    async def tick(self) -> None:
        """One round of care, every few seconds: the grid's, jobs that are not as they should be, crons."""
        ...

    async def host_lost(self, block_id: str) -> tuple[str, ...]:
        """A host does not answer any more: start its slices elsewhere. The ids of those that have no place."""
        ...

    async def host_found(self, block_id: str) -> None:
        """A lost host is back: what is old there is ended, what waited for it goes on."""
        ...
