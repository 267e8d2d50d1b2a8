"""DigitalOcean: droplets through its HTTP API, version 2.

Not through Libcloud, because its driver asks for all droplets of an account to find one, does not wait when it is
asked to, cannot follow actions, and gives a token in an error's text where a proxy echoes it.

A droplet carries the fleet's tag and the machine's name; together they are the key by which an order is found again.

- An order whose answer was lost may have been carried out: its droplet is looked for before another one is ordered.
- Two programs that order at once both look again when theirs runs, and keep the older one: ids grow.
- Resizing goes by what is seen, step by step (off, resized, on), so it goes on wherever it was left.

https://docs.digitalocean.com/reference/api/
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import itertools
from collections.abc import Callable
from datetime import datetime
from typing import Any, TypeAlias

import httpx
import msgspec

from skep.base.clock import Clock, SystemClock
from skep.base.errors import BadInput, MachineNotFound, MachineRefused, MachinesUnavailable, TimedOut
from skep.base.logs import get_logger
from skep.deploy.machines.calling import Api, Lost
from skep.deploy.machines.preparing import key_line
from skep.deploy.machines.records import Machine, MachineState, MachineType, Traits, checked_name
from skep.deploy.stack.records import Size

BASE_URL = "https://api.digitalocean.com"
PAGE_MAX = 200
PAGES_MAX = 500
ORDERS_MAX = 3
"""How often one droplet is ordered, when each order before was lost and nothing came of it."""
SETTLE_LOOKS = 4
"""How often a droplet is looked for that may be there: listings may lag."""
TYPES_KEPT_S = 600.0
POLL_S = (0.5, 1.0, 2.0, 3.0, 5.0)
SHUTDOWN_POLLS = 12
"""Looks at a droplet that was asked to shut down, before it is switched off."""
_STATES: dict[str, MachineState] = {"new": "making", "active": "running", "off": "stopped", "archive": "gone"}
Found: TypeAlias = list[dict[str, Any]]
_log = get_logger("skep.machines")


class Droplets(msgspec.Struct, frozen=True, kw_only=True):
    """What is rented."""

    fleet: str
    """Unique in the account: letters, digits and dashes."""
    public_key: str
    """Lets HQ in as root."""
    region: str = "fra1"
    image: str = "debian-12-x64"
    vpc_uuid: str = ""
    monitoring: bool = False
    billing_s: float = 3600.0
    """A begun period is paid for whole."""
    timeout_s: float = 600.0
    """How long making, resizing or giving back may take."""

    def __post_init__(self) -> None:
        checked_name(self.fleet)
        key_line(self.public_key)

    @property
    def tag(self) -> str:
        """What all droplets of the fleet carry."""
        return f"skep:{self.fleet}"


class DigitalOcean:
    """Droplets of one fleet in one account."""

    def __init__(self, token: str, droplets: Droplets, *, base_url: str = BASE_URL, clock: Clock | None = None) -> None:
        self._clock = clock or SystemClock()
        self._droplets = droplets
        self._api = Api("DigitalOcean", token, base_url, self._clock)
        self._locks: dict[str, asyncio.Lock] = {}
        self._types: tuple[MachineType, ...] = ()
        self._types_until_s = 0.0
        self._key_known = False

    def __repr__(self) -> str:
        return f"DigitalOcean(fleet={self._droplets.fleet!r}, region={self._droplets.region!r})"

    @property
    def traits(self) -> Traits:
        return Traits(kind="digitalocean", resizes=True, rents=True, billing_s=self._droplets.billing_s)

    async def types(self) -> tuple[MachineType, ...]:
        now_s = self._clock.monotonic_s()
        if not self._types or now_s >= self._types_until_s:
            found = [_type(one) for one in await self._pages("/v2/sizes", "sizes") if one.get("available", True)]
            region = self._droplets.region
            here = [one for one in found if region in one.regions]
            self._types = tuple(sorted(here, key=lambda one: (one.price_hourly, one.name)))
            self._types_until_s = now_s + TYPES_KEPT_S
        return self._types

    async def list(self) -> tuple[Machine, ...]:
        there = [_machine(one) for one in await self._all()]
        return tuple(sorted(_oldest(there), key=lambda one: one.name))

    async def create(self, name: str, type: str) -> Machine:
        await self._checked_type(type)
        async with self._lock(checked_name(name)):
            until_s = self._clock.monotonic_s() + self._droplets.timeout_s
            droplet = await self._find(name) or await self._order(name, type)
            droplet = await self._until(name, droplet, _has_address, until_s, "did not come")
            return _machine(await self._one_of(name, droplet, until_s))

    async def destroy(self, name: str) -> None:
        async with self._lock(checked_name(name)):
            until_s = self._clock.monotonic_s() + self._droplets.timeout_s
            there = await self._settled(name)
            for attempt in itertools.count():
                if not there:
                    return
                for droplet in there:
                    await self._delete(droplet, until_s)
                await self._pause(attempt, until_s, f"droplet {name} is still told although it was given back")
                there = await self._named(name)

    async def resize(self, name: str, type: str) -> Machine:
        await self._checked_type(type)
        async with self._lock(checked_name(name)):
            until_s = self._clock.monotonic_s() + self._droplets.timeout_s
            droplet = await self._find(name)
            if droplet is None:
                raise MachineNotFound(f"there is no droplet {name} in fleet {self._droplets.fleet}")
            polls = 0
            while droplet["size_slug"] != type or droplet["status"] != "active" or droplet.get("locked"):
                if not droplet.get("locked"):
                    await self._act(droplet, _next_step(droplet, type, polls))
                await self._pause(polls, until_s, f"droplet {name} did not become {type}")
                droplet = await self._see(droplet["id"]) or await self._gone(name)
                polls += 1
            return _machine(droplet)

    async def close(self) -> None:
        await self._api.close()

    # --- one droplet --------------------------------------------------------------------------

    async def _order(self, name: str, type: str) -> dict[str, Any]:
        """Order a droplet; one that exists when its order is known not to have been lost for nothing."""
        droplets = self._droplets
        fingerprint = await self._key()
        order = {
            "name": name,
            "region": droplets.region,
            "size": type,
            "image": droplets.image,
            "ssh_keys": [fingerprint],
            "tags": [droplets.tag],
            "monitoring": droplets.monitoring,
            **({"vpc_uuid": droplets.vpc_uuid} if droplets.vpc_uuid else {}),
        }
        lost: Lost | None = None
        for _ in range(ORDERS_MAX):
            try:
                answer = await self._api.send("POST", "/v2/droplets", order)
            except Lost as error:
                lost = error
                if found := await self._settled(name):
                    return found[0]
                continue
            droplet: dict[str, Any] = answer["droplet"]
            _log.info("droplet-ordered", name=name, type=type, id=droplet["id"])
            return droplet
        raise MachinesUnavailable(f"droplet {name} was ordered {ORDERS_MAX} times and did not come: {lost}")

    async def _settled(self, name: str) -> Found:
        """Droplets of a name, the oldest first; none only after several looks, as a young one may not be told yet."""
        for wait_s in (*POLL_S[: SETTLE_LOOKS - 1], 0.0):
            if found := await self._named(name):
                return found
            if wait_s:
                await self._clock.sleep(wait_s)
        return []

    async def _until(
        self, name: str, droplet: dict[str, Any], holds: Callable[[dict[str, Any]], bool], until_s: float, what: str
    ) -> dict[str, Any]:
        attempt = 0
        while not holds(droplet):
            await self._pause(attempt, until_s, f"droplet {name} {what}")
            attempt += 1
            if droplet["status"] == "off" and not droplet.get("locked"):
                await self._act(droplet, {"type": "power_on"})
            droplet = await self._see(droplet["id"]) or await self._gone(name)
        return droplet

    async def _gone(self, name: str) -> dict[str, Any]:
        """Another one of this name, as the one that we had is no more: it failed, or was the younger of two."""
        found = await self._find(name)
        if found is None:
            raise MachinesUnavailable(f"droplet {name} is gone again: it was given back, or could not be made")
        return found

    async def _one_of(self, name: str, droplet: dict[str, Any], until_s: float) -> dict[str, Any]:
        """The oldest of all droplets of a name; the others are given back."""
        ours = await self._settled(name)
        if not ours:
            return droplet
        for other in ours[1:]:
            _log.warning("droplet-double", name=name, id=other["id"], kept=ours[0]["id"])
            await self._delete(other, until_s)
        return await self._until(name, ours[0], _has_address, until_s, "did not come")

    async def _delete(self, droplet: dict[str, Any], until_s: float) -> None:
        attempt = 0
        while True:
            try:
                await self._api.send("DELETE", f"/v2/droplets/{droplet['id']}", missing_ok=True)
                return
            except MachineRefused as error:
                if "pending event" not in error.message:
                    raise
                await self._pause(attempt, until_s, f"droplet {droplet['name']} is busy and cannot be given back")
                attempt += 1

    async def _act(self, droplet: dict[str, Any], action: dict[str, Any]) -> None:
        try:
            await self._api.send("POST", f"/v2/droplets/{droplet['id']}/actions", action)
        except Lost:
            return  # the next look tells
        except MachineRefused as error:
            if "pending event" not in error.message:
                raise

    async def _key(self) -> str:
        """The fingerprint of HQ's key, which the account has then."""
        blob = base64.b64decode(key_line(self._droplets.public_key).split(" ")[1])
        digest = hashlib.md5(blob, usedforsecurity=False).hexdigest()
        fingerprint = ":".join(digest[at : at + 2] for at in range(0, 32, 2))
        if not self._key_known:
            known = await self._api.send("GET", f"/v2/account/keys/{fingerprint}", missing_ok=True)
            if not known:
                order = {"name": f"skep {self._droplets.fleet}", "public_key": key_line(self._droplets.public_key)}
                try:
                    await self._api.send("POST", "/v2/account/keys", order)
                except Lost as error:
                    if not await self._api.send("GET", f"/v2/account/keys/{fingerprint}", missing_ok=True):
                        raise MachinesUnavailable(f"the account was not given HQ's key: {error}") from None
                except MachineRefused as error:
                    if "already in use" not in error.message:
                        raise
            self._key_known = True
        return fingerprint

    # --- looking ------------------------------------------------------------------------------

    async def _find(self, name: str) -> dict[str, Any] | None:
        found = await self._named(name)
        return found[0] if found else None

    async def _named(self, name: str) -> Found:
        return sorted([one for one in await self._all() if one["name"] == name], key=lambda one: int(one["id"]))

    async def _see(self, id: int) -> dict[str, Any] | None:
        answer = await self._api.send("GET", f"/v2/droplets/{id}", missing_ok=True)
        return answer["droplet"] if answer else None

    async def _all(self) -> Found:
        return await self._pages("/v2/droplets", "droplets", {"tag_name": self._droplets.tag})

    async def _pages(self, path: str, key: str, query: dict[str, str] | None = None) -> Found:
        found: dict[object, dict[str, Any]] = {}
        for page in range(1, PAGES_MAX + 1):
            asked = {**(query or {}), "per_page": str(PAGE_MAX), "page": str(page)}
            answer = await self._api.send("GET", f"{path}?{httpx.QueryParams(asked)}")
            for one in answer[key]:
                found[one.get("id", one.get("slug"))] = one  # what moves between pages is told twice
            if "next" not in answer.get("links", {}).get("pages", {}):
                return list(found.values())
        raise MachinesUnavailable(f"DigitalOcean tells more than {PAGES_MAX * PAGE_MAX} {key}")

    async def _checked_type(self, name: str) -> None:
        types = await self.types()
        if name not in {one.name for one in types}:
            some = ", ".join(one.name for one in types[:10])
            raise BadInput(f"DigitalOcean has no size {name} in {self._droplets.region}; there are {some} …")

    async def _pause(self, attempt: int, until_s: float, what: str) -> None:
        if self._clock.monotonic_s() >= until_s:
            raise TimedOut(f"{what} within {self._droplets.timeout_s:g} s: ask again to go on waiting")
        await self._clock.sleep(POLL_S[min(attempt, len(POLL_S) - 1)])

    def _lock(self, name: str) -> asyncio.Lock:
        if len(self._locks) > 1000:
            self._locks = {name: lock for name, lock in self._locks.items() if lock.locked()}
        return self._locks.setdefault(name, asyncio.Lock())


