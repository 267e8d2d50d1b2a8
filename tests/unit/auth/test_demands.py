"""A second factor or a proven address that the hive demands."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

import httpx
import pytest

from skep.auth.totp import code_of, step_at
from skep.base.errors import InvalidSetting
from skep.testing.hive import PASSWORD, TestHive, open_test_hive

FILE = "/api/filesystem/data?path=/a"
MAIL = {"mail__url": "catch-all", "server__public_url": "https://hive.example"}


async def put(client: httpx.AsyncClient) -> int:
    return (await client.put(FILE, content=b"x")).status_code


async def add_factor(hive: TestHive, client: httpx.AsyncClient) -> None:
    asked = await client.post("/api/auth/factors/totp", json={"name": "phone", "password": PASSWORD})
    made = asked.json()
    code = code_of(base64.b32decode(made["secret"]), step_at(hive.hive.clock.now_us()))
    answer = await client.post(f"/api/auth/factors/{made['factor']['id']}/confirm", json={"code": code})
    assert answer.is_success, answer.text


async def test_administrators_without_a_factor_are_users(tmp_path: Path) -> None:
    async with open_test_hive(tmp_path, auth__second_factor="administrators") as hive:
        root, ann = await hive.client("root", is_admin=True), await hive.client("ann")
        assert (await put(root), await put(ann)) == (201, 201)
        refused = await root.get("/api/auth/users")
        assert refused.status_code == 403
        assert "second factor" in refused.json()["detail"]
        basic = httpx.BasicAuth("root", PASSWORD)
        assert (await hive.anonymous.get("/api/auth/users", auth=basic)).status_code == 403
        await add_factor(hive, root)
        assert (await root.get("/api/auth/users")).status_code == 200


async def test_nobody_without_a_factor_does_anything(tmp_path: Path) -> None:
    async with open_test_hive(tmp_path, auth__second_factor="everyone") as hive:
        ann = await hive.client("ann")
        assert (await ann.post("/api/auth/app-passwords", json={"name": "mount"})).status_code == 403
        password: Any = {"auth": httpx.BasicAuth("ann", PASSWORD)}
        for client, shown in ((ann, {}), (hive.anonymous, password)):
            assert (await client.put(FILE, content=b"x", **shown)).status_code == 403
            assert (await client.get(FILE, **shown)).status_code == 403
        assert (await ann.get("/api/auth/me")).status_code == 200
        await add_factor(hive, ann)
        assert await put(ann) == 201


async def test_nobody_writes_without_a_proven_address(tmp_path: Path) -> None:
    async with open_test_hive(tmp_path, auth__verified_email_to_write=True, **MAIL) as hive:
        root, ann = await hive.client("root", is_admin=True), await hive.client("ann")
        await root.patch("/api/auth/users/ann", json={"email": "ann@example.com"})
        refused = await ann.put(FILE, content=b"x")
        assert (refused.status_code, refused.json()["details"]["reason"]) == (403, "demanded")
        assert (await ann.get(FILE)).status_code == 404
        await prove(hive, ann)
        assert await put(ann) == 201
        await root.patch("/api/auth/users/ann", json={"email": "other@example.com"})
        assert await put(await hive.login("ann")) == 403


async def prove(hive: TestHive, client: httpx.AsyncClient) -> None:
    """Follow the link of the letter."""
    from skep.auth.outbox import due_letters

    assert (await client.post("/api/auth/verify-email/ask")).is_success
    key = hive.hive.identity.master.hive_keys().secrets_key
    (waiting,) = await hive.hive.db.read(lambda tx: due_letters(tx, key, 10))
    token = waiting.letter.text.partition("#token=")[2].split()[0]
    assert (await hive.hive.auth.verify_email(token)).name == "ann"


async def test_an_address_that_nobody_can_prove_is_not_demanded(tmp_path: Path) -> None:
    with pytest.raises(InvalidSetting):
        async with open_test_hive(tmp_path, auth__verified_email_to_write=True):
            pass
