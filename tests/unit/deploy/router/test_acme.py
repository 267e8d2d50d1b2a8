"""Certificates from a real ACME server (pebble) that asks the real nginx, with a DNS server that says all is here."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import subprocess
import time
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest
from cryptography import x509

from skep.base.errors import BadInput, CertificateRefused, Unavailable
from skep.deploy.router.acme import Issuer
from skep.deploy.router.nginx import NginxRouter
from skep.deploy.router.records import Certificate, Site
from skep.deploy.shell.local import LocalRunner

from .test_nginx import backend, free_port


@contextlib.contextmanager
def authority(folder: Path, http_port: int) -> Iterator[tuple[str, Path]]:
    """Pebble and its DNS server; the directory's URL and the PEM that its own HTTPS is signed with."""
    folder.mkdir()
    cert, key = folder / "cert.pem", folder / "key.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", key,
         "-out", cert, "-days", "2", "-subj", "/CN=localhost", "-addext", "subjectAltName=IP:127.0.0.1"],
        check=True, capture_output=True,
    )  # fmt: skip
    listen, management, dns, dns_management = (free_port() for _ in range(4))
    (folder / "pebble.json").write_text(
        json.dumps(
            {
                "pebble": {
                    "listenAddress": f"127.0.0.1:{listen}",
                    "managementListenAddress": f"127.0.0.1:{management}",
                    "certificate": str(cert),
                    "privateKey": str(key),
                    "httpPort": http_port,
                    "tlsPort": free_port(),
                    "ocspResponderURL": "",
                    "externalAccountBindingRequired": False,
                }
            }
        )
    )
    log = (folder / "log").open("wb")
    environ = {**os.environ, "PEBBLE_VA_NOSLEEP": "1", "PEBBLE_WFE_NONCEREJECT": "20"}
    commands = [
        ["pebble-challtestsrv", "-dns01", f"127.0.0.1:{dns}", "-management", f"127.0.0.1:{dns_management}",
         "-http01", "", "-https01", "", "-tlsalpn01", "", "-defaultIPv6", ""],
        ["pebble", "-config", str(folder / "pebble.json"), "-dnsserver", f"127.0.0.1:{dns}"],
    ]  # fmt: skip
    processes = [subprocess.Popen(command, stdout=log, stderr=log, env=environ) for command in commands]
    try:
        for _ in range(200):
            if b"Listening on: 127.0.0.1" in (folder / "log").read_bytes():
                break
            time.sleep(0.05)  # pebble says in its log when it listens
        yield f"https://127.0.0.1:{listen}/dir", cert
    finally:
        for process in processes:
            process.kill()
            process.wait()
        log.close()


@pytest.fixture
async def setting(tmp_path: Path, program: Callable[..., object]) -> AsyncIterator[tuple[NginxRouter, Issuer, Path]]:
    """A router, and an issuer that uses a real authority."""
    for name, install in (("nginx", "nginx-full"), ("pebble", "pebble"), ("openssl", "openssl")):
        program(name, f"apt-get install {install}")
    runner = LocalRunner()
    port = free_port()
    user = "root" if os.geteuid() == 0 else ""
    router = NginxRouter(runner, str(tmp_path / "router"), http_port=port, https_port=free_port(), user=user)
    await router.start()

    async def put(token: str, content: bytes | None) -> None:
        if content is None:
            Path(f"{router.challenges}/{token}").unlink()
        else:
            await runner.put(content, f"{router.challenges}/{token}")

    try:
        with authority(tmp_path / "authority", port) as (url, ca_file):
            yield router, Issuer(put, tmp_path / "hq" / "account.pem", directory=url, ca_file=ca_file), tmp_path
    finally:
        await router.stop()
        await router.drained(10)


async def test_a_domain_gets_a_certificate_and_serves_it(setting: tuple[NginxRouter, Issuer, Path]) -> None:
    router, issuer, tmp_path = setting
    async with backend("x") as here:
        site = Site(job="web", domains=("shop.example", "www.shop.example"), backends=(here,))
        await router.apply("shop", [site])
        issued = await issuer.issue(site.domains)
        leaf = x509.load_pem_x509_certificate(issued.chain)
        names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        assert sorted(names.get_values_for_type(x509.DNSName)) == ["shop.example", "www.shop.example"]
        chain, key = tmp_path / "chain.pem", tmp_path / "key.pem"
        chain.write_bytes(issued.chain)
        key.write_bytes(issued.key)
        secured = Site(job="web", domains=site.domains, backends=(here,), certificate=Certificate(str(chain), str(key)))
        await router.apply("shop", [secured])
        done = await asyncio.create_subprocess_exec(
            "openssl", "s_client", "-connect", f"127.0.0.1:{router._ports['https_port']}", "-servername",
            "www.shop.example", stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        shown, _ = await done.communicate()
        assert issued.chain.split(b"-----END")[0].strip().splitlines()[1] in shown
        half_s = (leaf.not_valid_after_utc - leaf.not_valid_before_utc) / 2
        assert leaf.not_valid_before_utc + half_s < (await issuer.renew_at(issued.chain)) < leaf.not_valid_after_utc
        assert (tmp_path / "hq" / "account.pem").stat().st_mode & 0o777 == 0o600
        assert list(Path(router.challenges).iterdir()) == [], "proofs go when they are not needed any more"
        again = Issuer(issuer._put_challenge, issuer._account, directory=issuer._directory, ca_file=issuer._ca_file)
        assert (await again.issue(("shop.example",))).chain != issued.chain, "the account is known there"


async def test_what_is_not_ours_is_refused_with_the_authoritys_words(
    setting: tuple[NginxRouter, Issuer, Path],
) -> None:
    _, issuer, _ = setting

    async def nowhere(token: str, content: bytes) -> None:
        return

    issuer._put_challenge = nowhere
    with pytest.raises(CertificateRefused, match=r"stolen\.example was not proven to be ours: .*404"):
        await issuer.issue(["stolen.example"])


async def test_orders_that_cannot_be(tmp_path: Path) -> None:
    async def put(token: str, content: bytes) -> None:
        return

    issuer = Issuer(put, tmp_path / "account.pem", directory="https://127.0.0.1:9/dir")
    with pytest.raises(BadInput, match="wildcard"):
        await issuer.issue(["*.example.org"])
    with pytest.raises(BadInput, match="1 to 100 domains"):
        await issuer.issue([])
    with pytest.raises(BadInput, match="no domain"):
        await issuer.issue(["a b"])
    with pytest.raises(Unavailable, match=r"127\.0\.0\.1:9/dir cannot be used now"):
        await issuer.issue(["a.example"])


async def test_an_account_that_is_none_is_said(tmp_path: Path) -> None:
    async def put(token: str, content: bytes | None) -> None:
        raise AssertionError("nothing was ordered")

    account = tmp_path / "account.pem"
    account.write_text("no key")
    with pytest.raises(BadInput, match="no account key of ours"):
        await Issuer(put, account).issue(["shop.example"])
    assert account.read_text() == "no key"
