"""What stores cost: kept, moved, forecast; and the books that it stands on."""

from __future__ import annotations

import datetime
import random
from decimal import Decimal
from pathlib import Path

import msgspec
import pytest
import sqlalchemy as sa

from skep.db import schema as s
from skep.durability.cost import Month, Used, cost_of, first_day, month_at
from skep.durability.terms import Terms
from skep.durability.traffic import GAP_MAX_S, Traffic
from skep.testing.clock import FakeClock
from skep.testing.durable import open_rig

NOVEMBER_S = 30 * 86_400
DAY_US = 86_400_000_000
GB = 10**9


def us(*parts: int) -> int:
    return round(datetime.datetime(*parts, tzinfo=datetime.UTC).timestamp() * 1e6)  # type: ignore[arg-type, misc]


def test_half_a_month_of_a_terabyte() -> None:
    """1000 GB at 0.006: 3.00 after half a month, 6.00 in all; 100 GB read at 0.01: 1.00, and as much again."""
    month = Month("2026-11", NOVEMBER_S, NOVEMBER_S // 2)
    used = Used(1000 * GB * (NOVEMBER_S // 2), 500 * GB, 100 * GB)
    terms = Terms(price_stored=Decimal("0.006"), price_down=Decimal("0.01"))
    cost = cost_of(terms, used, 1000 * GB, month)
    assert cost.so_far == Decimal(4)
    assert cost.forecast == Decimal(8)


def test_no_price_is_no_cost_and_no_zero() -> None:
    cost = cost_of(Terms(jurisdiction="DE"), Used(1, 1, 1), 1, Month("2026-11", NOVEMBER_S, 0))
    assert (cost.so_far, cost.forecast) == (None, None)


@pytest.mark.parametrize(
    ("at", "month", "first"),
    [
        (us(2026, 11, 1), Month("2026-11", NOVEMBER_S, 0), us(2026, 11, 1)),
        (us(2026, 11, 21, 6), Month("2026-11", NOVEMBER_S, 20 * 86_400 + 21_600), us(2026, 11, 1)),
        (us(2028, 2, 29, 23, 59, 59), Month("2028-02", 29 * 86_400, 29 * 86_400 - 1), us(2028, 2, 1)),
        (us(2026, 12, 31), Month("2026-12", 31 * 86_400, 30 * 86_400), us(2026, 12, 1)),
    ],
)
def test_months(at: int, month: Month, first: int) -> None:
    assert month_at(at) == month
    assert first_day(at) == first // DAY_US


@pytest.mark.parametrize("price", ["-1", "NaN", "Infinity", "1000001"])
def test_what_is_no_price(price: str) -> None:
    with pytest.raises(ValueError, match="a price is a number"):
        Terms(price_up=Decimal(price))
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert({"price_up": price}, Terms)


async def test_what_is_kept_is_counted_by_day(tmp_path: Path) -> None:
    clock = FakeClock(us(2026, 10, 31, 23, 55))
    async with open_rig(tmp_path, "none", stores=1, clock=clock) as rig:
        await rig.put(random.Random(1).randbytes(1_000_000))
        await rig.chunks.stores.probe()
        member = next(iter(rig.chunks.stores))
        traffic = Traffic(rig.db, rig.chunks.stores, clock)
        await clock.advance(240)
        await traffic.look()
        month, used = await traffic.month()
        assert month.name == "2026-10"
        assert abs(used[member.id].byte_seconds - member.used_bytes * 240) < 200_000
        await clock.advance(600)
        await traffic.look()
        month, used = await traffic.month()
        assert month.name == "2026-11"
        assert abs(used[member.id].byte_seconds - member.used_bytes * 600) < 200_000
        await clock.advance(7 * 86_400)  # the machine slept
        await traffic.look()
        _, used = await traffic.month()
        assert used[member.id].byte_seconds <= member.used_bytes * (600 + GAP_MAX_S) + 1024
        assert len(await rig.rows(sa.select(s.store_traffic.c.day))) == 3


async def test_terms_outlive_a_restart_and_change_the_zone(tmp_path: Path) -> None:
    async with open_rig(tmp_path, "none", stores=1) as rig:
        member = next(iter(rig.chunks.stores))
        terms = Terms(price_stored=Decimal("0.006"), jurisdiction="DE", up_bytes_per_s=1 << 20)
        await rig.chunks.stores.change(member, zone="attic", capacity_bytes=5 * GB, terms=terms)
        await rig.chunks.stores.change(member)
        row = (await rig.rows(sa.select(s.stores.c.zone, s.stores.c.capacity_bytes, s.stores.c.terms)))[0]
        assert row[:2] == ("attic", 5 * GB)
        assert row[2] == '{"price_stored":"0.006","jurisdiction":"DE","up_bytes_per_s":1048576}'
        await rig.chunks.stores.change(member, capacity_bytes=None)
        assert member.capacity_bytes is None
