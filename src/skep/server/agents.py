"""The agents of a hive put together: their book, the handshake, what their links do."""

from __future__ import annotations

import hashlib
import ssl
from collections.abc import Awaitable, Callable
from pathlib import Path

from skep.base.clock import Clock
from skep.base.settings import Settings
from skep.db import Database
from skep.durability.agents import AgentBook, Agents
from skep.durability.agents.greeting import Greeter
from skep.durability.storeset import StoreSet
from skep.server.identity import Identity
from skep.stores.link.board import LinkBoard


def open_agents(
    settings: Settings,
    clock: Clock,
    db: Database,
    identity: Identity,
    stores: StoreSet,
    board: LinkBoard,
    *,
    hurry: Callable[[], Awaitable[None]],
) -> Agents:
    """What serves agents; nothing runs until one connects."""
    book = AgentBook(db)
    certificate = _fingerprint(settings.server.tls_certificate)
    greeter = Greeter(identity.hive_id, identity.master.hive_keys(), book, certificate)
    return Agents(db, stores, board, greeter, book, clock, hurry=hurry, users_invite=settings.agents.users_invite)


def _fingerprint(path: str) -> str | None:
    """SHA-256 of the certificate that the hive shows itself, in hex; None when a proxy does that, or nobody."""
    if not path:
        return None
    try:
        pem = Path(path).read_text("ascii")
        first = pem[pem.index("-----BEGIN CERTIFICATE-----") :].partition("-----END CERTIFICATE-----")
        return hashlib.sha256(ssl.PEM_cert_to_DER_cert(first[0] + first[1])).hexdigest()
    except (OSError, ValueError):
        return None  # the server itself says what is wrong with it
