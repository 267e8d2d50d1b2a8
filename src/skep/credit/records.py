"""What the ledger hands out: accounts, balances, transfers, prices, plans and promo codes, all frozen."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, TypeAlias

from skep.base.errors import InvalidSize
from skep.base.ids import Id

AccountKind: TypeAlias = Literal["user", "group", "token", "system", "held"]
Unit: TypeAlias = Literal["bytes", "money"]
UNITS: tuple[Unit, ...] = ("bytes", "money")
AMOUNT_MAX = 2**62
"""More than this no transfer moves and no balance holds, either way."""
NOTE_LENGTH = 200


def amount_of(value: object) -> int:
    """A whole number of bytes or coins, more than 0. Raises InvalidSize for anything else."""
    if isinstance(value, bool) or not isinstance(value, int):
        raise InvalidSize(f"{str(value)[:64]!r} is no amount: give a whole number of bytes, or of the smallest coin")
    if not 0 < value <= AMOUNT_MAX:
        raise InvalidSize(f"{str(value)[:64]} is no amount: it is 1 at least and 2^62 at most")
    return value


class Account(NamedTuple):
    """Somebody's place in the ledger. ``owner``: an id in hex, a token's hash, or a name."""

    id: Id
    kind: AccountKind
    owner: str
    parent_id: Id | None
    closed_us: int | None


class Balance(NamedTuple):
    """How much an account has of one unit; ``held`` of it is set aside for what is going on; ``floor`` None: no end."""

    unit: Unit
    amount: int
    held: int
    floor: int | None


class Transfer(NamedTuple):
    """An amount that went from one account to another."""

    id: Id
    key: str
    kind: str
    unit: Unit
    amount: int
    from_id: Id
    to_id: Id
    at_us: int
    note: str
    refund_of: Id | None


class Done(NamedTuple):
    """A transfer, and whether it was there before (the same key came again)."""

    transfer: Transfer
    repeated: bool


class Entry(NamedTuple):
    """One line of a statement: ``amount`` is less than 0 where it went out, ``balance`` is what was left after it."""

    number: int
    transfer_id: Id
    kind: str
    unit: Unit
    amount: int
    balance: int
    at_us: int
    note: str


class Price(NamedTuple):
    """So many bytes of credit for so much money, from a time until another (None: for good)."""

    id: Id
    bytes: int
    cost: int
    from_us: int
    until_us: int | None


@dataclass(frozen=True, slots=True)
class PlanTerms:
    """What a plan gives; None: no limit. Money in the smallest coin, for 30 days."""

    space_bytes: int | None = None
    traffic_bytes: int | None = None
    objects_max: int | None = None
    rate_bytes_s: int | None = None
    overdraft_bytes: int = 0
    overdraft_money: int = 0
    cost: int = 0
    credit_bytes: int = 0
    is_open: bool = False


@dataclass(frozen=True, slots=True)
class Plan:
    """A named set of terms."""

    id: Id
    name: str
    terms: PlanTerms
    created_us: int


class Subscription(NamedTuple):
    """An account's plan: ``standing``, or ``prepaid`` for a time that begins when it is first used."""

    id: Id
    account_id: Id
    plan_id: Id
    kind: str
    state: str
    duration_us: int | None
    created_us: int
    starts_us: int | None
    ends_us: int | None
    paid_until_us: int | None


class Promo(NamedTuple):
    """A code that gives credit, money or a prepaid plan, once for each account."""

    code: str
    bytes: int
    money: int
    plan_id: Id | None
    plan_us: int | None
    uses_max: int | None
    uses: int
    from_us: int
    until_us: int | None


class ApiKey(NamedTuple):
    """A key of a program that deposits or withdraws, without the secret."""

    id: Id
    name: str
    may: str
    created_us: int
    last_used_us: int | None


class Finding(NamedTuple):
    """Something in the ledger that does not add up."""

    what: str
    account_id: Id | None
    details: dict[str, Any]
