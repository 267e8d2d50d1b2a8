"""Certificates that HQ gets for its stacks: kept in a folder, got once a domain is routed, renewed in time."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from skep.base.clock import Clock
from skep.base.errors import SkepError
from skep.base.logs import get_logger
from skep.crypto.hashing import digest
from skep.deploy.hq.settings import RouterSettings

if TYPE_CHECKING:
    from skep.deploy.router.acme import Issued, Issuer, PutChallenge

log = get_logger("skep.hq")
FIRST_WAIT_S = 60.0
WAIT_MAX_S = 6 * 3600.0
LOOK_S = 3600.0


class Certificates:
    """The certificates of one authority. A refusal is tried again later and later, so that no limit of it is met."""

    def __init__(self, settings: RouterSettings, folder: Path, put_challenge: PutChallenge, clock: Clock) -> None:
        self._settings = settings
        self._folder = folder
        self._put = put_challenge
        self._clock = clock
        self._issuer: Issuer | None = None
        self._due_s: dict[str, float] = {}
        self._waits_s: dict[str, float] = {}

    def _for(self, domains: Sequence[str]) -> list[str]:
        """Those that can be proven over HTTP."""
        return sorted({one for one in domains if not one.startswith("*.")})

    async def held(self, domains: Sequence[str]) -> Issued | None:
        """What is kept for these domains; None: nothing yet."""
        if not self._settings.acme_directory:
            return None
        return await asyncio.to_thread(self._read, _name(self._for(domains)))

    async def care(self, domains: Sequence[str]) -> bool:
        """Get or renew the certificate of these domains if it is time; whether there is a new one."""
        wanted = self._for(domains)
        if not self._settings.acme_directory or not wanted:
            return False
        name, now_s = _name(wanted), self._clock.monotonic_s()
        if now_s < self._due_s.get(name, now_s):
            return False
        try:
            issuer = self._made()
            held = await asyncio.to_thread(self._read, name)
            if held is not None and (await issuer.renew_at(held.chain)).timestamp() > self._clock.now_us() / 1e6:
                self._due_s[name] = now_s + LOOK_S
                return False
            issued = await issuer.issue(wanted)
        except SkepError as error:
            wait_s = self._waits_s[name] = min(WAIT_MAX_S, 2 * self._waits_s.get(name, FIRST_WAIT_S / 2))
            self._due_s[name] = now_s + wait_s
            log.warning("no certificate", domains=wanted, error=error.message, again_in_s=wait_s)
            return False
        await asyncio.to_thread(self._write, name, issued)
        self._waits_s.pop(name, None)
        self._due_s[name] = now_s + LOOK_S
        log.info(
            "certificate issued", domains=wanted, at=datetime.fromtimestamp(self._clock.now_us() / 1e6, UTC).date()
        )
        return True

    def _made(self) -> Issuer:
        if self._issuer is None:
            from skep.deploy.router.acme import Issuer

            rules = self._settings
            ca_file = Path(rules.acme_ca_file) if rules.acme_ca_file else None
            self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            self._issuer = Issuer(
                self._put, self._folder / "account.pem", directory=rules.acme_directory, contact=rules.acme_contact,
                ca_file=ca_file,
            )  # fmt: skip
        return self._issuer

    def _read(self, name: str) -> Issued | None:
        from skep.deploy.router.acme import Issued

        try:
            return Issued(
                (self._folder / f"{name}.chain.pem").read_bytes(), (self._folder / f"{name}.key.pem").read_bytes()
            )
        except FileNotFoundError:
            return None

    def _write(self, name: str, issued: Issued) -> None:
        """The key first: a chain without its key would be served by nobody."""
        for kind, content in (("key", issued.key), ("chain", issued.chain)):
            beside = self._folder / f".{name}.{kind}"
            with open(os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
                file.write(content)
                os.fsync(file.fileno())
            beside.replace(self._folder / f"{name}.{kind}.pem")


def _name(domains: Sequence[str]) -> str:
    return digest("\n".join(domains).encode()).hex()[:40]
