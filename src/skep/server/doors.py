"""The doors of a hive, by the first segment of the paths that they answer. What no door claims, the API answers.

A door is an ASGI application of a package in ``frontends``; a new one is a function here that builds it and a
row in ``_BUILDERS``. One that answers single paths below another's segment has them in ``_AT_PATHS``, one that answers
all that begins so in ``_BELOW``; such doors also get the WebSockets that are opened there. What it raises is answered
by the edge.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Mapping
from dataclasses import dataclass, field

from skep.auth import Auth
from skep.base.clock import Clock
from skep.base.errors import SkepError
from skep.base.settings import Settings
from skep.credit.meter import Meter
from skep.crypto.keys import HiveKeys
from skep.db import Database
from skep.durability.published import Publisher
from skep.events import Hub, Journal
from skep.filesystem import Filesystem
from skep.frontends.accounts.app import accounts_app
from skep.frontends.accounts.services import AccountsGround
from skep.frontends.agents.door import LINK_PATH, AgentDoor
from skep.frontends.api.app import api_app
from skep.frontends.api.services import Services
from skep.frontends.blocks.app import ROOT as BLOCKS_ROOT
from skep.frontends.blocks.app import SOCKETS
from skep.frontends.blocks.counts import Counts
from skep.frontends.common.asgi import App, Receive, Scope, Send
from skep.frontends.common.headers import Headers
from skep.frontends.live.app import PATHS, LiveApp
from skep.frontends.metadisk.app import PATHS as METADISK_PATHS
from skep.frontends.metadisk.app import metadisk_app
from skep.frontends.metadisk.services import MetadiskGround
from skep.frontends.oidc.app import METADATA, OidcApp
from skep.frontends.oidc.exchange import OidcGround
from skep.frontends.s3.app import S3App
from skep.frontends.s3.call import Services as S3Services
from skep.frontends.s3.known_buckets import KnownBuckets
from skep.frontends.scim.app import ScimApp, ScimGround
from skep.frontends.tus.app import tus_app
from skep.frontends.tus.services import TusGround
from skep.frontends.web.app import LINK_SEGMENT, SEGMENT, WebApp
from skep.frontends.webdav.app import webdav_app
from skep.frontends.webdav.roots import OWN, SPACES
from skep.frontends.webdav.services import PAGE as DAV_PAGE
from skep.frontends.webdav.services import DavServices
from skep.server.blocks import open_blocks

SPOOL_DIRECTORY = "spool"
"""In the data directory: uploads of the MetaDisk door that are not whole yet."""
DOOR = "skep.door"
"""Where a request's scope names the door whose own port it came to."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ground:
    """What a door may stand on."""

    settings: Settings
    clock: Clock
    db: Database
    keys: HiveKeys
    auth: Auth
    filesystem: Filesystem
    meter: Meter
    hub: Hub
    journal: Journal
    services: Services
    live: LiveApp
    block_counts: Counts = field(default_factory=Counts)


class _Streams:
    """Single paths, and all below those of the block API's WebSockets."""

    _single = frozenset((*PATHS, LINK_PATH))

    def __contains__(self, path: object) -> bool:
        return path in self._single or (isinstance(path, str) and path.startswith(SOCKETS))


STREAMS: Container[str] = _Streams()
"""Paths whose answers may last for hours."""


