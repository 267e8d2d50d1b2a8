"""The lint of a layout: would the loss of one account, household or disk take more shards than a pack can lose?

Zones are what people say of stores; here is what is known of them: the device below a directory, the account of a cloud
or the key of a bucket, the household of an agent (its owner's, unless a label says another) and the address that it
connects from. Stores that share one are lost together, whatever their zones. Pure functions.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal
from urllib.parse import urlsplit

import msgspec

from skep.base.errors import InvalidStoreUrl
from skep.base.ids import Id
from skep.chunks.scheme import Scheme
from skep.stores.url import parse_store_url

Kind = Literal["zone", "disk", "account", "household", "address"]
_WORDS: dict[Kind, str] = {
    "zone": "are one zone",
    "disk": "lie on one disk",
    "account": "share one account",
    "household": "stand in one household",
    "address": "connect from one address",
}


@dataclass(frozen=True, slots=True)
class Facts:
    """What is known of a store that takes shards."""

    store_id: Id
    name: str
    zone: str
    disk: str = ""
    account: str = ""
    household: str = ""
    address: str = ""
    """Empty: unknown, or there is none."""

    def shared(self) -> Iterable[tuple[Kind, str]]:
        """What it could be lost with others by."""
        yield "zone", self.zone
        named: tuple[tuple[Kind, str], ...] = (
            ("disk", self.disk), ("account", self.account), ("household", self.household), ("address", self.address),
        )  # fmt: skip
        yield from ((kind, label) for kind, label in named if label)


@dataclass(frozen=True, slots=True)
class Finding:
    """Stores that hold too much of a pack together."""

    kind: Kind
    label: str
    stores: tuple[str, ...]
    store_ids: tuple[Id, ...]
    shards: int
    """At most so many shards of one pack lie there."""
    loses: bool
    """Whether losing it loses data; else only: it has enough to put sealed packs together by itself."""
    message: str


def lint(scheme: Scheme, stores: Sequence[Facts]) -> list[Finding]:
    """What is wrong with a scheme over these stores. Nothing is where it has no parity: any loss is one then."""
    if not scheme.parity_shards or not stores:
        return []
    zones = {each.zone for each in stores}
    of_zone = -(-scheme.total // len(zones))
    groups: dict[tuple[Kind, str], list[Facts]] = {}
    for each in stores:
        for shared in each.shared():
            groups.setdefault(shared, []).append(each)
    found = []
    for (kind, label), members in groups.items():
        inside = {each.zone for each in members}
        if kind != "zone" and len(inside) < 2:
            continue  # one zone already: placement knows
        shards = min(scheme.total, of_zone * len(inside))
        loses = shards > scheme.parity_shards
        if loses or (kind != "zone" and 1 < scheme.data_shards <= shards):
            found.append(_finding(scheme, kind, label, members, shards, loses))
    return found


def _finding(scheme: Scheme, kind: Kind, label: str, members: Sequence[Facts], shards: int, loses: bool) -> Finding:
    names = tuple(sorted(each.name for each in members))
    what = f"store {names[0]!r} is a zone by itself" if len(names) == 1 else f"{', '.join(names)} {_WORDS[kind]}"
    fate = (
        f"its loss may lose data: {scheme.name} can lose {scheme.parity_shards}"
        if loses
        else f"{scheme.data_shards} are enough to put a sealed pack together there"
    )
    advice = "add a store in another zone" if kind == "zone" else "give them one zone, and add others elsewhere"
    text = f"{what}: up to {shards} of the {scheme.total} shards of a pack lie there, and {fate}; {advice}"
    return Finding(kind, label, names, tuple(each.store_id for each in members), shards, loses, text)


def account_of(url: str, secret: bytes | None) -> str:
    """Whose account a store is, as far as its URL and secret tell; empty for what is no cloud."""
    try:
        parsed = parse_store_url(url)
    except InvalidStoreUrl:
        return ""
    match parsed.scheme:
        case "fs" | "memory" | "array":
            return ""
        case "s3":
            host = urlsplit(parsed.options.get("endpoint", "")).hostname or "amazonaws.com"
            return f"{_key_id(secret)} at {host}"
        case "webdav+https" | "webdav+http":
            return f"{parsed.user}@{parsed.host}"
        case cloud:
            return f"{cloud}:{(parsed.host + parsed.path).partition('/')[0]}"


class _Keys(msgspec.Struct):
    access_key_id: str = ""


def _key_id(secret: bytes | None) -> str:
    """The id of a bucket's key, which is no secret."""
    if secret is None:
        return "the machine's keys"
    if secret.lstrip().startswith(b"{"):
        try:
            return msgspec.json.decode(secret, type=_Keys).access_key_id
        except msgspec.DecodeError:
            return ""
    return secret.partition(b":")[0].decode("utf-8", "replace")
