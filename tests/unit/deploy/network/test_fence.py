"""The list of hosts, its rules as text, and the block in /etc/hosts."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from skep.base.errors import BadInput
from skep.deploy.network.fence import Member, fence_of
from skep.deploy.network.files import BEGIN, END, spread, with_block
from skep.deploy.network.iptables import restore_file
from skep.deploy.network.nftables import ruleset


def test_members_reach_all_strangers_what_is_public() -> None:
    fence = fence_of(["10.0.0.1", Member(name="web", address="10.0.0.2", router=True, public=(2222,))])
    first, web = fence.members
    assert fence.allows("10.0.0.2", first, 5432)
    assert not fence.allows("10.0.0.3", first, 5432)
    assert fence.allows("10.0.0.3", first, 22)
    assert not fence.allows("10.0.0.3", first, 80)
    assert [port for port in (22, 80, 443, 2222, 8080) if fence.allows("192.0.2.1", web, port)] == [22, 80, 443, 2222]


@pytest.mark.parametrize(
    ("members", "said"),
    [
        ([], "would lock everybody out"),
        (["10.0.0.1", "10.0.0.1"], "twice"),
        (["fd00::1", "fd00:0::1"], "twice"),
        (["example"], "not an IP address"),
        (["10.0.0.1; accept"], "not an IP address"),
        (["0.0.0.0"], "not the address of one host"),
        (["127.0.0.1"], "not the address of one host"),
        (["224.0.0.1"], "not the address of one host"),
        ([Member(name="a", address="10.0.0.1", public=(0,))], "no TCP port"),
        ([Member(name="a", address="10.0.0.1", ssh_port=70_000)], "no TCP port"),
        ([Member(name="a\n10.0.0.9 bank.example", address="10.0.0.1")], "no name of a host"),
        ([Member(name="a b", address="10.0.0.1")], "no name of a host"),
        ([Member(name="-a", address="10.0.0.1")], "no name of a host"),
        ([Member(name="", address="10.0.0.1")], "no name of a host"),
    ],
)
def test_bad_lists_are_refused(members: list[Member | str], said: str) -> None:
    with pytest.raises(BadInput, match=said):
        fence_of(members)


def test_the_same_list_gives_the_same_rules_in_any_order() -> None:
    one, two = fence_of(["10.0.0.1", "10.0.0.2", "fd00::1"]), fence_of(["fd00::1", "10.0.0.2", "10.0.0.1"])
    member = one.members[0]
    assert ruleset(one, member) == ruleset(two, member)
    assert "ip saddr { 10.0.0.1, 10.0.0.2 } accept" in ruleset(one, member)
    assert "ip6 saddr { fd00::1 } accept" in ruleset(one, member)
    assert "tcp dport { 22 } accept" in ruleset(one, member)


def test_iptables_has_each_version_apart_and_ends_with_drop() -> None:
    fence = fence_of(["10.0.0.1", "fd00::1"])
    four, six = (restore_file(fence, fence.members[0], version) for version in (4, 6))
    assert "fd00::1" not in four
    assert "10.0.0.1" not in six
    for text in (four, six):
        assert text.splitlines()[-2].endswith("-j DROP")
        assert text.endswith("COMMIT\n")


def test_what_people_wrote_in_hosts_stays() -> None:
    text = with_block("127.0.0.1 localhost\n# mine\n", [("10.0.0.1", "a")])
    assert text == f"127.0.0.1 localhost\n# mine\n{BEGIN}\n10.0.0.1\ta\n{END}\n"
    assert with_block(text, [("10.0.0.2", "b")]) == f"127.0.0.1 localhost\n# mine\n{BEGIN}\n10.0.0.2\tb\n{END}\n"
    assert with_block(text, []) == "127.0.0.1 localhost\n# mine\n"
    torn = text.replace(f"{END}\n", "192.168.1.1 printer\n")
    assert "192.168.1.1 printer" in with_block(torn, [("10.0.0.2", "b")])


@given(st.lists(st.text(st.characters(codec="ascii", exclude_characters="\r\n\x0b\x0c\x1c\x1d\x1e\x85"), max_size=20)))
def test_writing_twice_is_writing_once(lines: list[str]) -> None:
    text = "".join(f"{line}\n" for line in lines)
    once = with_block(text, [("10.0.0.1", "a")])
    assert with_block(once, [("10.0.0.1", "a")]) == once
    assert once.count(BEGIN) == 1


@pytest.mark.parametrize("path", ["etc/x", "/etc/../x", "/etc//x", "/etc/x\0", ""])
async def test_files_go_only_to_plain_absolute_paths(path: str) -> None:
    with pytest.raises(BadInput, match="not an absolute path"):
        await spread({path: b""}, [])
    with pytest.raises(BadInput, match="at most"):
        await spread({"/etc/x": bytes((1 << 20) + 1)}, [])
