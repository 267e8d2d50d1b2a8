"""A double of DigitalOcean's API, version 2, as far as machines need it: droplets, actions, sizes, keys.

    double = DigitalOceanDouble(clock=clock)
    with double.served() as base_url:
        driver = DigitalOcean(double.token, Droplets(...), base_url=base_url, clock=clock)
        double.fail(Rule("/v2/droplets", method="POST", cut=True, done=True))    # made, and the answer is lost

Droplets take ``making_s`` to become active and have no address before; while something happens to one it is locked and
refuses more; listings lag by ``lag_listings`` calls; ``requests_max`` per minute are answered. ``billed_hours`` is what
the account would pay: each begun hour of each droplet that there ever was.

What it answers is compared with examples of the public documentation (``tests/vectors/machines``).
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import itertools
import json
import math
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from skep.base.clock import Clock, SystemClock
from skep.testing.clouds.base import Rule, cut_off
from skep.testing.serving import served

REGIONS = ["ams3", "fra1", "nyc3"]
SIZES = {
    "s-1vcpu-512mb-10gb": (512, 1, 10, 4.0, 0.00595),
    "s-1vcpu-1gb": (1024, 1, 25, 6.0, 0.00893),
    "s-1vcpu-2gb": (2048, 1, 50, 12.0, 0.01786),
    "s-2vcpu-4gb": (4096, 2, 80, 24.0, 0.03571),
}
_NAME = re.compile(r"[a-zA-Z0-9.-]{1,253}")
_TAG = re.compile(r"[a-zA-Z0-9:_-]{1,255}")


@dataclass
class Droplet:
    """One that is or was there."""

    id: int
    name: str
    size: str
    region: str
    image: str
    tags: list[str]
    made_us: int
    ready_us: int
    disk: int
    status: str = "new"
    busy_until_us: int = 0
    then: tuple[str, str] = ("", "")
    """What it is when it is not busy any more: status and size."""
    gone_us: int = 0
    listed_from: int = 0


@dataclass
class _Action:
    id: int
    kind: str
    droplet: int
    started_us: int
    ends_us: int
    errored: bool = field(default=False)


class DigitalOceanDouble:
    """The API of one account."""

    def __init__(
        self,
        *,
        making_s: float = 0.0,
        acting_s: float = 0.0,
        lag_listings: int = 0,
        droplets_max: int = 25,
        requests_max: int = 1_000_000,
        clock: Clock | None = None,
    ) -> None:
        self.clock = clock or SystemClock()
        self.token = "dop_v1_" + "7" * 64
        self.making_s = making_s
        self.acting_s = acting_s
        self.lag_listings = lag_listings
        self.droplets_max = droplets_max
        self.requests_max = requests_max
        self.ever: dict[int, Droplet] = {}
        """All droplets there ever were."""
        self.keys: dict[str, dict[str, Any]] = {}
        self.rules: list[Rule] = []
        self.requests: list[str] = []
        self.address_of: Callable[[Droplet], str] = lambda one: f"192.0.2.{one.id % 250 + 1}"
        self._ids = itertools.count(3164444)
        self._actions: dict[int, _Action] = {}
        self._action_ids = itertools.count(7515)
        self._listings = 0
        self._asked_us: list[int] = []

    @contextmanager
    def served(self) -> Iterator[str]:
        """Answer at the returned base URL until the block is left."""
        with served(self) as url:
            yield url

    def fail(self, *rules: Rule) -> None:
        """Add ways to go wrong; the first that fits a request counts."""
        self.rules += rules

    @property
    def droplets(self) -> dict[int, Droplet]:
        """Those that are there now."""
        return {one.id: one for one in self.ever.values() if not one.gone_us}

    def billed_hours(self) -> int:
        """Hours that are paid for until now: each begun one."""
        now_us = self.clock.now_us()
        return sum(max(1, math.ceil(((one.gone_us or now_us) - one.made_us) / 3.6e9)) for one in self.ever.values())

    # --- the server ---------------------------------------------------------------------------

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive)
        body = await request.body()
        self.requests.append(f"{request.method} {request.url.path}")
        rule = self._rule(request)
        if rule is not None and rule.delay_s:
            await asyncio.sleep(rule.delay_s)
        if rule is not None and rule.status is not None:
            content = rule.body if isinstance(rule.body, bytes) else json.dumps(rule.body or {}).encode()
            await Response(content, rule.status, {"content-type": "application/json", **rule.headers})(
                scope, receive, send
            )
            return
        if rule is not None and rule.cut and not rule.done:
            await cut_off(send)
            return
        answer = self._answer(request, body)
        if rule is not None and rule.cut:
            await cut_off(send)
        elif rule is not None and rule.short:
            await cut_off(send, bytes(answer.body), answer)
        else:
            await answer(scope, receive, send)

    def _rule(self, request: Request) -> Rule | None:
        for rule in self.rules:
            if rule.path in request.url.path and rule.method in ("", request.method) and rule.times > 0:
                if rule.skip > 0:
                    rule.skip -= 1
                    continue
                rule.times -= 1
                return rule
        return None

    def _answer(self, request: Request, body: bytes) -> Response:
        now_us = self.clock.now_us()
        self._asked_us = [at for at in self._asked_us if at > now_us - 60_000_000]
        if len(self._asked_us) >= self.requests_max:
            wait_s = math.ceil((self._asked_us[0] + 60_000_000 - now_us) / 1e6)
            return self._json(_error("too_many_requests", "API Rate limit exceeded."), 429, retry_after_s=wait_s)
        self._asked_us.append(now_us)
        if request.headers.get("authorization") != f"Bearer {self.token}":
            return self._json(_error("unauthorized", "Unable to authenticate you"), 401)
        self._settle(now_us)
        try:
            order = json.loads(body) if body else {}
        except ValueError:
            return self._json(_error("bad_request", "error parsing request body"), 400)
        found, status = self._route(request, request.url.path.rstrip("/").split("/")[2:], order)
        return Response(status_code=204, headers=self._limits()) if status == 204 else self._json(found, status)

    def _route(self, request: Request, path: list[str], order: dict[str, Any]) -> tuple[dict[str, Any], int]:
        match (request.method, *path):
            case ("GET", "account"):
                return {"account": {"droplet_limit": self.droplets_max, "status": "active"}}, 200
            case ("GET", "sizes"):
                return self._paged(request, "sizes", [size(slug) for slug in SIZES]), 200
            case ("GET", "images"):
                return self._paged(request, "images", [_image("debian-12-x64")]), 200
            case ("GET", "regions"):
                return self._paged(request, "regions", [self._region(slug) for slug in REGIONS]), 200
            case ("GET", "droplets"):
                return self._list(request), 200
            case ("POST", "droplets"):
                return self._create(order)
            case ("GET", "account", "keys", key) if key in self.keys:
                return {"ssh_key": self.keys[key]}, 200
            case ("POST", "account", "keys"):
                return self._add_key(order)
            case (method, "droplets", id, *rest) if id.isdigit() and int(id) in self.droplets:
                return self._droplet(method, self.droplets[int(id)], rest, order)
            case ("GET", "actions", id) if id.isdigit() and int(id) in self._actions:
                return {"action": self._shown_action(self._actions[int(id)])}, 200
        return _error("not_found", "The resource you were accessing could not be found."), 404

    def _droplet(
        self, method: str, droplet: Droplet, rest: list[str], order: dict[str, Any]
    ) -> tuple[dict[str, Any], int]:
        if method == "GET" and not rest:
            return {"droplet": self.shown(droplet)}, 200
        if method == "DELETE" and not rest:
            if droplet.busy_until_us:
                return _unprocessable("Droplet already has a pending event.")
            droplet.gone_us = self.clock.now_us()
            return {}, 204
        if method == "POST" and rest == ["actions"]:
            return self._act(droplet, order)
        return _error("not_found", "The resource you were accessing could not be found."), 404

    def _create(self, order: dict[str, Any]) -> tuple[dict[str, Any], int]:
        if len(self.droplets) >= self.droplets_max:
            return _unprocessable("creating this/these droplet(s) will exceed your droplet limit")
        if not _NAME.fullmatch(str(order.get("name", ""))):
            return _unprocessable("Only valid hostname characters are allowed. (a-z, A-Z, 0-9, . and -)")
        if order.get("size") not in SIZES:
            return _unprocessable("You specified an invalid size for Droplet creation.")
        if order.get("region") not in REGIONS:
            return _unprocessable("You specified an invalid region for Droplet creation.")
        if not order.get("image"):
            return _unprocessable("You specified an invalid image for Droplet creation.")
        if not set(order.get("ssh_keys", [])) <= set(self.keys):
            return _unprocessable(f"{order['ssh_keys'][0]} are invalid key identifiers for Droplet creation.")
        if not all(_TAG.fullmatch(tag) for tag in order.get("tags", [])):
            return _unprocessable("Tags may contain letters, numbers, colons, dashes, and underscores.")
        now_us = self.clock.now_us()
        droplet = Droplet(
            id=next(self._ids),
            name=order["name"],
            size=order["size"],
            region=order["region"],
            image=str(order["image"]),
            tags=list(order.get("tags", [])),
            made_us=now_us,
            ready_us=now_us + round(self.making_s * 1e6),
            disk=SIZES[order["size"]][2],
            listed_from=self._listings + self.lag_listings,
        )
        self.ever[droplet.id] = droplet
        action = self._begin(droplet, "create", droplet.ready_us, ("active", droplet.size))
        link = {"id": action.id, "rel": "create", "href": f"https://api.digitalocean.com/v2/actions/{action.id}"}
        return {"droplet": self.shown(droplet), "links": {"actions": [link]}}, 202

    def _act(self, droplet: Droplet, order: dict[str, Any]) -> tuple[dict[str, Any], int]:
        kind = order.get("type")
        if droplet.busy_until_us:
            return _unprocessable("Droplet already has a pending event.")
        if kind == "resize":
            if order.get("size") not in SIZES:
                return _unprocessable("You specified an invalid size for Droplet creation.")
            if SIZES[order["size"]][2] < droplet.disk:
                return _unprocessable("This size is not available because it has a smaller disk.")
            if droplet.status == "active":
                return _unprocessable("Droplet is currently on. Please power it off to run this event.")
            then = ("off", order["size"])
        elif kind in ("shutdown", "power_off"):
            then = ("off", droplet.size)
        elif kind == "power_on":
            then = ("active", droplet.size)
        else:
            return _unprocessable("The action type is invalid.")
        action = self._begin(droplet, kind, self.clock.now_us() + round(self.acting_s * 1e6), then)
        return {"action": self._shown_action(action)}, 201

    def _add_key(self, order: dict[str, Any]) -> tuple[dict[str, Any], int]:
        try:
            blob = base64.b64decode(str(order["public_key"]).split(" ")[1], validate=True)
        except (KeyError, IndexError, ValueError):
            return _unprocessable("Key invalid type, we support 'ssh-rsa', 'ssh-dss', 'ssh-ed25519', 'ecdsa-...'")
        digest = hashlib.md5(blob, usedforsecurity=False).hexdigest()
        fingerprint = ":".join(digest[at : at + 2] for at in range(0, 32, 2))
        if fingerprint in self.keys:
            return _unprocessable("SSH Key is already in use on your account")
        self.keys[fingerprint] = {
            "id": 512189 + len(self.keys),
            "fingerprint": fingerprint,
            "public_key": order["public_key"],
            "name": order.get("name", ""),
        }
        return {"ssh_key": self.keys[fingerprint]}, 201

    def _list(self, request: Request) -> dict[str, Any]:
        self._listings += 1
        tag, name = request.query_params.get("tag_name"), request.query_params.get("name")
        shown = [
            self.shown(one)
            for one in self.droplets.values()
            if (tag is None or tag in one.tags)
            and (name is None or one.name == name)
            and one.listed_from < self._listings
        ]
        return self._paged(request, "droplets", shown)

    def _paged(self, request: Request, key: str, found: list[dict[str, Any]]) -> dict[str, Any]:
        per_page = min(200, int(request.query_params.get("per_page", "20")))
        page = int(request.query_params.get("page", "1"))
        last = max(1, math.ceil(len(found) / per_page))
        base, each = f"https://api.digitalocean.com{request.url.path}", f"per_page={per_page}"
        pages: dict[str, str] = {}
        if page > 1:
            pages |= {"first": f"{base}?page=1&{each}", "prev": f"{base}?page={page - 1}&{each}"}
        if page < last:
            pages |= {"next": f"{base}?page={page + 1}&{each}", "last": f"{base}?page={last}&{each}"}
        shown = found[(page - 1) * per_page : page * per_page]
        return {key: shown, "links": {"pages": pages} if pages else {}, "meta": {"total": len(found)}}

    # --- what time does -----------------------------------------------------------------------

    def _begin(self, droplet: Droplet, kind: str, ends_us: int, then: tuple[str, str]) -> _Action:
        action = _Action(next(self._action_ids), kind, droplet.id, self.clock.now_us(), ends_us)
        self._actions[action.id] = action
        droplet.busy_until_us, droplet.then = max(1, ends_us), then
        return action

    def _settle(self, now_us: int) -> None:
        for droplet in self.ever.values():
            if droplet.busy_until_us and droplet.busy_until_us <= now_us:
                droplet.status, droplet.size = droplet.then
                droplet.busy_until_us = 0

    # --- what is told -------------------------------------------------------------------------

    def shown(self, droplet: Droplet) -> dict[str, Any]:
        """A droplet as JSON."""
        memory, vcpus, _, _, _ = SIZES[droplet.size]
        there = droplet.status != "new"
        public = {"ip_address": self.address_of(droplet), "netmask": "255.255.240.0", "gateway": "192.0.2.1",
                  "type": "public"}  # fmt: skip
        private = {"ip_address": f"10.128.0.{droplet.id % 250 + 1}", "netmask": "255.255.0.0", "gateway": "10.128.0.1",
                   "type": "private"}  # fmt: skip
        return {
            "id": droplet.id, "name": droplet.name, "memory": memory, "vcpus": vcpus, "disk": droplet.disk,
            "locked": bool(droplet.busy_until_us), "status": droplet.status, "kernel": None,
            "created_at": _time(droplet.made_us), "features": ["private_networking"], "backup_ids": [],
            "next_backup_window": None, "snapshot_ids": [], "image": _image(droplet.image), "volume_ids": [],
            "size": size(droplet.size), "size_slug": droplet.size,
            "networks": {"v4": [private, public] if there else [], "v6": []},
            "region": self._region(droplet.region),
            "tags": droplet.tags, "vpc_uuid": "760e09ef-dc84-11e8-981e-3cfdfeaae000",
        }  # fmt: skip

    def _region(self, slug: str) -> dict[str, Any]:
        return {"name": slug.upper(), "slug": slug, "features": ["metadata"], "available": True, "sizes": list(SIZES)}

    def _shown_action(self, action: _Action) -> dict[str, Any]:
        done = action.ends_us <= self.clock.now_us()
        return {
            "id": action.id, "status": "errored" if action.errored else "completed" if done else "in-progress",
            "type": action.kind, "started_at": _time(action.started_us),
            "completed_at": _time(action.ends_us) if done else None, "resource_id": action.droplet,
            "resource_type": "droplet", "region": None, "region_slug": self.ever[action.droplet].region,
        }  # fmt: skip

    def _limits(self) -> dict[str, str]:
        left = max(0, self.requests_max - len(self._asked_us))
        return {"ratelimit-limit": "5000", "ratelimit-remaining": str(min(5000, left)),
                "ratelimit-reset": str(self.clock.now_us() // 1_000_000 + 60)}  # fmt: skip

    def _json(self, found: dict[str, Any], status: int, retry_after_s: int | None = None) -> Response:
        headers = {"content-type": "application/json; charset=utf-8", **self._limits()}
        if retry_after_s is not None:
            headers["retry-after"] = str(retry_after_s)
        return Response(json.dumps(found), status, headers)


def size(slug: str) -> dict[str, Any]:
    """A size as JSON."""
    memory, vcpus, disk, monthly, hourly = SIZES[slug]
    return {"slug": slug, "memory": memory, "vcpus": vcpus, "disk": disk, "transfer": 1.0, "price_monthly": monthly,
            "price_hourly": hourly, "regions": REGIONS, "available": True, "description": "Basic"}  # fmt: skip


def _image(slug: str) -> dict[str, Any]:
    return {
        "id": 63663980, "name": "12 x64", "distribution": "Debian", "slug": slug, "public": True,
        "regions": REGIONS, "created_at": "2023-07-20T16:43:27Z", "type": "snapshot", "min_disk_size": 7,
        "size_gigabytes": 0.7, "description": "", "tags": [], "status": "available", "error_message": "",
    }  # fmt: skip


def _time(at_us: int) -> str:
    return datetime.fromtimestamp(at_us / 1e6, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _error(id: str, message: str) -> dict[str, Any]:
    return {"id": id, "message": message}


def _unprocessable(message: str) -> tuple[dict[str, Any], int]:
    return _error("unprocessable_entity", message), 422
