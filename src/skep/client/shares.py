"""Shares: access given to others, and what others gave."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from skep.client.calls import Caller

SHARES = "/api/filesystem/shares"


class Shares:
    """What one user can do with shares. Raises what the hive answers, as its SkepError class."""

    def __init__(self, caller: Caller) -> None:
        self._caller = caller

    def give(
        self,
        path: str,
        *,
        space: str | None = None,
        user: str | None = None,
        group: str | None = None,
        rights: str = "read",
        may_share: bool = False,
    ) -> dict[str, Any]:
        """Share what is at a path with a user or a group, or change what they may."""
        send = {"path": path, "space": space, "user": user, "group": group, "rights": rights, "may_share": may_share}
        given: dict[str, Any] = self._caller.json(
            "POST", SHARES, send={name: value for name, value in send.items() if value is not None}, repeatable=True
        )
        return given

    def given(self, *, space: str | None = None) -> Iterator[Mapping[str, Any]]:
        """What is shared of a space, or was passed on of a share."""
        return self._caller.pages(SHARES, {"space": space}, "shares")

    def held(self) -> Iterator[Mapping[str, Any]]:
        """What was shared with the user and their groups."""
        return self._caller.pages(f"{SHARES}/held", {}, "shares")

    def answer(self, share_id: str, *, accept: bool | None = None, name: str | None = None) -> dict[str, Any]:
        """Accept or decline a share, or give it another name."""
        send = {"accept": accept, "name": name}
        held: dict[str, Any] = self._caller.json(
            "POST", f"{SHARES}/held/{share_id}", send={key: value for key, value in send.items() if value is not None}
        )
        return held

    def revoke(self, share_id: str) -> None:
        """Take a share back, with all that was passed on of it."""
        self._caller.json("DELETE", f"{SHARES}/{share_id}")
