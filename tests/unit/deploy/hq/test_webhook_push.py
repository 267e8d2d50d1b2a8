"""A webhook from end to end: a signed delivery makes HQ fetch the repository and run what its branch is now."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import json
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest

from skep.testing.hq import free_port, open_hq

STACK = "worker:\n  type: worker\n  run: exec sleep 600\n"


@pytest.mark.long
async def test_a_delivery_deploys_what_the_branch_is_now(tmp_path: Path, program: Callable[[str, str], Path]) -> None:
    program("git", "apt-get install git")
    async with open_hq(tmp_path, webhook={"port": free_port()}) as hq:
        await hq.order("servers.add", target="local")
        work = hq.admin.repository("origin", {"quarry.yml": STACK})
        hook = await hq.order("hook.add", stack="jobs", repository=str(work), branch="main")
        url = f"http://127.0.0.1:{hq.hq.ports['webhook']}{hook['path']}"

        async def deliver(word: str) -> int:
            body = json.dumps({"ref": "refs/heads/main", "after": "0" * 40, "word": word}).encode()
            signature = hmac.new(hook["secret"].encode(), body, hashlib.sha256).hexdigest()
            headers = {"content-type": "application/json", "x-github-event": "push", "x-github-delivery": word,
                       "x-hub-signature-256": f"sha256={signature}"}  # fmt: skip
            async with httpx.AsyncClient(verify=False) as client:
                return (await client.post(url, content=body, headers=headers)).status_code

        assert await deliver("one") == 202
        commit = hq.admin.git(work, "rev-parse", "HEAD")
        await _until_it_runs(hq.order, commit)
        for _ in range(100):
            if await hq.hq.repositories.branch("jobs", "refs/heads/main") == commit:
                break
            await asyncio.sleep(0.1)  # the branch follows what runs
        assert await hq.hq.repositories.branch("jobs", "refs/heads/main") == commit
        assert await deliver("one") == 409
        assert await deliver("two") == 202  # the branch is where it was: nothing is launched
        hq.admin.commit(work, {"quarry.yml": STACK.replace("600", "601")})
        assert await deliver("three") == 202
        await _until_it_runs(hq.order, hq.admin.git(work, "rev-parse", "HEAD"))
        releases = await hq.order("stack.releases", stack="jobs")
        assert [one["by"] for one in releases["releases"]] == ["webhook", "webhook"]


async def _until_it_runs(order, commit: str) -> None:  # type: ignore[no-untyped-def]
    for _ in range(300):
        found = await order("stack.ls")
        if found and found[0]["revision"] == commit:
            return
        await asyncio.sleep(0.1)  # the delivery was answered before its launch
    raise AssertionError(await order("stack.releases", stack="jobs"))
