"""Machines of other providers through Apache Libcloud (EC2, GCE, Linode, Vultr, Scaleway, OVH, OpenStack and more).

    driver = Cloud(lambda: get_driver("linode")(token, region="eu-central"), Rented(fleet="shop", image="debian12", …))

Libcloud is synchronous and its drivers are not made for several threads: each of a few threads opens one of its own.
Not every provider has tags, but all have names: a machine of the fleet is the node ``skep-FLEET-NAME``. As with
droplets, an order that was lost is looked for before it is repeated, and of two of one name the older one stays.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeAlias, TypeVar

import msgspec

from skep.base.clock import Clock, SystemClock
from skep.base.errors import BadInput, MachineRefused, MachinesUnavailable, TimedOut
from skep.deploy.machines.calling import RETRY_AFTER_MAX_S, WORDS_MAX_CHARS, Lost
from skep.deploy.machines.preparing import key_line
from skep.deploy.machines.records import Machine, MachineState, MachineType, Traits, checked_name
from skep.deploy.stack.records import Size

R = TypeVar("R")
Open: TypeAlias = Callable[[], Any]
"""Makes a driver of Libcloud (``libcloud.compute.base.NodeDriver``)."""
Nodes: TypeAlias = list[Any]
THREADS = 4
CALL_TIMEOUT_S = 120.0
ATTEMPTS_MAX = 4
ORDERS_MAX = 3
LOOKS = 4
POLL_S = (1.0, 2.0, 3.0, 5.0)
TYPES_KEPT_S = 600.0
_STATES: dict[str, MachineState] = {"running": "running", "stopped": "stopped", "terminated": "gone"}


class Rented(msgspec.Struct, frozen=True, kw_only=True):
    """What is rented, in the provider's words."""

    fleet: str
    public_key: str
    image: str
    """The id or name of an image."""
    location: str = ""
    """The id or name of a location; empty: the provider's choice."""
    user: str = "root"
    options: dict[str, Any] = {}
    """More arguments of Libcloud's ``create_node``: ``{"ex_keyname": "hq"}``."""
    price_factor: float = 1.0
    """What makes Libcloud's price one of an hour: some providers tell that of a month."""
    billing_s: float = 3600.0
    timeout_s: float = 900.0
    secrets: tuple[str, ...] = ()
    """Texts that no message may show."""

    def __post_init__(self) -> None:
        checked_name(self.fleet)
        key_line(self.public_key)

    def __repr__(self) -> str:
        return f"Rented(fleet={self.fleet!r})"


