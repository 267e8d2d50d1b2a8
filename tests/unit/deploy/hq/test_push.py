"""Pushes with real git over real ssh, to an HQ in this process, on the process engine and a real nginx."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from pathlib import Path

import httpx
import pytest

from skep.testing.hq import OpenHq, open_hq

APP = """#!/usr/bin/env python3
import http.server, os
class Answer(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
        self.wfile.write(("TEXT " + os.environ.get("WORD", "")).encode())
    def log_message(self, *words):
        pass
http.server.ThreadingHTTPServer(("127.0.0.1", int(os.environ["PORT"])), Answer).serve_forever()
"""
STACK = """web:
  type: web
  run: ./serve
  expose: 80
  domains: shop.test
  health: /
"""


@pytest.fixture
async def hq(tmp_path: Path, program: Callable[[str, str], Path]) -> AsyncIterator[OpenHq]:
    for name, package in (("nginx", "nginx-full"), ("git", "git"), ("ssh", "openssh-client")):
        program(name, f"apt-get install {package}")
    async with open_hq(tmp_path) as opened:
        await opened.order("servers.add", target="local")
        yield opened


async def answer(hq: OpenHq, host: str = "shop.test") -> str:
    async with httpx.AsyncClient(verify=False) as client:
        port = hq.hq.settings.router.http_port
        return (await client.get(f"http://127.0.0.1:{port}/", headers={"host": host})).text


async def test_a_push_serves_and_the_next_replaces_it(hq: OpenHq) -> None:
    work = hq.admin.repository("shop", {"quarry.yml": STACK, "serve": APP.replace("TEXT", "one")})
    code, said = await hq.push(work)
    print(said)
    assert code == 0, said
    assert (await answer(hq)).strip() == "one"
    assert "http://shop.test/" in said
    hq.admin.commit(work, {"serve": APP.replace("TEXT", "two")})
    code, said = await hq.push(work)
    assert code == 0, said
    assert (await answer(hq)).strip() == "two"
