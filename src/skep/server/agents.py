"""The agents of a hive put together: their book, the handshake, what their links do."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from skep.base.clock import Clock
from skep.base.settings import Settings
from skep.db import Database
from skep.durability.agents import AgentBook, Agents
from skep.durability.agents.greeting import Greeter
from skep.durability.storeset import StoreSet
from skep.server.identity import Identity
from skep.server.pairs import Pairs
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
    tls: Pairs | None,
) -> Agents:
    """What serves agents; nothing runs until one connects. ``tls``: what the hive itself shows."""
    book = AgentBook(db)

    def certificate() -> str | None:
        return None if tls is None else tls.now.fingerprint.replace(":", "").lower()

    greeter = Greeter(identity.hive_id, identity.master.hive_keys(), book, certificate)
    return Agents(db, stores, board, greeter, book, clock, hurry=hurry, users_invite=settings.agents.users_invite)
