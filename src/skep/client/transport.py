"""One HTTP exchange at a time over pooled keep-alive connections (RFC 9112), thread-safe.

Bodies go up by ``sendfile`` and come down into the caller's buffer; nothing is held whole.
A connection is in the pool only when its last response was read to the end, so a pooled
connection is always at the start of a request. A pooled connection that the server has closed
meanwhile is noticed before the first byte of a response: the request is then made once more
on a fresh one, if its body can be sent again.
"""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import http.client
import select
import socket
import ssl
import threading
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import BinaryIO, TypeAlias
from urllib.parse import urlsplit

from skep.base.errors import BadInput, LengthMismatch, SkepError, TimedOut, Unavailable, UntrustedCertificate
from skep.client.problems import from_response

Progress: TypeAlias = Callable[[int], None]
"""Called with the number of bytes moved since the last call, from the thread that moves them."""

SEND_STEP_BYTES = 8 << 20
"""How much one ``sendfile`` call moves: progress and cancelling are seen this often."""
ASK_FIRST_BYTES = 1 << 20
CONTINUE_WAIT_S = 1.0
ERROR_BODY_MAX_BYTES = 1 << 20
JSON_BODY_MAX_BYTES = 256 << 20


@dataclass(frozen=True, slots=True)
class FileBody:
    """A run of an open file as a request body; sent again from ``offset`` when retried.

    ``once``: the connection that took some of it and broke is told of, rather than another one tried: the server may
    have kept what it got.
    """

    file: BinaryIO
    length_bytes: int
    offset: int = 0
    progress: Progress | None = None
    once: bool = False


@dataclass(frozen=True, slots=True)
class StreamBody:
    """Buffers as they come, chunked; cannot be sent again."""

    parts: Iterable[bytes]
    progress: Progress | None = None


Body: TypeAlias = bytes | FileBody | StreamBody | None


@dataclass(frozen=True, slots=True)
class Address:
    """Where a hive is: the base of its URLs, without a trailing slash."""

    url: str
    scheme: str
    host: str
    port: int
    prefix: str


def parse_address(url: str) -> Address:
    """Read a hive's URL; ``http://`` is put before a bare host. Raises BadInput."""
    text = url.strip()
    text = (text if "://" in text else f"http://{text}").rstrip("/")
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError:
        raise BadInput(f"{url!r} is not a URL: write it like http://127.0.0.1:8080") from None
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise BadInput(f"{url!r} is not the URL of a hive: write it like http://127.0.0.1:8080")
    if parts.username or parts.password:
        raise BadInput("a hive's URL holds no name or password: `skep login URL` asks for them")
    if parts.query or parts.fragment:
        raise BadInput(f"{url!r} has a ? or # part: give the hive's address alone")
    return Address(text, parts.scheme, parts.hostname, port or (443 if parts.scheme == "https" else 80), parts.path)


@dataclass(slots=True)
class Response:
    """A response whose body is still on the wire: read it to the end, or ``close``."""

    status: int
    headers: Mapping[str, str]
    """Names in lower case; of a repeated header the last value."""
    _raw: http.client.HTTPResponse
    _release: Callable[[bool], None] = field(repr=False)

    def readinto(self, buffer: memoryview) -> int:
        """Fill ``buffer`` with the next bytes; 0 at the end of the body. Raises Unavailable."""
        try:
            count = self._raw.readinto(buffer)
        except (OSError, http.client.HTTPException) as error:
            self._release(False)
            raise _lost(error) from None
        if count == 0:
            self._finish()
        return count

    def read(self, limit_bytes: int = JSON_BODY_MAX_BYTES) -> bytes:
        """The whole body. Raises Unavailable when it ends early or is over the limit."""
        try:
            body = self._raw.read(limit_bytes + 1)
        except (OSError, http.client.HTTPException) as error:
            self._release(False)
            raise _lost(error) from None
        if len(body) > limit_bytes:
            self.close()
            raise Unavailable(f"the answer is longer than {limit_bytes} bytes: ask for less at once")
        self._finish()
        return body

    def readline(self, limit_bytes: int = 1 << 20) -> bytes:
        """The next line with its newline; empty at the end."""
        try:
            line = self._raw.readline(limit_bytes)
        except (OSError, http.client.HTTPException) as error:
            self._release(False)
            raise _lost(error) from None
        if not line:
            self._finish()
        return line

    def close(self) -> None:
        """Give up on the rest of the body; the connection is closed with it."""
        self._release(False)

    def _finish(self) -> None:
        short = self._raw.length
        self._release(not short)
        if short:
            raise Unavailable(f"the connection ended {short} bytes before the end of the answer: try again")