def _next_step(droplet: dict[str, Any], type: str, polls: int) -> dict[str, Any]:
    """The action that brings an idle droplet nearer to another size: it must be off for that."""
    if droplet["size_slug"] == type:
        return {"type": "power_on"}
    if droplet["status"] == "active":
        return {"type": "shutdown" if polls < SHUTDOWN_POLLS else "power_off"}
    return {"type": "resize", "size": type, "disk": False}


def _has_address(droplet: dict[str, Any]) -> bool:
    return droplet["status"] == "active" and bool(_address(droplet, "public"))


def _address(droplet: dict[str, Any], kind: str) -> str:
    networks = droplet.get("networks", {}).get("v4", [])
    return next((str(one["ip_address"]) for one in networks if one.get("type") == kind), "")


def _machine(droplet: dict[str, Any]) -> Machine:
    size = droplet.get("size") or {}
    return Machine(
        name=droplet["name"],
        type=droplet["size_slug"],
        state=_STATES.get(droplet["status"], "making"),
        id=str(droplet["id"]),
        address=_address(droplet, "public"),
        private_address=_address(droplet, "private"),
        size=_size(droplet["memory"], droplet["vcpus"], droplet["disk"]),
        region=droplet["region"]["slug"],
        price_hourly=float(size.get("price_hourly", 0.0)),
        created_us=round(datetime.fromisoformat(droplet["created_at"]).timestamp() * 1e6),
    )


def _type(size: dict[str, Any]) -> MachineType:
    return MachineType(
        name=size["slug"],
        size=_size(size["memory"], size["vcpus"], size["disk"]),
        price_hourly=float(size["price_hourly"]),
        price_monthly=float(size["price_monthly"]),
        regions=tuple(size["regions"]),
    )


def _size(memory_mib: int, processors: int, disk_gib: int) -> Size:
    return Size(memory_bytes=memory_mib << 20, cpu_millis=1000 * processors, disk_bytes=disk_gib << 30)


def _oldest(machines: list[Machine]) -> list[Machine]:
    """One machine of each name."""
    kept: dict[str, Machine] = {}
    for machine in sorted(machines, key=lambda one: int(one.id), reverse=True):
        kept[machine.name] = machine
    return list(kept.values())
