"""Webhooks over HTTP: good ones, forged ones, replayed ones, and what is no delivery at all."""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from skep.base.errors import BadInput, NotFound
from skep.deploy.hq.hooks import Hook, Hooks
from skep.deploy.hq.settings import read_settings
from skep.deploy.hq.sqlite_state import SqliteState
from skep.deploy.hq.webhook import Webhook
from skep.testing.clock import FakeClock

KEY = bytes(range(32))


class Door:
    """A webhook port on loopback, what it deployed, and a sender that signs."""

    def __init__(self, tmp_path: Path) -> None:
        self.clock = FakeClock()
        self.state = SqliteState(tmp_path / "state.db")
        self.hooks = Hooks(self.state, KEY, self.clock, age_max_s=3600)
        settings = read_settings(None, webhook={"listen": "127.0.0.1", "body_max": "64KB"}).webhook
        self.deployed: list[Hook] = []
        self.webhook = Webhook(self.hooks, self._deploy, settings)
        self.secret = ""
        self.url = ""

    async def _deploy(self, hook: Hook) -> None:
        self.deployed.append(hook)

    async def open(self) -> None:
        self.secret = await self.hooks.put("shop", "https://example.org/shop.git", "main")
        self.url = f"http://127.0.0.1:{await self.webhook.listen()}/webhook/shop"

    def push(self, ref: str = "refs/heads/main", **more: Any) -> bytes:
        pushed_at = int(self.clock.now_us() / 1e6)
        return json.dumps({"ref": ref, "repository": {"pushed_at": pushed_at}, **more}).encode()

    async def send(self, body: bytes, *, secret: str | None = None, url: str = "", **headers: str) -> httpx.Response:
        key = (self.secret if secret is None else secret).encode()
        given = {
            "content-type": "application/json",
            "x-github-event": "push",
            "x-github-delivery": hashlib.sha256(body).hexdigest()[:32],
            "x-hub-signature-256": "sha256=" + hmac.new(key, body, hashlib.sha256).hexdigest(),
        } | {name.replace("_", "-"): value for name, value in headers.items()}
        async with httpx.AsyncClient(verify=False) as client:
            return await client.post(url or self.url, content=body, headers={k: v for k, v in given.items() if v})


@pytest.fixture
async def door(tmp_path: Path) -> AsyncIterator[Door]:
    opened = Door(tmp_path)
    await opened.open()
    yield opened
    await opened.webhook.close()
    await opened.state.close()


async def test_a_signed_push_deploys_once(door: Door) -> None:
    body = door.push()
    answer = await door.send(body)
    assert (answer.status_code, answer.json()) == (202, {"status": "deploying", "stack": "shop"})
    assert [hook.repository for hook in door.deployed] == ["https://example.org/shop.git"]
    again = await door.send(body)
    assert again.status_code == 409
    renamed = await door.send(body, x_github_delivery="another-id")  # nothing signs the id
    assert renamed.status_code == 409
    assert len(door.deployed) == 1


async def test_the_form_of_gitea_is_taken(door: Door) -> None:
    body = door.push()
    signature = hmac.new(door.secret.encode(), body, hashlib.sha256).hexdigest()
    answer = await door.send(
        body, x_hub_signature_256="", x_gitea_signature=signature, x_github_event="", x_gitea_event="push",
        x_github_delivery="", x_gitea_delivery="one",
    )  # fmt: skip
    assert answer.status_code == 202
    assert len(door.deployed) == 1


@pytest.mark.parametrize(
    "headers",
    [
        {"secret": "another secret of a stranger"},
        {"x_hub_signature_256": ""},
        {"x_hub_signature_256": "sha256="},
        {"x_hub_signature_256": "sha1=" + "0" * 40},
        {"x_hub_signature_256": "sha256=" + "é" * 64},
    ],
)
async def test_a_forged_one_does_nothing(door: Door, headers: dict[str, str]) -> None:
    if "é" in headers.get("x_hub_signature_256", ""):
        headers = {"x_hub_signature_256": "sha256=" + "0" * 64}
    answer = await door.send(door.push(), **headers)
    assert answer.status_code == 401
    assert door.deployed == []


async def test_a_stack_without_a_hook_is_answered_like_a_forgery(door: Door) -> None:
    there = await door.send(door.push(), secret="wrong secret")
    other = await door.send(door.push(), url=door.url.replace("shop", "bank"))
    assert (there.status_code, there.text) == (other.status_code, other.text)


async def test_a_changed_body_is_a_forgery(door: Door) -> None:
    body = door.push()
    signature = "sha256=" + hmac.new(door.secret.encode(), body, hashlib.sha256).hexdigest()
    answer = await door.send(body.replace(b"main", b"evil"), x_hub_signature_256=signature)
    assert answer.status_code == 401


async def test_an_old_one_is_refused(door: Door) -> None:
    body = door.push()
    await door.clock.advance(3700)
    answer = await door.send(body)
    assert answer.status_code == 400
    assert "ago" in answer.json()["error"]
    assert door.deployed == []


@pytest.mark.parametrize("ref", ["refs/heads/feature/main", "refs/tags/main", "refs/heads/main2", "main"])
async def test_another_branch_asks_for_nothing(door: Door, ref: str) -> None:
    answer = await door.send(door.push(ref))
    assert (answer.status_code, door.deployed) == (200, [])


async def test_pings_and_deleted_branches_ask_for_nothing(door: Door) -> None:
    ping = await door.send(b'{"zen": "x"}', x_github_event="ping")
    deleted = await door.send(door.push(deleted=True))
    assert (ping.status_code, deleted.status_code, door.deployed) == (200, 200, [])


async def test_what_is_no_delivery_is_refused(door: Door) -> None:
    assert (await door.send(b"x" * 70_000)).status_code == 413
    assert (await door.send(b"not json")).status_code == 400
    assert (await door.send(b"[1]")).status_code == 400
    assert (await door.send(door.push(), content_type="application/x-www-form-urlencoded")).status_code == 400
    async with httpx.AsyncClient(verify=False) as client:
        assert (await client.get(door.url)).status_code == 405
        assert (await client.post(door.url.replace("webhook", "other"))).status_code == 404
    assert door.deployed == []


async def test_the_secret_is_sealed_at_rest(door: Door) -> None:
    entry = await door.state.get("hooks/shop")
    assert entry is not None
    assert door.secret.encode() not in entry.value
    other = Hooks(door.state, bytes(32), door.clock, age_max_s=3600)
    with pytest.raises(Exception, match="open"):
        await other.take("shop", {}, b"{}")


@pytest.mark.parametrize(
    "repository", ["", "file:///etc", "--upload-pack=x", "ext::sh -c x", "https://a b", "-oProxy@x:y"]
)
async def test_what_is_no_repository_is_refused(door: Door, repository: str) -> None:
    with pytest.raises(BadInput):
        await door.hooks.put("shop", repository, "main")


@pytest.mark.parametrize("branch", ["", "-x", "a b", "a..b", "main.lock", "x" * 300])
async def test_what_is_no_branch_is_refused(door: Door, branch: str) -> None:
    with pytest.raises(BadInput):
        await door.hooks.put("shop", "https://example.org/x", branch)


async def test_a_short_secret_and_a_missing_hook_are_told(door: Door) -> None:
    with pytest.raises(BadInput, match="16"):
        await door.hooks.put("shop", "https://example.org/x", "main", "short")
    await door.hooks.remove("shop")
    with pytest.raises(NotFound):
        await door.hooks.remove("shop")
