"""The WebDAV driver does what the contract of stores says, against servers that others made."""

from __future__ import annotations

import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest

from skep.base.errors import Conflict, InvalidStoreUrl, StoreRefused, StoreUnavailable
from skep.base.ids import new_id
from skep.stores.conformance import CHECKS, check
from skep.stores.identity import claimable
from skep.stores.registry import open_store

SECRET = b"a password of tests"
WSGIDAV = """
host: 127.0.0.1
port: {port}
provider_mapping:
  "/": "{place}"
http_authenticator:
  domain_controller: null
  accept_basic: true
  accept_digest: false
  default_to_digest: false
simple_dc:
  user_mapping:
    "*":
      "ada":
        password: "{password}"
lock_storage: true
verbose: 0
"""


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture(params=["wsgidav", "rclone"])
def server(request: pytest.FixtureRequest, program: Callable[[str, str], Path], tmp_path: Path) -> Iterator[str]:
    """The host and port of a server with a user and a password."""
    port, place = _free_port(), tmp_path / "files"
    place.mkdir()
    path = program(request.param, "make parts")
    if request.param == "wsgidav":
        config = tmp_path / "wsgidav.yaml"
        config.write_text(WSGIDAV.format(port=port, place=place, password=SECRET.decode()))
        command = [path, "--config", config]
    else:
        command = [path, "serve", "webdav", place, "--addr", f"127.0.0.1:{port}", "--user", "ada", "--pass",
                   SECRET.decode()]  # fmt: skip
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd=tmp_path)
    try:
        until = time.monotonic() + 30
        while True:
            try:
                httpx.get(f"http://127.0.0.1:{port}/", timeout=2)
                break
            except httpx.HTTPError:
                assert process.poll() is None, "the server did not start"
                assert time.monotonic() < until, "the server does not answer"
                time.sleep(0.1)  # it has no other way to tell
        yield f"127.0.0.1:{port}"
    finally:
        process.kill()
        process.wait(30)


async def test_conforms(server: str) -> None:
    report = await check(lambda: open_store(f"webdav+http://ada@{server}/deep/er/hive", secret=SECRET))
    assert report.ok, str(report)
    assert [result.name for result in report.results] == [name for name, _ in CHECKS]


async def test_claims_and_refusals(server: str) -> None:
    url = f"webdav+http://ada@{server}/hive"
    ours, own = new_id(), new_id()
    for _ in range(2):
        store = claimable(open_store(url, secret=SECRET))
        assert store is not None
        assert (await store.claim(ours, own)).hive_id == ours
    with pytest.raises(Conflict):
        await store.claim(new_id(), own)
    wrong = open_store(url, secret=b"hunter2")
    with pytest.raises(StoreRefused) as caught:
        await wrong.put("a", [b"1"])
    assert "hunter2" not in str(caught.value)


async def test_a_server_that_is_not_there() -> None:
    store = open_store(f"webdav+http://ada@127.0.0.1:{_free_port()}/hive", secret=SECRET)
    with pytest.raises(StoreUnavailable):
        await store.put("a", [b"1"])
    await store.close()


@pytest.mark.parametrize(
    ("url", "secret", "hint"),
    [
        ("webdav+https://ada:hunter2@host/path", None, "password before the @"),
        ("webdav+https://ada@host/path", None, "a user and a password"),
        ("webdav+https://host/path", SECRET, "a user and a password"),
        ("webdav+https://ada@host/", SECRET, "no folder of its own"),
        ("webdav+https://ada@host/a/../b", SECRET, "no folder of its own"),
        ("webdav+https:///path", None, "names no host"),
        ("webdav://host/path", None, "did you mean 'webdav+http"),
        ("webdav+https://host/path?x=1", None, "it takes none"),
    ],
)
def test_urls_that_are_refused(url: str, secret: bytes | None, hint: str) -> None:
    with pytest.raises(InvalidStoreUrl) as caught:
        open_store(url, secret=secret)
    assert hint in caught.value.message
    assert "hunter2" not in caught.value.message
