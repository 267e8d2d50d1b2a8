"""Who may do what at HQ."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import asyncssh
import pytest

from skep.base.errors import AlreadyExists, BadInput, Forbidden, InUse, NotFound
from skep.deploy.hq.people import People, Person, check_admin, check_role, checked_key
from skep.deploy.hq.sqlite_state import SqliteState


def new_key() -> str:
    return asyncssh.generate_private_key("ssh-ed25519").export_public_key().decode()


@pytest.fixture
async def people(tmp_path: Path) -> AsyncIterator[People]:
    state = SqliteState(tmp_path / "state.db")
    yield People(state)
    await state.close()


def test_a_role_for_one_stack_is_no_role_for_another() -> None:
    bob = Person(name="bob", roles={"shop": "deploy", "blog": "read"})
    check_role(bob, "deploy", "shop")
    check_role(bob, "read", "blog")
    with pytest.raises(Forbidden, match="look at blog"):
        check_role(bob, "deploy", "blog")
    with pytest.raises(NotFound, match="no stack bank"):
        check_role(bob, "read", "bank")
    with pytest.raises(Forbidden):
        check_admin(bob)


def test_the_higher_of_two_roles_counts() -> None:
    eve = Person(name="eve", roles={"*": "read", "shop": "deploy"})
    check_role(eve, "deploy", "shop")
    check_role(eve, "read", "blog")
    with pytest.raises(Forbidden):
        check_role(eve, "deploy", "blog")


async def test_a_key_is_one_persons(people: People) -> None:
    key = new_key()
    await people.put("ann", {"*": "admin"}, [key + " ann@laptop"])
    found = await people.by_key(key.strip())
    assert found is not None
    assert found.name == "ann"
    with pytest.raises(AlreadyExists, match="ann"):
        await people.put("bob", {"*": "read"}, [key])
    assert await people.by_key(new_key().strip()) is None


async def test_the_last_admin_stays(people: People) -> None:
    await people.put("ann", {"*": "admin"}, [new_key()])
    with pytest.raises(InUse):
        await people.remove("ann")
    with pytest.raises(InUse):
        await people.put("ann", {"*": "read"}, [])
    await people.put("bob", {"*": "admin"}, [new_key()])
    await people.remove("ann")
    assert [person.name for person in await people.all()] == ["bob"]
    with pytest.raises(NotFound):
        await people.remove("ann")


@pytest.mark.parametrize("name", ["", "Ann", "../x", "a" * 41, "ann\n"])
async def test_names_are_checked(people: People, name: str) -> None:
    with pytest.raises(BadInput):
        await people.put(name, {"*": "read"}, [new_key()])


async def test_nobody_without_a_key_and_no_admin_of_one_stack(people: People) -> None:
    with pytest.raises(BadInput, match="public key"):
        await people.put("ann", {"*": "admin"}, [])
    with pytest.raises(BadInput, match="all stacks"):
        await people.put("ann", {"shop": "admin"}, [new_key()])


@pytest.mark.parametrize(
    "text",
    [
        "",
        "hello",
        "-----BEGIN OPENSSH PRIVATE KEY-----\nabc",
        "ssh-ed25519 AAAA",
        "ssh-dss AAAAB3NzaC1kc3MAAACB",
        "ssh-ed25519",
    ],
)
def test_what_is_no_key_is_told(text: str) -> None:
    with pytest.raises(BadInput, match="public key"):
        checked_key(text)
