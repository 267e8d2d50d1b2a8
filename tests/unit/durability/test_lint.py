"""The lint of a layout: zones, disks, accounts, households and addresses against what schemes can lose."""

from __future__ import annotations

import pytest

from skep.chunks.scheme import Scheme
from skep.durability.lint import Facts, account_of, lint


def store(number: int, zone: str = "", **facts: str) -> Facts:
    return Facts(bytes(15) + bytes([number]), f"s{number}", zone or f"zone{number}", **facts)


def kinds(scheme: str, *stores: Facts) -> list[tuple[str, int, bool]]:
    return [(each.kind, each.shards, each.loses) for each in lint(Scheme.parse(scheme), stores)]


def test_distinct_everything_is_fine() -> None:
    stores = [store(n, disk=f"d{n}", account=f"a{n}", household=f"h{n}", address=f"10.0.0.{n}") for n in range(6)]
    assert kinds("ec(4,2)", *stores) == []
    assert kinds("raid1(3)", *stores) == []


@pytest.mark.parametrize("kind", ["disk", "account", "household", "address"])
def test_two_zones_on_one_thing(kind: str) -> None:
    stores = [store(0, **{kind: "same"}), store(1, **{kind: "same"}), store(2)]
    assert kinds("ec(2,1)", *stores) == [(kind, 2, True)]
    assert kinds("raid1(2)", *stores) == [(kind, 2, True)]
    assert kinds("raid1(3)", *stores) == []  # the third copy is elsewhere


def test_one_zone_on_one_thing_is_what_zones_are_for() -> None:
    stores = [store(0, "a", disk="same"), store(1, "a", disk="same"), store(2, "b"), store(3, "c")]
    assert kinds("ec(2,1)", *stores) == []


def test_enough_to_read_without_being_enough_to_lose() -> None:
    stores = [store(n, account="one" if n < 2 else "") for n in range(6)]
    assert kinds("ec(2,4)", *stores) == [("account", 2, False)]


def test_fewer_zones_than_shards_need() -> None:
    assert kinds("ec(2,1)", store(0, "a"), store(1, "a")) == [("zone", 3, True)]
    assert kinds("ec(4,2)", store(0), store(1), store(2)) == []  # two in each: any one may go
    assert kinds("ec(4,2)", store(0), store(1)) == [("zone", 3, True), ("zone", 3, True)]


def test_without_parity_there_is_nothing_to_say() -> None:
    assert kinds("none", store(0, disk="x"), store(1, disk="x")) == []
    assert kinds("ec(2,1)") == []


def test_messages_say_what_shares_what_and_what_to_do() -> None:
    (found,) = lint(Scheme.parse("ec(2,1)"), [store(0, disk="d"), store(1, disk="d"), store(2)])
    assert found.message == (
        "s0, s1 lie on one disk: up to 2 of the 3 shards of a pack lie there, and its loss may lose data: ec(2,1) can "
        "lose 1; give them one zone, and add others elsewhere"
    )


@pytest.mark.parametrize(
    ("url", "secret", "account"),
    [
        ("fs:///mnt/a", None, ""),
        ("dropbox:dbid:AA/folder", None, "dropbox:dbid:AA"),
        ("s3://b/p?endpoint=https://s3.example.com:444", b"KEY1:secret", "KEY1 at s3.example.com"),
        ("s3://other", b'{"access_key_id":"K2","secret_access_key":"x"}', "K2 at amazonaws.com"),
        ("s3://b", None, "the machine's keys at amazonaws.com"),
        ("webdav+https://ada@nas.example/dav", b"pw", "ada@nas.example"),
    ],
)
def test_whose_account(url: str, secret: bytes | None, account: str) -> None:
    assert account_of(url, secret) == account
    assert "secret" not in account
