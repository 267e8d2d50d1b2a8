"""The nginx configuration of docs/operate/proxy.md, run as it stands but for ports and files."""

from __future__ import annotations

import json
import re
import socket
import ssl
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

from skep.base.clock import SystemClock
from skep.frontends.common.headers import Headers
from skep.server.addresses import Proxies
from skep.server.certificates import self_signed
from skep.testing.process import RunningHive, made_hive

PAGE = Path(__file__).parents[3] / "docs" / "operate" / "proxy.md"


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Proxy:
    """A running nginx and the hive behind it."""

    def __init__(self, hive: RunningHive, url: str, certificate: Path) -> None:
        self.hive = hive
        self.url = url
        self.trust = ssl.create_default_context(cafile=str(certificate))
        self.headers = {"authorization": f"Bearer {hive.token}"}


@pytest.fixture(scope="module")
def proxy(program: Callable[[str, str], Path], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Proxy]:
    nginx = program("nginx", "apt-get install nginx")
    hive = made_hive(tmp_path_factory.mktemp("hive"), server__trusted_proxies="127.0.0.1", log__requests="all")
    hive.start()
    place, port = tmp_path_factory.mktemp("nginx"), _free_port()
    certificate, key = self_signed(place / "tls", ["hive.example"], SystemClock())
    server = re.findall(r"```nginx\n(map .*?)```", PAGE.read_text(), re.DOTALL)[0]
    for old, new in {
        "listen 443": f"listen 127.0.0.1:{port}",
        "/etc/ssl/hive.pem": str(certificate),
        "/etc/ssl/hive.key": str(key),
        "http://127.0.0.1:8080": hive.url,
    }.items():
        assert old in server
        server = server.replace(old, new)
    temporary = "\n".join(f"{name}_temp_path {place};" for name in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi"))
    (place / "nginx.conf").write_text(
        f"daemon off; master_process off; pid {place}/pid; error_log {place}/log;\nevents {{}}\n"
        f"http {{ access_log off;\n{temporary}\n{server} }}\n"
    )
    process = subprocess.Popen([nginx, "-p", place, "-c", place / "nginx.conf"], stderr=subprocess.DEVNULL)
    until = time.monotonic() + 15
    while time.monotonic() < until:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
            break
        except OSError:
            time.sleep(0.05)  # nginx has no other way to tell
    yield Proxy(hive, f"https://localhost:{port}", certificate)
    process.terminate()
    process.wait(10)
    hive.stop()


def test_uploads_and_downloads_go_through(proxy: Proxy) -> None:
    body = bytes(range(256)) * 20_000
    with httpx.Client(base_url=proxy.url, verify=proxy.trust, headers=proxy.headers) as client:
        assert client.put("/api/filesystem/data", params={"path": "/through"}, content=body).status_code == 201
        assert client.get("/api/filesystem/data", params={"path": "/through"}).content == body


def test_live_changes_go_through_at_once_over_both_transports(proxy: Proxy) -> None:
    url = proxy.url.replace("https", "wss") + "/api/events"
    with (
        httpx.Client(base_url=proxy.url, verify=proxy.trust, headers=proxy.headers, timeout=20) as client,
        connect(url, ssl=proxy.trust, additional_headers=proxy.headers, origin=proxy.url) as live,
        client.stream("GET", "/api/events") as events,
    ):
        lines = events.iter_lines()
        assert next(lines) == "retry: 2000"
        live.send(json.dumps({"type": "subscribe"}))
        while json.loads(live.recv(timeout=20))["type"] != "subscribed":
            pass
        with proxy.hive.client() as direct:
            assert direct.put("/api/filesystem/data", params={"path": "/seen"}, content=b"x").is_success
        assert json.loads(live.recv(timeout=20))["changes"][-1]["path"] == "/seen"
        assert any('"/seen"' in line for line in lines)


def test_other_sites_are_refused_also_behind_a_proxy(proxy: Proxy) -> None:
    url = proxy.url.replace("https", "wss") + "/api/events"
    with pytest.raises(InvalidStatus) as caught:
        connect(url, ssl=proxy.trust, additional_headers=proxy.headers, origin="https://evil.example")
    assert caught.value.response.status_code == 403


def test_metrics_are_not_for_whom_the_proxy_asks(proxy: Proxy) -> None:
    assert httpx.get(f"{proxy.url}/metrics", verify=proxy.trust).status_code == 403


@pytest.mark.parametrize(
    ("peer", "headers", "seen"),
    [
        ("127.0.0.1", {"x-forwarded-proto": "https", "x-forwarded-host": "hive.example"}, ("https", "hive.example")),
        ("10.9.9.9", {"x-forwarded-proto": "https", "x-forwarded-host": "hive.example"}, (None, None)),
        ("127.0.0.1", {}, (None, None)),
        ("127.0.0.1", {"x-forwarded-proto": "http, HTTPS", "x-forwarded-host": "a, b:8"}, ("https", "b:8")),
        ("127.0.0.1", {"forwarded": 'for=1.2.3.4;proto=https;host="h.example:443"'}, ("https", "h.example:443")),
        ("127.0.0.1", {"forwarded": "host=evil, host=near;proto=http"}, ("http", "near")),
        ("127.0.0.1", {"forwarded": "host=evil", "x-forwarded-host": "near"}, (None, "near")),
        ("127.0.0.1", {"x-forwarded-proto": "javascript", "x-forwarded-host": "a/b"}, (None, None)),
        ("127.0.0.1", {"x-forwarded-host": "[::1]:80"}, (None, "[::1]:80")),
        ("127.0.0.1", {"x-forwarded-host": "a b"}, (None, None)),
    ],
)
def test_scheme_and_host_are_believed_of_trusted_proxies_alone(peer, headers, seen) -> None:
    raw = [(name.encode(), value.encode()) for name, value in headers.items()]
    assert Proxies(["127.0.0.0/8"]).outside(peer, Headers(raw)) == seen
    assert Proxies([]).outside(peer, Headers(raw)) == (None, None)


@pytest.mark.parametrize(("kind", "scheme"), [("http", "https"), ("websocket", "wss")])
def test_a_request_is_what_it_was_outside(kind: str, scheme: str) -> None:
    headers = Headers([(b"host", b"inner"), (b"x-forwarded-proto", b"https"), (b"x-forwarded-host", b"outer")])
    scope = {"type": kind, "scheme": "http", "client": ("127.0.0.1", 5)}
    assert Proxies(["127.0.0.1"]).apply(scope, headers) == "127.0.0.1"
    assert (scope["scheme"], headers.get("host")) == (scheme, "outer")
