"""What operators see of the door."""

from __future__ import annotations

from pathlib import Path

import httpx

from skep.testing.blocks import AT, Owner, owner_of
from skep.testing.hive import TestHive, open_test_hive
from skep.testing.live import open_socket


async def metrics(hive: TestHive) -> dict[str, float]:
    text = (await hive.anonymous.get("/metrics")).text
    lines = [line.rsplit(" ", 1) for line in text.splitlines() if line and not line.startswith("#")]
    return {name: float(value) for name, value in lines}


async def test_requests_bytes_and_failures_are_counted(tmp_path: Path) -> None:
    async with open_test_hive(tmp_path, blocks__max_body_bytes=1000) as hive:
        ada = await owner_of(hive, "ada")
        await ada.client.post(ada.at("a"), content=b"12345")
        assert (await hive.anonymous.get(ada.at("a"))).content == b"12345"
        await ada.client.post(ada.at("a"), content=b"x" * 1001)
        await hive.anonymous.get(ada.at("missing"))
        await hive.anonymous.post(ada.at("a"), content=b"x")
        found = await metrics(hive)
        assert found["block_in_progress_requests"] == 0
        assert found["content_length_error_total"] == 1
        assert found["pubsub_published_total"] == 1
        assert found["block_traffic_response_total"] >= 5
        assert found["block_traffic_request_total"] >= 5
        for reason in ("Content-Length too large", "File not found", "User not found"):
            assert found[f'block_access_denied_total{{reason="{reason}"}}'] == 1


async def test_listeners_are_counted(hive: TestHive, ada: Owner, anyone: httpx.AsyncClient) -> None:
    async with open_socket(hive.hive.app, path=f"{AT}/websocket/{ada.prefix}/dm") as socket:
        await socket.say(hello=1)
        await ada.client.delete(ada.at("dm"))
        assert (await socket.message())["operation"] == "DELETE"
        found = await metrics(hive)
        assert (found["websocket_connections"], found["websocket_messages_total"]) == (1, 1)
    assert (await metrics(hive))["websocket_connections"] == 0
