"""How far a background worker got, kept in ``worker_states`` so that the next start goes on from there."""

from __future__ import annotations

from typing import TypeVar

import msgspec
import sqlalchemy as sa

from skep.db import Transaction, prepared, upsert
from skep.db import schema as s

R = TypeVar("R", bound=msgspec.Struct)

_READ = prepared(sa.select(s.worker_states.c.state).where(s.worker_states.c.name == sa.bindparam("name")))
_WRITE = upsert(s.worker_states, ["name"], ["state", "updated_us"])


def read(tx: Transaction, name: str, kind: type[R]) -> R:
    """What a worker left; its beginning if it never ran, or left what we cannot read."""
    state = tx.value(_READ, {"name": name})
    if state is None:
        return kind()
    try:
        return msgspec.msgpack.decode(state, type=kind)
    except msgspec.MsgspecError:
        return kind()  # from another Skep: the work is done again, which is harmless


def write(tx: Transaction, name: str, mark: msgspec.Struct) -> None:
    """Leave how far a worker got."""
    tx.run(_WRITE, {"name": name, "state": msgspec.msgpack.encode(mark), "updated_us": tx.now_us})
