"""Cloud providers: app keys, logins that grant accounts, and the grants."""

from __future__ import annotations

from typing import Any, TypeAlias
from urllib.parse import quote

from skep.client.calls import Caller

POLL_S = 1.0
Record: TypeAlias = dict[str, Any]


class Clouds:
    """Calls of ``/api/cloud``. Raises what the hive answers, as its SkepError class."""

    def __init__(self, caller: Caller) -> None:
        self._caller = caller

    def providers(self) -> list[Record]:
        """The providers, and whether the hive has an app at each."""
        return list(self._record("GET", "/api/cloud/providers")["providers"])

    def set_provider(self, name: str, client_id: str, client_secret: str | None, base_url: str | None) -> Record:
        """Register the hive's app at a provider, or change its keys."""
        send = {"client_id": client_id, "client_secret": client_secret, "base_url": base_url}
        return self._record("PUT", f"/api/cloud/providers/{quote(name, safe='')}", send)

    def forget_provider(self, name: str) -> None:
        """Forget the app keys at a provider."""
        self._caller.json("DELETE", f"/api/cloud/providers/{quote(name, safe='')}")

    def grants(self) -> list[Record]:
        """The accounts that were granted to the hive."""
        return list(self._record("GET", "/api/cloud/grants")["grants"])

    def remove_grant(self, grant_id: str) -> None:
        """Withdraw a grant. Raises InUse while a store needs it."""
        self._caller.json("DELETE", f"/api/cloud/grants/{quote(grant_id, safe='')}")

    def begin_login(self, provider: str, *, relink: bool = False) -> Record:
        """Begin a login: its ``link`` is to be opened in a browser, once."""
        return self._record("POST", "/api/cloud/logins", {"provider": provider, "relink": relink})

    def wait_for_login(self, login: Record) -> Record:
        """Look at a login until it has ended: within ten minutes, the hive sees to that."""
        while login["state"] == "waiting":
            self._caller.cancel.pause(POLL_S)
            login = self._record("GET", f"/api/cloud/logins/{login['id']}")
        return login

    def _record(self, method: str, path: str, send: object = None) -> Record:
        found: Record = self._caller.json(method, path, send=send)
        return found
