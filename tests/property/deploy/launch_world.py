"""A whole HQ on memory engines: hosts and a router that outlive it, and an HQ that can be killed at each outward call.

Whatever HQ does to the world passes ``Life.step`` before and after it: there a history may kill it. What is then in the
rows, in the grid's file, on the hosts and in the router is all that the next HQ finds.
"""

from __future__ import annotations

import asyncio
import random
import selectors
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from skep.base.errors import CommandFailed, HostUnavailable, LocalFailure, SkepError
from skep.deploy.build import Images
from skep.deploy.engines.memory import Fault, MemoryEngine, MemoryHost
from skep.deploy.engines.records import Image, JobSpec, Labels, Observed
from skep.deploy.grid import Size, SliceGrid
from skep.deploy.grid.state import State, StateFile
from skep.deploy.launch.journal_rows import MemoryJournal, MemoryRows
from skep.deploy.launch.launcher import Launcher
from skep.deploy.launch.limits import Limits
from skep.deploy.launch.records import Event, Plan
from skep.deploy.router.records import Backend, Site

GIB = 1 << 30
HOSTS = ("m1", "m2", "m3")
LIMITS = Limits(look_s=0.5, drain_s=20.0, in_use_s=10.0, sweep_s=5.0, tries=3)


class Killed(BaseException):
    """HQ is gone: no handler of it may do anything any more."""


class _NoSelector(selectors.SelectSelector):
    """Waits for nothing: the loop's time goes straight to its next timer."""

    loop: VirtualLoop

    def select(self, timeout: float | None = None) -> list[Any]:
        if timeout:
            self.loop.now_s += timeout
        return []


class VirtualLoop(asyncio.SelectorEventLoop):
    """A loop in which waiting costs no time, and what is given to a thread runs at once: the same in every run."""

    def __init__(self) -> None:
        self.now_s = 0.0
        selector = _NoSelector()
        selector.loop = self
        super().__init__(selector)
        self.set_exception_handler(self._complain)

    def time(self) -> float:
        return self.now_s

    def run_in_executor(self, executor: Any, func: Callable[..., Any], *args: Any) -> asyncio.Future[Any]:  # type: ignore[override]
        done = self.create_future()
        try:
            done.set_result(func(*args))
        except Exception as error:
            done.set_exception(error)
        return done

    def _complain(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        if not isinstance(context.get("exception"), Killed):
            self.default_exception_handler(context)


class VirtualClock:
    """The clock of such a loop."""

    def now_us(self) -> int:
        return 1_700_000_000_000_000 + round(self.monotonic_s() * 1e6)

    def monotonic_s(self) -> float:
        return asyncio.get_running_loop().time()

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)  # of a loop whose time costs none


class Life:
    """One HQ process: ``dies_in`` more outward steps are left to it; None: it lives on."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.is_alive = True
        self.dies_in: int | None = None

    def step(self, what: str) -> None:
        if not self.is_alive:
            raise Killed
        self.world.steps += 1
        if self.dies_in is not None:
            self.dies_in -= 1
            if self.dies_in <= 0:
                self.is_alive = False
                self.world.deaths.append(what)
                raise Killed


class Rows(MemoryRows):
    """Rows as a living HQ writes them."""

    def __init__(self, life: Life, rows: dict[str, bytes]) -> None:
        self.rows, self.life = rows, life

    async def apply(self, changes: Mapping[str, bytes | None]) -> None:
        about = min(changes).split("/")[0]
        self.life.step(f"before journal {about}")
        if self.life.world.chance.random() < self.life.world.fault_rate / 10:
            raise LocalFailure("the disk of HQ is full")
        await super().apply(changes)
        self.life.step(f"after journal {about}")


class GridFile(StateFile):
    """The grid's file, in memory."""

    def __init__(self, life: Life, box: list[bytes]) -> None:
        super().__init__(None)
        self.life, self.box = life, box

    def load(self) -> State:
        return msgspec.json.decode(self.box[0], type=State) if self.box else State()

    async def save(self, state: State) -> None:
        self.life.step("before grid file")
        self.box[:] = [msgspec.json.encode(state)]
        self.life.step("after grid file")


class Engine(MemoryEngine):
    """A host's engine as a living HQ reaches it; tells the world what it does there."""

    def __init__(self, life: Life, host: MemoryHost) -> None:
        super().__init__(host)
        self.life = life

    async def _call(self, verb: str, id: str, action: Callable[[], Any]) -> Any:
        self.life.step(f"before {verb}")

        async def watched() -> Any:
            if verb in ("stop", "remove"):
                self.life.world.check_ending(self._host, id)
            return await action()

        result = await super()._call(verb, id, watched)
        self.life.step(f"after {verb}")
        return result

    async def ensure(self, spec: JobSpec, labels: Labels) -> Observed:
        seen = await super().ensure(spec, labels)
        self.life.world.check_started(self._host, labels)
        return seen


