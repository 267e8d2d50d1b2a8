"""Stores and their owners: who may add which, who may change whose, and what becomes of those whose owner is gone.

Administrators add stores of the hive, and any for anybody. Users add, change and remove their own: of the drivers that
the hive lets users have, on the public internet (stores/egress.py), with their own accounts and agents. What the hive's
machine has - its disks, its keys at Amazon - is never theirs to name.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import sqlalchemy as sa

from skep.base.errors import Conflict, Forbidden, InUse, InvalidId, LimitReached, StoreNotFound
from skep.base.ids import Id, parse_id
from skep.base.logs import get_logger
from skep.db import Database, Transaction, prepared
from skep.db import schema as s
from skep.durability.agents.book import AgentBook
from skep.durability.member import Member
from skep.durability.policies import Pools
from skep.durability.storeset import StoreSet
from skep.stores.egress import Resolve, public_addresses, resolve
from skep.stores.providers import PROVIDERS
from skep.stores.url import StoreUrl, parse_store_url

NAMES_MAX = 500
_log = get_logger("skep.owning")
_USERS = prepared(sa.select(s.users.c.id, s.users.c.name).where(s.users.c.id.in_(sa.bindparam("ids", expanding=True))))
_HELD = prepared(sa.select(s.shards.c.pack_id).where(s.shards.c.store_id == sa.bindparam("store")).limit(1))
_UNMETERED = prepared(sa.select(s.spaces.c.owner_id).where(s.spaces.c.unmetered == 1))
_EVERY_USER = prepared(sa.select(s.users.c.id))
_METER = prepared(
    sa.update(s.spaces)
    .where(s.spaces.c.kind == "personal", s.spaces.c.owner_id == sa.bindparam("owner"))
    .values(unmetered=sa.bindparam("free"))
)

AccountHolder = Callable[[str], "Id | None"]
"""Who let the hive use the cloud account of this URL; None: nobody."""


@dataclass(frozen=True, slots=True)
class OwnRules:
    """What users may have as stores of their own."""

    drivers: Collection[str] = ()
    directories: Sequence[str] = ()
    """Below which ``fs`` stores of users may lie, if that driver is among those they may have."""
    private_networks: bool = False
    """Whether their stores may be on addresses that are not public."""
    stores_max: int = 16
    own_is_free: bool = True
    """Whether quotas do not count for those whose content lies on their own stores alone."""


class Owning:
    """Whose stores they are. Used from the event loop's thread only."""

    def __init__(
        self,
        db: Database,
        stores: StoreSet,
        pools: Pools,
        book: AgentBook,
        rules: OwnRules,
        account_holder: AccountHolder,
        *,
        look_up: Resolve = resolve,
    ) -> None:
        self.rules = rules
        self._db = db
        self._stores = stores
        self._pools = pools
        self._book = book
        self._account_holder = account_holder
        self._look_up = look_up

    def of(self, owner_id: Id) -> list[Member]:
        """The stores of a user, oldest first."""
        return [member for member in self._stores if member.owner_id == owner_id]

    def find(self, wanted: Id | str, owner_id: Id | None) -> Member:
        """A store by its id or name, among those of ``owner_id``; None: among all. Raises StoreNotFound."""
        for member in self._stores:
            if wanted in (member.id, member.name) and owner_id in (None, member.owner_id):
                return member
        shown = wanted if isinstance(wanted, str) else wanted.hex()
        raise StoreNotFound(f"no store is named {shown[:64]!r}: `skep store ls` shows them all")

    async def names(self, ids: Iterable[Id | None]) -> dict[Id, str]:
        """The names of owners that are still users."""
        wanted = sorted({each for each in ids if each is not None})
        found: dict[Id, str] = {}
        for start in range(0, len(wanted), NAMES_MAX):
            part = wanted[start : start + NAMES_MAX]
            rows = await self._db.read(lambda tx, p=part: tx.rows(_USERS, {"ids": p}))  # type: ignore[misc]
            found.update((bytes(row[0]), row[1]) for row in rows)
        return found

    # --- adding ----------------------------------------------------------------------------------

    async def check(self, owner_id: Id, url: str, secret: bytes | None) -> None:
        """Whether a user may have this as a store of their own.

        Raises Forbidden, LimitReached, InvalidStoreUrl, StoreUnavailable (its host cannot be found).
        """
        if len(self.of(owner_id)) >= self.rules.stores_max:
            raise LimitReached(f"you have {self.rules.stores_max} stores, and may have no more")
        parsed = parse_store_url(url)
        if parsed.scheme not in self.rules.drivers:
            allowed = ", ".join(sorted(self.rules.drivers)) or "none"
            raise Forbidden(f"this hive does not let users add {parsed.scheme} stores: it allows {allowed}")
        if parsed.scheme == "fs":
            await self._check_directory(parsed)
        elif parsed.scheme == "array":
            await self._check_agent(owner_id, parsed)
        elif parsed.scheme in PROVIDERS:
            self._check_account(owner_id, url, secret)
        else:
            await self._check_host(parsed, secret)

    async def _check_directory(self, url: StoreUrl) -> None:
        path = await asyncio.to_thread(Path(url.path).resolve)
        roots = [await asyncio.to_thread(Path(each).resolve) for each in self.rules.directories]
        if not any(root in path.parents for root in roots):
            raise Forbidden("this hive does not let users have stores in that directory: ask an administrator")

    async def _check_agent(self, owner_id: Id, url: StoreUrl) -> None:
        try:
            agent_id = parse_id(url.host)
        except InvalidId:
            return  # the driver says what is wrong with it
        if not any(each.id == agent_id and each.owner_id == owner_id for each in await self._book.agents()):
            raise Forbidden("that agent is not yours: `skep agent invite --mine` takes one in")

    def _check_account(self, owner_id: Id, url: str, secret: bytes | None) -> None:
        """A grant of their own; a secret could name any server to speak to."""
        if secret is not None:
            raise Forbidden("log in to the account instead of giving a secret: `skep store add NAME dropbox:`")
        if self._account_holder(url) != owner_id:
            raise Forbidden("you have not let the hive use that account: `skep store add NAME dropbox:` logs in to it")

    async def _check_host(self, url: StoreUrl, secret: bytes | None) -> None:
        if url.scheme == "s3" and secret is None:
            raise Forbidden("give the keys of the bucket: without any, the hive would use its own")
        if self.rules.private_networks:
            return
        of_folder = f"{url.scheme.removeprefix('webdav+')}://{url.host}"
        endpoint = url.options.get("endpoint") if url.scheme == "s3" else of_folder
        if endpoint is None:
            return  # Amazon's own
        try:
            split = urlsplit(endpoint)
            host, port = split.hostname or "", split.port or 443
        except ValueError:
            return  # the driver says what is wrong with it
        if split.scheme != "https":
            raise Forbidden("users' stores are reached by https:// alone")
        await public_addresses(host, port, self._look_up)

    # --- changing --------------------------------------------------------------------------------

    def check_drain(self, member: Member) -> None:
        """Raise Conflict where what a store holds may lie nowhere else."""
        owner_id = member.owner_id
        if owner_id is None or self._pools.rule_of(owner_id).placement != "own":
            return
        others = [each for each in self.of(owner_id) if each.id != member.id and each.state == "active"]
        if not others and member.used_bytes:
            raise Conflict(
                f"{member.name!r} is the last store of its owner, whose content may lie on their own stores alone: add "
                "another first, or choose another placement (`skep placement set own-first`)"
            )

    async def sync_meters(self) -> None:
        """Let quotas count, or not count, for those whom policies say so of. Some seconds after a group has changed."""
        if not self._pools.speaks:
            wanted: set[Id] = set()
        else:
            users = [bytes(row[0]) for row in await self._db.read(lambda tx: tx.rows(_EVERY_USER))]
            free = self.rules.own_is_free
            wanted = {each for each in users if free and self._pools.rule_of(each).placement == "own"}
        now = {bytes(row[0]) for row in await self._db.read(lambda tx: tx.rows(_UNMETERED))}

        def work(tx: Transaction) -> None:
            for owner_id in sorted(wanted ^ now):
                tx.run(_METER, {"owner": owner_id, "free": int(owner_id in wanted)})

        if wanted != now:
            await self._db.write(work)

    async def sweep_gone(self) -> list[str]:
        """Let stores go whose owner was deleted: nothing new goes there, and what holds nothing any more is forgotten.

        Returns the URLs of those that went: their grants are to be withdrawn.
        """
        owned = [member for member in self._stores if member.owner_id is not None]
        known = await self.names(member.owner_id for member in owned)
        went: list[str] = []
        for member in owned:
            if member.owner_id is None or member.owner_id in known:
                continue
            self._pools.forget(member.owner_id)
            if member.state == "active":
                await self._stores.set_state(member, "readonly")
            if await self._db.read(lambda tx, m=member: tx.one(_HELD, {"store": m.id})) is not None:  # type: ignore[misc]
                continue
            try:
                await self._stores.remove(member)
            except InUse:
                continue
            for agent in await self._book.agents():
                if agent.store_id == member.id:
                    await self._book.forget(agent.id)
            _log.info("store of a deleted user removed", store=member.name)
            went.append(member.url)
        return went
