"""What happens to credit when users and groups come and go: fills the hook protocols of ``auth``."""

from __future__ import annotations

from skep.base.ids import Id
from skep.credit import accounts, ledger, plans
from skep.credit.records import UNITS, AccountKind
from skep.credit.service import Credit
from skep.db import Transaction


class CreditHooks:
    """Closes the accounts of those who go. The ledger keeps their transfers; what they had left is the hive's."""

    def __init__(self, credit: Credit) -> None:
        self._credit = credit

    def user_created(self, tx: Transaction, user_id: Id, name: str) -> None:
        """Give the user's space the room of the default plan."""
        self._credit.room_of_new(tx, "user", user_id)

    def group_created(self, tx: Transaction, group_id: Id, name: str) -> None:
        """Give the group's space the room of the default plan."""
        self._credit.room_of_new(tx, "group", group_id)

    def user_renamed(self, tx: Transaction, user_id: Id, name: str) -> None:
        """Accounts are by id."""

    def group_renamed(self, tx: Transaction, group_id: Id, name: str) -> None:
        """Accounts are by id."""

    def user_deleting(self, tx: Transaction, user_id: Id, name: str) -> None:
        """Close the user's account."""
        _close(tx, "user", user_id)

    def group_deleting(self, tx: Transaction, group_id: Id, name: str) -> None:
        """Close the group's account."""
        _close(tx, "group", group_id)


def _close(tx: Transaction, kind: AccountKind, owner_id: Id) -> None:
    there = accounts.account(tx, kind, owner_id.hex())
    if there is None:
        return
    plans.end_all(tx, there.id)
    ours = accounts.system(tx, "outside")
    for unit in UNITS:
        left = ledger.balance(tx, there.id, unit)
        own = left.amount - left.held
        if own:
            payer, payee = (there.id, ours.id) if own > 0 else (ours.id, there.id)
            key = f"closed:{there.id.hex()}:{unit}"
            ledger.move(tx, ledger.Movement("closed", unit, abs(own), payer, payee, key))
    accounts.close(tx, there.id)
