"""Making an HQ: its folder, and its first admin."""

from __future__ import annotations

from collections.abc import Sequence

from skep.deploy.hq.folder import HqFolder
from skep.deploy.hq.people import EVERY, People, checked_key
from skep.deploy.hq.sqlite_state import SqliteState


async def make_hq(folder: HqFolder, name: str, keys: Sequence[str]) -> None:
    """Make the folder, with ``name`` as admin of these public keys. Raises BadInput, AlreadyExists, LocalFailure."""
    for key in keys:
        checked_key(key)
    folder.make()
    state = SqliteState(folder.state)
    try:
        await People(state).put(name, {EVERY: "admin"}, keys)
    finally:
        await state.close()
