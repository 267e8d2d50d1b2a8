"""HQ's state in a real etcd of three members: the contract, leaders that change, members that die."""

from __future__ import annotations

import asyncio
import itertools
import os
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest

from skep.base.errors import CorruptRecord, Unavailable
from skep.deploy.grid.records import Decision
from skep.deploy.grid.state import State
from skep.deploy.hq.etcd import Etcd, Leadership, after_prefix
from skep.deploy.hq.etcd_state import EtcdGridFile, EtcdRows, EtcdState, Led
from skep.deploy.hq.state_conformance import CHECKS
from skep.testing.etcd import EtcdCluster, etcd_cluster

KEY = bytes(range(32))
_prefixes = (f"/test{number}/" for number in itertools.count())


@pytest.fixture(scope="module")
def cluster(program: Callable[[str, str], Path], tmp_path_factory: pytest.TempPathFactory) -> Iterator[EtcdCluster]:
    with etcd_cluster(program("etcd", "apt-get install etcd-server"), tmp_path_factory.mktemp("etcd")) as running:
        yield running


@pytest.fixture
async def etcd(cluster: EtcdCluster) -> AsyncIterator[Etcd]:
    client = Etcd(cluster.urls)
    yield client
    await client.close()


async def leading(etcd: Etcd, prefix: str, name: str = "one", lease_s: float = 2) -> tuple[Leadership, Led]:
    leadership = Leadership(etcd, prefix, name, lease_s)
    await asyncio.wait_for(leadership.campaign(), 20)
    return leadership, Led(etcd, prefix, leadership)


@pytest.fixture
async def led(etcd: Etcd) -> AsyncIterator[Led]:
    leadership, writes = await leading(etcd, next(_prefixes), lease_s=30)
    yield writes
    await leadership.resign()


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
async def test_etcd_keeps_the_contract(led: Led, check) -> None:  # type: ignore[no-untyped-def]
    await check(EtcdState(led))


async def test_ranges_go_over_pages(etcd: Etcd, led: Led) -> None:
    rows = EtcdRows(led, KEY)
    wanted = {f"slice/{number:04}": str(number).encode() for number in range(1200)}
    await rows.apply(wanted)  # more than one transaction takes
    assert await rows.load() == wanted
    await rows.apply(dict.fromkeys(wanted))
    assert await rows.load() == {}


async def test_rows_are_sealed_and_bound_to_their_names(etcd: Etcd, led: Led) -> None:
    await EtcdRows(led, KEY).apply({"slice/a": b"PASSWORD=hunter2", "slice/b": b"x"})
    stored = await etcd.range(led.prefix, after_prefix(led.prefix))
    assert all(b"hunter2" not in one.value for one in stored)
    values = {one.key: one.value for one in stored}
    journal = led.prefix + b"journal/slice/"
    await led.write({journal + b"b": values[journal + b"a"]})
    with pytest.raises(CorruptRecord):
        await EtcdRows(led, KEY).load()


async def test_a_large_change_that_was_cut_short_is_completed(led: Led, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = EtcdRows(led, KEY)
    wanted = {f"slice/{number:03}": b"new" for number in range(300)}
    await rows.apply(dict.fromkeys(list(wanted)[:50], b"old"))

    async def killed(sealed: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(rows, "_write_batch", killed)
    with pytest.raises(KeyboardInterrupt):
        await rows.apply(wanted)
    assert await EtcdRows(led, KEY).load() == wanted


async def test_the_grids_state_comes_back_and_drops_old_decisions(led: Led) -> None:
    keeper = EtcdGridFile(led)
    state = State(next_number=7)

    state.decisions += [Decision("place", float(number), reason=os.urandom(2000).hex()) for number in range(1000)]
    await keeper.save(state)
    other = EtcdGridFile(led)
    await other.fetch()
    found = other.load()
    assert found.next_number == 7
    assert 0 < len(found.decisions) < 1000
    assert found.decisions[-1].at_s == 999.0


async def test_one_leads_and_the_next_waits(etcd: Etcd) -> None:
    prefix = next(_prefixes)
    first, writes = await leading(etcd, prefix, "first")
    second = Leadership(etcd, prefix, "second", 2)
    campaign = asyncio.ensure_future(second.campaign())
    done, _ = await asyncio.wait([campaign], timeout=3)  # longer than the lease: it is kept alive
    assert not done
    assert await second.leader() == "first"
    await first.resign()
    await asyncio.wait_for(campaign, 5)
    assert await second.leader() == "second"
    with pytest.raises(Unavailable, match="leads no more"):
        await EtcdState(writes).put("a", b"from the past")
    await EtcdState(Led(etcd, prefix, second)).put("a", b"now")
    await second.resign()


@pytest.mark.long
async def test_one_that_hangs_learns_it_before_another_leads(etcd: Etcd, cluster: EtcdCluster) -> None:
    """Its renewals do not arrive: it must count itself out while its lease still holds."""
    prefix = next(_prefixes)
    own = Etcd(cluster.urls)
    first, writes = await leading(own, prefix, "first")
    second = Leadership(etcd, prefix, "second", 2)
    campaign = asyncio.ensure_future(second.campaign())
    lost_first: list[str] = []
    first_lost = asyncio.ensure_future(first.lost.wait())
    first_lost.add_done_callback(lambda _: lost_first.append("lost"))
    campaign.add_done_callback(lambda _: lost_first.append("next"))
    own._endpoints[:] = ["http://127.0.0.1:9"]
    await asyncio.wait_for(campaign, 15)
    assert lost_first == ["lost", "next"]
    own._endpoints[:] = list(cluster.urls)
    with pytest.raises(Unavailable):
        await EtcdState(writes).put("a", b"from the past")
    await first.resign()
    await second.resign()
    await own.close()


@pytest.mark.long
async def test_any_member_may_die(etcd: Etcd, cluster: EtcdCluster) -> None:
    prefix = next(_prefixes)
    leadership, writes = await leading(etcd, prefix, lease_s=10)
    state = EtcdState(writes)
    for number, member in enumerate(cluster.members):
        member.kill()
        for attempt in range(20):
            try:
                await state.put("a", str(number).encode())
                break
            except Unavailable:
                assert attempt < 19
                await asyncio.sleep(0.5)  # the others elect a leader
        entry = await state.get("a")
        assert entry is not None
        assert entry.value == str(number).encode()
        member.start()
        await asyncio.sleep(3)  # it comes back to the others before the next one goes
    await leadership.resign()
