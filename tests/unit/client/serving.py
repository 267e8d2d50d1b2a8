"""A real HTTP server in a thread, to speak to over a socket."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass
class Seen:
    method: str
    path: str
    headers: dict[str, str]
    body: bytes


@dataclass
class Peer:
    """What the server has seen, and how it answers."""

    url: str
    answer: Callable[[BaseHTTPRequestHandler], None]
    seen: list[Seen] = field(default_factory=list)
    connections: set[int] = field(default_factory=set)


@contextlib.contextmanager
def serving(answer: Callable[[BaseHTTPRequestHandler], None], *, reads_body: bool = True) -> Iterator[Peer]:
    """A server on a free port; ``answer`` writes each response."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_any(self) -> None:
            peer.connections.add(self.client_address[1])
            body = read_body(self) if reads_body else b""
            headers = {name.lower(): value for name, value in self.headers.items()}
            self.taken = body
            peer.seen.append(Seen(self.command, self.path, headers, body))
            peer.answer(self)

        do_GET = do_PUT = do_POST = do_DELETE = do_any

        def handle_expect_100(self) -> bool:
            return super().handle_expect_100() if reads_body else True

        def log_message(self, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    peer = Peer(f"http://127.0.0.1:{server.server_address[1]}", answer)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield peer
    finally:
        server.shutdown()
        server.server_close()


def read_body(handler: BaseHTTPRequestHandler) -> bytes:
    if handler.headers.get("transfer-encoding") != "chunked":
        return handler.rfile.read(int(handler.headers.get("content-length", 0)))
    body = b""
    while size := int(handler.rfile.readline(), 16):
        body += handler.rfile.read(size)
        handler.rfile.readline()
    handler.rfile.readline()
    return body


def respond(handler: BaseHTTPRequestHandler, status: int = 200, body: bytes = b"", **headers: str) -> None:
    handler.send_response(status)
    handler.send_header("Content-Length", str(len(body)))
    for name, value in headers.items():
        handler.send_header(name.replace("_", "-"), value)
    handler.end_headers()
    handler.wfile.write(body)
