"""What a directory elsewhere needs to keep users and groups here in step (SCIM): its own names for them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import sqlalchemy as sa

from skep.auth.app_passwords import find_app_password
from skep.auth.core import principal_of
from skep.auth.groups import group_detail, the_group
from skep.auth.leaving import Leaving
from skep.auth.records import GroupDetail, Principal, UserInfo
from skep.auth.users import find_user, the_user
from skep.base.errors import BadInput, InvalidToken, UserNotFound
from skep.base.ids import Id
from skep.crypto.hashing import keyed_digest
from skep.db import Transaction, prepared, upsert
from skep.db.schema import groups, users
from skep.db.schema_signin import group_facts, user_facts

PAGE_MAX: Final = 1000
EXTERNAL_LENGTH: Final = 255

_USERS = prepared(
    sa.select(users.c.id, user_facts.c.external_id)
    .outerjoin(user_facts, user_facts.c.user_id == users.c.id)
    .where(users.c.id > sa.bindparam("after"), user_facts.c.delete_us.is_(None))
    .order_by(users.c.id)
    .limit(sa.bindparam("page"))
)
_USER = prepared(
    sa.select(user_facts.c.external_id, user_facts.c.delete_us).where(user_facts.c.user_id == sa.bindparam("user"))
)
_GROUPS = prepared(
    sa.select(groups.c.id, group_facts.c.external_id)
    .outerjoin(group_facts, group_facts.c.group_id == groups.c.id)
    .where(groups.c.id > sa.bindparam("after"))
    .order_by(groups.c.id)
    .limit(sa.bindparam("page"))
)
_GROUP = prepared(sa.select(group_facts.c.external_id).where(group_facts.c.group_id == sa.bindparam("which")))
_SET_USER = upsert(user_facts, ["user_id"], ["external_id"])
_SET_GROUP = upsert(group_facts, ["group_id"], ["external_id"])


@dataclass(frozen=True, slots=True)
class KnownUser:
    """A user with a directory's own name for it."""

    info: UserInfo
    external_id: str | None


@dataclass(frozen=True, slots=True)
class KnownGroup:
    """A group with a directory's own name for it."""

    detail: GroupDetail
    external_id: str | None


class Provisioning(Leaving):
    """The part of ``Auth`` that directories speak to. Users that are to go are not there for them any more."""

    async def authenticate_app_secret(self, secret: str) -> Principal:
        """The principal of an app password that came by itself, as a bearer token. Raises InvalidToken."""
        key = keyed_digest(self._verdict_key, b"app\0", secret[:256].encode("utf-8", "surrogatepass"))
        known = self._verdicts.get(key)
        if known is not None:
            return known
        voids = self._verdicts.voids

        def look(tx: Transaction) -> tuple[Principal, int | None]:
            app = find_app_password(tx, secret)
            user = find_user(tx, app.user_id) if app is not None and app.is_good(tx.now_us) else None
            if app is None or user is None or not user.is_active:
                raise InvalidToken("the app password is unknown, or has ended")
            return self._demanded(tx, principal_of(tx, user, app.info.scopes, "app")), app.info.expires_us

        principal, ends_us = await self._db.read(look)
        left_s = self._rules.verdict_cache_s if ends_us is None else (ends_us - self._clock.now_us()) / 1e6
        self._verdicts.put(key, principal, for_s=min(self._rules.verdict_cache_s, left_s), voids=voids)
        return principal

    async def known_users(self, principal: Principal, *, after: Id = bytes(16), limit: int = 100) -> list[KnownUser]:
        """Users by id, after an id (administrators)."""
        principal.require_admin()
        asked = {"after": after, "page": max(1, min(limit, PAGE_MAX))}

        def look(tx: Transaction) -> list[KnownUser]:
            return [KnownUser(the_user(tx, bytes(row[0])).info, row[1]) for row in tx.rows(_USERS, asked)]

        return await self._db.read(look)

    async def known_user(self, principal: Principal, user: Id | str) -> KnownUser:
        """A user by id or name (administrators). Raises UserNotFound."""
        principal.require_admin()

        def look(tx: Transaction) -> KnownUser:
            info = the_user(tx, user).info
            external, delete_us = tx.one(_USER, {"user": info.id}) or (None, None)
            if delete_us is not None:
                raise UserNotFound("no such user: it is about to be deleted")
            return KnownUser(info, external)

        return await self._db.read(look)

    async def known_groups(self, principal: Principal, *, after: Id = bytes(16), limit: int = 100) -> list[KnownGroup]:
        """Groups by id, after an id (administrators)."""
        principal.require_admin()
        asked = {"after": after, "page": max(1, min(limit, PAGE_MAX))}

        def look(tx: Transaction) -> list[KnownGroup]:
            return [_known_group(tx, bytes(row[0]), row[1]) for row in tx.rows(_GROUPS, asked)]

        return await self._db.read(look)

    async def known_group(self, principal: Principal, group: Id) -> KnownGroup:
        """A group by id (administrators). Raises GroupNotFound."""
        principal.require_admin()
        return await self._db.read(lambda tx: _known_group(tx, group, tx.value(_GROUP, {"which": group})))

    async def name_externally(
        self, principal: Principal, *, user: Id | None = None, group: Id | None = None, external_id: str | None
    ) -> None:
        """Keep a directory's own name for a user or a group (administrators). Raises BadInput."""
        principal.require_admin()
        if external_id is not None and not (1 <= len(external_id) <= EXTERNAL_LENGTH and external_id.isprintable()):
            raise BadInput(f"an externalId has 1 to {EXTERNAL_LENGTH} printable characters")

        def keep(tx: Transaction) -> None:
            if user is not None:
                tx.run(_SET_USER, {"user_id": the_user(tx, user).info.id, "external_id": external_id})
            if group is not None:
                tx.run(_SET_GROUP, {"group_id": the_group(tx, group).id, "external_id": external_id})

        await self._db.write(keep)


def _known_group(tx: Transaction, group_id: Id, external_id: Any) -> KnownGroup:
    return KnownGroup(group_detail(tx, the_group(tx, group_id)), external_id)
