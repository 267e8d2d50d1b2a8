"""Users that an accounting server elsewhere vouches for, and the numbers under which such a server knows ours.

What always holds: an account elsewhere is one user here, made at its first use, without a password; a user has one
number for ever.
"""

from __future__ import annotations

from typing import Final

from skep.auth import names
from skep.auth.core import principal_of
from skep.auth.outside_rows import external_of, give_number, link_outside, number_of, numbered, user_of
from skep.auth.provisioning import Provisioning
from skep.auth.records import Principal, UserInfo
from skep.auth.scopes import FILE_SCOPES
from skep.auth.users import NewUser, UserRow, find_login, find_user, insert_user, the_user
from skep.base.errors import Forbidden, InvalidName
from skep.base.ids import Id
from skep.db import Transaction

NAME_PREFIX: Final = "outside"
EXTERNAL_LENGTH: Final = 200


class OutsideUsers(Provisioning):
    """The part of ``Auth`` for accounts that are kept elsewhere."""

    async def outside_user(self, external_id: str, *, quota_bytes: int) -> Principal:
        """The user of an account elsewhere, made if it is new, whose space may hold so many bytes from now on.

        For doors that believe the server which says so. Raises Forbidden (suspended here), InvalidName.
        """
        if not 1 <= len(external_id) <= EXTERNAL_LENGTH or not external_id.isprintable():
            raise InvalidName("an account elsewhere has a name of 1 to 200 printable characters")

        def work(tx: Transaction) -> Principal:
            found = self._of_outside(tx, external_id)
            if not found.is_active:
                raise Forbidden("the account is suspended: ask an administrator", reason="suspended")
            if self._rooms is not None:
                self._rooms.quota_told(tx, found.info.id, quota_bytes)
            return principal_of(tx, found, FILE_SCOPES, "app")

        return await self._db.write_or_find(work)

    def _of_outside(self, tx: Transaction, external_id: str) -> UserRow:
        known = user_of(tx, external_id)
        found = None if known is None else find_user(tx, known)
        if found is not None:
            return found
        made = insert_user(tx, NewUser(_free_name(tx, external_id), "", "", None, False))
        link_outside(tx, external_id, made.id)
        if self._hooks is not None:
            self._hooks.user_created(tx, made.id, made.name)
        self._note(tx, "user-created", made, outside=external_id)
        row = find_user(tx, made.id)
        assert row is not None, "it was just made"
        return row

    async def outside_id(self, user_id: Id) -> str | None:
        """What the accounting server calls a user; None: it is none of its."""
        return await self._db.read(lambda tx: external_of(tx, user_id))

    async def user_number(self, user_id: Id) -> int:
        """The number of a user, given at its first use: the first is 1. Raises UserNotFound."""

        def work(tx: Transaction) -> int:
            known = number_of(tx, user_id)
            return give_number(tx, the_user(tx, user_id).info.id) if known is None else known

        return await self._db.write_or_find(work)

    async def numbered_user(self, number: int) -> UserInfo | None:
        """The user of a number; None: nobody has it."""

        def look(tx: Transaction) -> UserInfo | None:
            known = numbered(tx, number)
            found = None if known is None else find_user(tx, known)
            return None if found is None else found.info

        return await self._db.read(look)


def _free_name(tx: Transaction, external_id: str) -> str:
    """A name that nobody has, near the account's."""
    plain = "".join(sign if sign.isascii() and sign.isalnum() else "-" for sign in external_id)[:40].strip("-")
    stem = f"{NAME_PREFIX}-{plain}" if plain else NAME_PREFIX
    for number in range(1, 1000):
        name = names.user_name(stem if number == 1 else f"{stem}-{number}")
        if find_login(tx, name) is None:
            return name
    raise InvalidName(f"there is no free name near {stem!r}")
