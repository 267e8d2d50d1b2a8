"""The firewall on real hosts: every (source, target, port) is probed and compared with the model."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from skep.base.errors import HostUnavailable
from skep.deploy.network.fence import Fence, Member, fence_of
from skep.deploy.network.files import spread, spread_names
from skep.deploy.network.locknet import Connect, lock, unlock
from skep.deploy.shell.local import LocalRunner
from skep.deploy.shell.protocol import Runner

from .hosts import Host, switched

DNAT = """
table ip nat {
  chain prerouting {
    type nat hook prerouting priority -100;
    tcp dport 9000 dnat to 172.30.0.2:80
    tcp dport 443 dnat to 172.30.0.2:80
  }
  chain postrouting {
    type nat hook postrouting priority 100;
    ip saddr 172.30.0.0/24 oifname "eth0" masquerade
  }
}
"""
PORTS = (22, 80, 443, 2222, 5432, 8080)


@pytest.fixture(params=["nft", "iptables"])
def tool(request: pytest.FixtureRequest, program: object, tmp_path: Path) -> tuple[str, tuple[str, ...]]:
    """The firewall's tool, and a prefix under which it is the only one that is found."""
    program("nft", "apt-get install nftables")  # type: ignore[operator]
    if request.param == "nft":
        return "nft", ()
    program("iptables-restore", "apt-get install iptables")  # type: ignore[operator]
    folder = tmp_path / "bin"
    folder.mkdir()
    for directory in ("/usr/sbin", "/sbin", "/usr/bin", "/bin"):
        for path in Path(directory).iterdir():
            if path.name != "nft" and not (folder / path.name).exists():
                (folder / path.name).symlink_to(path)
    return "iptables", ("env", f"PATH={folder}")


def member_of(host: Host, **facts: object) -> Member:
    return Member(name=host.name, address=host.address, **facts)  # type: ignore[arg-type]


def connecting(hosts: list[Host], prefix: tuple[str, ...] = (), broken: set[str] = frozenset()) -> Connect:  # type: ignore[assignment]
    """Runs in the host's namespace. The second connection to a host in ``broken`` does not come about."""
    asked: dict[str, int] = {}

    @contextlib.asynccontextmanager
    async def connect(member: Member) -> AsyncIterator[Runner]:
        asked[member.name] = asked.get(member.name, 0) + 1
        if member.name in broken and asked[member.name] == 2:
            raise HostUnavailable(f"{member.name} does not answer")
        host = next(one for one in hosts if one.name == member.name)
        yield LocalRunner(member.name, (*prefix, *host.prefix))

    return connect


async def differences(fence: Fence, hosts: list[Host], fenced: list[Host]) -> list[str]:
    """Probes of every source, target and port that do not come out as the model says."""
    targets = [(host, port) for host in fenced for port in PORTS]
    answers = await asyncio.gather(*(source.reaches([(h.address, p) for h, p in targets]) for source in hosts))
    wrong = []
    for source, reached in zip(hosts, answers, strict=True):
        for (host, port), open_ in zip(targets, reached, strict=True):
            expected = source is host or fence.allows(source.address, fence.member(host.name), port)
            if open_ != expected:
                wrong.append(f"{source.name} -> {host.name}:{port} is {'open' if open_ else 'closed'}")
    return wrong


async def test_eight_hosts_are_as_the_model_says_also_while_hosts_come_and_go(
    tool: tuple[str, tuple[str, ...]], tmp_path: Path
) -> None:
    name, prefix = tool
    with switched(9) as hosts:
        for host in hosts[:8]:
            host.listen(*PORTS)
        connect = connecting(hosts, prefix)
        members = [
            member_of(hosts[0], router=True, public=(2222,)),
            *(member_of(host, router=number == 3) for number, host in enumerate(hosts[1:8], 1)),
        ]
        for there in (members[:6], members, [*members[:2], *members[3:]]):
            fence = fence_of(there)
            applied = await lock(fence, connect, revert_s=300, folder_of=lambda one: str(tmp_path / one.name))
            assert [(one.host, one.tool, one.error) for one in applied] == [(one.name, name, "") for one in there]
            fenced = [host for host in hosts if host.name in {one.name for one in there}]
            assert await differences(fence, hosts, fenced) == []
        assert hosts[2].name not in {one.name for one in there}
        assert await hosts[2].reaches([(hosts[1].address, 8080)]) == [False], "who left is a stranger"
        await unlock(members, connect, folder_of=lambda one: str(tmp_path / one.name))
        assert await hosts[8].reaches([(hosts[1].address, 8080)]) == [True]


async def test_ipv6_is_fenced_too(tool: tuple[str, tuple[str, ...]], tmp_path: Path) -> None:
    with switched(3) as hosts:
        for host in hosts:
            host.listen(*PORTS)
        members = [Member(name=host.name, address=host.address6, router=host is hosts[0]) for host in hosts[:2]]
        fence = fence_of(members)
        applied = await lock(
            fence, connecting(hosts, tool[1]), revert_s=300, folder_of=lambda one: str(tmp_path / one.name)
        )
        assert not [one.error for one in applied if one.error]
        for source in hosts:
            reached = await source.reaches([(one.address, port) for one in members for port in PORTS])
            expected = [
                source.address6 == one.address or fence.allows(source.address6, one, port)
                for one in members
                for port in PORTS
            ]
            assert reached == expected, source.name
        assert await hosts[2].reaches([(hosts[1].address, 8080)]) == [False], "IPv4 is closed where only IPv6 is listed"


