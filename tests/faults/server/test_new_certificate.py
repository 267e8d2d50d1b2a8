"""A certificate that is renewed while the hive runs: taken without a restart, or refused with the old one kept."""

from __future__ import annotations

import json
import signal
import socket
import ssl
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from ipaddress import IPv4Address
from pathlib import Path

import httpx
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed448
from cryptography.x509.oid import NameOID
from websockets.sync.client import connect

from skep.base.clock import SystemClock
from skep.base.errors import Misconfigured
from skep.server.pairs import Pairs
from skep.testing.clock import FakeClock
from skep.testing.process import RunningHive, made_hive

CERTIFICATE, KEY = "hive.pem", "hive.key"


def write_pair(
    place: Path, name: str, *, key: object | None = None, days: tuple[int, int] = (-1, 30), now: datetime | None = None
) -> str:
    """A new self-signed pair in the two files; its fingerprint in hex."""
    secret = key or ec.generate_private_key(ec.SECP256R1())
    now = now or datetime.fromtimestamp(SystemClock().now_us() / 1e6, UTC)
    who = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    names = x509.SubjectAlternativeName([x509.DNSName("localhost"), x509.IPAddress(IPv4Address("127.0.0.1"))])
    made = (
        x509.CertificateBuilder()
        .subject_name(who)
        .issuer_name(who)
        .public_key(secret.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now + timedelta(days=days[0]))
        .not_valid_after(now + timedelta(days=days[1]))
        .add_extension(names, critical=False)
        .sign(secret, None if isinstance(secret, ed448.Ed448PrivateKey) else hashes.SHA256())
    )
    form = serialization.PrivateFormat.PKCS8
    (place / KEY).write_bytes(secret.private_bytes(serialization.Encoding.PEM, form, serialization.NoEncryption()))
    (place / CERTIFICATE).write_bytes(made.public_bytes(serialization.Encoding.PEM))
    return made.fingerprint(hashes.SHA256()).hex(":").upper()


async def test_only_a_pair_that_is_whole_and_valid_is_taken(tmp_path: Path) -> None:
    clock = FakeClock()
    now = datetime.fromtimestamp(clock.now_us() / 1e6, UTC)
    first = write_pair(tmp_path, "first", now=now)
    pairs = Pairs(tmp_path / CERTIFICATE, tmp_path / KEY, "granian", clock)
    taken: list[str] = []
    pairs.subscribe(lambda pair: taken.append(pair.fingerprint))
    assert pairs.now.fingerprint == first
    assert not await pairs.look()

    kept = (tmp_path / KEY).read_bytes()

    async def refused(because: str) -> None:
        assert not await pairs.look()
        assert pairs.now.fingerprint == first
        assert pairs.state.trouble is not None
        assert because in pairs.state.trouble

    (tmp_path / KEY).write_bytes(b"-----BEGIN PRIVATE KEY-----\nhalf")
    await refused("no certificate with its key")
    (tmp_path / KEY).unlink()
    await refused("No such file")
    (tmp_path / KEY).write_bytes(kept)
    assert not await pairs.look()
    assert pairs.state.trouble is None  # what was there before is there again
    write_pair(tmp_path, "other", now=now)
    (tmp_path / KEY).write_bytes(kept)
    await refused("no certificate with its key")
    write_pair(tmp_path, "ended", days=(-9, -1), now=now)
    await refused("has ended")
    write_pair(tmp_path, "early", days=(2, 9), now=now)
    await refused("begins on")
    write_pair(tmp_path, "odd", key=ed448.Ed448PrivateKey.generate(), now=now)
    await refused("cannot use a key of this kind")
    (tmp_path / CERTIFICATE).write_bytes(b"x" * (2 << 20))
    await refused("too large")
    assert taken == []
    second = write_pair(tmp_path, "second", now=now)
    assert await pairs.look()
    assert taken == [second]
    assert pairs.state == (second, pairs.now.ends_us, None)


