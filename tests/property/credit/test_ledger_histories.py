"""Random histories of deposits, spending, gifts, refunds, codes, purchases and plans against a model of plain numbers.

After each step: debits equal credits, every balance is the replay of its entries and the model's number, and whatever
was refused left no trace.
"""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from skep.base.errors import SkepError
from skep.credit import accounts, ledger, plans, prices, promos
from skep.credit.ledger import Movement
from skep.credit.months import PERIOD_US
from skep.credit.records import AMOUNT_MAX, PlanTerms, Promo
from skep.db import Transaction, schema_credit
from skep.db.schema import METADATA
from skep.db.sqlite import SqliteDriver

WHO = ("ann", "bob", "eve")
ODD = st.sampled_from([-3, 0, AMOUNT_MAX - 5, AMOUNT_MAX, AMOUNT_MAX + 1])
AMOUNTS = st.integers(0, 60).flatmap(lambda n: st.just(n) if 0 < n < 60 else ODD)
NAMES = st.sampled_from(WHO)
KEYS = st.sampled_from(["", "", "", "", "k1", "k2", "k3"])
STEPS = st.one_of(
    st.tuples(st.just("deposit"), NAMES, AMOUNTS, KEYS),
    st.tuples(st.just("spend"), NAMES, AMOUNTS, KEYS),
    st.tuples(st.just("give"), NAMES, NAMES, AMOUNTS, KEYS),
    st.tuples(st.just("refund"), st.integers(0, 3), st.none(), st.just("")),
    st.tuples(st.just("refund"), st.integers(0, 5), st.one_of(st.none(), AMOUNTS), KEYS),
    st.tuples(st.just("redeem"), NAMES, st.sampled_from(["ONE", "TWO", "NONE"])),
    st.tuples(st.just("floor"), NAMES, st.integers(0, 40)),
    st.tuples(st.just("plan"), NAMES, st.sampled_from(["free", "plus"])),
    st.tuples(st.just("renew"), st.integers(1, 70)),
)
HISTORIES = st.lists(STEPS, min_size=25, max_size=50)


class World:
    """A ledger in memory, and what it should say."""

    def __init__(self) -> None:
        assert schema_credit
        from sqlalchemy import create_engine

        engine = create_engine("sqlite://")
        self.connection = engine.raw_connection()
        raw = self.connection.driver_connection
        assert isinstance(raw, sqlite3.Connection)
        raw.isolation_level = None
        METADATA.create_all(engine, tables=[t for t in METADATA.sorted_tables if t.name.startswith("credit_")])
        self.raw, self.driver, self.now_us = raw, SqliteDriver(Path(":memory:")), 1_700_000_000_000_000
        self.transfers: list[bytes] = []
        self.expected = dict.fromkeys(WHO, 0)

    def run(self, work):
        """One unit of work: its result, or the error that undid it."""
        cursor = self.raw.cursor()
        cursor.execute("SAVEPOINT unit")
        try:
            result = work(Transaction(cursor, self.driver, self.now_us))
        except SkepError as error:
            cursor.execute("ROLLBACK TO unit")
            result = error
        cursor.execute("RELEASE unit")
        return result

    def account(self, tx, name):
        return accounts.opened(tx, "token", name)


def _moved(world: World, done, effects: dict[str, int]) -> None:
    if isinstance(done, SkepError) or done.repeated:
        return
    world.transfers.append(done.transfer.id)
    for name, amount in effects.items():
        world.expected[name] += amount


def _step(world: World, step) -> None:
    kind, *rest = step
    if kind in ("deposit", "spend"):
        name, amount, key = rest

        def work(tx):
            theirs, ours = world.account(tx, name), accounts.system(tx, "outside")
            payer, payee = (ours, theirs) if kind == "deposit" else (theirs, ours)
            return ledger.move(tx, Movement(kind, "bytes", amount, payer.id, payee.id, key))

        _moved(world, world.run(work), {name: amount if kind == "deposit" else -amount})
    elif kind == "give":
        giver, taker, amount, key = rest
        done = world.run(
            lambda tx: ledger.move(
                tx, Movement("gift", "bytes", amount, world.account(tx, giver).id, world.account(tx, taker).id, key)
            )
        )
        _moved(world, done, {giver: -amount, taker: amount} if giver != taker else {})
    elif kind == "refund":
        _refund(world, *rest)
    elif kind == "redeem":
        name, code = rest
        done = world.run(lambda tx: promos.redeem(tx, world.account(tx, name), code))
        if not isinstance(done, SkepError):
            world.expected[name] += done.bytes
    elif kind == "floor":
        name, floor = rest
        world.run(lambda tx: ledger.set_floor(tx, world.account(tx, name).id, "bytes", -floor))
    elif kind == "plan":
        name, plan = rest
        world.run(lambda tx: plans.subscribe(tx, world.account(tx, name), plans.the_plan(tx, plan)))
    else:
        world.now_us += rest[0] * PERIOD_US // 30
        world.run(lambda tx: plans.renew(tx, b"", 100))


def _refund(world: World, number: int, amount: int | None, key: str) -> None:
    if not world.transfers:
        return
    transfer_id = world.transfers[number % len(world.transfers)]

    def work(tx):
        paid = ledger.the_transfer(tx, transfer_id)
        done = ledger.refund(tx, transfer_id, amount, key)
        names = {accounts.by_id(tx, one).owner: one for one in (paid.from_id, paid.to_id)}
        return done, {
            name: (done.transfer.amount if one == paid.from_id else -done.transfer.amount)
            for name, one in names.items()
            if name in WHO
        }

    found = world.run(work)
    if not isinstance(found, SkepError):
        _moved(world, *found)


def _check(world: World) -> None:
    assert world.run(ledger.audit) == []
    for name in WHO:
        balance = world.run(lambda tx, name=name: ledger.balance(tx, world.account(tx, name).id, "bytes"))
        assert balance.amount == world.expected[name], name


def _prepare(tx) -> None:
    promos.add_promo(tx, Promo("ONE", 7, 0, None, None, 1, 0, 0, None), None)
    promos.add_promo(tx, Promo("TWO", 11, 3, None, None, 2, 0, 0, None), None)
    plans.put_plan(tx, "free", PlanTerms())
    plans.put_plan(tx, "plus", PlanTerms(cost=2))
    prices.add_price(tx, 10, 1, None, None)


def _live(history) -> None:
    world = World()
    world.run(_prepare)
    for step in history:
        _step(world, step)
        _check(world)


@given(HISTORIES)
@settings(max_examples=50)
def test_the_ledger_adds_up_whatever_happens(history) -> None:
    _live(history)


@pytest.mark.long
@given(HISTORIES)
@settings(max_examples=5_000)
def test_the_ledger_adds_up_in_thousands_of_histories(history) -> None:
    _live(history)
