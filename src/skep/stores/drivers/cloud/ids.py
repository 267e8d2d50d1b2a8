"""Where a provider knows files by ids and not by names (Box, Google Drive): what is known of both."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from typing import Protocol

IDS_MAX = 200_000


class FileIds:
    """The ids of the files met last, by name. Bounded: what is forgotten is looked up again."""

    def __init__(self, at_most: int = IDS_MAX) -> None:
        self._at_most = at_most
        self._ids: OrderedDict[str, str] = OrderedDict()

    def __contains__(self, name: str) -> bool:
        return name in self._ids

    def get(self, name: str) -> str:
        """The id of a file; empty when it is not known."""
        return self._ids.get(name, "")

    def learn(self, name: str, file_id: str) -> None:
        """What a file's id is now."""
        self._ids[name] = file_id
        self._ids.move_to_end(name)
        if len(self._ids) > self._at_most:
            self._ids.popitem(last=False)

    def forget(self, name: str) -> str:
        """It is not known any more. The id that it had, or empty."""
        return self._ids.pop(name, "")


class Step(Protocol):
    """Finds or makes one folder in another."""

    async def __call__(self, name: str, parent: str, *, make: bool) -> str:
        """Its id; empty when it is not there and is not to be made."""
        ...


class FolderId:
    """The id of a folder, found or made from the root on, once."""

    def __init__(self, path: str, root: str, step: Step) -> None:
        self._path, self._root, self._step = path, root, step
        self._id = ""
        self._lock = asyncio.Lock()

    async def get(self, *, make: bool) -> str:
        """The id; empty when the folder is not there and is not to be made."""
        async with self._lock:
            if self._id:
                return self._id
            parent = self._root
            for name in self._path.split("/"):
                parent = await self._step(name, parent, make=make)
                if not parent:
                    return ""
            self._id = parent
            return parent

    def forget(self) -> None:
        """Somebody has deleted it: it is found or made anew when it is asked for next."""
        self._id = ""