class Doors:
    """One application out of several."""

    def __init__(
        self, doors: Mapping[str, App], at_paths: Mapping[str, App], rest: App, below: Mapping[str, App] | None = None
    ) -> None:
        """``doors``: by first segment of the path (``dav``); ``at_paths``: by path; ``rest`` answers all others.

        ``below``: by what paths begin with.
        """
        self._doors = dict(doors)
        self._below = tuple((below or {}).items())
        self._at_paths = dict(at_paths)
        self._rest = rest
        self._of_hosts: list[tuple[App, Callable[[Headers], bool]]] = [
            (door, door.owns_host) for door in self._doors.values() if isinstance(door, S3App) and door.has_domain
        ]

    def behind(self, plain: App) -> App:
        """What answers first: a door that came by a port or host name of its own has every path, else ``plain``."""

        async def first(scope: Scope, receive: Receive, send: Send) -> None:
            door = self._owner(scope, scope["state"]["headers"])
            await (door or plain)(scope, receive, send)

        return first

    def _owner(self, scope: Scope, headers: Headers) -> App | None:
        """The door whose own port or host name a request came by."""
        door = self._doors.get(scope.get(DOOR, ""))
        if door is None and self._of_hosts:
            door = next((one for one, owns in self._of_hosts if owns(headers)), None)
        return door

    def owned(self, scope: Scope, headers: Headers) -> bool:
        """Whether a request came by a port or host name of one door, to which every path there belongs."""
        return self._owner(scope, headers) is not None

    async def refuse(self, scope: Scope, send: Send, error: SkepError) -> bool:
        """Tell what kept a request from its door in that door's words, if they are not the API's; whether it did."""
        name = scope.get(DOOR) or scope["path"].split("/", 2)[1]
        door = self._doors.get(name)
        headers = scope["state"].get("headers")
        if headers is not None:
            door = next((one for one, owns in self._of_hosts if owns(headers)), door)
        if not isinstance(door, S3App):
            return False
        await door.refuse(scope, send, error)
        return True

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        at_path = self._at_paths.get(scope["path"])
        if at_path is not None:
            await at_path(scope, receive, send)
            return
        for start, app in self._below:
            if scope["path"].startswith(start):
                await app(scope, receive, send)
                return
        await self._doors.get(scope["path"].split("/", 2)[1], self._rest)(scope, receive, send)


def _oidc(ground: Ground) -> App:
    return OidcApp(
        OidcGround(
            auth=ground.auth,
            public_url=ground.settings.server.public_url,
            head_bytes=ground.services.limits.head_bytes,
            idle_timeout_s=ground.services.limits.idle_timeout_s,
        )
    )


def _scim(ground: Ground) -> App:
    return ScimApp(
        ScimGround(
            auth=ground.auth,
            public_url=ground.settings.server.public_url,
            head_bytes=ground.services.limits.head_bytes,
            idle_timeout_s=ground.services.limits.idle_timeout_s,
        )
    )


_AT_PATHS: Mapping[str, Callable[[Ground], App]] = {
    **dict.fromkeys(METADATA, _oidc),
    **{path: lambda ground: ground.live for path in PATHS},
    LINK_PATH: lambda ground: AgentDoor(ground.services.agents, ground.clock),
}


def _tus(ground: Ground) -> App:
    limits = ground.services.limits
    return tus_app(
        TusGround(
            auth=ground.auth,
            filesystem=ground.filesystem,
            links=ground.services.links,
            clock=ground.clock,
            uploads=ground.services.uploads,
            head_bytes=limits.head_bytes,
            body_bytes=limits.body_bytes,
            file_bytes=ground.filesystem.limits.file_bytes_max,
            idle_timeout_s=limits.idle_timeout_s,
        )
    )


def live_paths(live: LiveApp) -> dict[str, App]:
    """The door of live changes by its paths, for a process that has no other."""
    return dict.fromkeys(PATHS, live)


def at_port_of(door: str, app: App) -> App:
    """The hive's application for a port that is a door's own."""

    async def marked(scope: Scope, receive: Receive, send: Send) -> None:
        scope[DOOR] = door
        await app(scope, receive, send)

    return marked


def _s3(ground: Ground) -> App:
    settings = ground.settings
    return S3App(
        S3Services(
            auth=ground.auth,
            filesystem=ground.filesystem,
            clock=ground.clock,
            known=KnownBuckets(ground.clock),
            uploads=ground.services.uploads,
            body_limit_bytes=settings.server.body_limit_bytes,
            idle_timeout_s=settings.server.idle_timeout_s,
            xml_limit_bytes=settings.limits.json_body_bytes,
            region=settings.s3.region,
            to_trash=settings.s3.trash,
        ),
        settings.s3.domain,
    )


