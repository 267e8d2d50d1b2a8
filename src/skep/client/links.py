"""Links: what whoever knows an address may read, or put files into, without an account."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from skep.client.calls import Caller

LINKS = "/api/links"


class Links:
    """What one user can do with links. Raises what the hive answers, as its SkepError class."""

    def __init__(self, caller: Caller) -> None:
        self._caller = caller

    def make(self, path: str, *, space: str | None = None, **rules: object) -> dict[str, Any]:
        """Make a link on what is at a path; ``rules`` as the API names them. Its address is in the answer alone."""
        send = {"path": path, "space": space, **rules}
        made: dict[str, Any] = self._caller.json(
            "POST", LINKS, send={name: value for name, value in send.items() if value is not None}
        )
        return made

    def mine(self) -> Iterator[Mapping[str, Any]]:
        """The links that the user made."""
        return self._caller.pages(LINKS, {}, "links")

    def of_space(self, space: str) -> Iterator[Mapping[str, Any]]:
        """All links of a space, by whomever they were made."""
        return self._caller.pages(LINKS, {"space": space}, "links")

    def end(self, link_id: str) -> None:
        """Take a link back."""
        self._caller.json("DELETE", f"{LINKS}/{link_id}")
