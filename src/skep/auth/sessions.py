"""Rows of sessions, and the rotation of refresh tokens: plain functions over a transaction.

What always holds: a session knows the hash of its newest refresh token and of the one before. The
newest is exchanged for its successor. The one before, shown again, gets the same successor within
the grace while that is still unused (an answer got lost, or two requests raced); later it can
only come from a thief or a copy, and the session ends.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from skep.auth.opaque_tokens import new_refresh_token, next_refresh_token, secret_hash
from skep.auth.records import SessionInfo
from skep.auth.scopes import scopes_from_text, scopes_text
from skep.base.ids import Id, new_id
from skep.db import Transaction, insert_new, prepared
from skep.db.schema import sessions

AGENT_LENGTH = 200
SESSIONS_MAX = 200
"""Sessions of one user; one more ends the one unused for longest."""

_SELECT = sa.select(
    sessions.c.id,
    sessions.c.user_id,
    sessions.c.scopes,
    sessions.c.agent,
    sessions.c.created_us,
    sessions.c.last_used_us,
    sessions.c.expires_us,
)
_BY_ID = prepared(_SELECT.where(sessions.c.id == sa.bindparam("session")))
_BY_REFRESH = prepared(_SELECT.where(sessions.c.refresh_hash == sa.bindparam("for_hash")))
_BY_PREVIOUS = prepared(_SELECT.where(sessions.c.previous_hash == sa.bindparam("for_hash")))
_OF_USER = prepared(
    _SELECT.where(sessions.c.user_id == sa.bindparam("user"), sessions.c.expires_us > sa.bindparam("now"))
    .order_by(sessions.c.id.desc())
    .limit(sa.bindparam("page"))
)
_INSERT = insert_new(sessions)
_ROTATE = prepared(
    sa.update(sessions)
    .where(sessions.c.id == sa.bindparam("session"), sessions.c.refresh_hash == sa.bindparam("old_hash"))
    .values(
        refresh_hash=sa.bindparam("new_hash"),
        previous_hash=sa.bindparam("old_hash"),
        last_used_us=sa.bindparam("now"),
        expires_us=sa.bindparam("until"),
    )
)
_COUNT = prepared(sa.select(sa.func.count()).select_from(sessions).where(sessions.c.user_id == sa.bindparam("user")))
_LEAST_USED = prepared(
    sa.select(sessions.c.id)
    .where(sessions.c.user_id == sa.bindparam("user"))
    .order_by(sessions.c.last_used_us)
    .limit(1)
)
_DELETE = prepared(sa.delete(sessions).where(sessions.c.id == sa.bindparam("session")))
_DELETE_OF_USER = prepared(sa.delete(sessions).where(sessions.c.user_id == sa.bindparam("user")))
_PURGE = prepared(sa.delete(sessions).where(sessions.c.expires_us <= sa.bindparam("now")))


@dataclass(frozen=True, slots=True)
class SessionRow:
    """A session as auth sees it; ``scopes`` are those asked for, not yet cut to the user's."""

    id: Id
    user_id: Id
    scopes: frozenset[str]
    agent: str
    created_us: int
    last_used_us: int
    expires_us: int

    def info(self, current_id: Id | None) -> SessionInfo:
        """What its owner may see."""
        return SessionInfo(
            self.id,
            self.agent,
            self.scopes,
            self.created_us,
            self.last_used_us,
            self.expires_us,
            self.id == current_id,
        )


@dataclass(frozen=True, slots=True)
class Refreshed:
    """The outcome of showing a refresh token: a session and its next token, or neither.

    ``ended`` is the user whose session was ended because a used token came back.
    """

    session: SessionRow | None = None
    token: str = ""
    ended: Id | None = None


def _row(found: tuple[Any, ...]) -> SessionRow:
    session_id, user_id, scopes, agent, created_us, last_used_us, expires_us = found
    return SessionRow(
        bytes(session_id), bytes(user_id), scopes_from_text(scopes), agent, created_us, last_used_us, expires_us
    )


def insert_session(
    tx: Transaction, user_id: Id, *, scopes: frozenset[str], agent: str, keep_us: int
) -> tuple[SessionRow, str]:
    """Begin a session; it and its first refresh token."""
    if (tx.value(_COUNT, {"user": user_id}) or 0) >= SESSIONS_MAX:
        tx.run(_DELETE, {"session": tx.value(_LEAST_USED, {"user": user_id})})
    token = new_refresh_token()
    session = SessionRow(new_id(), user_id, scopes, agent[:AGENT_LENGTH], tx.now_us, tx.now_us, tx.now_us + keep_us)
    row = {
        "id": session.id,
        "user_id": user_id,
        "refresh_hash": secret_hash(token),
        "previous_hash": None,
        "scopes": scopes_text(scopes),
        "agent": session.agent,
        "created_us": session.created_us,
        "last_used_us": session.last_used_us,
        "expires_us": session.expires_us,
    }
    tx.run(_INSERT, row)
    return session, token


def rotate_session(tx: Transaction, key: bytes, token: str, *, keep_us: int, grace_us: int) -> Refreshed:
    """Exchange a refresh token for its successor, as the head of this module says."""
    shown = secret_hash(token)
    successor = next_refresh_token(key, token)
    current = tx.one(_BY_REFRESH, {"for_hash": shown})
    if current is not None:
        session = _row(current)
        if session.expires_us <= tx.now_us:
            return Refreshed()
        values = {"session": session.id, "old_hash": shown, "new_hash": secret_hash(successor)}
        tx.run(_ROTATE, {**values, "now": tx.now_us, "until": tx.now_us + keep_us})
        return Refreshed(session, successor)
    used = tx.one(_BY_PREVIOUS, {"for_hash": shown})
    if used is None:
        return Refreshed()
    session = _row(used)
    if abs(tx.now_us - session.last_used_us) <= grace_us:
        return Refreshed(session, successor)
    tx.run(_DELETE, {"session": session.id})
    return Refreshed(ended=session.user_id)


def find_session(tx: Transaction, session_id: Id) -> SessionRow | None:
    """The session of an id, if it has not ended."""
    found = tx.one(_BY_ID, {"session": session_id})
    return _row(found) if found else None


def find_refresh(tx: Transaction, refresh_token: str) -> SessionRow | None:
    """The session of its newest refresh token, or of the one before."""
    shown = secret_hash(refresh_token)
    found = tx.one(_BY_REFRESH, {"for_hash": shown}) or tx.one(_BY_PREVIOUS, {"for_hash": shown})
    return _row(found) if found else None


def list_session_rows(tx: Transaction, user_id: Id) -> list[SessionRow]:
    """A user's sessions that are still good, newest first."""
    return [_row(found) for found in tx.rows(_OF_USER, {"user": user_id, "now": tx.now_us, "page": SESSIONS_MAX})]


def end_session(tx: Transaction, session_id: Id) -> None:
    """Delete a session, if it is there."""
    tx.run(_DELETE, {"session": session_id})


def end_sessions_of(tx: Transaction, user_id: Id) -> None:
    """Delete all sessions of a user."""
    tx.run(_DELETE_OF_USER, {"user": user_id})


def purge_sessions(tx: Transaction) -> int:
    """Delete expired sessions; how many."""
    return tx.run(_PURGE, {"now": tx.now_us})
