"""The certificate and key that the hive's servers show, and the pairs that take their place while they run.

What always holds: a pair in use is a copy in memory of two files that were read together, checked to belong together,
to be valid now and to be taken by the engine. A file that is half written, or a pair that is no good, changes nothing.
"""

from __future__ import annotations

import asyncio
import datetime
import os
import ssl
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes

from skep.base.clock import Clock
from skep.base.errors import Misconfigured, SkepError, TimedOut
from skep.base.logs import get_logger
from skep.frontends.api.services import ShownCertificate

log = get_logger("skep.server")
FILE_BYTES_MAX = 1 << 20
LOOK_S = 10.0
"""How often the files are looked at."""
TRIAL_S = 30.0
TRIAL = """
import asyncio, sys
from granian.constants import Interfaces, SSLProtocols
from granian.server.embed import Server
async def trial():
    server = Server(print, port=0, interface=Interfaces.ASGINL, log_enabled=False)
    server.ssl_ctx = (True, sys.argv[1], sys.argv[2], None, str(SSLProtocols.tls12), None, [], False)
    serving = asyncio.ensure_future(server.serve())
    await asyncio.sleep(0.2)
    server.stop()
    await serving
asyncio.run(trial())
"""
"""A server of its own with the pair: what granian cannot use ends the whole process that tries."""


@dataclass(frozen=True, slots=True)
class Pair:
    """A certificate with its chain, and its key, in files of this process alone."""

    certificate: Path
    key: Path
    fingerprint: str
    """SHA-256 of the certificate as people compare it."""
    begins_us: int
    ends_us: int
    content: tuple[bytes, bytes]
    copies: tuple[int, ...]
    """Open files in memory that the two paths name."""

    def close(self) -> None:
        """Let the copies go."""
        for copy in self.copies:
            os.close(copy)


class Pairs:
    """The pair in use; who shows it is told when another one takes its place. Used on one event loop."""

    def __init__(self, certificate: Path, key: Path, engine: str, clock: Clock) -> None:
        """Raises Misconfigured for files that are no pair."""
        self._files = (certificate, key)
        self._engine = engine
        self._clock = clock
        self._seen = self._signature()
        self._takers: list[Callable[[Pair], None]] = []
        self._trouble: str | None = None
        self._before: Pair | None = None
        self.now = pair_of(certificate, key)
        """The pair in use."""

    @property
    def state(self) -> ShownCertificate:
        """For the status: what is shown, and why a newer one is not."""
        return ShownCertificate(self.now.fingerprint, self.now.ends_us, self._trouble)

    def subscribe(self, take: Callable[[Pair], None]) -> None:
        """Call ``take`` with each pair that takes the place of the one in use."""
        self._takers.append(take)

    async def watch(self, hurry: asyncio.Event) -> None:
        """Look at the files for ever: every ``LOOK_S`` and whenever ``hurry`` is set."""
        while True:
            try:
                async with asyncio.timeout(LOOK_S):
                    await hurry.wait()
            except TimeoutError:
                pass
            forced = hurry.is_set()
            hurry.clear()
            await self.look(forced=forced)

    async def look(self, *, forced: bool = False) -> bool:
        """Take the pair in the files if it is another one; whether it was taken. What is wrong with it is logged."""
        signature = self._signature()
        if signature == self._seen and not forced:
            return False
        self._seen = signature
        try:
            found = await asyncio.to_thread(pair_of, *self._files)
        except Misconfigured as error:
            return self._keep(error)
        try:
            if found.content == self.now.content:
                self._trouble = None
                found.close()
                return False
            await self._check(found)
        except TimedOut as error:
            found.close()
            self._seen = ()
            return self._keep(error)
        except Misconfigured as error:
            found.close()
            return self._keep(error)
        self._use(found)
        return True

    def _keep(self, error: SkepError) -> bool:
        self._trouble = str(error)
        log.warning("new certificate is not taken", trouble=self._trouble, still=self.now.fingerprint)
        return False

    def _use(self, found: Pair) -> None:
        if self._before is not None:
            self._before.close()  # a server may still be about to read the one in use
        self._before, self.now, self._trouble = self.now, found, None
        for take in self._takers:
            take(found)
        log.warning("new certificate", sha256=found.fingerprint, until=iso_date(found.ends_us))

    async def _check(self, found: Pair) -> None:
        self._check_time(found)
        if self._engine == "granian":
            await _try(found)

    def _check_time(self, found: Pair) -> None:
        now_us = self._clock.now_us()
        if now_us >= found.ends_us:
            raise Misconfigured(f"The certificate in {self._files[0]} has ended on {iso_date(found.ends_us)}.")
        if now_us < found.begins_us:
            raise Misconfigured(f"The certificate in {self._files[0]} begins on {iso_date(found.begins_us)} only.")

    def _signature(self) -> tuple[object, ...]:
        """What changes when one of the files does; a file that is not there counts too."""
        return tuple(_stamp(path) for path in self._files)


