"""What agents' links do to the stores of a hive: both ends are the real ones, the wire is made of queues."""

from __future__ import annotations

import random
import shutil
from pathlib import Path

import msgspec
import pytest

from skep.base.errors import AgentNotFound, Forbidden, StoreFull, StoreOffline
from skep.base.ids import id_text
from skep.stores.auditing import auditable
from skep.stores.link.handshake import audit_digest

from .conftest import Ground


def noise(size_bytes: int, seed: int = 1) -> bytes:
    return random.Random(seed).randbytes(size_bytes)


def shards_of(space: Path) -> list[Path]:
    return sorted(path for path in space.glob("hives/*/store/objects/shards/**/*") if path.is_file())


async def test_an_agent_becomes_a_store_with_owner_and_zone(ground: Ground) -> None:
    owner = await ground.hive.user("ann")
    desk = ground.lend("desk")
    await desk.enrol("desk", owner=owner, zone="flat")
    await desk.connect()
    await desk.until(lambda: len(ground.hive.hive.stores) == 3)
    member = ground.member("desk")
    info = await ground.info("desk")
    assert (member.owner_id, member.zone, member.url) == (owner, "flat", f"array://{id_text(info.id)}")
    assert info.store_id == member.id
    assert info.capacity_bytes == 1 << 30


async def test_one_that_shall_not_join_becomes_a_store_by_hand(ground: Ground) -> None:
    desk = ground.lend("desk")
    agent_id = await desk.enrol("desk", joins=False)
    await desk.connect()
    url = f"array://{id_text(agent_id)}"
    answer = await ground.client.post("/api/admin/stores", json={"name": "mine", "url": url, "zone": "z"})
    assert answer.status_code == 201, answer.text
    await ground.put("/a", noise(3_000_000))
    assert shards_of(desk.space)
    await desk.stop()
    await desk.connect()
    await desk.until(lambda: not ground.member("mine").down)
    assert (await ground.info("desk")).store_id == ground.member("mine").id


async def test_an_agent_that_is_away_fails_at_once_and_is_used_as_soon_as_it_is_back(ground: Ground) -> None:
    desk = ground.lend("desk")
    member = await ground.joined("desk", desk)
    content = noise(3_000_000)
    await ground.put("/a", content)
    (shard,) = shards_of(desk.space)
    key = "/".join(part for part in shard.parts[shard.parts.index("objects") + 1 :] if not part.endswith("+"))
    assert member.store is not None
    assert await member.store.get(key) == shard.read_bytes()

    await desk.stop()
    await desk.until(lambda: not ground.hive.hive.agents.connected(desk.home.links()[0].agent))
    with pytest.raises(StoreOffline):
        await member.store.get(key)
    assert await ground.get("/a") == content
    assert member.down

    await desk.connect()
    await desk.until(lambda: not member.down)
    assert await member.store.get(key) == shard.read_bytes()


async def test_a_disk_restored_from_a_backup_is_found_out_and_made_whole(ground: Ground, tmp_path: Path) -> None:
    desk = ground.lend("desk")
    await ground.joined("desk", desk)
    await ground.put("/old", noise(3_000_000, 1))
    await desk.stop()
    shutil.copytree(desk.space, tmp_path / "backup")
    await desk.connect()
    await ground.put("/new", noise(3_000_000, 2))
    assert len(shards_of(desk.space)) == 2
    await desk.stop()
    assert (await ground.info("desk")).trouble is None

    shutil.rmtree(desk.space)
    shutil.copytree(tmp_path / "backup", desk.space)
    await desk.connect()
    info = await ground.info("desk")
    assert "1 shards were missing" in (info.trouble or "")
    assert await ground.hive.hive.keepers.repairer.run() == 1
    assert len(shards_of(desk.space)) == 2
    assert await ground.get("/new") == noise(3_000_000, 2)

    answer = await ground.client.patch("/api/agents/desk", json={"settled": True})
    assert answer.json()["trouble"] is None


