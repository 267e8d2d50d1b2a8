"""Rows of programs for which the hive vouches, of their sessions, and of the keys that sign ID tokens.

ID tokens are signed with RS256, which every client knows (OpenID Connect Core 1.0, section 15.1); access tokens stay
Ed25519, since the hive alone reads them.
"""

from __future__ import annotations

import hmac
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import urlsplit

import sqlalchemy as sa
from joserfc.jwk import RSAKey

from skep.auth.opaque_tokens import readable_secret, secret_hash
from skep.base.errors import BadInput, LimitReached, NotFound
from skep.base.ids import Id
from skep.crypto.sealing import open_record, seal_record
from skep.db import Transaction, insert_new, prepared
from skep.db.schema import sessions
from skep.db.schema_signin import client_sessions, identity_keys, oauth_clients

CLIENTS_MAX: Final = 200
URIS_MAX: Final = 10
RSA_BITS: Final = 2048
CLI: Final = "skep-cli"
"""The hive's own program: known to every hive, public, by device codes alone."""

_CLIENT = sa.select(*oauth_clients.c)
_ALL = prepared(_CLIENT.order_by(oauth_clients.c.name).limit(CLIENTS_MAX))
_BY_ID = prepared(_CLIENT.where(oauth_clients.c.id == sa.bindparam("client")))
_INSERT = insert_new(oauth_clients)
_DELETE = prepared(sa.delete(oauth_clients).where(oauth_clients.c.id == sa.bindparam("client")))
_SESSION = insert_new(client_sessions)
_CLIENT_OF = prepared(
    sa.select(client_sessions.c.client_id).where(client_sessions.c.session_id == sa.bindparam("session"))
)
_SESSIONS_OF = prepared(
    sa.select(client_sessions.c.session_id).where(client_sessions.c.client_id == sa.bindparam("client"))
)
_FORGET = prepared(sa.delete(client_sessions).where(client_sessions.c.client_id == sa.bindparam("client")))
_END = prepared(sa.delete(sessions).where(sessions.c.id.in_(sa.bindparam("ids", expanding=True))))
_PURGE = prepared(sa.delete(client_sessions).where(client_sessions.c.session_id.not_in(sa.select(sessions.c.id))))
_SCOPES = prepared(sa.select(sessions.c.scopes).where(sessions.c.id == sa.bindparam("session")))
_KEYS = prepared(sa.select(*identity_keys.c).order_by(identity_keys.c.created_us.desc()).limit(4))
_INSERT_KEY = insert_new(identity_keys)
_NATIVE = re.compile(r"[a-z][a-z0-9+-]*(\.[a-z0-9+-]+)+")


@dataclass(frozen=True, slots=True)
class ClientInfo:
    """A program without its secret. ``scopes``: the most that it may be given."""

    id: str
    name: str
    is_public: bool
    redirect_uris: tuple[str, ...]
    scopes: frozenset[str]
    created_us: int


@dataclass(frozen=True, slots=True)
class ClientRow:
    """A program and the hash of its secret."""

    info: ClientInfo
    secret_hash: bytes | None = field(repr=False)

    def is_proven(self, secret: str | None) -> bool:
        """Whether the program shows its secret, if it has one."""
        if self.secret_hash is None:
            return not secret
        return hmac.compare_digest(self.secret_hash, secret_hash(secret or ""))


def _row(found: tuple[Any, ...]) -> ClientRow:
    client_id, name, hashed, uris, scopes, created_us = found
    hashed = None if hashed is None else bytes(hashed)
    info = ClientInfo(client_id, name, hashed is None, tuple(json.loads(uris)), frozenset(scopes.split()), created_us)
    return ClientRow(info, hashed)


def find_client(tx: Transaction, client_id: str) -> ClientRow | None:
    """The program of an id."""
    found = tx.one(_BY_ID, {"client": client_id[:64]})
    return _row(found) if found else None


def list_client_rows(tx: Transaction) -> list[ClientInfo]:
    """All programs by name."""
    return [_row(found).info for found in tx.rows(_ALL)]


def insert_client(
    tx: Transaction, *, name: str, secret: str | None, redirect_uris: Sequence[str], scopes: frozenset[str]
) -> ClientInfo:
    """Keep a program. Raises LimitReached."""
    if len(tx.rows(_ALL)) >= CLIENTS_MAX:
        raise LimitReached(f"there are {CLIENTS_MAX} programs already: remove some first")
    info = ClientInfo(readable_secret(15), name, secret is None, tuple(redirect_uris), scopes, tx.now_us)
    row = {
        "id": info.id,
        "name": name,
        "secret_hash": None if secret is None else secret_hash(secret),
        "redirect_uris": json.dumps(list(redirect_uris)),
        "scopes": " ".join(sorted(scopes)),
        "created_us": tx.now_us,
    }
    tx.run(_INSERT, row)
    return info