async def test_rules_that_lock_us_out_go_away_by_themselves(tool: tuple[str, tuple[str, ...]], tmp_path: Path) -> None:
    with switched(3) as hosts:
        for host in hosts[:2]:
            host.listen(*PORTS)
        members = [member_of(host) for host in hosts[:2]]
        connect = connecting(hosts, tool[1], broken={"host-2"})
        first, second = await lock(
            fence_of(members), connect, revert_s=2, folder_of=lambda one: str(tmp_path / one.name)
        )
        assert not first.error
        assert "its old rules come back by themselves" in second.error
        assert await hosts[2].reaches([(hosts[1].address, 8080)]) == [False]
        await asyncio.sleep(2.5)  # the timer on the host itself is what is tested
        reached = await hosts[2].reaches([(hosts[1].address, 8080), (hosts[0].address, 8080)])
        assert reached == [True, False], "the one that was not confirmed is as before, the other one stays"


async def test_published_ports_of_containers_obey(tool: tuple[str, tuple[str, ...]], tmp_path: Path) -> None:
    """A container is a namespace behind the host, reached by destination NAT as engines do it."""
    with switched(4) as hosts, switched(1) as (box,):
        host, peer, stranger = hosts[0], hosts[1], hosts[3]
        box.run("ip", "link", "add", "c0", "type", "veth", "peer", "name", "docker0", "netns", host.namespace)
        box.run("ip", "addr", "add", "172.30.0.2/24", "dev", "c0")
        box.run("ip", "link", "set", "c0", "up")
        box.run("ip", "route", "add", "default", "via", "172.30.0.1")
        host.run("ip", "addr", "add", "172.30.0.1/24", "dev", "docker0")
        host.run("ip", "link", "set", "docker0", "up")
        host.run("sysctl", "-qw", "net.ipv4.ip_forward=1")
        box.listen(80)
        host.run("nft", "-f", "-", stdin=DNAT)
        stranger.run("ip", "route", "add", "172.30.0.0/24", "via", host.address)
        targets = [(host.address, 9000), (host.address, 443), ("172.30.0.2", 80)]
        assert await stranger.reaches(targets) == [True, True, True], "without a fence all of it is open"
        members = [member_of(host, router=True), member_of(peer)]
        applied = await lock(
            fence_of(members), connecting(hosts, tool[1]), revert_s=300, folder_of=lambda one: str(tmp_path / one.name)
        )
        assert not [one.error for one in applied if one.error]
        assert await stranger.reaches(targets) == [False, True, False]
        assert (await peer.reaches(targets))[:2] == [True, True]
        peer.listen(7000)
        assert await box.reaches([(peer.address, 7000)]) == [True], "what a container begins goes out"


async def test_a_host_without_any_firewall_is_told_and_others_are_fenced(tmp_path: Path, program: object) -> None:
    program("nft", "apt-get install nftables")  # type: ignore[operator]
    folder = tmp_path / "bin"
    folder.mkdir()
    for name in ("sh", "env", "nsenter", "mkdir", "dirname", "cat"):
        (folder / name).symlink_to(str(shutil.which(name)))
    with switched(2) as hosts:
        members = [member_of(host) for host in hosts]

        @contextlib.asynccontextmanager
        async def connect(member: Member) -> AsyncIterator[Runner]:
            host = next(one for one in hosts if one.name == member.name)
            bare = ("env", f"PATH={folder}") if member.name == "host-1" else ()
            yield LocalRunner(member.name, (*bare, *host.prefix))

        first, second = await lock(
            fence_of(members), connect, revert_s=300, folder_of=lambda one: str(tmp_path / one.name)
        )
        assert "apt install nftables" in first.error
        assert not second.error


async def test_names_and_files_are_on_every_host_at_once(tmp_path: Path) -> None:
    """Hosts are folders here: what is tested is who is written, not the network."""
    fence = fence_of([Member(name="one", address="10.0.0.1"), Member(name="two", address="10.0.0.2")])
    hosts = tmp_path / "hosts"
    hosts.write_text("127.0.0.1 localhost\n")
    runner = LocalRunner("one")
    assert await spread_names(fence, [runner], aliases={"db": "10.0.0.2"}, path=str(hosts)) == ()
    text = hosts.read_text()
    assert text.startswith("127.0.0.1 localhost\n")
    assert "10.0.0.1\tone\n10.0.0.2\ttwo\n10.0.0.2\tdb\n" in text
    before = hosts.stat().st_ino
    assert await spread_names(fence, [runner], aliases={"db": "10.0.0.2"}, path=str(hosts)) == ()
    assert hosts.stat().st_ino == before, "the same is not written again"
    assert await spread({str(tmp_path / "etc/app.conf"): b"a=1\n"}, [runner]) == ()
    assert (tmp_path / "etc/app.conf").read_bytes() == b"a=1\n"
    (tmp_path / "blocked").write_text("")
    (failed,) = await spread({str(tmp_path / "blocked/x"): b""}, [runner])
    assert failed.host == "one"
