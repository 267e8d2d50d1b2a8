"""Exchanges over real sockets."""

from __future__ import annotations

import json
import socket
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import pytest

from skep.base.errors import BadInput, LengthMismatch, QuotaExceeded, TimedOut, Unavailable
from skep.client.calls import Caller, target_of
from skep.client.retries import RetryPolicy
from skep.client.transport import FileBody, StreamBody, Transport, parse_address

from .serving import respond, serving

QUICK = RetryPolicy(attempts=3, first_pause_s=0, pause_max_s=0)


def transport(url: str, timeout_s: float = 10) -> Transport:
    return Transport(parse_address(url), timeout_s=timeout_s)


def test_a_file_goes_up_whole_from_its_offset_and_tells_its_progress(tmp_path: Path) -> None:
    content = bytes(range(256)) * 20_000
    (tmp_path / "f").write_bytes(content)
    moved: list[int] = []
    with serving(respond) as peer, (tmp_path / "f").open("rb") as file:
        body = FileBody(file, len(content) - 7, offset=7, progress=moved.append)
        assert transport(peer.url).exchange("PUT", "/x", body=body).read() == b""
    assert peer.seen[0].body == content[7:]
    assert sum(moved) == len(content) - 7


def test_a_stream_goes_up_in_chunks() -> None:
    with serving(respond) as peer:
        transport(peer.url).exchange("PUT", "/x", body=StreamBody(iter([b"ab", b"", b"c" * 70_000]))).read()
    assert peer.seen[0].body == b"ab" + b"c" * 70_000


def test_a_connection_is_used_again_once_its_answer_was_read() -> None:
    with serving(lambda handler: respond(handler, body=b"hello")) as peer:
        wire = transport(peer.url)
        for _ in range(3):
            assert wire.exchange("GET", "/x").read() == b"hello"
        assert len(peer.connections) == 1
        wire.exchange("GET", "/x").close()
        wire.exchange("GET", "/x").read()
    assert len(peer.connections) == 2


def test_a_kept_connection_that_the_server_closed_is_replaced() -> None:
    def close_silently(handler: BaseHTTPRequestHandler) -> None:
        respond(handler, body=b"x")
        handler.close_connection = True

    with serving(close_silently) as peer:
        wire = transport(peer.url)
        assert [wire.exchange("GET", "/x").read() for _ in range(3)] == [b"x"] * 3
    assert len(peer.connections) == 3


def test_problem_details_become_errors() -> None:
    problem = json.dumps({"code": "quota-exceeded", "detail": "no room", "details": {"room_bytes": 1}}).encode()

    def answer(handler: BaseHTTPRequestHandler) -> None:
        respond(handler, 507, problem, Content_Type="application/problem+json")

    with serving(answer) as peer, pytest.raises(QuotaExceeded, match="no room"):
        transport(peer.url).exchange("GET", "/x")


def test_a_server_that_refuses_early_is_heard_before_a_large_body_is_sent(tmp_path: Path) -> None:
    problem = json.dumps({"code": "quota-exceeded", "detail": "no room"}).encode()

    def refuse(handler: BaseHTTPRequestHandler) -> None:
        respond(handler, 507, problem, Content_Type="application/problem+json", Connection="close")
        handler.close_connection = True

    with (tmp_path / "f").open("wb") as file:
        file.truncate(64 << 20)
    moved: list[int] = []
    with serving(refuse, reads_body=False) as peer, (tmp_path / "f").open("rb") as file:
        body = FileBody(file, 64 << 20, progress=moved.append)
        with pytest.raises(QuotaExceeded):
            transport(peer.url).exchange("PUT", "/x", body=body)
    assert moved == []