def remove_client(tx: Transaction, client_id: str) -> None:
    """Delete a program and end its sessions. Raises NotFound."""
    ids = [bytes(found[0]) for found in tx.rows(_SESSIONS_OF, {"client": client_id})]
    for start in range(0, len(ids), 500):
        tx.run(_END, {"ids": ids[start : start + 500]})
    tx.run(_FORGET, {"client": client_id})
    if tx.run(_DELETE, {"client": client_id[:64]}) != 1:
        raise NotFound("no such program: list them")


def give_session(tx: Transaction, session_id: Id, client_id: str) -> None:
    """Let a session be a program's."""
    tx.run(_SESSION, {"session_id": session_id, "client_id": client_id})


def client_of(tx: Transaction, session_id: Id) -> str | None:
    """Whose session it is; None: a person's own."""
    client_id: str | None = tx.value(_CLIENT_OF, {"session": session_id})
    return client_id


def words_of(tx: Transaction, session_id: Id) -> frozenset[str]:
    """All scopes that a session was given, those of OpenID Connect among them."""
    return frozenset(str(tx.value(_SCOPES, {"session": session_id}) or "").split())


def purge_client_sessions(tx: Transaction) -> int:
    """Forget whose ended sessions were; how many."""
    return tx.run(_PURGE)


def checked_redirect(uri: str) -> str:
    """A redirect URI as it is registered: https, a loopback address, or an app's own scheme. Raises BadInput.

    It is compared whole later (RFC 9700 section 4.1.3); only the port of a loopback address may differ (RFC 8252).
    """
    parts = None
    if len(uri) <= 1000 and uri.isascii() and uri.isprintable() and not set(uri) & set(' "<>\\^`{|}#*'):
        try:
            parts = urlsplit(uri)
        except ValueError:
            pass
    good = (
        parts is not None
        and not parts.username
        and (
            (parts.scheme == "https" and bool(parts.hostname))
            or (parts.scheme == "http" and parts.hostname in ("127.0.0.1", "::1", "localhost"))
            or (_NATIVE.fullmatch(parts.scheme) is not None)
        )
    )
    if not good:
        raise BadInput(f"{uri[:200]!r} is no redirect URI: use https, http on 127.0.0.1, or a scheme such as org.app")
    return uri


def is_registered(info: ClientInfo, uri: str) -> bool:
    """Whether a redirect URI is one of the program's, whole."""
    if uri in info.redirect_uris:
        return True
    if not uri.startswith(("http://127.0.0.1", "http://[::1]", "http://localhost")):
        return False
    return any(_without_port(uri) == _without_port(known) for known in info.redirect_uris if known.startswith("http:"))


def _without_port(uri: str) -> tuple[str | None, ...]:
    try:
        parts = urlsplit(uri)
        return (parts.scheme, parts.hostname, parts.path, parts.query, parts.fragment, parts.username)
    except ValueError:
        return (uri,)


# --- keys ---------------------------------------------------------------------------------------


def identity_key(tx: Transaction, key: bytes) -> RSAKey | None:
    """The key that signs ID tokens. Raises CorruptRecord."""
    for key_id, sealed, _, _, retired_us in tx.rows(_KEYS):
        if retired_us is None:
            opened = open_record(key, bytes(sealed), _bound(key_id))
            return RSAKey.import_key(json.loads(opened))
    return None


def keep_identity_key(tx: Transaction, key: bytes, made: RSAKey) -> None:
    """Keep a new key, unless there is one."""
    if identity_key(tx, key) is not None:
        return
    private = json.dumps(made.as_dict(private=True)).encode()
    row = {
        "id": made.kid,
        "sealed_private": seal_record(key, private, _bound(str(made.kid))),
        "public": json.dumps(made.as_dict(private=False)),
        "created_us": tx.now_us,
        "retired_us": None,
    }
    tx.run(_INSERT_KEY, row)


def public_identity_keys(tx: Transaction) -> list[dict[str, Any]]:
    """What verifies ID tokens, as JWKs."""
    return [json.loads(public) for _, _, public, _, _ in tx.rows(_KEYS)]


def new_identity_key() -> RSAKey:
    """A new key; takes about 100 ms of one core."""
    made = RSAKey.generate_key(RSA_BITS, auto_kid=True)
    fields = {**made.as_dict(private=True), "use": "sig", "alg": "RS256", "kid": made.thumbprint()}
    return RSAKey.import_key(fields)


def _bound(key_id: str) -> bytes:
    return b"skep identity key " + key_id.encode()
