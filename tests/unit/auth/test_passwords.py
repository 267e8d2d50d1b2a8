from __future__ import annotations

import asyncio
import threading
import unicodedata

import pytest

from skep.auth.hasher import Hasher
from skep.auth.password_rules import COMMON, check_password
from skep.base.errors import BadInput, RateLimited, ShuttingDown


def _check(password):
    return check_password(
        password, min_length=8, name="Margaret", email="m.hamilton@example.org", full_name="Margaret Hamilton"
    )


@pytest.mark.parametrize(
    ("password", "rule"),
    [
        ("sevench", "length"),
        ("é" * 600, "length"),
        ("29384756102938", "digits"),
        ("margaret", "own-name"),
        ("Margaret2024!", "own-name"),
        ("teragram", "own-name"),
        ("M.Hamilton@example.org", "own-name"),
        ("m.hamilton", "own-name"),
        ("margaret hamilton", "own-name"),
        ("MargaretHamilton99", "own-name"),
        ("Password123", "common"),
        ("drowssap", "common"),
        ("letmein!!!", "common"),
        ("aaaaaaaaaaaa", "common"),
        ("abababababab", "common"),
    ],
)
def test_passwords_that_are_refused(password, rule):
    with pytest.raises(BadInput) as failed:
        _check(password)
    assert failed.value.details["rule"] == rule
    assert password not in failed.value.message


@pytest.mark.parametrize(
    "password", ["quiet meadow", "margaret likes rockets", "Tr0ub4dor&3x", "пароль-длинный", "x\ud800yzabcd"]
)
def test_passwords_that_are_fine(password):
    assert _check(password) == password


def test_the_list_is_of_lower_case_words():
    assert len(COMMON) > 150
    assert all(word == word.casefold() for word in COMMON)


def test_every_keyboard_writes_the_same_password():
    assert _check(unicodedata.normalize("NFD", "crème brûlée")) == "crème brûlée"


@pytest.fixture
def hasher():
    made = Hasher(threads=1, queue=2, memory_bytes=64 * 1024, passes=1)
    yield made
    made.close()


async def test_hashes_are_argon2id_with_the_documented_parameters():
    real = Hasher(threads=1, queue=1)
    stored = await real.hash("quiet meadow")
    assert stored.startswith("$argon2id$v=19$m=19456,t=2,p=1$")
    assert await real.verify(stored, "quiet meadow")
    assert not await real.verify(stored, "loud meadow")
    assert not real.is_outdated(stored)
    real.close()


async def test_no_stored_hash_is_a_no_after_the_same_work(hasher, monkeypatch):
    checked = []
    monkeypatch.setattr(hasher, "_verify", lambda stored, password: checked.append(stored) or True)
    assert not await hasher.verify(None, "nobody's password")
    assert checked[0].startswith("$argon2id$")


async def test_a_damaged_hash_is_a_no(hasher):
    assert not await hasher.verify("$argon2id$broken", "x")
    assert not await hasher.verify("", "x")


async def test_overload_is_told_at_once_and_ends(hasher, monkeypatch):
    gate = threading.Event()
    monkeypatch.setattr(hasher, "_verify", lambda stored, password: gate.wait(10))
    waiting = [asyncio.create_task(hasher.verify("x", "y")) for _ in range(3)]
    await asyncio.sleep(0)
    with pytest.raises(RateLimited) as failed:
        await hasher.verify("x", "y")
    assert failed.value.details["retry_after_s"] >= 1
    assert failed.value.details["reason"] == "overload"
    waiting[2].cancel()
    gate.set()
    assert await asyncio.gather(*waiting[:2]) == [True, True]
    assert await hasher.verify("x", "y")
    assert hasher.busy == 0


async def test_stopping_is_told_to_those_who_wait_and_to_those_who_come(hasher, monkeypatch):
    gate = threading.Event()
    monkeypatch.setattr(hasher, "_verify", lambda stored, password: gate.wait(10))
    running, waiting = (asyncio.create_task(hasher.verify("x", "y")) for _ in range(2))
    while hasher.busy < 2:
        await asyncio.sleep(0)
    hasher.close()
    gate.set()
    with pytest.raises(ShuttingDown):
        await waiting
    assert await running
    with pytest.raises(ShuttingDown):
        await hasher.verify("x", "y")
    assert hasher.busy == 0
