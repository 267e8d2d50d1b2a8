"""``array://<agent id>``: the disk that an agent lends, over whatever link it has now."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import ClassVar

from skep.base.errors import InvalidId, InvalidStoreUrl
from skep.base.ids import Id, id_text, parse_id
from skep.stores.identity import StoreIdentity
from skep.stores.keys import check_key, check_list_bounds
from skep.stores.link.board import Links
from skep.stores.link.caller import PROPERTIES
from skep.stores.link.handshake import Ranges
from skep.stores.protocol import Buffer, ObjectInfo, Properties, Usage
from skep.stores.url import StoreUrl


@dataclass(frozen=True, slots=True)
class ArrayConfig:
    """``array://0197c9f2-…``: the id that the agent got when it enrolled."""

    OPTIONS: ClassVar[tuple[str, ...]] = ()

    agent_id: Id

    @classmethod
    def from_url(cls, url: StoreUrl) -> ArrayConfig:
        """Raises InvalidStoreUrl."""
        try:
            if url.path.strip("/"):
                raise InvalidId("more than an id")
            return cls(parse_id(url.host))
        except InvalidId:
            raise InvalidStoreUrl(f"{url.text!r} names no agent: write array://<id>, see `skep agent ls`") from None


class ArrayStore:
    """See ``Store``, ``Claimable`` and ``Auditable``. While the agent is away calls raise StoreOffline at once."""

    def __init__(self, config: ArrayConfig, links: Links) -> None:
        self._agent_id = config.agent_id
        self._links = links

    def __repr__(self) -> str:
        return f"ArrayStore({id_text(self._agent_id)})"

    @property
    def properties(self) -> Properties:
        return PROPERTIES

    async def put(self, key: str, parts: Sequence[Buffer]) -> None:
        check_key(key)
        await self._links.linked(self._agent_id).put(key, parts)

    async def get(self, key: str, offset: int = 0, length: int | None = None) -> bytes:
        check_key(key)
        return await self._links.linked(self._agent_id).get(key, offset, length)

    async def stat(self, key: str) -> ObjectInfo:
        check_key(key)
        return await self._links.linked(self._agent_id).stat(key)

    async def delete(self, key: str) -> None:
        check_key(key)
        await self._links.linked(self._agent_id).delete(key)

    async def list(self, prefix: str = "", after: str = "") -> AsyncIterator[ObjectInfo]:
        check_list_bounds(prefix, after)
        async for info in self._links.linked(self._agent_id).list(prefix, after):
            yield info

    async def usage(self) -> Usage:
        return await self._links.linked(self._agent_id).usage()

    async def audit(self, key: str, nonce: bytes, ranges: Ranges) -> bytes:
        check_key(key)
        return await self._links.linked(self._agent_id).audit(key, nonce, ranges)

    async def claim(self, hive_id: Id, store_id: Id) -> StoreIdentity:
        return await self._links.linked(self._agent_id).claim(hive_id, store_id)

    async def identity(self) -> StoreIdentity | None:
        return await self._links.linked(self._agent_id).identity()

    async def close(self) -> None:
        """Nothing: the link is the agent's, and outlives the stores over it."""