def _free_bytes(services: Services) -> int | None:
    """What the stores can still take of files, parity not counted; None if one of them does not know."""
    scheme = services.chunks.scheme
    free = [member.free_bytes for member in services.stores if member.state == "active" and not member.down]
    if not free or None in free:
        return None
    shards = scheme.data_shards + scheme.parity_shards
    return sum(one for one in free if one is not None) * scheme.data_shards // shards


def _webdav(ground: Ground) -> App:
    limits = ground.services.limits
    return webdav_app(
        DavServices(
            auth=ground.auth,
            filesystem=ground.filesystem,
            uploads=ground.services.uploads,
            free_bytes=lambda: _free_bytes(ground.services),
            body_bytes=limits.body_bytes,
            idle_timeout_s=limits.idle_timeout_s,
            page_items=min(DAV_PAGE, limits.listing_items),
            tree_items=max(1, limits.listing_items - 1),
        )
    )


def _accounts(ground: Ground) -> App:
    limits = ground.services.limits
    return accounts_app(
        AccountsGround(
            credit=ground.services.credit,
            head_bytes=limits.head_bytes,
            body_bytes=min(limits.json_body_bytes, 64 * 1024),
            idle_timeout_s=limits.idle_timeout_s,
        )
    )


_BUILDERS: Mapping[str, Callable[[Ground], App]] = {
    "accounts": _accounts,
    "s3": _s3,
    "tus": _tus,
    "oauth": _oidc,
    "scim": _scim,
    OWN: _webdav,
    SPACES: _webdav,
}


def _metadisk(ground: Ground) -> dict[str, App]:
    """The door of published content by what its paths begin with; nothing where it is closed."""
    chosen, limits, services = ground.settings.metadisk, ground.services.limits, ground.services
    if chosen.access == "off":
        return {}
    app = metadisk_app(
        MetadiskGround(
            auth=ground.auth,
            credit=services.credit,
            meter=ground.meter,
            publisher=Publisher(ground.db, services.chunks, chosen.storage_bytes),
            uploads=services.uploads,
            access=chosen.access,
            passphrase=chosen.passphrase,
            public_url=ground.settings.server.public_url,
            spool=ground.settings.data_path() / SPOOL_DIRECTORY,
            head_bytes=limits.head_bytes,
            file_bytes=chosen.file_bytes,
            storage_bytes=chosen.storage_bytes,
            incoming_bytes=chosen.incoming_bytes,
            outgoing_bytes=chosen.outgoing_bytes,
            idle_timeout_s=limits.idle_timeout_s,
            facts=services.facts,
            free_bytes=lambda: _free_bytes(services),
        )
    )
    return dict.fromkeys(METADISK_PATHS, app)


_BELOW: Mapping[str, Callable[[Ground], App]] = {f"{BLOCKS_ROOT}/": open_blocks}


def open_doors(ground: Ground) -> Doors:
    """Every door of the hive as one application, or those of the one service that the settings name."""
    only = ground.settings.server.only
    if only:
        link = {LINK_PATH: _AT_PATHS[LINK_PATH](ground)} if only in ("array", "chunk") else {}
        return Doors({}, {"/": WebApp({}), **link}, rest=api_app(ground.services, only))
    page = WebApp()
    return Doors(
        {SEGMENT: page, LINK_SEGMENT: page, **{segment: build(ground) for segment, build in _BUILDERS.items()}},
        {**page.paths, **{path: build(ground) for path, build in _AT_PATHS.items()}},
        rest=api_app(ground.services),
        below={**{start: build(ground) for start, build in _BELOW.items()}, **_metadisk(ground)},
    )
