"""What the hive demands of people before it lets them do more than care for their account.

A rule withholds scopes of every credential of those who do not meet it, whatever they show: it is decided where a
credential becomes a principal. The scope ``account`` is never withheld, or nobody could add what is demanded.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from skep.auth.factors import factors_of
from skep.auth.facts import is_verified
from skep.auth.records import Principal
from skep.auth.rules import AuthRules
from skep.auth.scopes import ACCOUNT, ADMIN, ALL_SCOPES, CHUNKS_WRITE, FILES_WRITE
from skep.auth.users import find_user
from skep.db import Transaction

WRITING: Final = frozenset({FILES_WRITE, CHUNKS_WRITE})
NO_FACTOR: Final = "this hive asks for a second factor: add one to your account (skep factor add), then try again"
NO_EMAIL: Final = "this hive asks for a proven e-mail address before anything is written: prove yours, then try again"


def demanded(tx: Transaction, rules: AuthRules, principal: Principal) -> Principal:
    """The principal without the scopes that its user has not met the demands for."""
    if principal.kind == "internal":
        return principal
    withheld: dict[str, str] = {}
    if rules.verified_email_to_write:
        user = find_user(tx, principal.user_id)
        if user is None or not is_verified(tx, principal.user_id, user.info.email):
            withheld |= dict.fromkeys(WRITING, NO_EMAIL)
    if _wants_factor(rules, principal) and not factors_of(tx, principal.user_id, confirmed=True):
        without = ALL_SCOPES - {ACCOUNT} if rules.second_factor == "everyone" else {ADMIN}
        withheld |= dict.fromkeys(without, NO_FACTOR)
    if not withheld:
        return principal
    return replace(principal, scopes=principal.scopes - frozenset(withheld), withheld=tuple(sorted(withheld.items())))


def _wants_factor(rules: AuthRules, principal: Principal) -> bool:
    return rules.second_factor == "everyone" or (rules.second_factor == "administrators" and principal.is_admin)