class Cloud:
    """The machines of one fleet at one provider. ``open_driver`` is called once in each thread."""

    def __init__(self, open_driver: Open, rented: Rented, *, kind: str = "cloud", clock: Clock | None = None) -> None:
        self._open = open_driver
        self._rented = rented
        self._kind = kind
        self._clock = clock or SystemClock()
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="cloud")
        self._mine = threading.local()
        self._locks: dict[str, asyncio.Lock] = {}
        self._sizes: tuple[MachineType, ...] = ()
        self._sizes_until_s = 0.0

    def __repr__(self) -> str:
        return f"Cloud(kind={self._kind!r}, fleet={self._rented.fleet!r})"

    @property
    def traits(self) -> Traits:
        return Traits(kind=self._kind, resizes=False, rents=True, billing_s=self._rented.billing_s)

    async def types(self) -> tuple[MachineType, ...]:
        now_s = self._clock.monotonic_s()
        if not self._sizes or now_s >= self._sizes_until_s:
            sizes = await self._patiently(lambda api: api.list_sizes())
            found = [_type(one, self._rented.price_factor) for one in sizes]
            self._sizes = tuple(sorted(found, key=lambda one: (one.price_hourly, one.size.memory_bytes, one.name)))
            self._sizes_until_s = now_s + TYPES_KEPT_S
        return self._sizes

    async def list(self) -> tuple[Machine, ...]:
        kept: dict[str, Any] = {}
        for node in reversed(await self._nodes()):
            kept[self._name(node)] = node
        return tuple(self._machine(kept[name]) for name in sorted(kept))

    async def create(self, name: str, type: str) -> Machine:
        if type not in {one.name for one in await self.types()}:
            raise BadInput(f"{self._kind} has no size {type}")
        async with self._lock(checked_name(name)):
            until_s = self._clock.monotonic_s() + self._rented.timeout_s
            if not await self._named(name):
                await self._order(name, type)
            attempt = 0
            while True:
                nodes = await self._named(name)
                for younger in nodes[1:]:
                    await self._give_back(younger)
                if len(nodes) == 1 and _is_there(nodes[0]):
                    return self._machine(nodes[0])
                await self._pause(attempt, until_s, f"machine {name} did not come")
                attempt += 1

    async def destroy(self, name: str) -> None:
        async with self._lock(checked_name(name)):
            until_s = self._clock.monotonic_s() + self._rented.timeout_s
            nodes, attempt = await self._settled(name), 0
            while nodes:
                for node in nodes:
                    await self._give_back(node)
                nodes = await self._named(name)
                if nodes:
                    await self._pause(attempt, until_s, f"machine {name} is still told although it was given back")
                attempt += 1

    async def resize(self, name: str, type: str) -> Machine:
        raise BadInput(f"machines of {self._kind} cannot be resized through Libcloud: add another and remove {name}")

    async def close(self) -> None:
        """End the threads, once their calls have ended."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    # --- orders ---------------------------------------------------------------------------------

    async def _order(self, name: str, type: str) -> None:
        why = ""
        for _ in range(ORDERS_MAX):
            try:
                await self._call(lambda api: self._create_node(api, name, type))
                return
            except Lost as lost:
                why = str(lost)
                if await self._settled(name):
                    return
        raise MachinesUnavailable(f"machine {name} was ordered {ORDERS_MAX} times and did not come: {why}")

    def _create_node(self, api: Any, name: str, type: str) -> Any:
        rented = self._rented
        given = dict(rented.options)
        if rented.location:
            given["location"] = _chosen(api.list_locations(), rented.location, "location")
        if "ssh_key" in getattr(api, "features", {}).get("create_node", []):
            from libcloud.compute.base import NodeAuthSSHKey

            given["auth"] = NodeAuthSSHKey(rented.public_key)
        size = _chosen(api.list_sizes(), type, "size")
        image = _chosen(api.list_images(), rented.image, "image")
        return api.create_node(name=self._prefix + name, size=size, image=image, **given)

    async def _give_back(self, node: Any) -> None:
        def destroy(api: Any) -> None:
            if any(one.id == node.id for one in api.list_nodes()):
                api.destroy_node(node)

        try:
            await self._patiently(destroy)
        except MachineRefused:
            if _state(node) != "making":
                raise  # one that is being made cannot be given back everywhere; whoever calls looks again

    async def _settled(self, name: str) -> Nodes:
        """Nodes of a name; none only after several looks, as a young one may not be told yet."""
        for attempt in range(LOOKS):
            if found := await self._named(name):
                return found
            if attempt + 1 < LOOKS:
                await self._clock.sleep(POLL_S[attempt])
        return []

    async def _named(self, name: str) -> Nodes:
        return [node for node in await self._nodes() if self._name(node) == name]

    async def _nodes(self) -> Nodes:
        """The fleet's nodes that are not gone, the oldest first."""
        nodes = await self._patiently(lambda api: api.list_nodes())
        ours = [node for node in nodes if str(node.name).startswith(self._prefix) and _state(node) != "gone"]
        return sorted(ours, key=lambda node: (str(node.created_at or ""), len(str(node.id)), str(node.id)))

    @property
    def _prefix(self) -> str:
        return f"skep-{self._rented.fleet}-"

    def _name(self, node: Any) -> str:
        return str(node.name).removeprefix(self._prefix)

    # --- calls ----------------------------------------------------------------------------------

    async def _patiently(self, work: Callable[[Any], R]) -> R:
        """A call that may be repeated. Raises MachinesUnavailable, MachineRefused."""
        why = ""
        for attempt in range(ATTEMPTS_MAX):
            try:
                return await self._call(work)
            except Lost as lost:
                why = str(lost)
                await self._clock.sleep(POLL_S[min(attempt, len(POLL_S) - 1)])
        raise MachinesUnavailable(f"{self._kind} does not answer: {why}")

    async def _call(self, work: Callable[[Any], R]) -> R:
        """One call in a thread. Raises Lost where it is not known what was done, MachineRefused where nothing was."""
        from libcloud.common.exceptions import BaseHTTPError, RateLimitReachedError
        from libcloud.common.types import InvalidCredsError

        def run() -> R:
            if not hasattr(self._mine, "api"):
                self._mine.api = self._open()
            return work(self._mine.api)

        loop = asyncio.get_running_loop()
        for _ in range(ATTEMPTS_MAX):
            try:
                async with asyncio.timeout(CALL_TIMEOUT_S):
                    return await loop.run_in_executor(self._threads, run)
            except TimeoutError:
                raise Lost(f"no answer within {CALL_TIMEOUT_S:g} s") from None
            except InvalidCredsError:
                raise MachineRefused(f"{self._kind} does not take the credentials") from None
            except RateLimitReachedError as error:
                await self._clock.sleep(min(RETRY_AFTER_MAX_S, float(error.retry_after or 5)))
            except BaseHTTPError as error:
                if 400 <= int(error.code) < 500:
                    raise MachineRefused(f"{self._kind} refuses: {self._shown(error)}") from None
                raise Lost(self._shown(error)) from None
            except (BadInput, MachineRefused):
                raise
            except Exception as error:  # Libcloud lets through whatever its parts raise
                raise Lost(self._shown(error)) from None
        raise MachinesUnavailable(f"{self._kind} keeps answering that there are too many requests")

    def _shown(self, error: BaseException) -> str:
        text = f"{type(error).__name__}: {error}"
        for secret in self._rented.secrets:
            text = text.replace(secret, "(hidden)")
        return text[:WORDS_MAX_CHARS]

    async def _pause(self, attempt: int, until_s: float, what: str) -> None:
        if self._clock.monotonic_s() >= until_s:
            raise TimedOut(f"{what} within {self._rented.timeout_s:g} s: ask again to go on waiting")
        await self._clock.sleep(POLL_S[min(attempt, len(POLL_S) - 1)])

    def _lock(self, name: str) -> asyncio.Lock:
        if len(self._locks) > 1000:
            self._locks = {name: lock for name, lock in self._locks.items() if lock.locked()}
        return self._locks.setdefault(name, asyncio.Lock())

    def _machine(self, node: Any) -> Machine:
        given = node.size.name if node.size is not None else str(node.extra.get("size_slug", ""))
        known = next((one for one in self._sizes if one.name in (given, getattr(node.size, "id", ""))), None)
        return Machine(
            name=self._name(node),
            type=known.name if known else given,
            state=_state(node),
            id=str(node.id),
            address=str(next(iter(node.public_ips or node.private_ips or ()), "")),
            private_address=str(next(iter(node.private_ips or ()), "")),
            user=self._rented.user,
            size=known.size if known else None,
            price_hourly=known.price_hourly if known else 0.0,
            created_us=round(node.created_at.timestamp() * 1e6) if node.created_at else 0,
        )


def _state(node: Any) -> MachineState:
    return _STATES.get(str(node.state).lower(), "making")


def _is_there(node: Any) -> bool:
    return _state(node) == "running" and bool(node.public_ips or node.private_ips)


def _chosen(found: Nodes, wanted: str, what: str) -> Any:
    for one in found:
        if wanted in (str(one.id), str(one.name)):
            return one
    raise BadInput(f"the provider has no {what} {wanted}: {', '.join(str(one.id) for one in found[:10])} …")


def _type(size: Any, price_factor: float) -> MachineType:
    extra = size.extra or {}
    processors = next((extra[key] for key in ("vcpus", "vcpu", "cpus", "cpu", "cores") if extra.get(key)), 1)
    return MachineType(
        name=str(size.name),
        size=Size(
            memory_bytes=int(size.ram or 0) << 20,
            cpu_millis=round(1000 * float(processors)),
            disk_bytes=int(size.disk or 0) << 30,
        ),
        price_hourly=float(size.price or 0.0) * price_factor,
    )
