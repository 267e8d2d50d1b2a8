"""The conformance suite on one store of the hive, under keys of its own."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from skep.durability.member import Member
from skep.stores.access import Grants
from skep.stores.conformance import check
from skep.stores.egress import Egress
from skep.stores.link.board import Links
from skep.stores.registry import open_store


async def check_store(member: Member, grants: Grants, links: Links, egress: Egress | None = None) -> tuple[bool, Any]:
    """Whether a store keeps the contract, and what the suite says of each check, as JSON."""
    proxy = egress.url() if egress is not None and member.owner_id is not None else None
    report = await check(lambda: open_store(member.url, secret=member.secret, grants=grants, links=links, proxy=proxy))
    return report.ok, [asdict(result) for result in report.results]
