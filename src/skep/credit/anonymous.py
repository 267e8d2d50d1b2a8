"""The face for anonymous tokens: what the token API asks for, by the secret of a token or of a program's key."""

from __future__ import annotations

from skep.base.errors import BadInput
from skep.credit import accounts, ledger, tokens
from skep.credit.core import Core
from skep.db import Transaction


class Anonymous(Core):
    """Accounts without a person."""

    def new_token(self) -> str:
        """A token that nobody else has; nothing is kept of it until it is given something."""
        return tokens.new_token()

    async def token_account(self, token: str) -> tuple[str, bool]:
        """What is kept of a token in place of it, and whether it has an account. Raises BadInput for no token."""
        owner = accounts.token_owner(token)
        there = await self._db.read(lambda tx: accounts.account(tx, "token", owner))
        return owner, there is not None and there.closed_us is None

    async def token_balance(self, token: str) -> int:
        """The bytes of credit that a token has; 0 for what nobody has heard of."""
        try:
            owner = accounts.token_owner(token)
        except BadInput:
            return 0

        def look(tx: Transaction) -> int:
            there = accounts.account(tx, "token", owner)
            return 0 if there is None else ledger.balance(tx, there.id, "bytes").amount

        return await self._db.read(look)
