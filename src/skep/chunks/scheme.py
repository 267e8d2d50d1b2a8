"""Durability schemes: how many shards a pack becomes and how many of them may be lost.

Every scheme is k data shards and m parity shards of one code; the old RAID names are spellings::

    none      1+0     raid1(n)  1+(n-1), n copies       raid6(n)  (n-2)+2
    raid0(n)  n+0     raid5(n)  (n-1)+1                 ec(k,m)   k+m

Two schemes are equal when k and m are: ``raid1(3) == ec(1,2)``.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from skep.base.errors import InvalidScheme

SHARDS_MAX = 32
_RAID_SHARDS_MIN = {"0": 2, "1": 2, "5": 3, "6": 4}
_RAID_PARITY = {"0": 0, "5": 1, "6": 2}
_FORMS = "none, raid0(n), raid1(n), raid5(n), raid6(n) or ec(k,m)"
_CALL = re.compile(r"(?P<name>[a-z]+?)(?P<level>\d*)\((?P<arguments>[^()]*)\)")
_OLD_RAID = re.compile(r"raid(?P<level>\d+)-(?P<count>.*)")
_TEXT_MAX = 64


@dataclass(frozen=True, slots=True)
class Scheme:
    """A pack becomes ``data_shards`` + ``parity_shards`` shards, any ``data_shards`` of which give it back."""

    name: str = field(compare=False)
    data_shards: int
    parity_shards: int

    @classmethod
    def parse(cls, text: str) -> Scheme:
        """Read a scheme as a person writes it; spaces and case do not matter.

        Raises InvalidScheme, saying what is wrong with it and what to write instead.
        """
        compact = "".join(text.lower().split())[: _TEXT_MAX + 1]
        if compact == "none":
            return cls("none", 1, 0)
        if old := _OLD_RAID.fullmatch(compact):
            return _raid(old["level"], old["count"])
        call = _CALL.fullmatch(compact)
        if call and call["name"] == "raid":
            return _raid(call["level"], call["arguments"])
        if call and call["name"] == "ec" and not call["level"]:
            return _ec(call["arguments"])
        raise InvalidScheme(f"unsupported durability scheme: {text[:_TEXT_MAX]!r}: write {_FORMS}")

    @classmethod
    def of(cls, data_shards: int, parity_shards: int) -> Scheme:
        """The scheme of these counts under its usual name. Raises InvalidScheme when there is none."""
        k, m = data_shards, parity_shards
        if k < 1 or m < 0 or k + m > SHARDS_MAX:
            raise InvalidScheme(f"no scheme has {k} data and {m} parity shards: at least 1+0, at most {SHARDS_MAX}")
        if (k, m) == (1, 0):
            name = "none"
        elif m == 0:
            name = f"raid0({k})"
        elif k == 1:
            name = f"raid1({1 + m})"
        elif m <= 2:
            name = f"raid{4 + m}({k + m})"
        else:
            name = f"ec({k},{m})"
        return cls(name, k, m)

    def __str__(self) -> str:
        return self.name

    @property
    def total(self) -> int:
        """How many shards a pack becomes."""
        return self.data_shards + self.parity_shards

    @property
    def write_quorum(self) -> int:
        """How many shards must be durable before a write is acknowledged: k + ceil(m/2)."""
        return self.data_shards + (self.parity_shards + 1) // 2

    @property
    def overhead(self) -> float:
        """Bytes stored for each byte of a pack."""
        return self.total / self.data_shards


def _raid(level: str, count: str) -> Scheme:
    if level not in _RAID_SHARDS_MIN:
        raise InvalidScheme(f"unsupported raid level: {level or 'none given'}: it is 0, 1, 5 or 6")
    n = _count(count, f"invalid raid count: {count!r}: write the number of stores, as in raid{level}(4)")
    least = _RAID_SHARDS_MIN[level]
    if n < least:
        hint = "; one copy is the scheme none" if level in "01" and n == 1 else ""
        raise InvalidScheme(f"raid{level}({n}) makes no sense: it needs at least {least} stores{hint}")
    name = f"raid{level}({n})"
    _check_total(name, n)
    if level == "1":
        return Scheme(name, 1, n - 1)
    parity = _RAID_PARITY[level]
    return Scheme(name, n - parity, parity)


def _ec(arguments: str) -> Scheme:
    numbers = arguments.split(",")
    hint = f"invalid erasure code: 'ec({arguments})': write ec(k,m) with k data and m parity shards, as in ec(4,2)"
    if len(numbers) != 2:
        raise InvalidScheme(hint)
    k, m = (_count(number, hint) for number in numbers)
    if k < 1:
        raise InvalidScheme(f"ec({k},{m}) makes no sense: there must be at least one data shard")
    if m < 1:
        instead = "none" if k == 1 else f"raid0({k})"
        raise InvalidScheme(f"ec({k},{m}) survives no loss: write {instead} if that is meant")
    _check_total(f"ec({k},{m})", k + m)
    return Scheme(f"ec({k},{m})", k, m)


def _count(text: str, message: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) <= 4):
        raise InvalidScheme(message)
    return int(text)


def _check_total(name: str, total: int) -> None:
    if total > SHARDS_MAX:
        raise InvalidScheme(f"{name} needs {total} stores: at most {SHARDS_MAX} are supported")
