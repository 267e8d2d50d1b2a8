from __future__ import annotations

import shutil
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from skep.auth.core import internal_principal
from skep.base.clock import SystemClock
from skep.base.errors import AlreadyExists, DataLost, Misconfigured
from skep.base.settings import Settings, load_settings
from skep.credit import PlanTerms
from skep.crypto.keys import MasterKey
from skep.db import Database
from skep.durability import recover as recovery
from skep.durability.published import Publisher
from skep.server.compose import open_hive
from skep.server.recovering import recover
from skep.server.setup import set_up
from skep.testing.hive import test_settings as settings_for

CLOCK = SystemClock()
TOKEN = "token:oiFyR2NcMvaSiNDf"


async def made(settings: Settings, *, snapshot: bool = True) -> tuple[str, str]:
    """A hive with an administrator and a store outside its data directory; gives the password and the store's URL."""
    password = [step async for step in set_up(settings, clock=CLOCK)][-1].secret or ""
    place = settings.data_path().parent / "disk"
    place.mkdir()
    hive = await open_hive(settings, clock=CLOCK, start_workers=False)
    await hive.stores.add("disk", f"fs://{place}", "disk")
    await hive.stores.set_state(hive.stores.by_name("local"), "readonly")
    if snapshot:
        await hive.keepers.snapshotter.take()
    await hive.close()
    return password, f"fs://{place}"


async def may_log_in(settings: Settings, password: str) -> bool:
    hive = await open_hive(settings, clock=CLOCK, start_workers=False)
    try:
        return bool((await hive.auth.login("admin", password)).access_token)
    finally:
        await hive.close()


def silent(step: str, done: int, total: int) -> None:
    pass


async def test_a_passphrase_is_enough_for_its_salt_is_in_the_stores(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SKEP_KEYS_PASSPHRASE", "correct horse battery staple")
    settings = load_settings({"data_dir": str(tmp_path / "hive")})
    password, store = await made(settings)
    assert not settings.master_key_path().exists()
    shutil.rmtree(settings.data_path())
    result = await recover(settings, None, [store], clock=CLOCK, report=silent)
    assert result.stores_absent == ["local"]
    assert not settings.master_key_path().exists()
    assert await may_log_in(settings, password)


async def test_a_recovery_that_was_cut_short_is_refused_by_the_hive_and_begun_anew(tmp_path: Path) -> None:
    old, new = settings_for(tmp_path / "hive"), settings_for(tmp_path / "new")
    password, store = await made(old)
    master = MasterKey.from_file(old.master_key_path())

    def cut_short(step: str, done: int, total: int) -> None:
        if step == "list stores":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        await recover(new, master, [store], clock=CLOCK, report=cut_short)
    master.write_file(new.master_key_path())
    with pytest.raises(Misconfigured, match="run `skep recover` again"):
        await open_hive(new, clock=CLOCK)
    await recover(new, master, [store], clock=CLOCK, report=silent)
    assert await may_log_in(new, password)
    with pytest.raises(AlreadyExists, match="another data_dir"):
        await recover(new, master, [store], clock=CLOCK, report=silent)
    assert await may_log_in(new, password)


async def test_balances_plans_and_published_content_survive(tmp_path: Path) -> None:
    old, new = settings_for(tmp_path / "hive"), settings_for(tmp_path / "new")
    password, store = await made(old)
    master = MasterKey.from_file(old.master_key_path())
    hive = await open_hive(old, clock=CLOCK, start_workers=False)
    await hive.credit.deposit(internal_principal(), "user:admin", "bytes", 1000, key="order")
    await hive.credit.deposit(internal_principal(), TOKEN, "bytes", 500)
    await hive.credit.withdraw(internal_principal(), TOKEN, "bytes", 120)
    await hive.credit.put_plan(internal_principal(), "plus", PlanTerms(traffic_bytes=77))
    await hive.credit.choose_plan(internal_principal(), "plus", who="user:admin")
    published = await Publisher(hive.db, hive.chunks).put("a", bytes(32), _parts(b"sealed"), 6)
    await hive.keepers.snapshotter.take()
    await hive.close()
    await recover(new, master, [store], clock=CLOCK, report=silent)
    assert await may_log_in(new, password)
    hive = await open_hive(new, clock=CLOCK, start_workers=False)
    try:
        assert await hive.credit.token_balance(TOKEN.removeprefix("token:")) == 380
        assert await hive.credit.audit(internal_principal()) == []
        assert (await hive.credit.limits(internal_principal(), "user:admin")).traffic_bytes == 77
        again = await hive.credit.deposit(internal_principal(), "user:admin", "bytes", 1000, key="order")
        assert again.repeated  # what was moved before is known to have been
        found = await Publisher(hive.db, hive.chunks).get(published.hash)
        parts = [part async for part in Publisher(hive.db, hive.chunks).read(found, 0, 6)]
        assert b"".join(parts) == b"sealed"
        assert await Publisher(hive.db, hive.chunks).room() == (6, 1)
    finally:
        await hive.close()


async def _parts(*parts: bytes) -> AsyncIterator[bytes]:
    for part in parts:
        yield part


async def test_without_a_snapshot_it_fails_and_can_be_tried_with_more_stores(tmp_path: Path) -> None:
    old, new = settings_for(tmp_path / "hive"), settings_for(tmp_path / "new")
    password, store = await made(old, snapshot=False)
    master = MasterKey.from_file(old.master_key_path())
    with pytest.raises(DataLost, match="name more of the hive's stores"):
        await recover(new, master, [store], clock=CLOCK, report=silent)
    hive = await open_hive(old, clock=CLOCK, start_workers=False)
    await hive.keepers.snapshotter.take()
    await hive.close()
    await recover(new, master, [store], clock=CLOCK, report=silent)
    assert await may_log_in(new, password)
    db = await Database.open(new.database_url(), clock=CLOCK)
    assert not await db.read(recovery.recovering)
    await db.close()