async def test_coming_back_with_the_newest_disk_is_no_trouble(ground: Ground) -> None:
    desk = ground.lend("desk")
    await ground.joined("desk", desk)
    generations = []
    for _ in range(3):
        await desk.stop()
        await desk.connect()
        link = desk.home.links()[0]
        generations.append(desk.home.generation(link))
    assert generations == sorted(set(generations))
    info = await ground.info("desk")
    assert info.trouble is None
    assert info.generation == generations[-1]


async def test_a_copied_identity_is_refused_while_the_first_lives(ground: Ground, tmp_path: Path) -> None:
    desk = ground.lend("desk")
    await ground.joined("desk", desk)
    shutil.copytree(desk.space, tmp_path / "copy")
    copy = ground.lend("copy")
    link = copy.start()
    await copy.until(lambda: link.state == "refused")
    assert "copy" in link.error
    assert "revoke" in ((await ground.info("desk")).trouble or "")
    assert desk.link is not None
    assert desk.link.state == "connected"
    await ground.put("/a", noise(1_000_000))
    assert shards_of(desk.space)
    assert not shards_of(copy.space)


async def test_an_agent_that_has_roamed_takes_the_place_of_its_dead_link(
    ground: Ground, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("skep.durability.agents.session.ANSWER_S", 0.2)
    desk = ground.lend("desk")
    member = await ground.joined("desk", desk)
    wire_end = desk.wire._ends[0]
    wire_end.stalled = desk.wire._ends[1].stalled = True
    await desk.stop()
    assert ground.hive.hive.agents.connected(desk.home.links()[0].agent)  # the hive does not know yet
    await desk.connect()
    await ground.put("/a", noise(1_000_000))
    assert shards_of(desk.space)
    assert not member.down
    assert (await ground.info("desk")).trouble is None


async def test_another_hives_data_is_refused(ground: Ground, tmp_path: Path) -> None:
    desk = ground.lend("desk")
    member = await ground.joined("desk", desk)
    await desk.stop()
    marker = next(desk.space.glob("hives/*/store/skep-store.json"))
    marker.write_text(marker.read_text().replace(id_text(desk.home.links()[0].hive), id_text(bytes(15) + b"\1")))
    link = desk.start()
    await desk.until(lambda: link.state == "refused")
    assert "another hive" in link.error
    assert member.down


async def test_an_agent_whose_shards_are_gone_is_not_used(ground: Ground) -> None:
    desk = ground.lend("desk")
    member = await ground.joined("desk", desk)
    await ground.put("/a", noise(1_000_000))
    await desk.stop()
    shutil.rmtree(next(desk.space.glob("hives/*/store")))
    await desk.connect()
    await desk.until(lambda: "marker" in (member.error or ""))
    assert member.down
    await ground.put("/b", noise(1_000_000, 2))
    assert not shards_of(desk.space)


async def test_an_agent_that_leaves_is_drained_first(ground: Ground, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("skep.durability.agents.service.LOOK_S", 0.02)
    monkeypatch.setattr("skep.durability.agents.service.DRAIN_LOOK_S", 0.02)
    desk, attic = ground.lend("desk"), ground.lend("attic")
    await ground.joined("desk", desk)
    await ground.put("/a", noise(3_000_000))
    assert shards_of(desk.space)
    await ground.joined("attic", attic)
    assert desk.link is not None
    desk.link.leave()
    await desk.until(lambda: desk.link is not None and desk.link.shards_left == 1)
    assert ground.member("desk").state == "draining"
    assert desk.link.state == "connected"
    await ground.hive.hive.keepers.repairer.run()
    await desk.until(lambda: desk.link is not None and desk.link.state == "left")
    assert [member.name for member in ground.hive.hive.stores] == ["s0", "s1", "attic"]
    with pytest.raises(AgentNotFound):
        await ground.info("desk")
    assert len(shards_of(attic.space)) == 1
    assert await ground.get("/a") == noise(3_000_000)


async def test_a_revoked_agent_is_out_at_once_and_stays_out(ground: Ground) -> None:
    desk = ground.lend("desk")
    member = await ground.joined("desk", desk)
    await ground.put("/a", noise(1_000_000))
    assert (await ground.client.delete("/api/agents/desk")).status_code == 204
    await desk.until(lambda: desk.link is not None and desk.link.state == "refused")
    assert member.state == "lost"
    link = desk.link
    assert link is not None
    link.hurry()
    await desk.until(lambda: link.connections == 1 and link.state == "refused")
    assert await ground.get("/a") == noise(1_000_000)


async def test_a_full_agent_says_so_and_data_goes_elsewhere(ground: Ground) -> None:
    desk = ground.lend("desk")
    await desk.enrol("desk", share_bytes=1_000_000)
    await desk.connect()
    await desk.until(lambda: len(ground.hive.hive.stores) == 3)
    store = ground.member("desk").store
    assert store is not None
    await store.put("shards/a", [noise(900_000)])
    with pytest.raises(StoreFull):
        await store.put("shards/b", [noise(200_000)])
    await store.put("shards/a", [noise(950_000)])  # what it replaces makes room
    assert (await store.usage()).used_bytes == 950_000
    await store.delete("shards/a")
    await store.put("shards/b", [noise(200_000)])


async def test_outside_its_hours_an_agent_takes_nothing_new_and_gives_what_it_has(ground: Ground) -> None:
    desk = ground.lend("desk")
    member = await ground.joined("desk", desk)
    store = member.store
    assert store is not None
    await store.put("shards/a", [b"kept"])
    desk.resting = lambda: "only at night"
    await ground.hive.hive.stores.refresh_usage(member)
    assert member.free_bytes == 0
    await ground.put("/a", noise(2_000_000))
    assert [path.name for path in shards_of(desk.space)] == ["a"]
    assert await store.get("shards/a") == b"kept"


async def test_an_audit_is_answered_with_the_bytes_and_not_without(ground: Ground) -> None:
    desk = ground.lend("desk")
    member = await ground.joined("desk", desk)
    content, nonce, ranges = noise(3_000_000), bytes(range(32)), [(0, 1000), (2_500_000, 400_000), (2_999_999, 9)]
    assert member.store is not None
    await member.store.put("shards/a", [content])
    ask = auditable(member.store)
    assert ask is not None
    wanted = audit_digest(nonce, ranges, [content[offset : offset + length] for offset, length in ranges])
    assert await ask.audit("shards/a", nonce, ranges) == wanted
    (path,) = shards_of(desk.space)
    path.chmod(0o600)
    with path.open("r+b") as file:
        file.seek(2_600_000)
        file.write(b"\0\0\0\0")
    assert await ask.audit("shards/a", nonce, ranges) != wanted


async def test_only_who_was_invited_enrols_and_once(ground: Ground) -> None:
    await ground.lend("attic").enrol("attic")
    book = ground.hive.hive.agents.book
    made = await book.invite(ground.root, owner_id=None)
    for token in ("ska_" + "A" * 27, made.token[:-1] + "_", ""):
        answer = await ground.hive.anonymous.post("/api/agents/enrol", json=_enrolment(token))
        assert answer.status_code == 403, answer.text
    first = await ground.hive.anonymous.post("/api/agents/enrol", json=_enrolment(made.token))
    again = await ground.hive.anonymous.post("/api/agents/enrol", json=_enrolment(made.token))
    assert (first.status_code, again.status_code) == (201, 201)
    assert first.json() == again.json()  # the answer was lost, and asked for again
    other = await ground.hive.anonymous.post("/api/agents/enrol", json=_enrolment(made.token, seed=7))
    assert other.status_code == 403


async def test_users_see_and_revoke_their_own_and_invite_only_if_allowed(ground: Ground) -> None:
    ann, bob = await ground.hive.client("ann"), await ground.hive.client("bob")
    assert (await ann.post("/api/agents/invites", json={})).status_code == 403
    ground.hive.hive.agents.users_invite = True
    made = await ann.post("/api/agents/invites", json={})
    assert (await bob.get("/api/agents/invites")).json()["invites"] == []
    assert (await bob.delete(f"/api/agents/invites/{made.json()['id']}")).status_code == 404
    answer = await ground.hive.anonymous.post("/api/agents/enrol", json=_enrolment(made.json()["token"]))
    assert answer.status_code == 201
    assert [each["name"] for each in (await ann.get("/api/agents")).json()["agents"]] == ["desk"]
    assert (await bob.get("/api/agents")).json()["agents"] == []
    assert (await bob.delete("/api/agents/desk")).status_code == 404
    assert (await ann.patch("/api/agents/desk", json={"name": "attic"})).json()["name"] == "attic"
    assert (await ann.delete("/api/agents/attic")).status_code == 204


def _enrolment(token: str, seed: int = 1) -> dict[str, object]:
    import base64

    from skep.crypto.hashing import digest
    from skep.crypto.signatures import SigningKey
    from skep.stores.link.handshake import enrolment_text

    key = SigningKey(bytes([seed]) * 32)
    signature = key.sign(enrolment_text(digest(token.encode()), key.verify_key.raw))
    raw = {"public_key": key.verify_key.raw, "signature": signature}
    texts = {name: base64.urlsafe_b64encode(value).rstrip(b"=").decode() for name, value in raw.items()}
    return {"token": token, "name": "desk", **texts}


async def test_a_signature_by_another_key_enrols_nobody(ground: Ground) -> None:
    made = await ground.hive.hive.agents.book.invite(ground.root, owner_id=None)
    forged = {**_enrolment(made.token), "signature": _enrolment(made.token, seed=2)["signature"]}
    answer = await ground.hive.anonymous.post("/api/agents/enrol", json=forged)
    assert answer.status_code == 403
    assert len(await ground.hive.hive.agents.book.invites()) == 1
    assert Forbidden.code == answer.json()["code"]


async def test_somebody_between_with_another_certificate_is_found_out(ground: Ground) -> None:
    ground.hive.hive.agents.greeter._certificate = lambda: "a" * 64
    desk = ground.lend("desk")
    desk.wire.certificate = "b" * 64
    await desk.enrol("desk")
    link = desk.start()
    await desk.until(lambda: link.state == "refused")
    assert "certificate" in link.error
    assert not ground.hive.hive.agents.connected(link.link.agent)
    desk.wire.certificate = "a" * 64
    link.hurry()
    await desk.until(lambda: link.state == "connected")


async def test_another_hive_at_the_address_is_not_served(ground: Ground) -> None:
    desk = ground.lend("desk")
    await desk.enrol("desk")
    known = desk.home.links()[0]
    desk.home.change(msgspec.structs.replace(known, hive_key="A" * 43))
    link = desk.start()
    await desk.until(lambda: link.state == "refused")
    assert "not the hive" in link.error


async def test_a_key_that_was_not_enrolled_opens_nothing(ground: Ground) -> None:
    desk, attic = ground.lend("desk"), ground.lend("attic")
    await desk.enrol("desk")
    await attic.enrol("attic")
    (stolen,) = desk.space.glob("hives/*/key")
    (other,) = attic.space.glob("hives/*/key")
    stolen.write_bytes(other.read_bytes())
    link = desk.start()
    await desk.until(lambda: link.state == "refused")
    assert not ground.hive.hive.agents.connected(link.link.agent)


async def test_a_connected_agent_writes_down_new_generations(ground: Ground, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("skep.durability.agents.service.LOOK_S", 0.02)
    monkeypatch.setattr("skep.durability.agents.service.ADVANCE_S", 0.0)
    desk = ground.lend("desk")
    await ground.joined("desk", desk)
    link = desk.home.links()[0]
    before = desk.home.generation(link)
    await ground.put("/a", noise(1_000_000))
    await desk.until(lambda: desk.home.generation(link) == before + 1)
    await desk.stop()
    await desk.connect()
    assert (await ground.info("desk")).trouble is None


async def test_the_invitations_of_who_is_gone_are_worthless(ground: Ground) -> None:
    boss = await ground.hive.client("boss", is_admin=True)
    made = await boss.post("/api/agents/invites", json={})
    answer = await ground.client.delete("/api/auth/users/boss")
    assert answer.status_code in (200, 204), answer.text
    answer = await ground.hive.anonymous.post("/api/agents/enrol", json=_enrolment(made.json()["token"]))
    assert answer.status_code == 403
