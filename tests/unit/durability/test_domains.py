"""Domains: keys that only the master key gives, and who shares them."""

from __future__ import annotations

from pathlib import Path

import pytest
import sqlalchemy as sa

from skep.base.errors import CorruptRecord, KeyWrong
from skep.base.ids import new_id
from skep.crypto.keys import PUBLIC_DOMAIN_ID, MasterKey, public_domain_keys
from skep.db import schema as s
from skep.durability.domains import Domains
from skep.testing.durable import open_rig


async def test_the_same_keys_after_a_restart_and_only_with_the_master_key(tmp_path: Path) -> None:
    async with open_rig(tmp_path) as rig:
        domain_id = rig.keys.domain_id
        assert await Domains(rig.db, rig.master).keys(domain_id) == rig.keys
        with pytest.raises(KeyWrong, match="give the key that this hive was made with"):
            await Domains(rig.db, MasterKey.create()).keys(domain_id)


async def test_a_secret_belongs_to_its_domain(tmp_path: Path) -> None:
    async with open_rig(tmp_path) as rig:
        other = await rig.db.write(lambda tx: rig.chunks.create_domain(tx, new_id()))
        d = s.domains.c
        ((secret,),) = await rig.rows(sa.select(d.wrapped_secret).where(d.id == rig.keys.domain_id))
        await rig.change(sa.update(s.domains).where(d.id == other).values(wrapped_secret=secret))
        with pytest.raises(CorruptRecord):
            await rig.chunks.domain(other)


async def test_the_public_domain_needs_no_row_and_an_unknown_one_is_told(tmp_path: Path) -> None:
    async with open_rig(tmp_path) as rig:
        domains = Domains(rig.db, rig.master)
        assert await domains.keys(PUBLIC_DOMAIN_ID) == public_domain_keys()
        assert await domains.ids() == [PUBLIC_DOMAIN_ID, rig.keys.domain_id]
        with pytest.raises(CorruptRecord, match="skep recover"):
            await domains.keys(new_id())


async def test_one_domain_for_a_hive_that_shares(tmp_path: Path) -> None:
    async with open_rig(tmp_path) as rig:
        domains = Domains(rig.db, rig.master, "hive")
        first, second = [await rig.db.write(lambda tx: domains.create(tx, new_id())) for _ in range(2)]
        assert first == second != rig.keys.domain_id