def test_a_key_with_a_password_is_refused_and_asks_nobody(tmp_path: Path) -> None:
    write_pair(tmp_path, "locked")
    secret = ec.generate_private_key(ec.SECP256R1())
    form, lock = serialization.PrivateFormat.PKCS8, serialization.BestAvailableEncryption(b"x")
    (tmp_path / KEY).write_bytes(secret.private_bytes(serialization.Encoding.PEM, form, lock))
    with pytest.raises(Misconfigured, match="password"):
        Pairs(tmp_path / CERTIFICATE, tmp_path / KEY, "granian", FakeClock())


@pytest.fixture(params=["granian", "uvicorn"])
def running(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[RunningHive]:
    write_pair(tmp_path, "first")
    (tmp_path / "home").mkdir()
    files = {"server__tls_certificate": str(tmp_path / CERTIFICATE), "server__tls_key": str(tmp_path / KEY)}
    with socket.create_server(("127.0.0.1", 0)) as free:
        s3_port = str(free.getsockname()[1])
    hive = made_hive(tmp_path / "home", engine=request.param, **files, server__s3_port=s3_port)
    hive.certificate = str(tmp_path / CERTIFICATE)
    hive.start()
    yield hive
    hive.stop()


def shown(port: int) -> str:
    pem = ssl.get_server_certificate(("127.0.0.1", port), timeout=10)
    return x509.load_pem_x509_certificate(pem.encode()).fingerprint(hashes.SHA256()).hex(":").upper()


def test_a_new_certificate_is_shown_by_every_port_without_a_restart(running: RunningHive, tmp_path: Path) -> None:
    assert running.process is not None
    ports = [int(running.url.rpartition(":")[2]), int(running.settings["server__s3_port"])]
    trust, bearer = running.trust(), {"authorization": f"Bearer {running.token}"}
    content = bytes(range(256)) * 40_000
    httpx.put(f"{running.url}/dav/a.bin", content=content, headers=bearer, verify=trust).raise_for_status()
    socket_url = running.url.replace("https", "wss") + "/api/events"
    assert isinstance(trust, ssl.SSLContext)
    with (
        httpx.stream("GET", f"{running.url}/dav/a.bin", headers=bearer, verify=trust) as download,
        connect(socket_url, ssl=trust, additional_headers=bearer) as live,
    ):
        parts = download.iter_raw(65_536)
        read = [next(parts)]
        assert json.loads(live.recv())["type"] == "hello"
        (tmp_path / KEY).write_bytes(b"half of a ke")
        running.process.send_signal(signal.SIGHUP)
        told = until_told(running, trust, lambda told: told["trouble"] is not None)
        assert "no certificate with its key" in told["trouble"]
        assert {shown(port) for port in ports} == {told["sha256"]}
        second = write_pair(tmp_path, "second")
        running.process.send_signal(signal.SIGHUP)
        deadline = time.monotonic() + 20
        seen: list[set[str]] = []
        while seen[-5:] != [{second}] * 5:  # for a moment both workers of a port answer
            assert time.monotonic() < deadline, seen
            try:
                seen.append({shown(port) for port in ports})
            except OSError:  # what is in its handshake while the first worker leaves may be cut
                seen.append(set())
        read += list(parts)
        assert b"".join(read) == content, "a download that had begun ends with the old certificate"
    told = until_told(running, running.trust(), lambda told: told["sha256"] == second)
    assert told["trouble"] is None
    with pytest.raises(httpx.ConnectError):
        httpx.get(f"{running.url}/healthz", verify=trust)


def until_told(running: RunningHive, trust: ssl.SSLContext | bool, wanted: object) -> dict[str, object]:
    """The certificate as the status tells it, once it is as wanted."""
    deadline = time.monotonic() + 20
    while True:
        answer = httpx.get(
            f"{running.url}/api/admin/status", headers={"authorization": f"Bearer {running.token}"}, verify=trust
        )
        told = answer.json()["certificate"]
        if wanted(told):  # type: ignore[operator]
            return told
        assert time.monotonic() < deadline, told
