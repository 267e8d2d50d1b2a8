"""What launches stand on at HQ: see ``launch.ground.Ground``."""

from __future__ import annotations

from collections.abc import Mapping

from skep.base.clock import Clock
from skep.deploy.build.images import Images
from skep.deploy.engines.protocol import Builder, Engine
from skep.deploy.grid import SliceGrid
from skep.deploy.hq.servers import Ways
from skep.deploy.hq.variables import Variables
from skep.deploy.launch.ground import Hooks, Router
from skep.deploy.launch.journal import Journal
from skep.deploy.shell.local import LocalRunner
from skep.deploy.shell.records import Command


class ShellHooks:
    """Runs hooks as shell commands on this machine."""

    async def run(self, command: str, env: Mapping[str, str], timeout_s: float) -> None:
        """As ``Hooks`` says."""
        await LocalRunner("HQ").run(Command(argv=("sh", "-c", command), env=dict(env), timeout_s=timeout_s))


class HqGround:
    """A Ground over the servers of an HQ."""

    def __init__(
        self,
        *,
        fleet: str,
        grid: SliceGrid,
        journal: Journal,
        images: Images,
        builder: Builder,
        router: Router,
        ways: Ways,
        variables: Variables,
        clock: Clock,
    ) -> None:
        self.fleet = fleet
        self.grid = grid
        self.journal = journal
        self.images = images
        self.builder = builder
        self.router = router
        self.hooks: Hooks = ShellHooks()
        self.clock = clock
        self._ways = ways
        self._variables = variables

    def engine(self, block_id: str) -> Engine:
        """The engine of a block; the same one each time."""
        return self._ways.engine(block_id)

    async def environment(self, stack: str) -> tuple[Mapping[str, str], Mapping[str, str]]:
        """The global variables and those of the stack."""
        return await self._variables.of_stack(stack)