def _lost(error: Exception) -> SkepError:
    if isinstance(error, TimeoutError):
        return TimedOut("the hive did not answer in time: it is overloaded or the network is; try again")
    said = str(error) or type(error).__name__
    return Unavailable(f"the connection to the hive broke: {said}")


class Transport:
    """Connections to one hive. Any number of threads may call ``exchange`` at once."""

    def __init__(
        self,
        address: Address,
        *,
        timeout_s: float = 60.0,
        agent: str = "skep",
        idle_max: int = 32,
        sha256: str | None = None,
    ) -> None:
        """``sha256``: the fingerprint (64 hex digits) of the one certificate to believe, whoever signed it."""
        self.address = address
        self._timeout_s = timeout_s
        self._agent = agent
        self._idle_max = idle_max
        self._idle: list[http.client.HTTPConnection] = []
        self._busy: set[http.client.HTTPConnection] = set()
        self._aborted = False
        self._lock = threading.Lock()
        self._sha256 = sha256
        self._tls = _tls_context(sha256) if address.scheme == "https" else None

    def exchange(
        self,
        method: str,
        target: str,
        headers: Mapping[str, str] | None = None,
        body: Body = None,
        *,
        timeout_s: float | None = None,
    ) -> Response:
        """Send one request; returns when the response's head is there.

        ``target`` is the path with its query, percent-encoded. ``timeout_s`` bounds the wait for each
        run of bytes, not the whole exchange.

        Raises the server's problem as its SkepError class; Unavailable or TimedOut when there is no answer;
        LengthMismatch when a file is shorter than its declared length.
        """
        pooled = self._take()
        if pooled is not None:
            try:
                return self._once(pooled, method, target, headers or {}, body, timeout_s)
            except _Stale as stale:
                if isinstance(body, FileBody) and body.once and stale.body_begun:
                    raise _lost(stale.cause) from None
                if isinstance(body, StreamBody):
                    raise Unavailable("the hive closed the connection: try again") from None
        try:
            return self._once(self._connect(), method, target, headers or {}, body, timeout_s)
        except _Stale as stale:
            raise _lost(stale.cause) from None

    def close(self) -> None:
        """Close the idle connections; those in use close when their response ends."""
        with self._lock:
            idle, self._idle, self._idle_max = self._idle, [], 0
        for connection in idle:
            connection.close()

    def abort(self) -> None:
        """End all exchanges now; the threads in them get Unavailable. There are none afterwards."""
        with self._lock:
            self._aborted = True
            busy = list(self._busy)
        for connection in busy:
            with contextlib.suppress(OSError, AttributeError):
                connection.sock.shutdown(socket.SHUT_RDWR)
        self.close()

    def _connect(self) -> http.client.HTTPConnection:
        address = self.address
        if self._aborted:
            raise Unavailable("interrupted")
        connection: http.client.HTTPConnection
        if self._tls is not None:
            connection = http.client.HTTPSConnection(
                address.host, address.port, timeout=self._timeout_s, context=self._tls
            )
        else:
            connection = http.client.HTTPConnection(address.host, address.port, timeout=self._timeout_s)
        try:
            connection.connect()
            self._check_pin(connection)
        except ssl.SSLCertVerificationError as error:
            raise UntrustedCertificate(
                f"{address.url} has a certificate that is not trusted here: {error.verify_message}"
            ) from None
        except socket.gaierror:
            raise Unavailable(f"no such host: {address.host}") from None
        except OSError as error:
            said = error.strerror or str(error) or type(error).__name__
            raise Unavailable(f"no hive answers at {address.url} ({said.lower()}): is it running?") from None
        return connection

    def _check_pin(self, connection: http.client.HTTPConnection) -> None:
        """Close the connection and raise UntrustedCertificate unless it has the pinned certificate, if there is one."""
        if self._sha256 is None or not isinstance(connection.sock, ssl.SSLSocket):
            return
        found = hashlib.sha256(connection.sock.getpeercert(True) or b"").hexdigest()
        if not hmac.compare_digest(found, self._sha256):
            connection.close()
            raise UntrustedCertificate(
                f"{self.address.url} has another certificate than the one you trusted, {shown_fingerprint(found)}: "
                "if its owner renewed it, log in again; if not, somebody is between you and the hive",
                sha256=found,
            )

    def _take(self) -> http.client.HTTPConnection | None:
        with self._lock:
            return self._idle.pop() if self._idle else None

    def _drop(self, connection: http.client.HTTPConnection) -> None:
        with self._lock:
            self._busy.discard(connection)
        connection.close()

    def _give(self, connection: http.client.HTTPConnection) -> None:
        with self._lock:
            self._busy.discard(connection)
            if len(self._idle) < self._idle_max:
                self._idle.append(connection)
                return
        connection.close()

    def _once(
        self,
        connection: http.client.HTTPConnection,
        method: str,
        target: str,
        headers: Mapping[str, str],
        body: Body,
        timeout_s: float | None,
    ) -> Response:
        with self._lock:
            self._busy.add(connection)
        connection.sock.settimeout(timeout_s or self._timeout_s)
        sent_whole, begun = True, False
        try:
            self._send_head(connection, method, target, headers, body)
            sent_whole, begun = self._send_body(connection, body)
            raw = connection.getresponse()
        except (http.client.RemoteDisconnected, ConnectionError, http.client.CannotSendRequest) as error:
            self._drop(connection)
            raise _Stale(error, body_begun=begun) from None
        except (OSError, http.client.HTTPException) as error:
            self._drop(connection)
            raise _lost(error) from None
        except BaseException:
            self._drop(connection)
            raise
        return self._response(connection, raw, reusable=sent_whole)

    def _send_head(
        self, connection: http.client.HTTPConnection, method: str, target: str, headers: Mapping[str, str], body: Body
    ) -> None:
        connection.putrequest(method, self.address.prefix + target, skip_accept_encoding=True)
        connection.putheader("User-Agent", self._agent)
        for name, value in headers.items():
            connection.putheader(name, value)
        if isinstance(body, bytes):
            connection.putheader("Content-Length", str(len(body)))
        elif isinstance(body, FileBody):
            connection.putheader("Content-Length", str(body.length_bytes))
            if self._asks_first(body):
                connection.putheader("Expect", "100-continue")
        elif isinstance(body, StreamBody):
            connection.putheader("Transfer-Encoding", "chunked")
        elif method in ("POST", "PUT", "PATCH"):
            connection.putheader("Content-Length", "0")
        connection.endheaders(body if isinstance(body, bytes) and body else None)

    def _send_body(self, connection: http.client.HTTPConnection, body: Body) -> tuple[bool, bool]:
        """Send what follows the head; whether all of it went, and whether any.

        Not all of it: the server stopped listening, and its answer says why.
        """
        begun = False
        try:
            if isinstance(body, FileBody):
                if self._asks_first(body) and _refused(connection.sock):
                    return False, False
                begun = True
                _send_file(connection.sock, body)
            elif isinstance(body, StreamBody):
                begun = True
                _send_stream(connection.sock, body)
        except (BrokenPipeError, ConnectionResetError):
            return False, begun
        return True, begun

    def _asks_first(self, body: FileBody) -> bool:
        """Whether to let the server refuse before the body is sent (RFC 9110 section 10.1.1)."""
        return self._tls is None and body.length_bytes >= ASK_FIRST_BYTES

    def _response(
        self, connection: http.client.HTTPConnection, raw: http.client.HTTPResponse, *, reusable: bool
    ) -> Response:
        released = False

        def release(whole: bool) -> None:
            nonlocal released
            if released:
                return
            released = True
            raw.close()
            if whole and reusable and not raw.will_close:
                self._give(connection)
            else:
                self._drop(connection)

        headers = {name.lower(): value for name, value in raw.getheaders()}
        response = Response(raw.status, headers, raw, release)
        if raw.status < 300 or raw.status == 304:
            return response
        if raw.status < 400:
            response.close()
            raise BadInput(f"{self.address.url} redirects to {headers.get('location', 'elsewhere')}: use that address")
        try:
            text = response.read(ERROR_BODY_MAX_BYTES)
        except SkepError:
            text = b""
        raise from_response(raw.status, headers.get("content-type", ""), text, retry_after=headers.get("retry-after"))


