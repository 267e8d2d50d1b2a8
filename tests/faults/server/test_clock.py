"""A clock that jumps, by an hour, a month or ten years, forward and back: files stay, and work goes on."""

from __future__ import annotations

from pathlib import Path

import httpx
import pytest

from skep.testing.clock import FakeClock
from skep.testing.hive import TestHive, open_test_hive

DATA, INFO = "/api/filesystem/data", "/api/filesystem/info"
HOUR_S, DAY_S, YEAR_S = 3600.0, 86_400.0, 31_536_000.0


async def job(hive: TestHive, kind: str, **options: object) -> None:
    started = hive.hive.jobs.start(kind, options)
    assert started.task is not None
    await started.task
    assert started.state == "done", started.message


async def put(client: httpx.AsyncClient, path: str, content: bytes) -> dict:
    answer = await client.put(DATA, params={"path": path}, content=content)
    assert answer.is_success, answer.text
    return answer.json()["node"]


@pytest.mark.parametrize("seconds", [HOUR_S, 40 * DAY_S, 10 * YEAR_S, -HOUR_S, -40 * DAY_S, -10 * YEAR_S])
async def test_work_goes_on_over_a_jump(tmp_path: Path, seconds: float) -> None:
    clock = FakeClock()
    async with open_test_hive(tmp_path, clock=clock) as hive:
        ada = await hive.client("ada")
        node = await put(ada, "/kept", b"before the jump " * 1000)
        await put(ada, "/thrown away", b"x" * 5000)
        await ada.delete(INFO, params={"path": "/thrown away"})
        cursor = (await ada.get("/api/filesystem/changes")).json()["cursor"]

        clock.jump(seconds)
        ada = await hive.login("ada")  # tokens may be of another time now
        await put(ada, "/kept", b"after the jump " * 1000)
        await put(ada, "/new", b"n" * 300_000)
        versions = (await ada.get(f"/api/filesystem/versions/{node['id']}")).json()["versions"]
        assert [version["number"] for version in versions] == [2, 1]
        page = (await ada.get("/api/filesystem/changes", params={"cursor": cursor})).json()
        assert [change["path"] for change in page["changes"]] == ["/kept", "/new"]
        assert [change["number"] for change in page["changes"]] == sorted(c["number"] for c in page["changes"])

        for worker in ("gc", "scrub"):
            await job(hive, worker)
        clock.jump(-seconds)
        ada = await hive.login("ada")
        await put(ada, "/kept", b"and back " * 1000)
        for path, content in (("/kept", b"and back " * 1000), ("/new", b"n" * 300_000)):
            assert (await ada.get(DATA, params={"path": path})).content == content
        assert (await ada.get(f"{DATA}/{node['id']}/1")).content == b"before the jump " * 1000
        await job(hive, "gc", grace_s=0)
        fsck = hive.hive.jobs.start("fsck", {"read_data": True})
        assert fsck.task is not None
        await fsck.task
        assert fsck.result["clean"], fsck.result


async def test_an_upload_over_a_jump_is_not_collected(tmp_path: Path) -> None:
    """Leases are counted, not timed: however old the clock says that an upload is, its chunks stay."""
    clock = FakeClock()
    async with open_test_hive(tmp_path, clock=clock) as hive:
        ada = await hive.client("ada")
        pieces = [bytes([number]) * 9 + number.to_bytes(4, "big") * 250_000 for number in range(8)]

        async def body() -> object:
            for piece in pieces:
                yield piece
                clock.jump(40 * DAY_S)
                await job(hive, "gc", grace_s=0, sweep=True)

        answer = await ada.put(DATA, params={"path": "/slow"}, content=body())
        assert answer.status_code == 201, answer.text
        clock.jump(-320 * DAY_S)
        ada = await hive.login("ada")
        assert (await ada.get(DATA, params={"path": "/slow"})).content == b"".join(pieces)


async def test_a_token_is_too_old_after_a_jump_and_a_refresh_goes_on(tmp_path: Path) -> None:
    clock = FakeClock()
    async with open_test_hive(tmp_path, clock=clock) as hive:
        await hive.user("ada")
        pair = await hive.hive.auth.login("ada", "quiet meadow 41 lantern")
        headers = {"authorization": f"Bearer {pair.access_token}"}
        assert (await hive.anonymous.get(INFO, headers=headers)).status_code == 200
        clock.jump(HOUR_S)
        await clock.advance(120)  # the verdict is forgotten
        refused = await hive.anonymous.get(INFO, headers=headers)
        assert (refused.status_code, refused.json()["code"]) == (401, "token-expired")
        assert refused.headers["content-type"] == "application/problem+json"
        again = await hive.anonymous.post("/api/auth/refresh", json={"refresh_token": pair.refresh_token})
        headers = {"authorization": f"Bearer {again.json()['access_token']}"}
        assert (await hive.anonymous.get(INFO, headers=headers)).status_code == 200
