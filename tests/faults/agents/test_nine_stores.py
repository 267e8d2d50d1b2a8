"""One hive over nine stores of every kind, and every three of them lost.

A disk, SeaweedFS as S3, the doubles of Dropbox, Google Drive, OneDrive and Box, a WebDAV server, and two agents in
network namespaces of their own behind routers without inbound ports. Coded as ec(6,3), so any three may go: all 84
combinations are tried, and every byte is read and compared.
"""

from __future__ import annotations

import asyncio
import itertools
import random
import socket
import subprocess
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from pathlib import Path

import httpx
import pytest

from skep.chunks.scheme import Scheme
from skep.durability.records import parse_shard_key
from skep.server.compose import Hive
from skep.server.engines import Listening, run_granian
from skep.stores.registry import open_store
from skep.stores.wrappers.fault import Fault, FaultStore, Kind
from skep.testing.agents import RunningAgent
from skep.testing.clouds.box import BoxDouble
from skep.testing.clouds.dropbox import DropboxDouble
from skep.testing.clouds.gdrive import DriveDouble
from skep.testing.clouds.onedrive import OneDriveDouble
from skep.testing.hive import TestHive, open_test_hive
from skep.testing.seaweed import seaweed

from .network import Home, household

pytestmark = pytest.mark.long

CLOUDS = {"dropbox": DropboxDouble, "gdrive": DriveDouble, "onedrive": OneDriveDouble, "box": BoxDouble}
LOST = 3
SCHEME = "ec(6,3)"
FILES = {f"/{number}": random.Random(number).randbytes(size) for number, size in enumerate((1_000, 90_000, 1_400_000))}
PASSWORD = "a password of tests"


@contextmanager
def webdav_server(rclone: Path, place: Path) -> Iterator[str]:
    """rclone serving a directory; its host and port."""
    place.mkdir()
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{probe.getsockname()[1]}"
    command = [rclone, "serve", "webdav", place, "--addr", address, "--user", "ada", "--pass", PASSWORD]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        for _ in range(300):
            try:
                httpx.get(f"http://{address}/", timeout=2)
                break
            except httpx.HTTPError:
                assert process.poll() is None
        yield address
    finally:
        process.kill()
        process.wait(30)


@asynccontextmanager
async def listening(hive: Hive) -> AsyncIterator[int]:
    """The hive's doors, open on every interface; the port."""
    with socket.socket() as probe:
        probe.bind(("0.0.0.0", 0))
        port = int(probe.getsockname()[1])
    stop, ready = asyncio.Event(), asyncio.Event()
    serving = asyncio.ensure_future(run_granian(hive.app, Listening("0.0.0.0", port), stop, ready.set))
    async with asyncio.timeout(30):
        await ready.wait()
    try:
        yield port
    finally:
        stop.set()
        await serving


async def join(hive: Hive, by: bytes, home: Home, place: Path, port: int, closing: AsyncExitStack) -> None:
    """Let an agent join from behind its router; it is a store of its name then."""
    made = await hive.agents.book.invite(by, owner_id=None)
    place.mkdir()
    agent = RunningAgent(place, prefix=home.prefix)
    agent.start("--hive", f"http://{home.hive_host}:{port}", "--invite", made.token, "--name", place.name,
                "--share", "2GB")  # fmt: skip
    closing.callback(lambda: agent.stop(9))
    await asyncio.to_thread(agent.until, "connected", 120)
    async with asyncio.timeout(60):
        while not any(member.name == place.name and not member.down for member in hive.stores):
            await asyncio.sleep(0.05)  # what it looks at tells nobody


@pytest.fixture
async def nine(tmp_path: Path, program: Callable[[str, str], Path]) -> AsyncIterator[TestHive]:
    """The hive and its nine stores; each store is under a ``FaultStore``."""
    weed, rclone = program("weed", "make parts"), program("rclone", "apt-get install rclone")
    async with AsyncExitStack() as closing:
        homes = [closing.enter_context(household()) for _ in range(2)]
        for name in ("disk", "weed"):
            (tmp_path / name).mkdir()
        server = closing.enter_context(seaweed(weed, tmp_path / "weed"))
        server.bucket("hive")
        dav = closing.enter_context(webdav_server(rclone, tmp_path / "dav"))
        doubles = {name: double() for name, double in CLOUDS.items()}
        for double in doubles.values():
            closing.enter_context(double.served())
        drivers = {
            "disk": open_store(f"fs://{tmp_path / 'disk'}"),
            "s3": open_store(server.url("hive/prefix"), secret=server.secret),
            "webdav": open_store(f"webdav+http://ada@{dav}/hive", secret=PASSWORD.encode()),
            **{name: double.store() for name, double in doubles.items()},
        }
        place = tmp_path / "hive"
        place.mkdir()
        test = await closing.enter_async_context(
            open_test_hive(place, drivers=drivers, scheme=SCHEME, storage__cache_bytes=0, storage__reserve_bytes=0)
        )
        by = await test.user("ada", is_admin=True)
        port = await closing.enter_async_context(listening(test.hive))
        for number, home in enumerate(homes):
            await join(test.hive, by, home, tmp_path / f"desk{number}", port, closing)
        for member in test.hive.stores:
            assert member.store is not None
            member.store = FaultStore(member.store)
            await test.hive.stores.change(member, capacity_bytes=1 << 30)
        assert len(test.hive.stores) == 9 == Scheme.parse(SCHEME).total
        yield test


