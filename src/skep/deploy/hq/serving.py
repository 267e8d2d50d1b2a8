"""The program of an HQ, put together: read it as a table of contents.

    hq = Hq(HqFolder(path), read_settings(...))
    await hq.open()          # everything that a crash cut short is mended before the ports are opened
    ...
    await hq.close()

What the order of ``open`` guarantees: nobody speaks to an HQ that does not know yet what runs.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import secrets
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from skep.base.clock import Clock, SystemClock
from skep.base.errors import CorruptRecord, LimitReached, LocalFailure, SkepError
from skep.base.logs import get_logger
from skep.deploy.build.images import Images
from skep.deploy.engines.protocol import Builder
from skep.deploy.grid import SliceGrid
from skep.deploy.hq.control import Call, serve_order
from skep.deploy.hq.endpoint import Endpoint
from skep.deploy.hq.export import export
from skep.deploy.hq.fleet import Fleet
from skep.deploy.hq.folder import HqFolder, unix_listener
from skep.deploy.hq.ground import HqGround
from skep.deploy.hq.hooks import Hook, Hooks
from skep.deploy.hq.orders import Desk, carry_out
from skep.deploy.hq.people import LOCAL_ADMIN, People, Person
from skep.deploy.hq.pushes import Pushes
from skep.deploy.hq.renting import Rented, new_driver
from skep.deploy.hq.repositories import Repositories
from skep.deploy.hq.routers import Routers
from skep.deploy.hq.sealed_rows import SealedRows
from skep.deploy.hq.servers import Ways
from skep.deploy.hq.settings import HqSettings
from skep.deploy.hq.sqlite_state import SqliteState
from skep.deploy.hq.state import StateStore
from skep.deploy.hq.variables import Variables
from skep.deploy.launch.journal_rows import RowJournal
from skep.deploy.launch.launcher import Launcher
from skep.deploy.shell.protocol import ByteReader, ByteWriter

if TYPE_CHECKING:
    from skep.deploy.hq.etcd_state import Led

log = get_logger("skep.hq")
TIDY_S = 24 * 3600.0
ORDERS_AT_ONCE = 100


class Hq:
    """One HQ. ``ports`` says where it listens once it is open: ``ssh`` and, where there is one, ``webhook``."""

    def __init__(
        self, folder: HqFolder, settings: HqSettings, clock: Clock | None = None, *, led: Led | None = None
    ) -> None:
        """``led``: the state is in etcd, and this HQ leads."""
        self._led = led
        self.folder = folder
        self.settings = settings
        self.clock = clock or SystemClock()
        self.ports: dict[str, int] = {}
        self._closing = contextlib.AsyncExitStack()
        self._tasks: list[asyncio.Task[None]] = []
        self._orders = asyncio.Semaphore(ORDERS_AT_ONCE)

    async def open(self) -> None:
        """Take the folder, mend what a crash left, and listen. Raises Misconfigured and what its parts raise."""
        self.folder.check()
        self._closing.callback(os.close, self.folder.held())
        try:
            await self._build()
            await self._mend()
            await self._listen()
        except BaseException:
            await self.close()
            raise

    async def _build(self) -> None:
        folder, settings, key = self.folder, self.settings, self.folder.seal_key()
        await self._open_state(key)
        self.people = People(self.store)
        self.variables = Variables(self.store, key, Path(settings.deploy.env_folder))
        self.hooks = Hooks(self.store, key, self.clock, age_max_s=settings.webhook.age_max_s)
        self.repositories = Repositories(folder.repositories, settings.git)
        self.ways = Ways(identity=folder.identity, images=folder.images, own=folder.root, settings=settings)
        self._closing.push_async_callback(self.ways.close)
        self.routers = Routers(self.ways, settings, folder.root / "acme", self.clock)
        ground = HqGround(
            fleet=await fleet_name(self.store),
            grid=self.grid,
            journal=self.journal,
            images=Images(folder.images),
            builder=new_builder(settings, folder.images),
            router=self.routers,
            ways=self.ways,
            variables=self.variables,
            clock=self.clock,
        )
        self.launcher = Launcher(ground)
        self._closing.push_async_callback(self.launcher.close)
        self.fleet = Fleet(ways=self.ways, store=self.store, grid=self.grid, hosts=self.launcher, settings=settings,
                           clock=self.clock)  # fmt: skip
        await self._open_machines()
        self.pushes = Pushes(
            repositories=self.repositories,
            launches=self.launcher,
            store=self.store,
            stacks=folder.stacks,
            branches=settings.git.branches,
            changed=self.changed,
            price_a_month=self.fleet.price_a_month,
        )

    async def _open_machines(self) -> None:
        """Where servers are rented, if anywhere."""
        driver = new_driver(self.settings, root=self.folder.root, fleet=await fleet_name(self.store),
                            public_key=self.folder.public_key(), clock=self.clock)  # fmt: skip
        self.machines: Rented | None = None
        if driver is not None:
            self._closing.push_async_callback(driver.close)
            self.machines = Rented(driver, settings=self.settings, fleet=self.fleet, store=self.store,
                                   key=self.folder.identity, clock=self.clock)  # fmt: skip
            await self.machines.take(self.grid)

    async def _open_state(self, key: bytes) -> None:
        """The records, the journal and the grid's state: in files here, or in etcd."""
        rules = self.settings.grid
        options: dict[str, Any] = {
            "autosize": rules.autosize,
            "min": rules.min,
            "max": rules.max,
            "linger_s": rules.linger_s,
            "cooldown_s": rules.cooldown_s,
            "gap_s": rules.gap_s,
            "billing_s": self.settings.machines.billing_s if self.settings.machines.driver == "digitalocean" else 0.0,
        }
        if self._led is not None:
            from skep.deploy.hq.etcd_state import EtcdGridFile, EtcdRows, EtcdState

            keeper = EtcdGridFile(self._led)
            await keeper.fetch()
            self.store: StateStore = EtcdState(self._led)
            self.journal = RowJournal(EtcdRows(self._led, key))
            self.grid = SliceGrid(clock=self.clock, file=keeper, **options)
            await first_people(self.folder.state, self.store)
            return
        self.store = SqliteState(self.folder.state)
        self._closing.push_async_callback(self.store.close)
        rows = SealedRows(self.folder.journal, key)
        self._closing.push_async_callback(rows.close)
        self.journal = RowJournal(rows)
        self.grid = SliceGrid(clock=self.clock, file=self.folder.grid, **options)

    async def _mend(self) -> None:
        await self.repositories.open()
        await self.fleet.load()
        for verdict in await self.launcher.recover():
            log.info("launch mended", stack=verdict.stack, outcome=verdict.outcome, release=verdict.release)
        await self.pushes.recover(self._revision)
        await self.fleet.adopt_all()
        if self.machines is not None:
            await _try("machines", self.machines.clear)
        await self.changed("")

    async def _revision(self, stack: str) -> str:
        release = await self.journal.current(stack)
        return release.revision if release is not None else ""

    async def _listen(self) -> None:
        desk = self._desk()

        async def handle(call: Call) -> object:
            if call.order.command == "hook":  # as many as there are pushes, which have a limit of their own
                return await carry_out(desk, call)
            if self._orders.locked():
                raise LimitReached(f"HQ carries out {ORDERS_AT_ONCE} orders at once, and has so many: try again")
            async with self._orders:
                return await carry_out(desk, call)

        async def control(person: Person, reader: ByteReader, writer: ByteWriter) -> int:
            return await serve_order(person, reader, writer, handle)

        async def local(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            try:
                await serve_order(LOCAL_ADMIN, reader, writer, handle)
            finally:
                writer.close()

        server = await asyncio.start_unix_server(local, sock=unix_listener(self.folder.socket))
        self._closing.callback(server.close)
        endpoint = Endpoint(
            people=self.people,
            repositories=self.repositories,
            desk=self.pushes,
            control=control,
            settings=self.settings.ssh,
            push_timeout_s=self.settings.git.push_timeout_s,
            socket_path=self.folder.socket,
        )
        self._closing.push_async_callback(endpoint.close)
        try:
            self.ports["ssh"] = await endpoint.listen(self.folder.keys / "host")
            await self._listen_http()
        except OSError as error:
            raise LocalFailure(f"HQ cannot listen: {error.strerror}") from None
        self._tasks = [asyncio.ensure_future(work) for work in (self._watch(), self._care(), self._tidy())]

    async def _listen_http(self) -> None:
        if not self.settings.webhook.port:
            return
        from skep.deploy.hq.webhook import Webhook

        webhook = Webhook(self.hooks, self._hooked, self.settings.webhook)
        self._closing.push_async_callback(webhook.close)
        self.ports["webhook"] = await webhook.listen()

    def _desk(self) -> Desk:
        return Desk(
            people=self.people,
            hooks=self.hooks,
            variables=self.variables,
            ways=self.ways,
            fleet=self.fleet,
            machines=self.machines,
            grid=self.grid,
            launches=self.launcher,
            journal=self.journal,
            pushes=self.pushes,
            repositories=self.repositories,
            settings=self.settings,
            stacks=self.folder.stacks,
            public_key=self.folder.public_key(),
            clock=self.clock,
            changed=self.changed,
            ports=self.ports,
        )

    async def close(self) -> None:
        """Listen no more and let go of everything. What runs on the servers runs on."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self.folder.socket.unlink(missing_ok=True)
        await self._closing.aclose()

    # --- The background -----------------------------------------------------------------------

    async def _watch(self) -> None:
        """Hosts by themselves: a look at one that hangs must not wait for work that hangs on it."""
        while True:
            await self.clock.sleep(self.settings.care.tick_s)
            await _try("hosts", self.fleet.tick)

    async def _care(self) -> None:
        """Every few seconds: the grid, jobs that are not as they should be, crons, certificates, the export."""
        while True:
            await self.clock.sleep(self.settings.care.tick_s)
            for name, work in (("launcher", self.launcher.tick), ("routers", self.routers.tick)):
                await _try(name, work)
            if self.machines is not None:
                await _try("machines", self.machines.tick)
            await _try("export", lambda: self.changed(""))

    async def _tidy(self) -> None:
        """Once a day: what repositories have gathered."""
        while True:
            await self.clock.sleep(TIDY_S)
            for stack in await self.repositories.stacks():
                if not self.pushes.is_busy(stack):
                    await self.repositories.tidy(stack)

    async def _hooked(self, hook: Hook) -> None:
        async def tell(text: str) -> None:
            log.info("webhook", stack=hook.stack, said=text)

        await _try("webhook", lambda: self.pushes.fetched(hook.stack, hook.repository, hook.branch, "webhook", tell))

    async def changed(self, stack: str) -> None:
        """Write the readable export anew; a full disk must not stop what people ask for."""
        try:
            await export(self.folder.root, journal=self.journal, grid=self.grid, servers=self.ways.servers,
                         variables=self.variables, own=True)  # fmt: skip
        except LocalFailure as error:
            log.warning("export not written", error=error.message)


async def _try(name: str, work: Callable[[], Awaitable[object]]) -> None:
    try:
        await work()
    except SkepError as error:
        log.warning("care failed", part=name, code=error.code, error=error.message)
    except Exception:
        log.exception("care failed", part=name)


async def first_people(path: Path, store: StateStore) -> None:
    """Where nobody is known yet, those whom `skep hq init` wrote down come in: the first HQ brings its admin."""
    if await store.list("people/") or not await asyncio.to_thread(path.exists):
        return
    made = SqliteState(path)
    try:
        for entry in await made.list("people/"):
            await store.put(entry.key, entry.value)
    finally:
        await made.close()


async def fleet_name(store: StateStore) -> str:
    """The name of this HQ, by which its jobs are told from another's on a host; made once. Raises CorruptRecord."""
    entry = await store.get("fleet")
    if entry is None:
        name = f"hq-{secrets.token_hex(4)}"
        await store.put("fleet", name.encode(), expected=0)
        return name
    name = entry.value.decode(errors="replace")
    if not name.startswith("hq-"):
        raise CorruptRecord("the name of this HQ in its state is damaged: restore the state from a copy")
    return name


def new_builder(settings: HqSettings, images: Path) -> Builder:
    """What makes images: HQ's own machine, as a tree of files or with its container daemon."""
    if settings.deploy.engine == "docker":
        from skep.deploy.engines.docker.engine import DockerEngine

        return DockerEngine("HQ", archives=images / "docker")
    from skep.deploy.engines.process.building import TreeBuilder

    return TreeBuilder(images / "trees")
