"""Certificates from an authority that speaks ACME (RFC 8555): ordered, proven over HTTP, kept, renewed in time.

The authority asks each domain for a file below ``/.well-known/acme-challenge/``; the router serves that folder on every
domain, so a site needs to be routed before its certificate is ordered. Wildcards can only be proven by DNS and are
refused: give their certificates in the stack. The library is synchronous and runs in a thread.
"""

from __future__ import annotations

import asyncio
import contextlib
import datetime
import os
import secrets
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import TypeVar, cast

import msgspec
from acme import challenges, client, errors, messages
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from josepy.jwa import ES256
from josepy.jwk import JWKEC

from skep import __version__
from skep.base.errors import BadInput, CertificateRefused, LocalFailure, SkepError, Unavailable
from skep.deploy.router.records import check_domain

LETS_ENCRYPT = "https://acme-v02.api.letsencrypt.org/directory"
ORDER_TIMEOUT_S = 120.0
DOMAINS_MAX = 100
NONCE_ATTEMPTS = 6
_REQUEST_TIMEOUT_S = 20
_WITHOUT_ADVICE = 1 / 3  # of its life: when there is no advice, a certificate is renewed with so much of it left

T = TypeVar("T")
PutChallenge = Callable[[str, bytes | None], Awaitable[None]]
"""Makes ``/.well-known/acme-challenge/NAME`` answer with these bytes on every domain; None: not any more."""


class Issued(msgspec.Struct, frozen=True):
    """A certificate with its chain, leaf first, and its key, both PEM."""

    chain: bytes
    key: bytes


class Issuer:
    """One account at one authority.

    ``account``: a file with the account's key, made when it is not there, mode 0600. ``ca_file``: PEM of an authority
    of one's own. By using it one agrees to the authority's terms.
    """

    def __init__(
        self,
        put_challenge: PutChallenge,
        account: Path,
        *,
        directory: str = LETS_ENCRYPT,
        contact: str = "",
        ca_file: Path | None = None,
    ) -> None:
        self._put_challenge = put_challenge
        self._account = account
        self._directory = directory
        self._contact = contact
        self._ca_file = ca_file
        self._client: client.ClientV2 | None = None
        self._lock = asyncio.Lock()

    async def issue(self, domains: Sequence[str]) -> Issued:
        """Order one certificate for these domains and prove that they are ours.

        Raises BadInput for none, too many or wildcards; CertificateRefused with the authority's words; Unavailable when
        it cannot be reached or asks to wait: try later.
        """
        _check(domains)
        async with self._lock:
            try:
                async with asyncio.timeout(ORDER_TIMEOUT_S + _REQUEST_TIMEOUT_S):
                    return await self._issue(tuple(domains))
            except TimeoutError as error:
                raise Unavailable(f"{self._directory} did not issue a certificate in time: try again") from error
            except errors.ValidationError as error:
                raise CertificateRefused(f"{', '.join(domains)} was not proven to be ours: {_why(error)}") from error
            except messages.Error as error:
                raise self._refused(domains, error) from error
            except (errors.Error, OSError) as error:  # what requests raises is an OSError
                raise Unavailable(f"{self._directory} cannot be used now: {error}") from error

    async def renew_at(self, chain: bytes) -> datetime.datetime:
        """When to renew the certificate: as the authority advises (RFC 9773), or with a third of its life left."""
        leaf = x509.load_pem_x509_certificate(chain)
        life = leaf.not_valid_after_utc - leaf.not_valid_before_utc
        planned = leaf.not_valid_after_utc - life * _WITHOUT_ADVICE
        try:
            acme = await self._connected()
            advised, _ = await asyncio.to_thread(acme.renewal_time, chain)
        except (errors.Error, OSError, messages.Error):
            return planned
        return min(planned, advised) if advised is not None else planned

    async def _issue(self, domains: tuple[str, ...]) -> Issued:
        acme = await self._connected()
        key = ec.generate_private_key(ec.SECP256R1())
        order = await _patiently(acme.new_order, _request(key, domains))
        put: list[str] = []
        try:
            for authorization in order.authorizations:
                if authorization.body.status == messages.STATUS_VALID:
                    continue
                challenge = _over_http(authorization)
                response, validation = challenge.response_and_validation(acme.net.key)
                put.append(challenge.chall.encode("token"))
                await self._put_challenge(put[-1], validation.encode())
                await _patiently(acme.answer_challenge, challenge, response)
            done = await _patiently(acme.poll_and_finalize, order)
        finally:
            for token in put:
                with contextlib.suppress(SkepError):  # a proof that stays harms nobody
                    await self._put_challenge(token, None)
        return Issued(
            done.fullchain_pem.encode(),
            key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            ),
        )

    async def _connected(self) -> client.ClientV2:
        if self._client is None:
            self._client = await _patiently(self._connect)
        return self._client

    def _connect(self) -> client.ClientV2:
        key = _account_key(self._account)
        net = client.ClientNetwork(
            JWKEC(key=key),
            alg=ES256,
            user_agent=f"skep/{__version__}",
            timeout=_REQUEST_TIMEOUT_S,
            verify_ssl=cast(bool, str(self._ca_file)) if self._ca_file else True,
        )
        acme = client.ClientV2(client.ClientV2.get_directory(self._directory, net), net)
        wanted = messages.NewRegistration.from_data(email=self._contact or None, terms_of_service_agreed=True)
        try:
            acme.new_account(wanted)
        except errors.ConflictError as known:
            existing = messages.RegistrationResource(uri=known.location, body=messages.Registration())
            acme.net.account = acme.query_registration(existing)
        return acme

    def _refused(self, domains: Sequence[str], error: messages.Error) -> CertificateRefused | Unavailable:
        said = f"{error.detail or error.typ}"
        if error.code in ("rateLimited", "serverInternal", "badNonce"):
            return Unavailable(f"{self._directory} asks to wait: {said}")
        return CertificateRefused(f"no certificate for {', '.join(domains)}: {said}")


