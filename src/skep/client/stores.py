"""Stores as their owners see them, and where content may lie."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeAlias
from urllib.parse import quote

from skep.client.calls import Caller

STORES = "/api/stores"
Record: TypeAlias = dict[str, Any]
"""What the API tells of one thing."""


class Stores:
    """Calls of ``/api/stores`` and of placements. Administrators see all stores, others their own.

    Raises what the hive answers, as its SkepError class.
    """

    def __init__(self, caller: Caller) -> None:
        self._caller = caller

    def all(self, *, mine: bool = False) -> list[Record]:
        """Stores with their health and room; ``mine``: the caller's own alone."""
        return list(self._record("GET", STORES + _mine(mine))["stores"])

    def get(self, name: str) -> Record:
        """A store by name or id, asked for its room now."""
        return self._record("GET", _store(name))

    def add(self, send: Mapping[str, object]) -> Record:
        """Use a place from now on: ``name``, ``url``, ``zone``, ``capacity_bytes``, ``secret``, ``mine``, ``owner``.

        Raises InvalidStoreUrl, AlreadyExists, Forbidden, UnsafeLayout, StoreUnavailable.
        """
        return self._record("POST", STORES, dict(send))

    def set_state(self, name: str, state: str) -> Record:
        """Make a store active, readonly, draining or lost."""
        return self.change(name, state=state)

    def change(self, name: str, **changes: object) -> Record:
        """Change facts of a store: ``state``, ``zone``, ``capacity_bytes``, ``terms``."""
        return self._record("PATCH", _store(name), changes)

    def remove(self, name: str) -> None:
        """Forget a store. Raises InUse while it holds shards."""
        self._caller.json("DELETE", _store(name))

    def check(self, name: str) -> Record:
        """Run the conformance suite on a store; ``passed`` and a ``report``."""
        return self._record("POST", f"{_store(name)}/check")

    def costs(self, *, mine: bool = False) -> Record:
        """What stores cost this month, and the forecast."""
        return self._record("GET", f"{STORES}/costs" + _mine(mine))

    def lint(self, *, mine: bool = False) -> Record:
        """What is wrong with the layout as it stands: ``clean`` and ``findings``."""
        return self._record("GET", f"{STORES}/lint" + _mine(mine))

    def my_placement(self) -> Record:
        """Where one's own new content lies, and what may be chosen."""
        return self._record("GET", "/api/auth/me/placement")

    def choose_placement(self, placement: str | None) -> Record:
        """Choose where one's own new content lies; None: as the hive says. Raises Forbidden."""
        return self._record("PUT", "/api/auth/me/placement", {"placement": placement})

    def policy(self, kind: str, name: str = "") -> Record:
        """What was said of the ``hive``, of a ``group`` or of a ``user``; for administrators."""
        return self._record("GET", _policy(kind, name))

    def set_policy(self, kind: str, name: str, policy: Mapping[str, object]) -> Record:
        """Say it anew: ``placement``, ``allowed``, ``forbidden``. Raises Conflict."""
        return self._record("PUT", _policy(kind, name), dict(policy))

    def _record(self, method: str, path: str, send: object = None) -> Record:
        found: Record = self._caller.json(method, path, send=send)
        return found


def _store(name: str) -> str:
    return f"{STORES}/{quote(name, safe='')}"


def _mine(mine: bool) -> str:
    return "?mine=true" if mine else ""


def _policy(kind: str, name: str) -> str:
    return "/api/admin/placement" if kind == "hive" else f"/api/auth/{kind}s/{quote(name, safe='')}/placement"
