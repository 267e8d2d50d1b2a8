"""What was said of where content may lie, by whom and of whom, and the pools that follow from it. See pools.py.

Held in memory, where every write looks; changed here alone. Who is in which group is read anew every few seconds
while something is said of a group.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass, field

import msgspec
import sqlalchemy as sa

from skep.base.clock import Clock, SystemClock
from skep.base.errors import Conflict
from skep.base.ids import Id
from skep.db import Database, Transaction, prepared, upsert
from skep.db import schema as s
from skep.durability.member import Member
from skep.durability.pools import HIVE, Policy, Pool, Rule, combine, pool_of, tier
from skep.durability.storeset import StoreSet

MEMBERS_AGE_MAX_S = 5.0
HIVE_ID: Id = bytes(16)
"""Stands for the hive where others have their own id."""
SERVICES = ("array", "cloud", "both")
"""Kinds of domains whose packs lie on stores of these kinds alone."""

_p, _d, _m = s.placements.c, s.domains.c, s.memberships.c
_ALL = prepared(sa.select(_p.owner_id, _p.kind, _p.policy))
_SET = upsert(s.placements, ["owner_id"], ["policy", "changed_us"])
_FORGET = prepared(sa.delete(s.placements).where(_p.owner_id == sa.bindparam("owner")))
_MEMBERS = prepared(sa.select(_m.user_id, _m.group_id).where(_m.group_id.in_(sa.bindparam("groups", expanding=True))))
_DOMAIN = prepared(
    sa.select(_d.kind, _d.owner_id, s.groups.c.id)
    .select_from(s.domains.outerjoin(s.groups, s.groups.c.id == _d.owner_id))
    .where(_d.id == sa.bindparam("domain"))
)
_IS_GROUP = prepared(sa.select(s.groups.c.id).where(s.groups.c.id == sa.bindparam("owner")))
_OWNED = prepared(sa.select(s.hive.c.value).where(s.hive.c.name == "owned-packs"))
_SET_OWNED = upsert(s.hive, ["name"], ["value"])
_SHARED = prepared(
    sa.select(s.spaces.c.id)
    .join_from(s.spaces, s.domains, _d.id == s.spaces.c.domain_id)
    .where(s.spaces.c.owner_id == sa.bindparam("owner"), _d.kind == "hive")
    .limit(1)
)

Tiers = Callable[[Member], int | None]
"""Whether a store takes shards (None: no), and how willingly (the lower the more)."""


@dataclass(frozen=True, slots=True)
class _Domain:
    members: str
    owner_id: Id | None
    is_group: bool


@dataclass(slots=True)
class _Said:
    """Policies by whom they are of."""

    hive: Policy = field(default_factory=Policy)
    users: dict[Id, Policy] = field(default_factory=dict)
    groups: dict[Id, Policy] = field(default_factory=dict)

    def of(self, kind: str) -> dict[Id, Policy]:
        return self.groups if kind == "group" else self.users


class Pools:
    """The pools of a hive. Used from the event loop's thread only."""

    def __init__(
        self, db: Database, stores: StoreSet, *, clock: Clock | None = None, choices: Collection[str] = ()
    ) -> None:
        """``choices``: the placements that users may choose for themselves."""
        self._db = db
        self._stores = stores
        self._clock = clock or SystemClock()
        self.choices = tuple(choices)
        self._said = _Said()
        self._domains: dict[Id, _Domain] = {}
        self._groups: set[Id] = set()
        """Owners that are known to be groups."""
        self._members: dict[Id, frozenset[Id]] = {}
        """Of each user: the groups of which something is said."""
        self._members_at_s = float("-inf")
        self.any_owned = False
        """Whether there may be packs outside the hive's own pool."""

    async def load(self) -> None:
        """Read what was said."""

        def work(tx: Transaction) -> tuple[list[tuple[bytes, str, str]], bool]:
            return tx.rows(_ALL), tx.value(_OWNED) is not None

        rows, self.any_owned = await self._db.read(work)
        self._said = _Said()
        for owner_id, kind, text in rows:
            policy = msgspec.json.decode(text, type=Policy)
            if kind == "hive":
                self._said.hive = policy
            else:
                self._said.of(kind)[bytes(owner_id)] = policy
        self._groups.update(self._said.groups)
        await self._refresh(now=True)

    async def _refresh(self, *, now: bool = False) -> None:
        """Read again who is in the groups of which something is said."""
        at_s = self._clock.monotonic_s()
        if not self._said.groups:
            self._members = {}
            return
        if not now and at_s - self._members_at_s < MEMBERS_AGE_MAX_S:
            return
        self._members_at_s = at_s
        groups = list(self._said.groups)
        found: dict[Id, set[Id]] = {}
        for user_id, group_id in await self._db.read(lambda tx: tx.rows(_MEMBERS, {"groups": groups})):
            found.setdefault(bytes(user_id), set()).add(bytes(group_id))
        self._members = {user_id: frozenset(names) for user_id, names in found.items()}

    # --- what follows ----------------------------------------------------------------------------

    async def of_domain(self, domain_id: Id) -> Pool:
        """The pool that new chunks of a domain go to."""
        domain = self._domains.get(domain_id)
        if domain is None:
            domain = self._domains[domain_id] = await self._look_up(domain_id)
        if domain.owner_id is None:
            return HIVE
        await self._refresh()
        return self.of_owner(domain.owner_id, domain.members)

    async def _look_up(self, domain_id: Id) -> _Domain:
        row = await self._db.glance(lambda tx: tx.one(_DOMAIN, {"domain": domain_id}))
        if row is None or row[1] is None or row[0] not in ("account", *SERVICES):
            return _Domain("", None, False)
        owner_id = bytes(row[1])
        if row[2] is not None:
            self._groups.add(owner_id)
        return _Domain(row[0] if row[0] in SERVICES else "", owner_id, row[2] is not None)

    def of_owner(self, owner_id: Id, members: str = "") -> Pool:
        """The pool of new content of a user or a group."""
        offers = (member.offer for member in self._stores if member.state != "lost")
        return pool_of(owner_id, self.rule_of(owner_id), self.rule_of(None), offers, members)

    def rule_of(self, owner_id: Id | None) -> Rule:
        """What is in force for a user, for the space of a group, or for the hive's own pool (None)."""
        said = self._said
        if owner_id is None:
            return combine(said.hive, (), Policy(placement="hive"))
        if owner_id in self._groups:  # groups have no stores of their own
            return combine(said.hive, [said.groups.get(owner_id, Policy())], Policy(placement="hive"))
        groups = [said.groups[each] for each in sorted(self._members.get(owner_id, ())) if each in said.groups]
        return combine(said.hive, groups, said.users.get(owner_id, Policy()), self.choices)

    def tiers(self, pool: Pool) -> Tiers:
        """Which stores take shards of a pool's packs."""
        rule = self.rule_of(pool.owner_id)
        return lambda member: tier(pool, rule, member.offer)

    @property
    def speaks(self) -> bool:
        """Whether anything was said at all."""
        said = self._said
        return bool(said.users or said.groups) or said.hive != Policy()

    @property
    def facts(self) -> object:
        """All that was said, as plain data: for noticing that something has changed."""
        said = self._said
        named = [
            [owner.hex(), msgspec.to_builtins(each)] for owner, each in sorted({**said.users, **said.groups}.items())
        ]
        members = [[user.hex(), sorted(each.hex() for each in names)] for user, names in sorted(self._members.items())]
        return [msgspec.to_builtins(said.hive), named, members]

    # --- what is said ----------------------------------------------------------------------------

    def policy(self, kind: str, owner_id: Id = HIVE_ID) -> Policy:
        """What was said of the hive, a group or a user; empty when nothing was."""
        return self._said.hive if kind == "hive" else self._said.of(kind).get(owner_id, Policy())

    async def set_policy(self, kind: str, policy: Policy, owner_id: Id = HIVE_ID) -> None:
        """Say it. What is stored already stays where it is.

        Raises Conflict when the user's content shares its chunks with everybody's, so that it cannot lie apart.
        """
        text = msgspec.json.encode(policy).decode()

        def work(tx: Transaction) -> None:
            if kind != "hive" and policy != Policy() and tx.value(_SHARED, {"owner": owner_id}) is not None:
                raise Conflict(
                    'this content shares its chunks with everybody\'s (storage.dedup is, or was, "hive"): it cannot '
                    "lie on other stores than theirs"
                )
            if policy == Policy():
                tx.run(_FORGET, {"owner": owner_id})
            else:
                tx.run(_SET, {"owner_id": owner_id, "kind": kind, "policy": text, "changed_us": tx.now_us})

        await self._db.write(work)
        if kind == "hive":
            self._said.hive = policy
        elif policy == Policy():
            self._said.of(kind).pop(owner_id, None)
        else:
            self._said.of(kind)[owner_id] = policy
        if kind == "group":
            self._groups.add(owner_id)
            await self._refresh(now=True)

    def forget(self, owner_id: Id) -> None:
        """A user or group is gone (``drop_policy`` took the row away)."""
        self._said.users.pop(owner_id, None)
        self._said.groups.pop(owner_id, None)

    def note_owned(self, tx: Transaction, pool: Pool) -> None:
        """Remember, with the first such pack, that packs outside the hive's own pool may exist."""
        if pool != HIVE and not self.any_owned:
            tx.run(_SET_OWNED, {"name": "owned-packs", "value": b"1"})


def drop_policy(tx: Transaction, owner_id: Id) -> None:
    """Forget what was said of a user or group that goes."""
    tx.run(_FORGET, {"owner": owner_id})
