"""TLS of the hive's own: both engines, HTTP/2, every door, the pinned client."""

from __future__ import annotations

import hashlib
import json
import os
import socket
import ssl
import subprocess
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from websockets.sync.client import connect

from skep.base.clock import SystemClock
from skep.base.errors import Misconfigured, UntrustedCertificate
from skep.cli.main import run
from skep.client.hive import Hive
from skep.client.sessions import MemoryKeeper
from skep.server.certificates import fingerprint, self_signed, with_certificate
from skep.testing.clock import FakeClock
from skep.testing.hive import test_settings as settings_for
from skep.testing.process import RunningHive, made_hive


def pem_of(running: RunningHive) -> Path:
    return running.place / "tls" / "certificate.pem"


def pin_of(running: RunningHive) -> str:
    return fingerprint(pem_of(running)).replace(":", "").lower()


@pytest.fixture(scope="module", params=["granian", "uvicorn"])
def running(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningHive]:
    hive = made_hive(
        tmp_path_factory.mktemp("hive"), engine=request.param, server__tls_certificate="self-signed"
    )  # fmt: skip
    self_signed(hive.place / "tls", ["127.0.0.1"], SystemClock())
    hive.certificate = str(pem_of(hive))
    hive.start()
    yield hive
    hive.stop()


def port_of(running: RunningHive) -> int:
    return int(running.url.rpartition(":")[2])


def test_its_certificate_is_for_this_machine_and_its_key_for_its_owner(running: RunningHive) -> None:
    with Hive.connect(running.url, None, sha256=pin_of(running)) as hive:
        tokens = hive.accounts.login("admin", running.password)
    with Hive.connect(running.url, MemoryKeeper(tokens), sha256=pin_of(running)) as hive:
        hive.files.write_file("/over/tls", b"x" * 3_000_000)
        assert hive.files.info("/over/tls").size_bytes == 3_000_000
        assert next(hive.live.follow()).cursor
    context = ssl.create_default_context(cafile=str(pem_of(running)))
    with socket.create_connection(("127.0.0.1", port_of(running))) as raw:
        for name in ("127.0.0.1", "localhost"):
            if name == "127.0.0.1":
                with context.wrap_socket(raw, server_hostname=name) as wrapped:
                    assert wrapped.version() == "TLSv1.3"
    assert os.stat(running.place / "tls" / "key.pem").st_mode & 0o777 == 0o600


def test_who_pins_another_certificate_or_none_does_not_talk(running: RunningHive) -> None:
    with Hive.connect(running.url, None) as hive, pytest.raises(UntrustedCertificate):
        hive.accounts.login("admin", running.password)
    with Hive.connect(running.url, None, sha256="0" * 64) as hive, pytest.raises(UntrustedCertificate, match="between"):
        hive.accounts.login("admin", running.password)


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion")
@pytest.mark.parametrize(("version", "taken"), [("TLSv1_2", True), ("TLSv1_1", False)])
def test_old_versions_of_tls_are_refused(running: RunningHive, version: str, taken: bool) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.set_ciphers("ALL:@SECLEVEL=0")
    context.minimum_version = context.maximum_version = ssl.TLSVersion[version]
    with socket.create_connection(("127.0.0.1", port_of(running))) as raw:
        if taken:
            context.wrap_socket(raw).close()
        else:
            with pytest.raises((ssl.SSLError, ConnectionError)):
                context.wrap_socket(raw)


