"""Who may do what: people with keys, and a role for all stacks or for some.

    admin     everything: servers, people, hooks, every stack
    deploy    push, scale, roll back, set variables, stop
    read      look at it: ps, logs, releases, the names of variables

A key belongs to one person. Who has none of these for a stack is told that it does not exist.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Sequence
from typing import Literal, TypeAlias

import msgspec

from skep.base.errors import AlreadyExists, BadInput, Forbidden, InUse, NotFound
from skep.deploy.hq.state import StateStore, load, load_all, save

Role: TypeAlias = Literal["admin", "deploy", "read"]
ROLES: tuple[Role, ...] = ("read", "deploy", "admin")
EVERY = "*"
KEYS_MAX = 100
PEOPLE_MAX = 10_000
_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,39}")
_KEY_KINDS = re.compile(
    r"(?:ssh-ed25519|ssh-rsa|ecdsa-sha2-nistp(?:256|384|521)|sk-ssh-ed25519@openssh\.com"
    r"|sk-ecdsa-sha2-nistp256@openssh\.com) [A-Za-z0-9+/]+={0,2}"
)


class Person(msgspec.Struct, frozen=True, kw_only=True):
    """One who may speak to HQ. ``roles``: by stack, ``*`` for all; ``keys``: public keys, ``ssh-ed25519 AAAA…``."""

    name: str
    roles: dict[str, Role] = {}
    keys: tuple[str, ...] = ()

    @property
    def is_admin(self) -> bool:
        """Whether they may do everything."""
        return self.roles.get(EVERY) == "admin"

    def may(self, role: Role, stack: str) -> bool:
        """Whether they have this role, or a higher one, for a stack."""
        held = max((ROLES.index(self.roles[name]) for name in (EVERY, stack) if name in self.roles), default=-1)
        return held >= ROLES.index(role)


LOCAL_ADMIN = Person(name="(this machine)", roles={EVERY: "admin"})
"""Who can open the state folder of a running HQ can change it anyway."""


def checked_key(text: str) -> str:
    """A public key without its comment. Raises BadInput when it is none, or of a kind that is not taken any more."""
    found = _KEY_KINDS.match(" ".join(text.split()[:2]))
    if found is None or len(text) > 16_384:
        hint = "that is a private key: give the .pub file" if "PRIVATE KEY" in text else "write `ssh-ed25519 AAAA…`"
        raise BadInput(f"{text.strip()[:24]!r}… is no SSH public key: {hint}")
    import asyncssh

    try:
        asyncssh.import_public_key(found[0])
    except asyncssh.KeyImportError:
        raise BadInput(f"{text.strip()[:24]!r}… is a damaged SSH public key: copy it again") from None
    return found[0]


class People:
    """The people of a state store. ``by_key`` asks the store each time, so that a change holds from the next login."""

    def __init__(self, store: StateStore) -> None:
        self._store = store
        self._changing = asyncio.Lock()

    async def all(self) -> tuple[Person, ...]:
        """Everybody, by name."""
        return await load_all(self._store, "people/", Person)

    async def get(self, name: str) -> Person:
        """Raises NotFound."""
        found = await load(self._store, f"people/{name}", Person)
        if found is None:
            raise NotFound(f"HQ knows nobody called {name[:40]!r}: see `skep hq user ls`")
        return found

    async def by_key(self, key: str) -> Person | None:
        """Whose key this is; None: nobody's."""
        return next((person for person in await self.all() if key in person.keys), None)

    async def put(self, name: str, roles: dict[str, Role], keys: Sequence[str]) -> Person:
        """Add somebody, or give them these roles and further keys.

        Raises BadInput, AlreadyExists when a key is somebody else's, InUse when nobody would be an admin any more.
        """
        if not _NAME.fullmatch(name):
            raise BadInput(f"{name[:60]!r} is no name of a user: 1 to 40 of a-z, 0-9, dot, dash and underscore")
        if roles.keys() - {EVERY} and "admin" in (role for stack, role in roles.items() if stack != EVERY):
            raise BadInput("an admin is one for all stacks: leave the stack out, or give the role deploy")
        new = tuple(checked_key(key) for key in keys)
        async with self._changing:
            everybody = await self.all()
            known = next((person for person in everybody if person.name == name), Person(name=name))
            for other in everybody:
                if other.name != name and set(other.keys) & set(new):
                    raise AlreadyExists(f"that key is {other.name}'s: a key belongs to one person")
            person = Person(name=name, roles={**known.roles, **roles}, keys=tuple(dict.fromkeys([*known.keys, *new])))
            if not person.keys:
                raise BadInput(f"{name} needs a public key to come in with: give --key FILE")
            if len(person.keys) > KEYS_MAX or (len(everybody) >= PEOPLE_MAX and not known.keys):
                raise BadInput(f"HQ takes {PEOPLE_MAX} people and {KEYS_MAX} keys for each")
            if known.is_admin and not person.is_admin:
                _check_admin_left(everybody, name)
            await save(self._store, f"people/{name}", person)
        return person

    async def remove(self, name: str) -> None:
        """Forget somebody. Raises NotFound, InUse for the last admin."""
        async with self._changing:
            person = await self.get(name)
            if person.is_admin:
                _check_admin_left(await self.all(), name)
            await self._store.delete(f"people/{name}")


def _check_admin_left(everybody: Sequence[Person], without: str) -> None:
    if not any(person.is_admin for person in everybody if person.name != without):
        raise InUse(f"{without} is the only admin: make somebody else one first")


def check_role(person: Person, role: Role, stack: str) -> None:
    """Raises NotFound when the stack is none of theirs, Forbidden when they may look and not touch."""
    if person.may(role, stack):
        return
    if person.may("read", stack):
        raise Forbidden(f"{person.name} may look at {stack} and not change it: an admin can give the role deploy")
    raise NotFound(f"there is no stack {stack} for {person.name}: an admin can give a role for it")


def check_admin(person: Person) -> None:
    """Raises Forbidden."""
    if not person.is_admin:
        raise Forbidden(f"{person.name} is no admin of this HQ, and this is for admins")
