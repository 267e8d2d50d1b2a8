"""What it costs to be somebody: one call, open to all or for whoever shows a credential. Processor time, alternated."""

from __future__ import annotations

import asyncio
import base64
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

from bench.figures import Figure, Row
from bench.plan import Plan
from skep.frontends.api.operation import Nothing, Operation
from skep.frontends.api.router import ApiApp
from skep.testing.hive import PASSWORD, TestHive, open_test_hive

CALLS = 2_000
ROUNDS = 9
TARGET_US = 150.0


def credentials(plan: Plan) -> list[Row]:
    """Microseconds of a request with a known credential, over the same request without any."""
    with tempfile.TemporaryDirectory(prefix="skep-bench-") as place:
        costs = asyncio.run(_measured(Path(place)))
    return [
        Figure(f"{name} over nobody", costs[name] - costs["nobody"], "us", "processor time", at_most=TARGET_US)
        for name in ("access token", "app password")
    ]


async def nothing(call: Any) -> Nothing:
    """Do nothing."""
    return Nothing()


async def _measured(place: Path) -> dict[str, float]:
    async with open_test_hive(place) as hive:
        heads = await _heads(hive)
        open_to_all = Operation("GET", "/open", nothing, None, "bench")
        app = ApiApp((open_to_all, Operation("GET", "/mine", nothing, "", "bench")), hive.hive.services)
        seen: dict[str, list[float]] = {name: [] for name in heads}
        for _ in range(ROUNDS):
            for name, (path, value) in heads.items():
                seen[name].append(await _cost_us(app, path, value))
    return {name: statistics.median(costs) for name, costs in seen.items()}


async def _heads(hive: TestHive) -> dict[str, tuple[str, bytes]]:
    """The path and Authorization header of each kind of caller."""
    await hive.user("ada")
    auth = hive.hive.auth
    token = (await auth.login("ada", PASSWORD)).access_token
    made = await auth.create_app_password(await auth.authenticate_token(token), "bench")
    basic = base64.b64encode(f"ada:{made.secret}".encode())
    return {
        "nobody": ("/open", b""),
        "access token": ("/mine", b"Bearer " + token.encode()),
        "app password": ("/mine", b"Basic " + basic),
    }


async def _cost_us(app: ApiApp, path: str, credential: bytes) -> float:
    headers = [(b"authorization", credential)] if credential else []

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Any) -> None:
        if message["type"] == "http.response.start":
            assert message["status"] == 200

    began = time.process_time()
    for _ in range(CALLS):
        scope = {
            "type": "http", "method": "GET", "path": path, "query_string": b"", "headers": headers,
            "client": ("127.0.0.1", 1), "state": {},
        }  # fmt: skip
        await app(scope, receive, send)
    return (time.process_time() - began) / CALLS * 1e6
