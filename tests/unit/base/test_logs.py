"""Logs: one line with fields, the request's id, and never a secret."""

from __future__ import annotations

import asyncio
import io
import json
import logging
from collections.abc import Iterator

import pytest
import structlog

from skep.base.logs import configure_logs, current_request_id, get_logger, redact_text, request_context
from skep.base.settings import LogSettings


@pytest.fixture(autouse=True)
def _as_before() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    yield
    structlog.reset_defaults()
    root.handlers[:] = handlers
    root.setLevel(level)


@pytest.fixture
def stream() -> io.StringIO:
    stream = io.StringIO()
    configure_logs(LogSettings(level="info", format="json", requests="all"), stream)
    return stream


def lines(stream: io.StringIO) -> list[dict[str, object]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_a_line_is_one_json_object_with_its_fields(stream: io.StringIO) -> None:
    get_logger("skep.test").info("pack written", size_bytes=5, pack_id=b"\xab\xcd", names=("a", "b"))
    (line,) = lines(stream)
    assert line.pop("timestamp")
    assert line == {
        "event": "pack written",
        "level": "info",
        "area": "skep.test",
        "size_bytes": 5,
        "pack_id": "abcd",
        "names": ["a", "b"],
    }


async def test_the_request_id_follows_the_task_and_its_children(stream: io.StringIO) -> None:
    log = get_logger("skep.test")

    async def request(request_id: str) -> None:
        with request_context(request_id):
            await asyncio.sleep(0)
            log.info("in")
            await asyncio.create_task(child())

    async def child() -> None:
        log.info("child")

    await asyncio.gather(request("one"), request("two"))
    log.info("outside")
    assert sorted((line["event"], line.get("request_id")) for line in lines(stream)[:-1]) == [
        ("child", "one"),
        ("child", "two"),
        ("in", "one"),
        ("in", "two"),
    ]
    assert "request_id" not in lines(stream)[-1]
    assert current_request_id() == ""


@pytest.mark.parametrize(
    "name",
    ["password", "new_password", "secret", "client_secret", "token", "refresh_token", "authorization", "cookie",
     "master_key", "private_key", "seal_key", "keys", "passphrase", "credentials", "Password", "token_text"],
)  # fmt: skip
def test_fields_that_hold_secrets_are_hidden(stream: io.StringIO, name: str) -> None:
    get_logger("skep.test").info("login", **{name: "geheim", "nested": {name: "geheim", "deep": [{name: "geheim"}]}})
    assert "geheim" not in stream.getvalue()


@pytest.mark.parametrize("name", ["key", "name_key", "token_count", "tokens_left", "keyboard", "passed", "object_key"])
def test_fields_that_only_sound_like_secrets_are_shown(stream: io.StringIO, name: str) -> None:
    get_logger("skep.test").info("fine", **{name: "visible"})
    assert "visible" in stream.getvalue()


@pytest.mark.parametrize(
    ("text", "clean"),
    [
        ("Authorization: Bearer abcdef123456", "Authorization: Bearer (hidden)"),
        ("basic dXNlcjpwYXNz", "basic (hidden)"),
        ("postgresql://user:pw@host/db", "postgresql://user:(hidden)@host/db"),
        ("got eyJhbGciOiJFZERTQSJ9.eyJzdWIiOiIxIn0.c2ln back", "got (hidden) back"),
        ("a basic idea", "a basic idea"),
        ("http://host:8080/path@x", "http://host:8080/path@x"),
    ],
)
def test_credentials_inside_texts_are_hidden(text: str, clean: str) -> None:
    assert redact_text(text) == clean


def test_long_values_are_cut(stream: io.StringIO) -> None:
    get_logger("skep.test").info("long", value="x" * 100_000, raw=b"y" * 100_000)
    assert len(stream.getvalue()) < 5_000


def test_levels_below_the_setting_are_dropped(stream: io.StringIO) -> None:
    get_logger("skep.test").debug("quiet")
    assert stream.getvalue() == ""


def test_an_exception_comes_with_its_traceback_and_without_secrets(stream: io.StringIO) -> None:
    try:
        raise OSError("postgresql://user:geheim@host/db")
    except OSError as error:
        get_logger("skep.test").warning("failed", exc_info=error)
    (line,) = lines(stream)
    assert "Traceback" in str(line["exception"])
    assert "geheim" not in stream.getvalue()


def test_libraries_that_log_the_standard_way_are_heard(stream: io.StringIO) -> None:
    logging.getLogger("somebody.else").warning("hello %s", "there")
    logging.getLogger("httpx").info("chatter")
    (line,) = lines(stream)
    assert (line["event"], line["area"], line["level"]) == ("hello there", "somebody.else", "warning")


def test_the_console_form_is_for_people() -> None:
    stream = io.StringIO()
    configure_logs(LogSettings(level="info", format="console", requests="all"), stream)
    get_logger("skep.test").info("pack written", size_bytes=5, token="geheim")
    assert "pack written" in stream.getvalue()
    assert "size_bytes=5" in stream.getvalue()
    assert "geheim" not in stream.getvalue()
