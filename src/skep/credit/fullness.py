"""Who is told that a quota is almost used: once for each time that 80 or 95 percent are reached, and by a letter.

What was told is noted in ``credit_warnings`` in the transaction that puts the letter into the outbox; so it is told
once, whatever is killed and however many processes look. Where the use falls below a level again, the next crossing is
news.
"""

from __future__ import annotations

from typing import NamedTuple

import sqlalchemy as sa

from skep.auth.outbox import Letter, post
from skep.base.errors import SkepError
from skep.base.ids import Id
from skep.base.logs import get_logger
from skep.base.sizes import format_size
from skep.credit import accounts, limits
from skep.credit.records import AccountKind
from skep.db import Transaction, prepared
from skep.db import schema as s
from skep.db import schema_credit as c

PAGE = 500
MANAGERS_MAX = 50
_log = get_logger("skep.credit")
_sp, _n, _u, _m, _w = s.spaces.c, s.nodes.c, s.users.c, s.memberships.c, c.warnings.c
_SPACES = prepared(
    sa.select(_sp.id, _sp.kind, _sp.owner_id, _sp.name, _sp.quota_bytes, _sp.used_bytes, _sp.unmetered, _sp.objects_max)
    .where(_sp.id > sa.bindparam("after"))
    .order_by(_sp.id)
    .limit(PAGE)
)
_NODES = prepared(sa.select(sa.func.count()).select_from(s.nodes).where(_n.space_id == sa.bindparam("space")))
_OBJECTS = prepared(
    sa.select(sa.func.count()).select_from(s.objects).where(s.objects.c.owner_id == sa.bindparam("owner"))
)
_NOTED = prepared(sa.select(_w.subject, _w.level).where(_w.subject.in_(sa.bindparam("subjects", expanding=True))))
_FORGET = prepared(sa.delete(c.warnings).where(_w.subject == sa.bindparam("for_subject")))
_USER = prepared(sa.select(_u.email, _u.name).where(_u.id == sa.bindparam("user")))
_MANAGERS = prepared(
    sa.select(_u.email, _u.name)
    .join_from(s.memberships, s.users, _u.id == _m.user_id)
    .where(_m.group_id == sa.bindparam("group"), _m.role == "manager")
    .order_by(_u.id)
    .limit(MANAGERS_MAX)
)


class Warned(NamedTuple):
    """Somebody reached a level. ``what``: ``space`` or ``objects``; amounts in bytes, or a count."""

    account_id: Id
    what: str
    percent: int
    used: int
    limit: int


class Fill(NamedTuple):
    """How full one thing is."""

    subject: str
    kind: AccountKind
    owner_id: Id
    name: str
    what: str
    used: int
    limit: int


def subject_of(what: str, kind: str, owner: str) -> str:
    """What a warning is noted under. ``kind``: user or group; ``owner``: its id in hexadecimal."""
    return f"{what}:{kind}:{owner}"


def page(tx: Transaction, after: Id) -> tuple[list[Fill], Id | None]:
    """What news there may be of some spaces, and the last of them (None: there are no more)."""
    rows = tx.rows(_SPACES, {"after": after})
    fills = [fill for row in rows for fill in _fills(tx, *row)]
    noted = dict(tx.rows(_NOTED, {"subjects": [fill.subject for fill in fills]})) if fills else {}
    news = [fill for fill in fills if _level(fill) != noted.get(fill.subject, 0)]
    return news, bytes(rows[-1][0]) if len(rows) == PAGE else None


def _fills(
    tx: Transaction,
    space_id: Id,
    space_kind: str,
    owner_id: Id,
    name: str,
    quota_bytes: int | None,
    used_bytes: int,
    unmetered: int,
    objects_max: int | None,
) -> list[Fill]:
    kind: AccountKind = "user" if space_kind == "personal" else "group"
    owner = bytes(owner_id)
    room = 0 if unmetered else quota_bytes or 0
    most, there = objects_max or 0, 0
    if most:
        there = int(tx.value(_NODES, {"space": space_id}) or 0) - 1
        there += int(tx.value(_OBJECTS, {"owner": owner}) or 0) if kind == "user" else 0
    return [
        Fill(subject_of("space", kind, owner.hex()), kind, owner, name, "space", used_bytes, room),
        Fill(subject_of("objects", kind, owner.hex()), kind, owner, name, "objects", there, most),
    ]


def _level(fill: Fill) -> int:
    return limits.level(fill.used, fill.limit) if fill.limit > 0 else 0


def note(tx: Transaction, key: bytes | None, fill: Fill) -> Warned | None:
    """Note the level of one thing; if it is a higher one, write to its owner (``key`` None: no letters) and tell it."""
    percent = _level(fill)
    if not percent:
        tx.run(_FORGET, {"for_subject": fill.subject})
        return None
    rose = limits.warned(tx, fill.subject, percent, 0)
    if not rose:
        limits.lowered(tx, fill.subject, percent)
        return None
    if key is not None:
        write(tx, key, fill.kind, fill.owner_id, f"the {fill.what} of {fill.name!r}", percent, _said(fill))
    account_id = accounts.opened(tx, fill.kind, fill.owner_id.hex()).id
    return Warned(account_id, fill.what, percent, fill.used, fill.limit)


def _said(fill: Fill) -> str:
    if fill.what == "space":
        return f"{format_size(fill.used)} of {format_size(fill.limit)} are used, old versions and the trash included"
    return f"there are {fill.used} of {fill.limit} files and directories, the trash included"


def write(tx: Transaction, key: bytes, kind: str, owner_id: Id, what: str, percent: int, said: str) -> None:
    """Put a letter to a user, or to each manager of a group, into the outbox. What cannot be written is logged."""
    rows = tx.rows(_USER, {"user": owner_id}) if kind == "user" else tx.rows(_MANAGERS, {"group": owner_id})
    for email, name in rows:
        if not email:
            continue
        text = (
            f"Hello {name},\n\n{percent} percent of {what} are used: {said}.\nWhat does not fit any more is refused. "
            "Delete what you do not need, or ask for more.\n"
        )
        try:
            post(tx, key, Letter(email, f"Almost full: {percent} percent used", text))
        except SkepError as error:
            _log.warning("no letter of a quota", code=error.code)
