"""The page's door: static files with the headers that keep the page to itself, and plain words where none was built."""

from __future__ import annotations

import gzip
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest

from skep.base.errors import NotFound
from skep.frontends.common.asgi import Receive, Scope, Send
from skep.frontends.common.headers import Headers
from skep.frontends.web.app import TOTAL_BYTES_MAX, WebApp, built_files
from skep.testing.hive import open_test_hive


@pytest.fixture
def built(tmp_path: Path) -> Path:
    (tmp_path / "assets").mkdir()
    (tmp_path / "index.html").write_text("<!doctype html><title>page</title>")
    (tmp_path / "assets" / "main-abc.js").write_text("let hive = 1;")
    (tmp_path / "assets" / "main-abc.js.gz").write_bytes(gzip.compress(b"let hive = 1;"))
    (tmp_path / "assets" / "main-abc.js.br").write_bytes(b"as if by brotli")
    (tmp_path / "notes.txt").write_text("not of the page")
    return tmp_path


@pytest.fixture
async def page(built: Path) -> AsyncIterator[httpx.AsyncClient]:
    app = WebApp(built_files(built))

    async def as_behind_the_edge(scope: Scope, receive: Receive, send: Send) -> None:
        scope["state"] = {"headers": Headers(scope["headers"]), "request_id": "r"}
        await app(scope, receive, send)

    transport = httpx.ASGITransport(app=as_behind_the_edge)
    async with httpx.AsyncClient(transport=transport, base_url="http://hive.test") as client:
        client.headers["accept-encoding"] = "identity"
        yield client


async def test_the_page_is_strict_about_where_things_come_from(page: httpx.AsyncClient) -> None:
    answer = await page.get("/")
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    assert answer.headers["cache-control"] == "no-cache"
    policy = answer.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "script-src 'self'" in policy
    assert "unsafe" not in policy
    assert "http" not in policy


async def test_hashed_names_are_kept_for_a_year_and_others_asked_for_again(page: httpx.AsyncClient) -> None:
    script = await page.get("/assets/main-abc.js")
    assert script.headers["cache-control"] == "public, max-age=31536000, immutable"
    first = await page.get("/")
    again = await page.get("/", headers={"if-none-match": first.headers["etag"]})
    assert again.status_code == 304
    assert again.content == b""
    other = await page.get("/", headers={"if-none-match": '"other"'})
    assert other.status_code == 200


@pytest.mark.parametrize(
    ("accepted", "coding"),
    [("gzip", "gzip"), ("gzip, br", "br"), ("br;q=0, gzip;q=0.5", "gzip"), ("identity", None), ("br;q=0.000", None)],
)
async def test_what_the_build_compressed_is_sent(page: httpx.AsyncClient, accepted: str, coding: str | None) -> None:
    async with page.stream("GET", "/assets/main-abc.js", headers={"accept-encoding": accepted}) as answer:
        raw = b"".join([part async for part in answer.aiter_raw()])
    assert answer.headers.get("content-encoding") == coding
    assert answer.headers["vary"] == "accept-encoding"
    plain = {"gzip": lambda: gzip.decompress(raw), "br": lambda: b"let hive = 1;", None: lambda: raw}[coding]()
    assert plain == b"let hive = 1;"
    assert (raw == b"as if by brotli") is (coding == "br")
    assert coding is None or answer.headers["etag"].endswith(f'-{coding}"')


async def test_a_head_has_the_length_and_no_body(page: httpx.AsyncClient) -> None:
    answer = await page.head("/assets/main-abc.js")
    assert answer.headers["content-length"] == "13"
    assert answer.content == b""


async def test_only_reading_means_something(page: httpx.AsyncClient) -> None:
    answer = await page.post("/")
    assert answer.status_code == 405
    assert answer.headers["allow"] == "GET, HEAD"


def test_only_what_a_page_is_made_of_is_served(built: Path) -> None:
    assert sorted(built_files(built)) == ["/", "/assets/main-abc.js", "/index.html"]
    (built / "index.html").unlink()
    assert built_files(built) == {}
    assert built_files(built / "nothing here") == {}


def test_something_else_in_the_directory_is_noticed(built: Path) -> None:
    with (built / "film.js").open("wb") as film:
        film.truncate(TOTAL_BYTES_MAX + 1)
    with pytest.raises(ValueError, match="more in the directory"):
        built_files(built)


async def test_without_a_build_the_hive_says_how_to_get_the_page() -> None:
    app = WebApp({})
    transport = httpx.ASGITransport(app=lambda scope, receive, send: app({**scope, "state": {}}, receive, send))
    async with httpx.AsyncClient(transport=transport, base_url="http://hive.test") as client:
        answer = await client.get("/")
    assert answer.status_code == 200
    assert "make page" in answer.text
    assert "script-src" not in answer.headers["content-security-policy"]
    assert list(app.paths) == ["/"]


async def test_a_hive_answers_at_its_root_and_leaves_webdav_its_options(tmp_path: Path) -> None:
    async with open_test_hive(tmp_path) as hive:
        answer = await hive.anonymous.get("/")
        assert answer.status_code == 200
        assert "Skep" in answer.text
        missing = await hive.anonymous.get("/assets/none.js")
        assert missing.status_code == 404
        assert missing.json()["code"] == "not-found"
        options = await hive.anonymous.options("/")
        assert "dav" in options.headers


async def test_the_address_of_a_link_leads_to_the_page(page: httpx.AsyncClient) -> None:
    token = "skn_" + "aZ-_9" * 5 + "xy"
    answer = await page.get(f"/l/{token}")
    assert (answer.status_code, answer.headers["location"]) == (302, f"/#/l/{token}")
    assert answer.headers["referrer-policy"] == "no-referrer"
    assert (await page.post(f"/l/{token}")).status_code == 405
    for odd in ("/l/", "/l/a%2f..", "/l/a/b", "/l/%0d%0aa", f"/l/{'x' * 65}"):
        with pytest.raises(NotFound):
            await page.get(odd)