def fault(hive: Hive, name: str) -> FaultStore:
    """What stands before a store."""
    store = hive.stores.by_name(name).store
    assert isinstance(store, FaultStore)
    return store


async def lose(hive: Hive, names: tuple[str, ...]) -> None:
    """These stores refuse everything, the others are well."""
    for member in hive.stores:
        fault(hive, member.name).heal()
        await hive.stores.revive(member)
        assert not member.down, member.error
    for name in names:
        fault(hive, name).script(Fault("any", Kind.GONE, times=None))


async def put(client: httpx.AsyncClient, path: str) -> None:
    answer = await client.put("/api/filesystem/data", params={"path": path}, content=FILES[path], timeout=120)
    assert answer.status_code in (200, 201), answer.text


async def read_all(client: httpx.AsyncClient) -> None:
    """Every file, byte for byte."""
    for path, body in FILES.items():
        answer = await client.get("/api/filesystem/data", params={"path": path}, timeout=120)
        assert answer.status_code == 200, answer.text
        assert answer.content == body


async def shards_held(hive: Hive) -> dict[str, set[tuple[bytes, int]]]:
    """Which shards each store has, asked of the stores."""
    held = {}
    for member in hive.stores:
        parsed = [parse_shard_key(info.key) async for info in fault(hive, member.name).list("shards/")]
        held[member.name] = {each for each in parsed if each is not None}
    return held


async def test_every_three_of_nine_stores_may_go(nine: TestHive) -> None:
    hive = nine.hive
    client = await nine.login("ada")
    names = [member.name for member in hive.stores]

    # an upload during which a store is lost: the quorum of eight stands
    await put(client, "/0")
    await lose(hive, ("gdrive",))
    await put(client, "/1")
    fault(hive, "gdrive").heal()
    fault(hive, "desk0").script(Fault("put", Kind.FAIL_AFTER, times=None))  # its answers are lost
    await put(client, "/2")

    # repair makes every pack whole, with one shard on each store
    await lose(hive, ())
    await hive.keepers.repairer.run()
    assert (await hive.keepers.scrubber.run()).whole
    held = await shards_held(hive)
    packs = {pack for shards in held.values() for pack, _ in shards}
    assert {name: len(shards) for name, shards in held.items()} == dict.fromkeys(names, len(packs))

    # every three of them
    combinations = list(itertools.combinations(names, LOST))
    assert len(combinations) == 84
    before = hive.chunks.counters.rebuilt_reads
    for lost in combinations:
        await lose(hive, lost)
        await read_all(client)
    assert hive.chunks.counters.rebuilt_reads > before

    # a fourth: a clear refusal, and nothing is lost
    await lose(hive, tuple(names[:4]))
    answer = await client.get("/api/filesystem/data", params={"path": "/1"}, timeout=120)
    assert answer.status_code == 503, answer.text
    answer = await client.put("/api/filesystem/data", params={"path": "/no"}, content=b"x" * 5000, timeout=120)
    assert answer.status_code == 503, answer.text
    await lose(hive, ())
    await read_all(client)

    # three stores forget all they have, and are filled again
    for name in ("s3", "box", "desk1"):
        for pack, number in (await shards_held(hive))[name]:
            await fault(hive, name).delete(f"shards/{pack.hex()[:2]}/{pack.hex()}.{number}")
    await hive.keepers.scrubber.run()
    await hive.keepers.repairer.run()
    now = await shards_held(hive)
    # what the refused upload left somewhere is nobody's, until garbage collection has its turn
    assert {name: len({each for each in shards if each[0] in packs}) for name, shards in now.items()} == dict.fromkeys(
        names, len(packs)
    )
    await lose(hive, ("disk", "dropbox", "webdav"))
    await read_all(client)
    await lose(hive, ())
    report = await hive.keepers.checker.run(read_data=True)
    assert report.clean, report.findings
