"""What an HQ's routers serve: the files of static jobs, with certificates that HQ gets from an authority by itself."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest

from skep.testing.hq import OpenHq, free_port, open_hq

from ..router.test_acme import authority  # noqa: TID252 - test modules have no absolute name

STATIC = "site:\n  type: static\n  document_root: www\n  domains: site.test\n"


async def get(hq: OpenHq, path: str, *, https: bool = False) -> httpx.Response:
    rules = hq.hq.settings.router
    url = f"https://127.0.0.1:{rules.https_port}{path}" if https else f"http://127.0.0.1:{rules.http_port}{path}"
    async with httpx.AsyncClient(verify=False) as client:
        return await client.get(url, headers={"host": "site.test"}, extensions={"sni_hostname": "site.test"})


@pytest.mark.long
async def test_files_are_served_with_a_certificate(tmp_path: Path, program: Callable[[str, str], Path]) -> None:
    for name, package in (("nginx", "nginx-full"), ("pebble", "pebble"), ("pebble-challtestsrv", "pebble")):
        program(name, f"apt-get install {package}")
    port = free_port()
    with authority(tmp_path / "authority", port) as (directory, ca_file):
        rules = {"http_port": port, "acme_directory": directory, "acme_ca_file": str(ca_file)}
        async with open_hq(tmp_path, router=rules) as hq:
            await hq.order("servers.add", target="local")
            work = hq.admin.repository("site", {"quarry.yml": STATIC, "www/index.html": "one", "www/a/b.txt": "below"})
            code, said = await hq.push(work, "site")
            assert code == 0, said
            assert (await get(hq, "/")).text == "one"
            assert (await get(hq, "/a/b.txt")).text == "below"
            assert (await get(hq, "/../quarry.yml")).status_code in (400, 404)
            for _ in range(300):
                try:
                    found = await get(hq, "/", https=True)
                    break
                except httpx.TransportError:
                    await asyncio.sleep(0.2)  # the certificate is ordered in the background
            assert found.text == "one"
            assert [path.stat().st_mode & 0o777 for path in (hq.hq.folder.root / "acme").glob("*.key.pem")] == [0o600]
            hq.admin.commit(work, {"www/index.html": "two"})
            assert (await hq.push(work, "site"))[0] == 0
            assert (await get(hq, "/", https=True)).text == "two"
