from __future__ import annotations

import pytest

from skep.base.errors import InvalidScheme
from skep.chunks.scheme import SHARDS_MAX, Scheme


@pytest.mark.parametrize(
    ("text", "k", "m", "quorum"),
    [
        ("none", 1, 0, 1),
        ("raid0(2)", 2, 0, 2),
        ("raid1(2)", 1, 1, 2),
        ("raid1(3)", 1, 2, 2),
        ("raid5(3)", 2, 1, 3),
        ("raid6(4)", 2, 2, 3),
        ("raid6(6)", 4, 2, 5),
        ("ec(1,1)", 1, 1, 2),
        ("ec(4,2)", 4, 2, 5),
        ("ec(2,3)", 2, 3, 4),
        ("ec(28,4)", 28, 4, 30),
        ("raid0(32)", 32, 0, 32),
    ],
)
def test_schemes_are_k_plus_m(text: str, k: int, m: int, quorum: int) -> None:
    scheme = Scheme.parse(text)
    assert (scheme.name, scheme.data_shards, scheme.parity_shards) == (text, k, m)
    assert (scheme.total, scheme.write_quorum) == (k + m, quorum)
    assert scheme.overhead == pytest.approx((k + m) / k)
    assert str(scheme) == text


@pytest.mark.parametrize(
    ("text", "name"),
    [(" EC( 4, 2 ) ", "ec(4,2)"), ("NONE", "none"), ("raid1-3", "raid1(3)"), ("Raid5-4", "raid5(4)")],
)
def test_spelling_is_forgiven(text: str, name: str) -> None:
    assert Scheme.parse(text).name == name


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "unsupported durability scheme"),
        ("mirror", "write none, raid0"),
        ("ec", "unsupported durability scheme"),
        ("ec4(2,1)", "unsupported durability scheme"),
        ("none(1)", "unsupported durability scheme"),
        ("raid(3)", "unsupported raid level"),
        ("raid2(3)", "unsupported raid level: 2"),
        ("raid10(4)", "unsupported raid level: 10"),
        ("raid1()", "invalid raid count"),
        ("raid1(x)", "invalid raid count"),
        ("raid1-x", "invalid raid count: 'x'"),
        ("raid1(-2)", "invalid raid count"),
        ("raid1(2.0)", "invalid raid count"),
        ("raid1(٣)", "invalid raid count"),
        ("raid1(99999999999)", "invalid raid count"),
        ("raid1(0)", "needs at least 2"),
        ("raid1(1)", "one copy is the scheme none"),
        ("raid0(1)", "needs at least 2"),
        ("raid5(2)", "needs at least 3"),
        ("raid6(3)", "needs at least 4"),
        ("raid1(33)", "at most 32"),
        ("ec(4)", "write ec\\(k,m\\)"),
        ("ec(4,2,1)", "write ec\\(k,m\\)"),
        ("ec(4,)", "write ec\\(k,m\\)"),
        ("ec(0,2)", "at least one data shard"),
        ("ec(4,0)", "write raid0\\(4\\)"),
        ("ec(1,0)", "write none"),
        ("ec(30,3)", "needs 33 stores: at most 32"),
        ("ec(4,2))", "unsupported durability scheme"),
        ("ec(4,2" + ")" * 10_000, "unsupported durability scheme"),
    ],
)
def test_nonsense_is_refused_with_a_reason(text: str, why: str) -> None:
    with pytest.raises(InvalidScheme, match=why) as caught:
        Scheme.parse(text)
    assert len(str(caught.value)) < 250


def test_schemes_are_equal_by_their_counts() -> None:
    assert Scheme.parse("raid1(3)") == Scheme.parse("ec(1,2)") != Scheme.parse("ec(2,1)")
    assert len({Scheme.parse("raid6(6)"), Scheme.parse("ec(4,2)")}) == 1


def test_each_count_has_a_name_that_parses_to_it() -> None:
    for k in range(1, SHARDS_MAX + 1):
        for m in range(SHARDS_MAX + 1 - k):
            scheme = Scheme.of(k, m)
            assert Scheme.parse(scheme.name) == scheme
            assert (scheme.data_shards, scheme.parity_shards) == (k, m)
    for k, m in ((0, 1), (1, -1), (30, 3)):
        with pytest.raises(InvalidScheme):
            Scheme.of(k, m)
