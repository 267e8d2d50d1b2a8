"""How many shards of a pack are enough for what: four counts for each scheme, as Storj has them.

    needed      give the pack back: k. With fewer it cannot be read.
    repair at   when no more than so many good shards are left, and fewer than all, repair makes it whole again.
    wanted      must be durable before a write is acknowledged.
    total       k + m: what a write tries to put, and what repair makes.

What always holds: needed < repair at <= wanted <= total; a scheme without parity has all four equal, for there is
nothing to choose. Unless somebody chose, wanted is the scheme's write quorum, k + ceil(m/2), and repair begins at it:
with up to three parity shards that is at every loss, with more the first losses wait until there are several.

What was chosen is kept for each pair of k and m, whatever name the scheme goes by, as one row of ``hive``.
"""

from __future__ import annotations

from collections.abc import Iterable

import msgspec
import sqlalchemy as sa

from skep.base.errors import CorruptRecord, InvalidScheme
from skep.chunks.scheme import Scheme
from skep.db import Database, Transaction, prepared, upsert
from skep.db import schema as s
from skep.durability.damage import DEFERRED_REASON

SCHEMES_MAX = 200
"""For how many schemes thresholds can be chosen."""
_NAME = "thresholds"
_CHOSEN = prepared(sa.select(s.hive.c.value).where(s.hive.c.name == _NAME))
_SET = upsert(s.hive, ["name"], ["value"])
_LOOK_AGAIN = prepared(
    sa.update(s.repairs).where(s.repairs.c.reason == DEFERRED_REASON).values(next_try_us=sa.bindparam("now"))
)


class Thresholds(msgspec.Struct, frozen=True):
    """The four counts of one scheme, in shards."""

    needed: int
    repair_at: int
    wanted: int
    total: int

    def enough(self, good: int) -> bool:
        """Whether a pack with so many good shards can wait for its repair."""
        return good >= self.total or good > self.repair_at

    def standing(self, good: int) -> str:
        """In words, how a pack with so many good shards is."""
        counted = f"{good} of {self.total} shards are good and {self.needed} needed"
        if good < self.needed:
            return f"{counted}: it cannot be read"
        if good < self.total and self.enough(good):
            return f"{counted}: it is repaired when {self.repair_at} are left, or by `skep repair`"
        return counted


def usual(scheme: Scheme) -> Thresholds:
    """What holds for a scheme unless somebody chose."""
    return Thresholds(scheme.data_shards, scheme.write_quorum, scheme.write_quorum, scheme.total)


def chosen(scheme: Scheme, repair_at: int | None = None, wanted: int | None = None) -> Thresholds:
    """Thresholds with these choices, the usual ones for None. Raises InvalidScheme, saying what is possible."""
    plain = usual(scheme)
    if wanted is None:
        wanted = max(plain.wanted, repair_at or 0)
    if repair_at is None:
        repair_at = min(plain.repair_at, wanted)
    if not scheme.parity_shards:
        if (repair_at, wanted) != (plain.repair_at, plain.wanted):
            raise InvalidScheme(f"{scheme.name} has no parity: all its {scheme.total} shards are needed and wanted")
        return plain
    if not plain.needed < repair_at <= wanted <= plain.total:
        raise InvalidScheme(
            f"{scheme.name} needs {plain.needed} of {plain.total} shards: repair at {repair_at} and {wanted} wanted do "
            f"not fit; it must be {plain.needed} < repair at <= wanted <= {plain.total}"
        )
    return Thresholds(plain.needed, repair_at, wanted, plain.total)


class ThresholdBook:
    """The thresholds that hold in a hive. Loaded once, changed through it alone."""

    def __init__(self, db: Database) -> None:
        self._db = db
        self._chosen: dict[tuple[int, int], Thresholds] = {}

    def load(self, tx: Transaction) -> None:
        """Read what was chosen. Raises CorruptRecord."""
        self._chosen = dict(_read(tx))

    def of(self, scheme: Scheme) -> Thresholds:
        """What holds for a scheme."""
        return self._chosen.get((scheme.data_shards, scheme.parity_shards)) or usual(scheme)

    @property
    def schemes(self) -> list[Scheme]:
        """The schemes for which somebody chose, by their usual names."""
        return [Scheme.of(k, m) for k, m in sorted(self._chosen)]

    async def choose(self, scheme: Scheme, thresholds: Thresholds) -> None:
        """Let these hold from now on: for new writes, and for the repair of what is there. Raises InvalidScheme."""

        def work(tx: Transaction) -> dict[tuple[int, int], Thresholds]:
            found = dict(_read(tx))
            found.pop(key := (scheme.data_shards, scheme.parity_shards), None)
            if thresholds != usual(scheme):
                found[key] = thresholds
            if len(found) > SCHEMES_MAX:
                raise InvalidScheme(f"thresholds are chosen for {SCHEMES_MAX} schemes already: put one back to default")
            record = {f"{k}+{m}": [each.repair_at, each.wanted] for (k, m), each in sorted(found.items())}
            tx.run(_LOOK_AGAIN, {"now": tx.now_us})
            tx.run(_SET, {"name": _NAME, "value": msgspec.json.encode(record)})
            return found

        self._chosen = await self._db.write(work)


def _read(tx: Transaction) -> Iterable[tuple[tuple[int, int], Thresholds]]:
    value = tx.value(_CHOSEN)
    if value is None:
        return
    try:
        record = msgspec.json.decode(bytes(value), type=dict[str, tuple[int, int]])
        for counts, (repair_at, wanted) in record.items():
            k, m = (int(count) for count in counts.split("+"))
            yield (k, m), chosen(Scheme.of(k, m), repair_at, wanted)
    except (msgspec.DecodeError, ValueError, InvalidScheme) as error:
        raise CorruptRecord(f"the thresholds of the schemes in the database cannot be read: {error}") from None
