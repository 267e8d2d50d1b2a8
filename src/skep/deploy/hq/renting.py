"""Servers that HQ rents and gives back: the grid's events ``create`` and ``destroy``, on a provider's account.

What always holds:

- a machine has the name of its block, and the block is in the grid's state before anybody is asked for the machine: an
  order that a kill cut off is given back by the grid when it opens;
- a rented server is in HQ's state before anything runs there, and out of it before its machine is given back;
- a machine of this fleet that no block stands for is an orphan: ``clear`` gives it back.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection
from pathlib import Path
from typing import Any

import msgspec

from skep.base.clock import Clock
from skep.base.errors import LocalFailure, MachinesUnavailable, Misconfigured, SkepError
from skep.base.logs import get_logger
from skep.deploy.grid import BlockFacts, CreateOrder, ServerType, Size, SliceGrid
from skep.deploy.hq.fleet import Fleet, usable
from skep.deploy.hq.servers import Server
from skep.deploy.hq.settings import HqSettings
from skep.deploy.hq.state import StateStore, load, save
from skep.deploy.machines.arriving import Arriving
from skep.deploy.machines.checking import HostReport, Needs
from skep.deploy.machines.pacific import Pacific
from skep.deploy.machines.protocol import Driver
from skep.deploy.machines.records import Limits, Machine, MachineType
from skep.deploy.machines.renting import Renter, told

log = get_logger("skep.hq")
GIVE_BACK_S = 30.0
"""How long care waits for a machine to be given back before it goes on with its other work and tries again."""
GIVE_BACK_FIRST_S = 3.0
"""The same while HQ starts, which must not wait for a provider."""
CLEAR_S = 600.0
"""Between two looks for machines that nobody uses."""
TOKEN_MAX_BYTES = 4096
_TYPES = "machines/types"


class _Offer(msgspec.Struct, frozen=True):
    """The types that the provider had when it was asked last, for a start at which it does not answer."""

    types: tuple[MachineType, ...]


class Rented:
    """The rented machines of one HQ. ``take`` gives the grid its handlers; call it before the grid is opened."""

    def __init__(
        self, driver: Driver, *, settings: HqSettings, fleet: Fleet, store: StateStore, key: Path, clock: Clock
    ) -> None:
        rules = settings.machines
        self._driver, self._rules, self._fleet, self._store, self._clock = driver, rules, fleet, store, clock
        self._engine = settings.deploy.engine
        needs = Needs(engine=self._engine, firewall=rules.fence)
        self._arriving = Arriving(key, self._remember, needs=needs, folder=settings.deploy.host_folder, clock=clock)
        limits = Limits(machines_max=settings.grid.max, price_hourly_max=rules.price_hourly_max)
        self._pacific = Pacific(driver, limits=limits, region=rules.region, arrive=self._arrived)
        self._renter = Renter(self._pacific)
        self._reports: dict[str, HostReport] = {}
        self._cleared_s = float("-inf")
        self._grid: SliceGrid | None = None
        self._is_open = False

    async def take(self, grid: SliceGrid) -> None:
        """Be what this grid rents from."""
        self._grid = grid
        grid.on("create")(self.create)
        grid.on("destroy")(self.destroy)
        grid.offer(await self._offered())

    async def _offered(self) -> tuple[ServerType, ...]:
        """What may be rented; what was known before where the provider does not answer."""
        try:
            types = await self._pacific.types()
            await save(self._store, _TYPES, _Offer(types))
        except SkepError as error:
            log.warning("types of machines not known", code=error.code, error=error.message)
            kept = await load(self._store, _TYPES, _Offer)
            types = kept.types if kept is not None else ()
        known = {one.name for one in types}
        if types and (unknown := sorted(set(self._rules.types) - known)):
            log.warning("no such type of machine", types=unknown, known=sorted(known)[:20])
        wanted = [one for one in types if not self._rules.types or one.name in self._rules.types]
        tags = frozenset(self._rules.tags)
        return tuple(
            ServerType(one.name, _plain(usable(one.size)), one.price_hourly, self._rules.region, tags) for one in wanted
        )

    # --- the grid's events ----------------------------------------------------------------------

    async def create(self, order: CreateOrder) -> dict[str, Any]:
        """Rent a machine, let it be a server, and say what the grid should know of it."""
        machine = await self._pacific.add(order.type.name, name=order.id)
        answer = told(machine)
        if machine.size is not None:
            answer["size"] = _plain(usable(machine.size))
        return answer

    async def destroy(self, block: BlockFacts) -> None:
        """Forget the server, and give its machine back. Not there: fine."""
        await self._fleet.let_go(block.id)
        try:
            async with asyncio.timeout(GIVE_BACK_S if self._is_open else GIVE_BACK_FIRST_S):
                await self._renter.destroy(block)
        except TimeoutError:
            raise MachinesUnavailable(
                f"{self._driver.traits.kind} has not given {block.id} back yet: it is tried again"
            ) from None
        self._reports.pop(block.id, None)

    async def _arrived(self, machine: Machine) -> Machine:
        rules = self._rules
        machine = msgspec.structs.replace(machine, port=rules.ssh_port, user=rules.user or machine.user)
        known = await self._arriving(machine)
        server = Server(
            id=known.name,
            address=known.address,
            ssh_port=known.port,
            user=known.user,
            host_key=known.host_key,
            engine=self._engine,
            tags=rules.tags,
            fenced=rules.fence,
            price=known.price_hourly,
            machine=known.type,
            report=self._reports.get(known.name),
            added_us=self._clock.now_us(),
        )
        await self._fleet.take_in(server)
        return known

    async def _remember(self, machine: Machine, report: HostReport) -> None:
        self._reports[machine.name] = report

    # --- care -----------------------------------------------------------------------------------

    async def tick(self) -> None:
        """Ask again for types that are not known, and now and then give back what nobody uses."""
        assert self._grid is not None
        if not self._grid.options.types:
            self._grid.offer(await self._offered())
        if self._clock.monotonic_s() - self._cleared_s >= CLEAR_S:
            await self.clear()

    async def clear(self) -> tuple[str, ...]:
        """Give back machines of this fleet that no block stands for, and forget servers whose block is gone.

        The machines are listed first: whatever is ordered after that has its block before it is a machine.
        """
        assert self._grid is not None
        self._is_open = True
        there = {machine.name for machine in await self._pacific.list()}
        self._cleared_s = self._clock.monotonic_s()
        there |= set(self._fleet.rented())
        gone = sorted(there - {block.facts.id for block in self._grid.blocks})
        for name in gone:  # as many as a provider gives back in time; the rest at the next round
            log.warning("orphan given back", machine=name)
            await self._fleet.let_go(name)
            await self._pacific.remove(name)
        return tuple(gone)

    async def told(self, known: Collection[ServerType]) -> dict[str, Any]:
        """What `skep hq status` says of it."""
        return {
            "driver": self._driver.traits.kind,
            "rented": list(self._fleet.rented()),
            "types": [{"name": one.name, "price": one.price} for one in known],
        }

    async def close(self) -> None:
        """Let go of connections; machines stay."""
        await self._pacific.close()


def new_driver(settings: HqSettings, *, root: Path, fleet: str, public_key: str, clock: Clock) -> Driver | None:
    """What the settings say machines come from; None: nothing is rented. Raises Misconfigured, LocalFailure."""
    rules = settings.machines
    if rules.driver == "digitalocean":
        from skep.deploy.machines.digitalocean import BASE_URL, DigitalOcean, Droplets

        droplets = Droplets(
            fleet=fleet, public_key=public_key, region=rules.region, image=rules.image, billing_s=rules.billing_s
        )
        token = _token(root / rules.token_file)
        return DigitalOcean(token, droplets, base_url=rules.api or BASE_URL, clock=clock)
    if rules.driver == "local":
        from skep.deploy.machines.local import LocalDriver

        return LocalDriver(root / "machines", public_key, jobs=settings.deploy.host_folder, clock=clock)
    return None


def _token(path: Path) -> str:
    """The provider's token. Raises Misconfigured for one that others may read, LocalFailure."""
    try:
        if path.stat().st_mode & 0o077:
            raise Misconfigured(f"{path} can be read by others: chmod 600 it, and make a new token if others are here")
        with path.open(encoding="utf-8") as file:
            token = file.read(TOKEN_MAX_BYTES).strip()
    except (OSError, UnicodeDecodeError) as error:
        raise LocalFailure(
            f"the provider's token is expected in {path} ([machines] token_file), which cannot be read: {error}"
        ) from None
    if not token:
        raise Misconfigured(f"{path} is empty: put the provider's token there")
    return token


def _plain(size: Size) -> Size:
    """A size as the grid compares it: a disk that nobody knows takes everything."""
    return size if size.disk_bytes else msgspec.structs.replace(size, disk_bytes=1 << 60)