def _tls_context(sha256: str | None) -> ssl.SSLContext:
    """The system's trust; or none, where the certificate itself is compared."""
    context = ssl.create_default_context()
    if sha256 is not None:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


def certificate_of(address: Address, timeout_s: float = 10.0) -> str:
    """The SHA-256 (64 hex digits) of the certificate that a server shows, not yet believed. Raises Unavailable."""
    context = _tls_context("")
    try:
        with (
            socket.create_connection((address.host, address.port), timeout_s) as raw,
            context.wrap_socket(raw, server_hostname=address.host) as wrapped,
        ):
            return hashlib.sha256(wrapped.getpeercert(True) or b"").hexdigest()
    except OSError as error:
        raise _lost(error) from None


def read_fingerprint(text: str) -> str:
    """A fingerprint as people write it (``AB:CD:…``, spaces, either case) as 64 hex digits. Raises BadInput."""
    digits = "".join(sign for sign in text.lower() if sign not in ": -")
    if len(digits) != 64 or any(sign not in "0123456789abcdef" for sign in digits):
        raise BadInput("a fingerprint has 64 hexadecimal digits, as `skep serve --tls self-signed` prints it")
    return digits


def shown_fingerprint(sha256: str) -> str:
    """64 hex digits as people compare them."""
    return ":".join(sha256[at : at + 2] for at in range(0, len(sha256), 2)).upper()


