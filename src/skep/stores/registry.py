"""The drivers, by the scheme of their URL.

    store = open_store("fs:///mnt/disk2?capacity=500GB")
    store = open_store("memory:")

Opening touches nothing: a store whose disk is not there opens, and its calls raise StoreUnavailable until it is.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from skep.base.clock import Clock, SystemClock
from skep.base.errors import InvalidStoreUrl
from skep.stores.access import CloudAccess, Grants
from skep.stores.drivers.array import ArrayConfig, ArrayStore
from skep.stores.drivers.cloud.base import Account, CloudStore, Remote
from skep.stores.drivers.cloud.config import access_of
from skep.stores.drivers.fs import FsConfig, FsStore
from skep.stores.drivers.memory import MemoryConfig, open_memory
from skep.stores.link.board import LinkBoard, Links
from skep.stores.protocol import Store
from skep.stores.providers import PROVIDERS
from skep.stores.url import StoreUrl, nearest, parse_store_url

_CLOUDS = {
    "dropbox": ("dropbox", "Dropbox"),
    "gdrive": ("gdrive", "GoogleDrive"),
    "onedrive": ("onedrive", "OneDrive"),
    "box": ("box", "Box"),
}
"""Module and class of each provider's driver."""


@dataclass(frozen=True, slots=True)
class Driver:
    """One kind of store."""

    scheme: str
    form: str
    """The URL's form, for people."""
    summary: str
    options: tuple[str, ...]
    takes_secret: bool
    open: Callable[[StoreUrl, bytes | None, Grants | None, str | None], Store]
    """With what a URL does not say: the secret, the granted accounts, a proxy to connect through."""
    takes_user: bool = False
    """Whether the URL may say who logs in, before an @."""


def drivers(links: Links | None = None) -> tuple[Driver, ...]:
    """Every driver that this Skep has. ``links``: the agents that are connected, for ``array``."""
    return (
        Driver(
            "fs",
            "fs:///absolute/path?capacity=10GB",
            "a directory on a disk of this machine",
            FsConfig.OPTIONS,
            takes_secret=False,
            open=lambda url, *_: FsStore(FsConfig.from_url(url)),
        ),
        Driver(
            "s3",
            "s3://bucket/prefix?endpoint=https://host&region=name",
            "a bucket of any S3-compatible storage; without a secret the keys of the machine's AWS chain",
            ("endpoint", "region", "addressing", "checksum"),
            takes_secret=True,
            open=_open_s3,
        ),
        *(
            Driver(
                provider.name,
                f"{provider.name}:ACCOUNT",
                f"an account of {provider.title}; `skep store add NAME {provider.name}:` logs in to it",
                (),
                takes_secret=True,
                open=_open_cloud,
            )
            for provider in PROVIDERS.values()
            if provider.name in _CLOUDS
        ),
        *(
            Driver(
                scheme,
                f"{scheme}://user@host/path",
                "a folder of a WebDAV server; the password is the secret",
                (),
                takes_secret=True,
                open=_open_webdav,
                takes_user=True,
            )
            for scheme in ("webdav+https", "webdav+http")
        ),
        Driver(
            "array",
            "array://0197c9f2-8a3b-7c1d-9e4f-5a6b7c8d9e0f",
            "a disk that an agent lends, wherever it is",
            ArrayConfig.OPTIONS,
            takes_secret=False,
            open=lambda url, *_: ArrayStore(ArrayConfig.from_url(url), links or LinkBoard()),
        ),
        Driver(
            "memory",
            "memory:name?capacity=1GB",
            "the memory of this process, for tests: gone when it ends",
            MemoryConfig.OPTIONS,
            takes_secret=False,
            open=lambda url, *_: open_memory(MemoryConfig.from_url(url)),
        ),
    )


def driver_of(url: StoreUrl, links: Links | None = None) -> Driver:
    """The driver for a URL. Raises InvalidStoreUrl that names the nearest scheme."""
    by_scheme = {driver.scheme: driver for driver in drivers(links)}
    if url.scheme not in by_scheme:
        raise InvalidStoreUrl(f"there is no kind of store {url.scheme!r}{nearest(url.scheme, by_scheme)}")
    return by_scheme[url.scheme]


def open_store(
    url: str,
    *,
    secret: bytes | None = None,
    grants: Grants | None = None,
    links: Links | None = None,
    proxy: str | None = None,
) -> Store:
    """Open the store at ``url``, without any wrapper (see ``skep.stores.stack``).

    ``secret`` is what the driver needs to log in; those that need none refuse one. ``grants`` has the accounts of
    clouds that somebody granted to a hive, ``links`` the agents that are connected to it; without, all are offline.
    Drivers whose URL names a host connect to it through ``proxy`` (egress.py), where there is one.

    Raises InvalidStoreUrl for an unknown scheme or option, a wrong form, or a secret in the URL, and shows the right
    form.
    """
    try:
        parsed = parse_store_url(url)
    except InvalidStoreUrl as error:
        raise InvalidStoreUrl(error.message + _right_form(url)) from None
    driver = driver_of(parsed, links)
    parsed.refuse_unknown_options(driver.options)
    if secret is not None and not driver.takes_secret:
        raise InvalidStoreUrl(f"{driver.scheme} stores take no secret: leave it out")
    if parsed.user and not driver.takes_user:
        raise InvalidStoreUrl(
            "this store URL has credentials before the @: leave them out and give them as the secret" + _right_form(url)
        )
    return driver.open(parsed, secret, grants, proxy)


def _right_form(url: str) -> str:
    """How a URL of this scheme looks, for the end of a message."""
    scheme = url.partition(":")[0].strip().lower()
    return next((f". Write {driver.form}" for driver in drivers() if driver.scheme == scheme), "")


def _open_s3(url: StoreUrl, secret: bytes | None, grants: Grants | None, proxy: str | None) -> Store:
    from skep.stores.drivers.s3 import S3Config, S3Store  # its library is not installed on desktops

    return S3Store(replace(S3Config.from_url(url, secret), proxy=proxy))


def _open_webdav(url: StoreUrl, secret: bytes | None, grants: Grants | None, proxy: str | None) -> Store:
    from skep.stores.drivers.cloud.webdav import open_webdav  # its XML library is not installed on desktops

    return open_webdav(url, secret, proxy)


def _open_cloud(url: StoreUrl, secret: bytes | None, grants: Grants | None, proxy: str | None) -> Store:
    clock = SystemClock()
    return CloudStore(_remote(access_of(url, secret, grants, clock), clock), clock)


def _remote(access: CloudAccess, clock: Clock) -> Remote:
    """The driver of the access's provider."""
    import importlib

    module, name = _CLOUDS[access.provider.name]
    made: Remote = getattr(importlib.import_module(f"skep.stores.drivers.cloud.{module}"), name)(access, clock)
    return made


async def account_of(access: CloudAccess) -> Account:
    """Whose account an access is for. Raises StoreRefused, StoreUnavailable."""
    remote = _remote(access, SystemClock())
    try:
        return await remote.account()
    finally:
        await remote.close()
