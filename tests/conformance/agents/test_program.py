"""The agent as its user meets it: the real program, several hives, TLS, status, leaving."""

from __future__ import annotations

import datetime
import ipaddress
import json
import os
import ssl
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from skep.agent.home import AgentHome
from skep.testing.agents import RunningAgent, agents_of, invitation, wait_for
from skep.testing.process import RunningHive, made_hive

Make = Callable[[str], RunningAgent]


def skep(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the program to its end."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-m", "skep.cli.main", *arguments]
    return subprocess.run(command, capture_output=True, text=True, env=environment, timeout=60, check=False)


@pytest.fixture
def other(tmp_path: Path) -> Iterator[RunningHive]:
    place = tmp_path / "other-hive"
    place.mkdir()
    running = made_hive(place)
    running.start()
    yield running
    running.stop()


def test_one_agent_lends_to_several_hives(hive: RunningHive, other: RunningHive, agent: Make) -> None:
    desk = agent("desk")
    desk.join(hive, "desk-of-two", "--share", "1GB")
    token = invitation(other)
    added = skep("agent", "--hive", other.url, "--invite", token, "--share", "2GB", "--name", "mine", str(desk.space))
    assert added.returncode == 0, added.stderr
    assert "has taken this over" in added.stdout
    wait_for("both know it", lambda: agents_of(other)["mine"]["store"] and agents_of(hive)["desk-of-two"]["store"])

    shown = skep("agent", "status", str(desk.space), "--json")
    links = {each["url"]: each for each in json.loads(shown.stdout)["hives"]}
    assert {url: (each["name"], each["share_bytes"], each["state"]) for url, each in links.items()} == {
        hive.url: ("desk-of-two", 1 << 30, "connected"),
        other.url: ("mine", 2 << 30, "connected"),
    }
    keys = [path.read_bytes() for path in desk.space.glob("hives/*/key")]
    assert len(set(keys)) == 2
    assert stat.S_IMODE((desk.space / "control.sock").stat().st_mode) == 0o600
    assert "connected" in skep("agent", "status", str(desk.space)).stdout

    left = skep("agent", "leave", str(desk.space))
    assert left.returncode == 3
    assert "--hive" in left.stderr
    assert skep("agent", "leave", str(desk.space), "--hive", other.url).returncode == 0
    wait_for("the other has let it go", lambda: "mine" not in agents_of(other), 60)
    wait_for("its data is gone", lambda: len(AgentHome(desk.space).links()) == 1)
    assert [each["url"] for each in desk.status()["hives"]] == [hive.url]
    assert desk.stop() == 0


def test_status_says_that_none_runs(tmp_path: Path) -> None:
    shown = skep("agent", "status", str(tmp_path), "--json")
    assert shown.returncode == 6
    assert json.loads(shown.stdout)["running"] is False


def test_without_invitation_or_hive_it_says_what_to_do(hive: RunningHive, tmp_path: Path) -> None:
    (tmp_path / "space").mkdir()
    nothing = skep("agent", str(tmp_path / "space"))
    assert nothing.returncode == 1
    assert "--hive" in nothing.stderr
    wrong = skep("agent", "--hive", hive.url, "--invite", "ska_nonsense", str(tmp_path / "space"))
    assert wrong.returncode == 4
    assert "ask for a new one" in wrong.stderr
    missing = skep("agent", "--hive", hive.url, "--invite", "x", str(tmp_path / "nowhere"))
    assert missing.returncode == 1
    assert "does not exist" in missing.stderr


def certificate(place: Path, name: str) -> tuple[Path, Path]:
    """A certificate of its own for 127.0.0.1, and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    start = datetime.datetime(2020, 1, 1, tzinfo=datetime.UTC)
    built = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(start)
        .not_valid_after(start + datetime.timedelta(days=36_500))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    pem, secret = place / f"{name}.pem", place / f"{name}.key"
    pem.write_bytes(built.public_bytes(serialization.Encoding.PEM))
    form = serialization.PrivateFormat.PKCS8
    secret.write_bytes(key.private_bytes(serialization.Encoding.PEM, form, serialization.NoEncryption()))
    return pem, secret


def test_over_tls_the_certificate_is_part_of_the_proof(
    tmp_path: Path, agent: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    shown, key = certificate(tmp_path, "hive")
    place = tmp_path / "hive"
    place.mkdir()
    monkeypatch.setenv("SSL_CERT_FILE", str(shown))
    hive = made_hive(place, server__tls_certificate=str(shown), server__tls_key=str(key))
    hive.start()
    try:
        context = ssl.create_default_context(cafile=str(shown))
        headers = {"authorization": f"Bearer {hive.token}"}
        with httpx.Client(base_url=hive.url, headers=headers, verify=context) as client:
            token = client.post("/api/agents/invites", json={}).json()["token"]
            desk = agent("desk")
            desk.start("--hive", hive.url, "--invite", token, "--name", "desk", "--share", "1GB")
            desk.until("connected")
            wait_for("desk is a store", lambda: client.get("/api/agents/desk").json()["store"])
            assert client.post("/api/admin/stores/desk/check", timeout=120).json()["passed"]
    finally:
        hive.stop()