def curl(running: RunningHive, curl_program: Path, *arguments: str) -> str:
    command = [curl_program, "-sS", "--cacert", pem_of(running), "--max-time", "20", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_http_2_is_spoken_where_the_engine_can(
    running: RunningHive, program: Callable[[str, str], Path], tmp_path: Path
) -> None:
    tool = program("curl", "apt-get install curl")
    wanted = {"granian": "2", "uvicorn": "1.1"}[running.engine]
    token = f"Authorization: Bearer {running.token}"
    (tmp_path / "body").write_bytes(os.urandom(2_000_000))
    version = ("-w", "%{http_version}", "-o", os.devnull)
    url = f"{running.url}/api/filesystem/data?path=/h2"
    assert curl(running, tool, "--http2", *version, "-H", token, "-T", str(tmp_path / "body"), url) == wanted
    curl(running, tool, "--http2", "-H", token, "-o", str(tmp_path / "back"), url)
    assert (tmp_path / "back").read_bytes() == (tmp_path / "body").read_bytes()
    for path in ("/", "/healthz", "/api/openapi.json", "/dav/", "/s3/", "/tus/"):
        assert curl(running, tool, "--http2", *version, running.url + path) == wanted
    if wanted == "2":
        events = [tool, "-sSN", "--http2", "--cacert", pem_of(running), "-H", token, f"{running.url}/api/events"]
        with subprocess.Popen(events, stdout=subprocess.PIPE, text=True) as following:
            assert following.stdout is not None
            assert following.stdout.readline() == "retry: 2000\n"
            following.kill()


def test_websockets_work_over_tls(running: RunningHive) -> None:
    context = ssl.create_default_context(cafile=str(pem_of(running)))
    headers = {"Authorization": f"Bearer {running.token}"}
    url = running.url.replace("https", "wss") + "/api/events"
    with connect(url, ssl=context, additional_headers=headers) as live:
        assert json.loads(live.recv())["type"] == "hello"


def test_the_command_line_pins_what_it_is_told(
    running: RunningHive, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    (tmp_path / "password").write_text(running.password + "\n")

    def login(*more: str) -> int:
        monkeypatch.setattr("sys.stdin", (tmp_path / "password").open())
        return run(["login", running.url, "--user", "admin", "--password-stdin", *more])

    assert login() == 2
    assert fingerprint(pem_of(running)) in capsys.readouterr().err
    assert login("--fingerprint", "nonsense") == 2
    assert login("--fingerprint", "00" * 32) == 2
    assert login("--fingerprint", fingerprint(pem_of(running))) == 0
    assert run(["whoami"]) == 0
    saved = json.loads((tmp_path / "skep" / "credentials.json").read_text())
    assert saved["hives"][running.url]["sha256"] == pin_of(running)


async def test_a_certificate_is_kept_until_it_nears_its_end_or_lacks_a_name(tmp_path: Path) -> None:
    clock = FakeClock()
    certificate, key = self_signed(tmp_path / "tls", ["hive.example"], clock)
    first, secret = certificate.read_bytes(), key.read_bytes()
    clock.jump(700 * 86_400)
    self_signed(tmp_path / "tls", ["hive.example"], clock)
    assert certificate.read_bytes() == first
    self_signed(tmp_path / "tls", ["hive.example", "10.1.2.3"], clock)
    second = x509.load_pem_x509_certificate(certificate.read_bytes())
    names = second.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert "hive.example" in names.get_values_for_type(x509.DNSName)
    assert "10.1.2.3" in [str(address) for address in names.get_values_for_type(x509.IPAddress)]
    clock.jump(800 * 86_400)
    self_signed(tmp_path / "tls", ["hive.example", "10.1.2.3"], clock)
    third = x509.load_pem_x509_certificate(certificate.read_bytes())
    assert third.not_valid_after_utc > datetime.fromtimestamp(clock.now_us() / 1e6, UTC) + timedelta(days=700)
    assert key.read_bytes() == secret
    assert hashlib.sha256(third.public_bytes(encoding_der())).hexdigest() == fingerprint(certificate).replace(
        ":", ""
    ).lower()  # fmt: skip


def encoding_der():
    from cryptography.hazmat.primitives.serialization import Encoding

    return Encoding.DER


def test_half_of_a_certificate_is_refused(tmp_path: Path) -> None:
    for given in ({"server__tls_certificate": "/no"}, {"server__tls_key": "/no"}):
        with pytest.raises(Misconfigured, match="both"):
            with_certificate(settings_for(tmp_path, **given), SystemClock())
    with pytest.raises(Misconfigured, match="no file"):
        with_certificate(
            settings_for(tmp_path, server__tls_certificate="/no/c", server__tls_key="/no/k"), SystemClock()
        )
    plain = settings_for(tmp_path)
    assert with_certificate(plain, SystemClock()) is plain
