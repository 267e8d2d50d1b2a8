from __future__ import annotations

from pathlib import Path

import pytest

from skep.base.errors import InvalidStoreUrl
from skep.stores.drivers.fs import FsConfig
from skep.stores.drivers.memory import MemoryConfig, forget_memory
from skep.stores.providers import PROVIDERS
from skep.stores.registry import drivers, open_store
from skep.stores.url import parse_store_url


@pytest.mark.parametrize(
    ("url", "hint"),
    [
        ("", "not a store URL"),
        ("/mnt/disk", "not a store URL"),
        ("fss:///mnt/disk", "did you mean 'fs'"),
        ("memoy:", "did you mean 'memory'"),
        ("gopher://x", "known are "),
        ("fs:///d?capcity=1GB", "did you mean 'capacity'"),
        ("fs:///d?capacity=lots", "is not a size"),
        ("fs:///d?capacity=0", "leave it out"),
        ("fs:///d?capacity=1GB&capacity=2GB", "twice"),
        ("fs:///d?capacity", "does not parse"),
        ("fs:///d#here", "%23"),
        ("fs://mnt/disk", "three slashes"),
        ("fs:mnt/disk", "absolute path"),
        ("fs:///a/../etc", "absolute path"),
        ("fs:///", "absolute path"),
        ("memory:a/b", "no slash"),
        ("fs:///d\n", "not a store URL"),
    ],
)
def test_refuses_and_says_what_would_do(url: str, hint: str) -> None:
    with pytest.raises(InvalidStoreUrl) as caught:
        open_store(url)
    assert hint in caught.value.message


@pytest.mark.parametrize("url", ["fs://me:hunter2@host/d", "memory:?password=hunter2", "fs:///d?access-key=hunter2"])
def test_a_secret_in_a_url_is_refused_and_not_repeated(url: str) -> None:
    with pytest.raises(InvalidStoreUrl) as caught:
        open_store(url)
    assert "hunter2" not in str(caught.value)
    assert "secret" in caught.value.message


def test_a_secret_that_is_not_needed_is_refused() -> None:
    with pytest.raises(InvalidStoreUrl):
        open_store("memory:", secret=b"x")


@pytest.mark.parametrize(
    ("url", "config"),
    [
        ("fs:///mnt/disk2", FsConfig(Path("/mnt/disk2"))),
        ("fs:///mnt/disk2/?capacity=10GB", FsConfig(Path("/mnt/disk2"), 10 << 30)),
        ("fs:///mnt/my%20disk%23", FsConfig(Path("/mnt/my disk#"))),
    ],
)
def test_fs_urls(url: str, config: FsConfig) -> None:
    assert FsConfig.from_url(parse_store_url(url)) == config


@pytest.mark.parametrize(
    ("url", "config"),
    [
        ("memory:", MemoryConfig()),
        ("memory:one?capacity=1MB", MemoryConfig("one", 1 << 20)),
        ("memory://one", MemoryConfig("one")),
    ],
)
def test_memory_urls(url: str, config: MemoryConfig) -> None:
    assert MemoryConfig.from_url(parse_store_url(url)) == config


def test_every_drivers_own_form_opens() -> None:
    grant = b'{"client_id":"c","refresh_token":"r"}'
    for driver in drivers():
        secret = grant if driver.scheme in PROVIDERS or driver.takes_user else None
        assert open_store(driver.form, secret=secret).properties.kind == driver.scheme.partition("+")[0]


@pytest.mark.parametrize(
    ("url", "hint"),
    [
        ("dropbox:", "skep store add NAME dropbox:"),
        ("dropbox://account", "without slashes"),
        ("dropbox:a b", "names no account"),
        ("dropbox:account/../x", "a folder is of letters"),
        ("dropbox:account?token=hunter2", "secret in option"),
        ("dropbox:account?folder=x", "it takes none"),
        ("dropbox:account", "a login that only a hive has"),
        ("dropbx:account", "did you mean 'dropbox'"),
    ],
)
def test_cloud_urls_that_are_refused(url: str, hint: str) -> None:
    with pytest.raises(InvalidStoreUrl) as caught:
        open_store(url)
    assert hint in caught.value.message
    assert "hunter2" not in caught.value.message


async def test_named_memory_stores_share_and_unnamed_do_not() -> None:
    await open_store("memory:shared").put("a", [b"1"])
    assert await open_store("memory:shared").get("a") == b"1"
    assert [info async for info in open_store("memory:").list()] == []
    forget_memory("shared")
    assert [info async for info in open_store("memory:shared").list()] == []
    forget_memory("shared")


async def test_opening_a_directory_store_touches_nothing(tmp_path: Path) -> None:
    await open_store(f"fs://{tmp_path}/new").close()
    assert not (tmp_path / "new").exists()