class Router:
    """The router as a living HQ reaches it."""

    def __init__(self, life: Life) -> None:
        self.life, self.world = life, life.world

    async def apply(self, stack: str, sites: Sequence[Site]) -> None:
        self.life.step("before route")
        fault = self.world.chance.random() < self.world.fault_rate
        if fault and self.world.chance.random() < 0.5:
            raise HostUnavailable("the router does not answer")
        if any("refused" in domain for site in sites for domain in site.domains):
            raise CommandFailed("nginx: refused")
        self.world.serve(stack, sites)
        self.life.step("after route")
        if fault:
            raise HostUnavailable("the router did not answer in time")

    async def drained(self, timeout_s: float) -> bool:
        self.life.step("before drained")
        wait_s = self.world.chance.choice((0.0, 1.0, timeout_s))
        await self.world.clock.sleep(wait_s)
        self.world.left.clear()
        self.life.step("after drained")
        return wait_s < timeout_s

    async def place(self, stack: str, files: Image) -> str:
        return f"/files/{stack}"

    async def prune(self, stack: str, refs: Collection[str]) -> None:
        pass


class Hooks:
    """Hooks that only count."""

    def __init__(self, life: Life) -> None:
        self.life = life

    async def run(self, command: str, env: Mapping[str, str], timeout_s: float) -> None:
        self.life.step("before hook")
        self.life.world.hooked.append(f"{command} {env['slice']} {env['port']}")
        self.life.step("after hook")


class World:
    """What outlives HQ, and what is found wrong in it."""

    def __init__(self, seed: int, folder: Path, *, fault_rate: float = 0.0) -> None:
        self.chance = random.Random(seed)
        self.clock = VirtualClock()
        self.folder = folder
        self.fault_rate = fault_rate
        self.rows: dict[str, bytes] = {}
        self.box: list[bytes] = []
        self.hosts = {name: MemoryHost(name, self.clock, memory_bytes=8 * GIB) for name in HOSTS}
        for number, host in enumerate(self.hosts.values(), 2):
            host.next_port = 10_000 * number  # so that an address tells the host
            host.registry = {f"image:{number}" for number in range(10)}
            host.latency_s = lambda verb: self.chance.choice((0.0, 0.0, 0.01, 0.2))
            host.fault = self._fault
        self.sites: dict[str, tuple[Site, ...]] = {}
        self.left: dict[Backend, float] = {}
        """Backends that nothing leads to any more, and since when; what was under way there may go on."""
        self.hooked: list[str] = []
        self.wrong: list[str] = []
        self.deaths: list[str] = []
        self.steps = 0
        self.environment: dict[str, str] = {}
        self.tree = folder.parent / "tree"
        self.tree.mkdir(parents=True, exist_ok=True)

    def _fault(self, verb: str, number: int) -> Fault | None:
        if self.chance.random() >= self.fault_rate:
            return None
        return Fault(self.chance.choice(("refuse", "lose", "slow")), 3.0)

    # --- what is watched ------------------------------------------------------------------------

    def serve(self, stack: str, sites: Sequence[Site]) -> None:
        before = {backend for site in self.sites.get(stack, ()) for backend in site.backends}
        self.sites[stack] = tuple(sites)
        after = {backend for site in sites for backend in site.backends}
        for backend in before - after:
            self.left[backend] = self.clock.monotonic_s()
        for backend in after:
            self.left.pop(backend, None)
        for backend in after - before:
            self.check_ready(backend)

    def check_ready(self, backend: Backend) -> None:
        """What requests are led to must be able to answer them, but for what its host lost: HQ cannot know it yet."""
        for host in self.hosts.values():
            for slice_id, job in host.jobs.items():
                ports = {binding.host_port for binding in job.bindings}
                is_up = not host.is_down and job.state not in ("stopped", "exited")
                if backend.port in ports and is_up and job.health(host.now_s()) != "healthy":
                    self.wrong.append(f"requests were led to {slice_id}, which is {job.health(host.now_s())}")

    def check_ending(self, host: MemoryHost, slice_id: str) -> None:
        """A web slice may end only when nothing leads to it and what was under way has had its time."""
        job = host.jobs.get(slice_id)
        if job is None or job.state != "running" or job.labels.job != "web":
            return
        for binding in job.bindings:
            backend = self.backend(host, binding.host_port)
            routed = any(backend in site.backends for sites in self.sites.values() for site in sites)
            since = self.left.get(backend)
            if routed or (since is not None and self.clock.monotonic_s() - since < LIMITS.drain_s):
                self.wrong.append(f"{slice_id} was ended while requests were under way there")

    def check_started(self, host: MemoryHost, labels: Labels) -> None:
        """A service, and whatever holds a fixed port, never runs twice."""
        if labels.job not in ("db", "fixed"):
            return
        for other in self.hosts.values():
            for job in other.jobs.values():
                same = (job.labels.stack, job.labels.job) == (labels.stack, labels.job)
                runs = job.state == "running" and not other.is_down
                if same and runs and (other, job.labels.slice) != (host, labels.slice):
                    self.wrong.append(f"{labels.slice} runs beside {job.labels.slice}")

    @staticmethod
    def backend(host: MemoryHost, port: int) -> Backend:
        return Backend("127.0.0.1", port)

    # --- HQ -------------------------------------------------------------------------------------

    def hq(self) -> HQ:
        """A new HQ process that knows nothing but what is written down."""
        return HQ(self)