def test_a_file_that_became_shorter_is_noticed(tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(b"abc")
    with (
        serving(respond) as peer,
        (tmp_path / "f").open("rb") as file,
        pytest.raises(LengthMismatch, match="shorter"),
    ):
        transport(peer.url).exchange("PUT", "/x", body=FileBody(file, 10))


def test_an_answer_that_ends_early_is_no_answer() -> None:
    def short(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.send_header("Content-Length", "10")
        handler.end_headers()
        handler.wfile.write(b"abc")
        handler.close_connection = True

    with serving(short) as peer:
        response = transport(peer.url).exchange("GET", "/x")
        buffer = memoryview(bytearray(100))
        assert response.readinto(buffer) == 3
        with pytest.raises(Unavailable, match="7 bytes before the end"):
            response.readinto(buffer)
        with pytest.raises(Unavailable):
            transport(peer.url).exchange("GET", "/x").read()


def test_a_server_that_says_nothing_times_out() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        with pytest.raises(TimedOut):
            transport(url, timeout_s=0.05).exchange("GET", "/x")


def test_no_server_is_unavailable_and_says_where() -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    with pytest.raises(Unavailable, match=f"127.0.0.1:{port}"):
        transport(f"http://127.0.0.1:{port}").exchange("GET", "/x")


def test_aborting_ends_what_waits() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        wire = transport(f"http://127.0.0.1:{silent.getsockname()[1]}")

        def answer() -> None:
            silent.accept()
            wire.abort()

        import threading

        thread = threading.Thread(target=answer)
        thread.start()
        with pytest.raises(Unavailable):
            wire.exchange("GET", "/x")
        thread.join()


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE"])
def test_passing_failures_are_tried_again(method: str) -> None:
    def answer(handler: BaseHTTPRequestHandler) -> None:
        respond(handler, 200 if len(peer.seen) == 3 else 503, b"{}", Content_Type="application/json")

    with serving(answer) as peer:
        assert Caller(transport(peer.url), None, policy=QUICK).json(method, "/x") == {}
    assert len(peer.seen) == 3


def test_a_post_is_not_made_twice_unless_it_may_be() -> None:
    with serving(lambda handler: respond(handler, 503)) as peer:
        caller = Caller(transport(peer.url), None, policy=QUICK)
        with pytest.raises(Unavailable):
            caller.json("POST", "/x", send={})
        assert len(peer.seen) == 1
        with pytest.raises(Unavailable):
            caller.json("POST", "/x", send={}, repeatable=True)
    assert len(peer.seen) == 4


class Turnstile:
    """A credential whose first token is not good any more."""

    def __init__(self) -> None:
        self.tokens = ["old", "new"]

    def bearer(self) -> str:
        return self.tokens[0]

    def reject(self, bearer: str) -> None:
        self.tokens.remove(bearer)


def test_an_expired_token_is_replaced_and_the_call_made_again() -> None:
    problem = json.dumps({"code": "token-expired", "detail": "old"}).encode()

    def answer(handler: BaseHTTPRequestHandler) -> None:
        if handler.headers["authorization"] == "Bearer new":
            respond(handler, 200, b'{"ok": 1}')
        else:
            respond(handler, 401, problem, Content_Type="application/problem+json")

    with serving(answer) as peer:
        assert Caller(transport(peer.url), Turnstile()).json("GET", "/x") == {"ok": 1}
    assert [seen.headers["authorization"] for seen in peer.seen] == ["Bearer old", "Bearer new"]


def test_an_answer_that_is_no_json_is_no_hive() -> None:
    with serving(lambda handler: respond(handler, body=b"<html>")) as peer, pytest.raises(Unavailable, match="JSON"):
        Caller(transport(peer.url), None).json("GET", "/x")


def test_a_redirect_names_the_address_to_use() -> None:
    with (
        serving(lambda handler: respond(handler, 301, Location="https://elsewhere/")) as peer,
        pytest.raises(BadInput, match="https://elsewhere/"),
    ):
        transport(peer.url).exchange("GET", "/x")


@pytest.mark.parametrize(
    ("text", "url"),
    [
        ("127.0.0.1:8080", "http://127.0.0.1:8080"),
        ("http://h/", "http://h"),
        ("https://h:1/base/", "https://h:1/base"),
        (" http://[::1]:8080 ", "http://[::1]:8080"),
    ],
)
def test_addresses(text: str, url: str) -> None:
    assert parse_address(text).url == url


@pytest.mark.parametrize(
    "text", ["", "ftp://h", "http://", "http://a:b@h", "http://h?x", "http://h:port", "http://h#x"]
)
def test_addresses_that_are_none(text: str) -> None:
    with pytest.raises(BadInput):
        parse_address(text)


def test_queries() -> None:
    query = {"path": "/a b/ü&?", "depth": 0, "space": None, "permanently": True}
    assert target_of("/x", query) == "/x?path=/a%20b/%C3%BC%26%3F&depth=0&permanently=true"
    assert target_of("/x", {"a": None}) == "/x"
