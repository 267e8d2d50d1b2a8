"""Rows of links: shares that whoever knows an address holds.

What always holds:
- a link has the id of its share, and that is also the id of the share's one holder: what a link lets people do is
  decided where it is decided for every share (``access``), and ends where shares end (``shares.remove``);
- of the address only a hash is kept;
- ``downloads`` is raised by one statement that looks at the limit too, so it never passes ``downloads_max``, however
  many ask at once; ``received_bytes`` and ``bytes_max`` likewise.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import sqlalchemy as sa

from skep.base.errors import LimitReached
from skep.base.ids import Id
from skep.db import Transaction, insert_new, prepared
from skep.db import schema as s
from skep.filesystem import shares
from skep.filesystem.shares import Share


class Link(NamedTuple):
    """A row of ``links``."""

    id: Id
    token_hash: bytes
    password_hash: str | None
    expires_us: int | None
    downloads_max: int | None
    downloads: int
    file_bytes_max: int | None
    bytes_max: int | None
    received_bytes: int
    created_by: Id
    created_us: int
    last_used_us: int | None


class Named(NamedTuple):
    """A link, its share, and what those who open it see it called."""

    link: Link
    share: Share
    name: str


_l, _c, _h = s.links.c, s.shares.c, s.share_holders.c
_COLUMNS = tuple(_l[name] for name in Link._fields)
_SHARE = tuple(_c[name] for name in Share._fields)
_NAMED = sa.select(*_COLUMNS, *_SHARE, _h.name).join_from(s.links, s.shares, _c.id == _l.id)
_NAMED = _NAMED.join(s.share_holders, sa.and_(_h.share_id == _l.id, _h.user_id == _l.id))
_INSERT = insert_new(s.links)
_BY_ID = prepared(_NAMED.where(_l.id == sa.bindparam("id")))
_BY_TOKEN = prepared(
    _NAMED.join(s.users, s.users.c.id == _l.created_by).where(
        _l.token_hash == sa.bindparam("token"),
        sa.or_(_l.expires_us.is_(None), _l.expires_us > sa.bindparam("now")),
        s.users.c.state == "active",
    )
)
_PAGE = _NAMED.where(_l.id > sa.bindparam("after")).order_by(_l.id).limit(sa.bindparam("count"))
_BY_USER = prepared(_PAGE.where(_l.created_by == sa.bindparam("user")))
_OF_SPACE = prepared(_PAGE.where(_c.space_id == sa.bindparam("space")))
_ON_NODES = prepared(_NAMED.where(_c.node_id.in_(sa.bindparam("nodes", expanding=True))).order_by(_l.id))
_COUNT = prepared(sa.select(sa.func.count()).select_from(s.links).where(_l.created_by == sa.bindparam("user")))
_SET = prepared(
    sa.update(s.links)
    .where(_l.id == sa.bindparam("link"))
    .values(
        {
            name: sa.bindparam(f"new_{name}")
            for name in ("token_hash", "password_hash", "expires_us", "downloads_max", "file_bytes_max", "bytes_max")
        }
    )
)
_DOWNLOAD = prepared(
    sa.update(s.links)
    .where(
        _l.id == sa.bindparam("link"),
        sa.or_(_l.downloads_max.is_(None), _l.downloads < _l.downloads_max),
        sa.or_(_l.expires_us.is_(None), _l.expires_us > sa.bindparam("now")),
    )
    .values(downloads=_l.downloads + 1, last_used_us=sa.bindparam("used_us"))
)
_RECEIVE = prepared(
    sa.update(s.links)
    .where(
        _l.id == sa.bindparam("link"),
        sa.or_(_l.bytes_max.is_(None), _l.received_bytes + sa.bindparam("room") <= _l.bytes_max),
    )
    .values(received_bytes=_l.received_bytes + sa.bindparam("size"), last_used_us=sa.bindparam("used_us"))
)
_GIVE_BACK = prepared(
    sa.update(s.links)
    .where(_l.id == sa.bindparam("link"), _l.received_bytes >= sa.bindparam("size"))
    .values(received_bytes=_l.received_bytes - sa.bindparam("less"))
)


def _named(row: tuple[object, ...]) -> Named:
    here, there = len(_COLUMNS), len(_COLUMNS) + len(_SHARE)
    return Named(Link._make(row[:here]), Share._make(row[here:there]), str(row[there]))


def _all(rows: Sequence[tuple[object, ...]]) -> list[Named]:
    return [_named(row) for row in rows]


def by_id(tx: Transaction, link_id: Id) -> Named | None:
    """A link, whether it is still good or not."""
    row = tx.one(_BY_ID, {"id": link_id})
    return None if row is None else _named(row)


def by_token(tx: Transaction, token_hash: bytes) -> Named | None:
    """The link of an address, if it has not expired and who made it may still sign in."""
    row = tx.one(_BY_TOKEN, {"token": token_hash, "now": tx.now_us})
    return None if row is None else _named(row)


def made_by(tx: Transaction, user_id: Id, after: Id, count: int) -> list[Named]:
    """The links that a user made, in the order of their ids."""
    return _all(tx.rows(_BY_USER, {"user": user_id, "after": after, "count": count}))


def of_space(tx: Transaction, space_id: Id, after: Id, count: int) -> list[Named]:
    """The links of a space, by whomever they were made, in the order of their ids."""
    return _all(tx.rows(_OF_SPACE, {"space": space_id, "after": after, "count": count}))


def on_nodes(tx: Transaction, nodes: Sequence[Id]) -> list[Named]:
    """All links on some nodes."""
    return _all(tx.rows(_ON_NODES, {"nodes": list(nodes)})) if nodes else []


def insert(tx: Transaction, made: Named, *, on_node_max: int, in_space_max: int, of_one_max: int) -> None:
    """Make a link with its share, which its holder has accepted. Raises LimitReached."""
    if (tx.value(_COUNT, {"user": made.link.created_by}) or 0) >= of_one_max:
        raise LimitReached(f"you have {of_one_max} links already: remove one first", limit=of_one_max)
    shares.insert(tx, made.share, on_node_max=on_node_max, in_space_max=in_space_max, to_one_max=1)
    shares.answer(tx, made.share.id, made.link.id, "accepted", made.name)
    tx.run(_INSERT, made.link._asdict())


def change(tx: Transaction, link: Link) -> None:
    """Write what may change of a link."""
    tx.run(
        _SET,
        {
            "link": link.id,
            "new_token_hash": link.token_hash,
            "new_password_hash": link.password_hash,
            "new_expires_us": link.expires_us,
            "new_downloads_max": link.downloads_max,
            "new_file_bytes_max": link.file_bytes_max,
            "new_bytes_max": link.bytes_max,
        },
    )


def count_download(tx: Transaction, link_id: Id) -> bool:
    """Take one of the downloads of a link; False: none is left, or it has ended."""
    return tx.run(_DOWNLOAD, {"link": link_id, "now": tx.now_us, "used_us": tx.now_us}) == 1


def count_bytes(tx: Transaction, link_id: Id, size_bytes: int) -> bool:
    """Take room for a file that is added through a link; False: there is not so much left, or it has ended."""
    params = {"link": link_id, "room": size_bytes, "size": size_bytes, "used_us": tx.now_us}
    return tx.run(_RECEIVE, params) == 1


def give_bytes_back(tx: Transaction, link_id: Id, size_bytes: int) -> None:
    """Return the room of a file that did not come."""
    tx.run(_GIVE_BACK, {"link": link_id, "size": size_bytes, "less": size_bytes})
