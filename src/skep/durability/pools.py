"""Pools: which stores a pack may lie on. Pure functions of policies and of what is known of a store.

A pack belongs to one pool, and holds only content of that pool. The hive's own pool (``HIVE``) is shared by everybody
whose content may lie where the hive's does; whoever has stores of their own, or is held to other jurisdictions, has a
pool, and so packs, to themself. A dedup domain has one pool at a time, so that a chunk never stands in for content that
must lie elsewhere.

Policies are said of the hive, of groups and of users:

- ``placement``: the nearest that says something counts, a user's before that of their groups before the hive's. Of
  several groups the one counts that leans least on the hive's stores. What users chose counts where nobody said more of
  them, if the hive offers it.
- jurisdictions add up: a store must be allowed by every level that names allowed ones, and forbidden by none. A store
  without a label is allowed only where nobody names allowed ones.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from skep.base.ids import Id

Placement = Literal["hive", "own-first", "mixed", "own"]
PLACEMENTS: tuple[Placement, ...] = ("hive", "own-first", "mixed", "own")
"""From what leans most on the hive's stores to what leans least on them.

``hive``: on the hive's stores. ``own-first``: on one's own, and on the hive's what those cannot take. ``mixed``: on
both alike. ``own``: on one's own alone.
"""
DEFAULT: Placement = "own-first"
Members = Literal["", "array", "cloud", "both"]
"""Which kinds of stores: all; those of agents; those of providers; both of these."""
LOCAL_KINDS = frozenset({"fs", "memory"})
Label = Annotated[str, Meta(min_length=1, max_length=64)]


@dataclass(frozen=True, slots=True)
class Pool:
    """Whose packs, and on which kinds of stores."""

    owner_id: Id | None = None
    """The user or group whose content it is; None: of everybody who shares the hive's."""
    members: str = ""


HIVE = Pool()


class Policy(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """What was said of the hive, a group or a user. Empty says nothing."""

    placement: Placement | None = None
    allowed: Annotated[tuple[Label, ...], Meta(max_length=64)] = ()
    """Jurisdictions: no others, if any is named."""
    forbidden: Annotated[tuple[Label, ...], Meta(max_length=64)] = ()
    chosen: Placement | None = None
    """What a user chose for themself."""


@dataclass(frozen=True, slots=True)
class Rule:
    """What is in force for somebody."""

    placement: Placement
    allowed: tuple[frozenset[str], ...] = ()
    """One set for each level that names some: a store's jurisdiction must be in all of them."""
    forbidden: frozenset[str] = frozenset()

    @property
    def bounds(self) -> tuple[frozenset[frozenset[str]], frozenset[str]]:
        """What it says of jurisdictions, to be compared."""
        return frozenset(self.allowed), self.forbidden

    def permits(self, jurisdiction: str) -> bool:
        """Whether a store under this jurisdiction (empty: unknown) may hold the content."""
        label = folded(jurisdiction)
        return label not in self.forbidden and all(label in names for names in self.allowed)


@dataclass(frozen=True, slots=True)
class Offer:
    """What pools need to know of a store."""

    owner_id: Id | None
    kind: str
    """The scheme of its URL."""
    jurisdiction: str = ""


def folded(label: str) -> str:
    """A jurisdiction as it is compared."""
    return label.strip().casefold()


def combine(hive: Policy, groups: Sequence[Policy], own: Policy, choices: Collection[str] = ()) -> Rule:
    """What is in force for somebody of whom, of whose groups and of whose hive this was said."""
    levels = [hive, *groups, own]
    allowed = tuple(frozenset(map(folded, each.allowed)) for each in levels if each.allowed)
    forbidden = frozenset(folded(name) for each in levels for name in each.forbidden)
    return Rule(_placement(hive, groups, own, choices), allowed, forbidden)


def _placement(hive: Policy, groups: Sequence[Policy], own: Policy, choices: Collection[str]) -> Placement:
    if own.placement is not None:
        return own.placement
    if own.chosen is not None and own.chosen in choices:
        return own.chosen
    said = [each.placement for each in groups if each.placement is not None]
    if said:
        return max(said, key=PLACEMENTS.index)
    return hive.placement or DEFAULT


def pool_of(owner_id: Id, rule: Rule, hive: Rule, offers: Iterable[Offer], members: str = "") -> Pool:
    """The pool of new content of this owner: the hive's where it would lie on the same stores anyway."""
    owns = any(offer.owner_id == owner_id for offer in offers)
    alone = rule.placement == "own" or (rule.placement != "hive" and owns)
    if not members and not alone and rule.bounds == hive.bounds:
        return HIVE
    return Pool(owner_id, members)


def tier(pool: Pool, rule: Rule, offer: Offer) -> int | None:
    """Whether a store takes packs of the pool: None, no; else the lower the rather. ``rule``: of the pool's owner."""
    if not _is_of(pool.members, offer.kind) or not rule.permits(offer.jurisdiction):
        return None
    if offer.owner_id is None:
        if pool.owner_id is not None and rule.placement == "own":
            return None
        return int(pool.owner_id is not None and rule.placement == "own-first")
    if offer.owner_id != pool.owner_id or rule.placement == "hive":
        return None
    return 0


def _is_of(members: str, kind: str) -> bool:
    match members:
        case "array":
            return kind == "array"
        case "cloud":
            return kind != "array" and kind not in LOCAL_KINDS
        case "both":
            return kind not in LOCAL_KINDS
        case _:
            return True
