"""A certificate of the hive's own, for people without a proxy: ``skep serve --tls self-signed``.

It lies in ``tls/`` of the data directory, the key readable by its owner alone. What always holds: certificate and key
are one file each that is replaced as a whole, the key first; a certificate is made anew when it lacks a name that the
hive is reached by, or is within ``RENEW_DAYS`` of its end. The key stays when the certificate is renewed, and what
clients pin is the certificate: they are asked again then.
"""

from __future__ import annotations

import datetime
import ipaddress
import os
import socket
from collections.abc import Sequence
from pathlib import Path

import msgspec
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from skep.base.clock import Clock
from skep.base.errors import Misconfigured
from skep.base.settings import Settings

SELF_SIGNED = "self-signed"
LIFE_DAYS = 825
"""The longest that browsers take for a certificate that a user trusts by hand."""
RENEW_DAYS = 60
NAMES_MAX = 32


def with_certificate(settings: Settings, clock: Clock) -> Settings:
    """The settings with the files of a certificate, made now if they ask for a self-signed one that is not there.

    Raises Misconfigured for files that are none, or do not belong together.
    """
    server = settings.server
    if server.tls_certificate != SELF_SIGNED:
        if bool(server.tls_certificate) != bool(server.tls_key):
            raise Misconfigured("TLS needs both server.tls_certificate and server.tls_key.")
        for name in (server.tls_certificate, server.tls_key):
            if name and not Path(name).is_file():
                raise Misconfigured(f"There is no file {name}: see server.tls_certificate and server.tls_key.")
        return settings
    place = settings.data_path() / "tls"
    certificate, key = self_signed(place, [server.host, *server.tls_names], clock)
    found = msgspec.structs.replace(server, tls_certificate=str(certificate), tls_key=str(key))
    return msgspec.structs.replace(settings, server=found)


def fingerprint(certificate: Path) -> str:
    """SHA-256 of a PEM certificate as people compare it: ``AB:CD:…``. Raises Misconfigured."""
    try:
        found = x509.load_pem_x509_certificate(certificate.read_bytes())
    except (OSError, ValueError) as error:
        raise Misconfigured(f"{certificate} is no certificate: {error}") from None
    return found.fingerprint(hashes.SHA256()).hex(":").upper()


def self_signed(place: Path, names: Sequence[str], clock: Clock) -> tuple[Path, Path]:
    """The files of a certificate and its key for this machine's names and ``names``; made or renewed if need be."""
    certificate, key = place / "certificate.pem", place / "key.pem"
    wanted = _names(names)
    now = datetime.datetime.fromtimestamp(clock.now_us() / 1e6, datetime.UTC)
    try:
        place.mkdir(mode=0o700, parents=True, exist_ok=True)
        secret = _key(key)
        if not _is_good(certificate, secret, wanted, now):
            _write(certificate, _made(secret, wanted, now), 0o644)
    except OSError as error:
        raise Misconfigured(f"The certificate in {place} cannot be made: {error.strerror}.") from None
    return certificate, key


def _names(given: Sequence[str]) -> list[x509.GeneralName]:
    """Subject alternative names: what was given, this machine's name, loopback; no addresses that mean all."""
    found: dict[str, x509.GeneralName] = {}
    for text in [*given, socket.gethostname(), socket.getfqdn(), "localhost", "127.0.0.1", "::1"][:NAMES_MAX]:
        try:
            address = ipaddress.ip_address(text)
        except ValueError:
            if text and text.isascii():
                found[text.lower()] = x509.DNSName(text.lower())
        else:
            if not address.is_unspecified:
                found[str(address)] = x509.IPAddress(address)
    return list(found.values())


def _key(path: Path) -> ec.EllipticCurvePrivateKey:
    if path.exists():
        try:
            found = serialization.load_pem_private_key(path.read_bytes(), None)
        except (ValueError, TypeError) as error:
            raise Misconfigured(f"{path} is no key: {error}. Remove it, and another is made.") from None
        if not isinstance(found, ec.EllipticCurvePrivateKey):
            raise Misconfigured(f"{path} is not a key that Skep made: remove it, and another is made.")
        return found
    made = ec.generate_private_key(ec.SECP256R1())
    form = serialization.PrivateFormat.PKCS8
    _write(path, made.private_bytes(serialization.Encoding.PEM, form, serialization.NoEncryption()), 0o600)
    return made


def _is_good(
    path: Path, key: ec.EllipticCurvePrivateKey, names: list[x509.GeneralName], now: datetime.datetime
) -> bool:
    try:
        found = x509.load_pem_x509_certificate(path.read_bytes())
        has = found.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except (OSError, ValueError, x509.ExtensionNotFound):
        return False
    lasts = found.not_valid_before_utc <= now < found.not_valid_after_utc - datetime.timedelta(days=RENEW_DAYS)
    return lasts and found.public_key() == key.public_key() and set(names) <= set(has)


def _made(key: ec.EllipticCurvePrivateKey, names: list[x509.GeneralName], now: datetime.datetime) -> bytes:
    who = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Skep hive")])
    made = (
        x509.CertificateBuilder()
        .subject_name(who)
        .issuer_name(who)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=LIFE_DAYS - 1))
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .sign(key, hashes.SHA256())
    )
    return made.public_bytes(serialization.Encoding.PEM)


def _write(path: Path, content: bytes, mode: int) -> None:
    new = path.with_suffix(".new")
    new.unlink(missing_ok=True)
    file = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
    try:
        os.write(file, content)
        os.fsync(file)
    finally:
        os.close(file)
    os.replace(new, path)