class _Stale(Exception):
    """The connection went away before the first byte of a response."""

    def __init__(self, cause: Exception, *, body_begun: bool = False) -> None:
        super().__init__(str(cause))
        self.cause = cause
        self.body_begun = body_begun


def _refused(sock: socket.socket) -> bool:
    """Whether a final answer, or the end, came instead of ``100 Continue``; no answer in time counts as go ahead."""
    readable, _, _ = select.select([sock], [], [], CONTINUE_WAIT_S)
    if not readable:
        return False
    head = sock.recv(12, socket.MSG_PEEK)
    return not head or (len(head) == 12 and not head.endswith(b" 100"))


def _send_file(sock: socket.socket, body: FileBody) -> None:
    sent = 0
    while sent < body.length_bytes:
        step = sock.sendfile(body.file, body.offset + sent, min(SEND_STEP_BYTES, body.length_bytes - sent))
        if step == 0:
            raise LengthMismatch(f"{body.file.name} became shorter while it was read: try again when it is at rest")
        sent += step
        if body.progress is not None:
            body.progress(step)


def _send_stream(sock: socket.socket, body: StreamBody) -> None:
    for part in body.parts:
        if not part:
            continue
        sock.sendall(b"%x\r\n" % len(part))
        sock.sendall(part)
        sock.sendall(b"\r\n")
        if body.progress is not None:
            body.progress(len(part))
    sock.sendall(b"0\r\n\r\n")
