"""Scopes: what a credential may be used for, whatever its owner may do.

Written as words with a space between (RFC 6749 section 3.3). ``admin`` only ever takes effect for
an administrator.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable

from skep.base.errors import BadInput

FILES_READ = "files:read"
FILES_WRITE = "files:write"
CHUNKS_READ = "chunks:read"
CHUNKS_WRITE = "chunks:write"
ACCOUNT = "account"
ADMIN = "admin"

ALL_SCOPES = frozenset({FILES_READ, FILES_WRITE, CHUNKS_READ, CHUNKS_WRITE, ACCOUNT, ADMIN})
FILE_SCOPES = frozenset({FILES_READ, FILES_WRITE})


def checked_scopes(scopes: Collection[str]) -> frozenset[str]:
    """The scopes as a set. Raises BadInput for an unknown one, or for none at all."""
    unknown = sorted(set(scopes) - ALL_SCOPES)
    if unknown:
        raise BadInput(f"unknown scope {unknown[0][:64]!r}: use some of {', '.join(sorted(ALL_SCOPES))}")
    if not scopes:
        raise BadInput(f"a credential needs at least one scope of {', '.join(sorted(ALL_SCOPES))}")
    return frozenset(scopes)


def effective_scopes(scopes: Iterable[str], *, is_admin: bool) -> frozenset[str]:
    """Those of the scopes that take effect for a user."""
    granted = ALL_SCOPES.intersection(scopes)
    return granted if is_admin else granted - {ADMIN}


def scopes_text(scopes: Iterable[str]) -> str:
    """One line, sorted, for a claim or a column."""
    return " ".join(sorted(scopes))


def scopes_from_text(text: str) -> frozenset[str]:
    """What ``scopes_text`` wrote; words of another version of Skep are dropped."""
    return ALL_SCOPES.intersection(text.split())