class HQ:
    """One process: fills ``Ground``."""

    fleet = "test"

    def __init__(self, world: World) -> None:
        self.world, self.life = world, Life(world)
        self.clock = world.clock
        self.grid = SliceGrid(clock=world.clock, file=GridFile(self.life, world.box), autosize=False)
        self.journal = MemoryJournal(Rows(self.life, world.rows))
        self.images = Images(world.folder)
        self.router, self.hooks = Router(self.life), Hooks(self.life)
        self.engines = {name: Engine(self.life, host) for name, host in world.hosts.items()}
        self.builder = self.engines["m1"]
        self.plans: list[Plan] = []
        self.launcher = Launcher(self, LIMITS)

    def engine(self, block_id: str) -> Engine:
        return self.engines[block_id]

    async def environment(self, stack: str) -> tuple[Mapping[str, str], Mapping[str, str]]:
        return {}, self.world.environment

    async def say(self, event: Event) -> None:
        if event.plan is not None:
            self.plans.append(event.plan)

    async def open(self) -> None:
        """Recover, as often as that takes, and take in all hosts."""
        await self.launcher.recover()
        known = {block.facts.id for block in self.grid.blocks}
        for name, host in self.world.hosts.items():
            if name not in known:
                size = Size(cpu_millis=host.cpu_millis, memory_bytes=host.memory_bytes)
                await self.grid.adopt(name, size)

    async def die(self) -> None:
        """What a kill leaves: nothing of this process goes on."""
        self.life.is_alive = False
        await self.launcher.close()


async def rest(hq: HQ) -> None:
    """With no more bad luck, care brings everything to rest."""
    hq.world.fault_rate = 0.0
    await hq.launcher.idle()
    for _ in range(4):
        await hq.clock.sleep(40.0)
        await hq.launcher.tick()
        await hq.launcher.idle()


async def check_agreement(hq: HQ) -> None:
    """Journal, grid, hosts and router tell one story: no orphan, no double, nothing half done."""
    world = hq.world
    assert not world.wrong, world.wrong
    assert await hq.journal.open_plans() == ()
    records = {one.id: one for one in await hq.journal.slices()}
    assert {one.state for one in records.values()} <= {"live"}, records
    at_rest = {entry.slice.id: entry.block for entry in hq.grid.slices if entry.state == "running"}
    assert {entry.state for entry in hq.grid.slices} <= {"running"}, hq.grid.slices
    assert at_rest.keys() == records.keys()
    running = {
        (slice_id, name) for name, host in world.hosts.items() for slice_id, job in host.jobs.items() if job.labels
    }
    assert running == set(at_rest.items())
    for name, host in world.hosts.items():
        for slice_id, job in host.jobs.items():
            job.advance(host.now_s())
            assert job.state in ("running", "restarting"), (slice_id, job.state)
            assert records[slice_id].places.keys() == {name}
            assert records[slice_id].places[name].bindings == job.bindings
    for stack in {one.stack for one in records.values()} | set(world.sites):
        await check_release(hq, stack)


async def check_release(hq: HQ, stack: str) -> None:
    """What runs and what is led to is the current release, whole."""
    current = await hq.journal.current(stack)
    records = list(await hq.journal.slices(stack))
    if current is None:
        assert records == []
        assert hq.world.sites.get(stack, ()) == ()
        return
    for job in current.stack.of_kind("service", "web", "worker"):
        mine = [one for one in records if one.job == job.name]
        assert len(mine) == current.scale_of(job), (job.name, mine)
        if job.kind != "service":
            assert {one.spec.image for one in mine} <= {current.images[job.name]}
        if job.is_pinned and mine:
            assert {block for one in mine for block in one.places} == {await hq.journal.home(stack, job.name)}
    wanted = {}
    for job in current.stack.of_kind("web"):
        ends = {
            Backend(binding.address, binding.host_port)
            for one in records
            if one.job == job.name
            for binding in one.bindings
        }
        wanted[job.name] = (job.domains, tuple(sorted(ends)))
    assert {site.job: (site.domains, site.backends) for site in hq.world.sites.get(stack, ())} == wanted


async def quiet(doing: Any) -> Any:
    """What an order came to; an error of the tree is an answer, too."""
    try:
        return await doing
    except SkepError as error:
        return error


def run(history: Callable[[], Any]) -> Any:
    """A history on a loop of its own."""
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        return runner.run(history())