async def _patiently(call: Callable[..., T], *given: object) -> T:
    """Call in a thread, again where the authority only wants a fresher nonce (RFC 8555, 6.5)."""
    for attempt in range(NONCE_ATTEMPTS):
        try:
            return await asyncio.to_thread(call, *given)
        except messages.Error as error:
            if error.code != "badNonce" or attempt + 1 == NONCE_ATTEMPTS:
                raise
    raise AssertionError("unreachable")


def _check(domains: Sequence[str]) -> None:
    if not 1 <= len(domains) <= DOMAINS_MAX:
        raise BadInput(f"a certificate has 1 to {DOMAINS_MAX} domains, not {len(domains)}")
    for domain in domains:
        check_domain(domain)
        if domain.startswith("*."):
            raise BadInput(f"{domain} is a wildcard, which cannot be proven over HTTP: give its certificate yourself")


def _over_http(authorization: messages.AuthorizationResource) -> messages.ChallengeBody:
    for offered in authorization.body.challenges:
        if isinstance(offered.chall, challenges.HTTP01):
            return offered
    domain = authorization.body.identifier.value
    raise CertificateRefused(f"the authority offers no proof over HTTP for {domain}")


def _request(key: ec.EllipticCurvePrivateKey, domains: Sequence[str]) -> bytes:
    names = x509.SubjectAlternativeName([x509.DNSName(domain) for domain in domains])
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, domains[0])] if len(domains[0]) <= 64 else [])
    builder = x509.CertificateSigningRequestBuilder().subject_name(subject).add_extension(names, critical=False)
    return builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)


def _account_key(path: Path) -> ec.EllipticCurvePrivateKey:
    """The key in the file; made, and readable by nobody else, when it is not there."""
    try:
        raw = path.read_bytes()
    except FileNotFoundError:
        return _new_account_key(path)
    except OSError as error:
        raise LocalFailure(f"{path} cannot be read: {error.strerror}") from None
    try:
        loaded = serialization.load_pem_private_key(raw, None)
    except (ValueError, TypeError):
        loaded = None
    if not isinstance(loaded, ec.EllipticCurvePrivateKey):
        raise BadInput(f"{path} is no account key of ours: move it away and a new one is made")
    return loaded


def _new_account_key(path: Path) -> ec.EllipticCurvePrivateKey:
    key = ec.generate_private_key(ec.SECP256R1())
    raw = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    temporary = path.with_name(f".{secrets.token_hex(8)}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(raw)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise LocalFailure(f"{path} cannot be written: {error.strerror}") from None
    return key


def _why(error: errors.ValidationError) -> str:
    said = [
        f"{authorization.body.identifier.value}: {offered.error.detail}"
        for authorization in error.failed_authzrs
        for offered in authorization.body.challenges
        if offered.error is not None
    ]
    return "; ".join(said) or "the authority did not say why"