def pair_of(certificate: Path, key: Path) -> Pair:
    """Two files read as they are now, checked to belong together. Raises Misconfigured."""
    try:
        content = (_read(certificate), _read(key))
        found = x509.load_pem_x509_certificate(content[0])
    except (OSError, ValueError) as error:
        raise _no_pair(certificate, key, error) from None
    copies = tuple(_copy(one) for one in content)
    paths = [Path(f"/proc/self/fd/{one}") for one in copies]
    try:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(paths[0], paths[1], password=_no_password)
    except (OSError, ValueError) as error:  # ssl.SSLError is an OSError
        for copy in copies:
            os.close(copy)
        raise _no_pair(certificate, key, error) from None
    return Pair(
        paths[0],
        paths[1],
        found.fingerprint(hashes.SHA256()).hex(":").upper(),
        _us(found.not_valid_before_utc),
        _us(found.not_valid_after_utc),
        content,
        copies,
    )


def _no_pair(certificate: Path, key: Path, error: Exception) -> Misconfigured:
    return Misconfigured(f"{certificate} and {key} are no certificate with its key: {_said(error)}.")


async def _try(pair: Pair) -> None:
    """Raise Misconfigured unless granian serves with the pair, in a process of its own."""
    held = [os.open(path, os.O_RDONLY) for path in (pair.certificate, pair.key)]
    try:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-c", TRIAL, *(f"/dev/fd/{one}" for one in held),
            pass_fds=held, stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.DEVNULL,
        )  # fmt: skip
        try:
            async with asyncio.timeout(TRIAL_S):
                status = await process.wait()
        except TimeoutError:
            process.kill()
            await process.wait()
            raise TimedOut("The server did not begin with it in time: it is tried again.") from None
    finally:
        for one in held:
            os.close(one)
    if status:
        raise Misconfigured("The server cannot use a key of this kind: take RSA, ECDSA (P-256, P-384) or Ed25519.")


def _read(path: Path) -> bytes:
    with path.open("rb") as file:
        content = file.read(FILE_BYTES_MAX + 1)
    if len(content) > FILE_BYTES_MAX:
        raise ValueError(f"{path} is too large")
    return content


def _copy(content: bytes) -> int:
    """A file in memory that has no name."""
    file = os.memfd_create("pair", os.MFD_CLOEXEC)
    os.write(file, content)
    return file


def _no_password() -> str:
    raise ValueError("the key is locked with a password")


def _stamp(path: Path) -> tuple[int, int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino


def _said(error: Exception) -> str:
    return getattr(error, "reason", None) or getattr(error, "strerror", None) or str(error)


def _us(moment: datetime.datetime) -> int:
    return int(moment.timestamp() * 1_000_000)


def iso_date(moment_us: int) -> str:
    """A moment's day: 2027-01-31."""
    return datetime.datetime.fromtimestamp(moment_us / 1e6, datetime.UTC).date().isoformat()
