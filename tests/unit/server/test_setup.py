from __future__ import annotations

import stat
from pathlib import Path

import pytest

from skep.base.clock import SystemClock
from skep.base.errors import DataDirectoryInUse, InvalidScheme, KeyMissing, KeyWrong, Misconfigured
from skep.base.settings import Settings
from skep.crypto.keys import MasterKey
from skep.db import Database, insert_new, migrate
from skep.db.schema import hive as hive_table
from skep.server.compose import open_hive
from skep.server.first_password import FILE_NAME, forget_first_password
from skep.server.lock import DataDirectoryLock
from skep.server.setup import Step, generated_password, set_up
from skep.testing.hive import test_settings as settings_for


async def run(settings: Settings) -> list[Step]:
    return [step async for step in set_up(settings, clock=SystemClock())]


async def test_a_hive_is_made_once_and_the_password_shown_once(tmp_path: Path) -> None:
    settings = settings_for(tmp_path / "hive")
    first = await run(settings)
    forget_first_password(settings.data_path())
    second = await run(settings)
    assert [step.number for step in first] == [1, 2, 3, 4, 5]
    assert all(step.changed for step in first)
    assert not any(step.changed or step.secret for step in second)
    password = first[-1].secret
    assert password
    assert password not in repr(first)
    assert stat.S_IMODE(settings.master_key_path().stat().st_mode) == 0o600
    assert stat.S_IMODE(settings.data_path().stat().st_mode) == 0o700
    hive = await open_hive(settings, clock=SystemClock(), start_workers=False)
    assert (await hive.auth.login("admin", password)).access_token
    assert [member.url for member in hive.stores] == [f"fs://{settings.data_path()}/store"]
    assert hive.chunks.scheme.name == "none"
    await hive.close()
    await hive.close()


async def test_a_new_hive_has_the_thresholds_of_its_settings(tmp_path: Path) -> None:
    chosen = {"storage__scheme": "ec(4,4)", "storage__repair_at": 5, "storage__wanted": 7}
    settings = settings_for(tmp_path / "hive", **chosen)
    await run(settings)
    hive = await open_hive(settings, clock=SystemClock(), start_workers=False)
    held = hive.chunks.thresholds.of(hive.chunks.scheme)
    assert (held.needed, held.repair_at, held.wanted, held.total) == (4, 5, 7, 8)
    await hive.close()


async def test_thresholds_that_do_not_fit_the_scheme_make_no_hive(tmp_path: Path) -> None:
    with pytest.raises(InvalidScheme, match="4 < repair at <= wanted <= 8"):
        await run(settings_for(tmp_path / "hive", storage__scheme="ec(4,4)", storage__repair_at=9))


async def test_set_up_goes_on_where_it_was_broken_off(tmp_path: Path) -> None:
    settings = settings_for(tmp_path / "hive")
    steps = set_up(settings, clock=SystemClock())
    for _ in range(3):
        await anext(steps)
    await steps.aclose()  # type: ignore[attr-defined]
    assert [step.changed for step in await run(settings)] == [False, False, False, True, True]


async def test_a_password_that_nobody_has_shown_is_told_again(tmp_path: Path) -> None:
    settings = settings_for(tmp_path / "hive")
    first, second = await run(settings), await run(settings)
    assert first[-1].secret == second[-1].secret
    assert stat.S_IMODE((settings.data_path() / FILE_NAME).stat().st_mode) == 0o600
    forget_first_password(settings.data_path())
    assert (await run(settings))[-1].secret is None


async def test_a_lost_key_is_not_replaced_by_a_new_one(tmp_path: Path) -> None:
    settings = settings_for(tmp_path / "hive")
    await run(settings)
    settings.master_key_path().unlink()
    with pytest.raises(KeyMissing):
        await run(settings)
    assert not settings.master_key_path().exists()
    with pytest.raises(KeyMissing):
        await open_hive(settings, clock=SystemClock())


async def test_another_key_opens_nothing(tmp_path: Path) -> None:
    settings = settings_for(tmp_path / "hive")
    await run(settings)
    settings.master_key_path().unlink()
    MasterKey.create().write_file(settings.master_key_path())
    with pytest.raises(KeyWrong):
        await open_hive(settings, clock=SystemClock())


async def test_set_up_beside_a_running_hive_is_refused(tmp_path: Path) -> None:
    settings = settings_for(tmp_path)
    with DataDirectoryLock(tmp_path), pytest.raises(DataDirectoryInUse, match="pid"):
        await run(settings)
    assert len(await run(settings)) == 5


async def test_a_data_directory_that_is_a_file(tmp_path: Path) -> None:
    place = tmp_path / "file"
    place.write_text("x")
    with pytest.raises(Misconfigured):
        await run(settings_for(place))


def test_a_lock_needs_its_directory_and_goes_with_its_block(tmp_path: Path) -> None:
    with pytest.raises(Misconfigured), DataDirectoryLock(tmp_path / "nowhere"):
        pass
    with DataDirectoryLock(tmp_path):
        pass
    with DataDirectoryLock(tmp_path):
        pass


def test_passwords_are_long_and_differ() -> None:
    made = {generated_password() for _ in range(100)}
    assert len(made) == 100
    assert {len(password) for password in made} == {19}


async def test_a_half_recovered_database_is_no_new_hive(tmp_path: Path) -> None:
    settings = settings_for(tmp_path / "hive")
    settings.data_path().mkdir()
    MasterKey.create().write_file(settings.master_key_path())
    migrate(settings.database_url())
    db = await Database.open(settings.database_url(), clock=SystemClock())
    await db.write(lambda tx: tx.run(insert_new(hive_table), {"name": "snapshot-loading", "value": b""}))
    await db.close()
    with pytest.raises(Misconfigured, match="skep recover"):
        await run(settings)
