"""Variables of the stacks: sealed in HQ's state, and below them a folder of files as people edit them."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from pathlib import Path

from skep.base.errors import BadInput, LimitReached
from skep.crypto.hashing import derive_key
from skep.crypto.sealing import open_record, seal_record
from skep.deploy.hq.state import StateStore
from skep.deploy.stack.environment import VALUE_MAX_BYTES, VARIABLES_MAX, EnvFolder, checked_variable

GLOBAL = "global"
_CONTEXT = "skep deploy hq 2026 variables v1"


def scope_of(stack: str) -> str:
    """The scope of a stack's variables; an empty name is that of all."""
    return f"stack:{stack}" if stack else GLOBAL


class Variables:
    """The variables in a state store. A value is bound to its scope and name: moved elsewhere, it does not open."""

    def __init__(self, store: StateStore, seal_key: bytes, folder: Path | None = None) -> None:
        self._store = store
        self._key = derive_key(_CONTEXT, seal_key)
        self._folder = folder

    async def names(self, scope: str) -> tuple[str, ...]:
        """Names alone, which need no key."""
        return tuple(entry.key.rpartition("/")[2] for entry in await self._store.list(f"env/{scope}/"))

    async def values(self, scope: str) -> dict[str, str]:
        """All variables of a scope, opened. Raises CorruptRecord."""
        found = {}
        for entry in await self._store.list(f"env/{scope}/"):
            name = entry.key.rpartition("/")[2]
            found[name] = open_record(self._key, entry.value, _bound(scope, name)).decode()
        return found

    async def sealed(self, scope: str) -> dict[str, bytes]:
        """All variables of a scope as they are kept."""
        return {entry.key.rpartition("/")[2]: entry.value for entry in await self._store.list(f"env/{scope}/")}

    async def of_stack(self, stack: str) -> tuple[Mapping[str, str], Mapping[str, str]]:
        """The global variables, those of the folder below, and the stack's."""
        below = {} if self._folder is None else await asyncio.to_thread(EnvFolder(self._folder, None, GLOBAL).values)
        return {**below, **await self.values(GLOBAL)}, await self.values(scope_of(stack))

    async def change(self, scope: str, setting: Mapping[str, str], unsetting: tuple[str, ...] = ()) -> bool:
        """Set some and forget others; whether anything was changed. Raises BadInput before anything is."""
        for name, value in setting.items():
            checked_variable(name)
            if "\0" in value or len(value.encode()) > VALUE_MAX_BYTES:
                raise BadInput(f"the value of {name} has a zero byte, or more than {VALUE_MAX_BYTES} bytes")
        for name in unsetting:
            checked_variable(name)
        held = await self.values(scope)
        if len({*held, *setting}) > VARIABLES_MAX:
            raise LimitReached(f"{scope} would have more than {VARIABLES_MAX} variables")
        changed = False
        for name, value in setting.items():
            if held.get(name) != value:
                await self._store.put(
                    f"env/{scope}/{name}", seal_record(self._key, value.encode(), _bound(scope, name))
                )
                changed = True
        for name in unsetting:
            changed |= await self._store.delete(f"env/{scope}/{name}")
        return changed

    async def forget(self, scope: str) -> None:
        """Forget all of a scope."""
        for name in await self.names(scope):
            await self._store.delete(f"env/{scope}/{name}")


def _bound(scope: str, name: str) -> bytes:
    return f"{scope}\0{name}".encode()
