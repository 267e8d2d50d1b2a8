"""What auth hands out: principals, token pairs and the public facts of its rows, all frozen."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

from skep.base.errors import Forbidden
from skep.base.ids import Id

PrincipalKind: TypeAlias = Literal["password", "token", "app", "ssh", "link", "internal"]
UserState: TypeAlias = Literal["active", "suspended"]
Role: TypeAlias = Literal["member", "manager"]


@dataclass(frozen=True, slots=True)
class Principal:
    """Whoever a request acts as.

    ``scopes`` are the effective ones: what the credential was given, within what the user may
    have. ``session_id`` is set where a session's token was shown (kind ``token``). ``lock_tokens`` are
    those of the locks that the request says it knows of.
    """

    user_id: Id
    name: str
    is_admin: bool
    groups: frozenset[Id]
    scopes: frozenset[str]
    kind: PrincipalKind
    session_id: Id | None = None
    lock_tokens: frozenset[Id] = frozenset()
    withheld: tuple[tuple[str, str], ...] = ()
    """Scopes that the hive withholds until its user does something, and what that is."""

    def require(self, scope: str) -> None:
        """Return if the principal has the scope, else raise Forbidden."""
        if scope not in self.scopes:
            for name, why in self.withheld:
                if name == scope:
                    raise Forbidden(why, scope=scope, reason="demanded")
            raise Forbidden(
                f"this credential of {self.name!r} lacks the scope {scope!r}: use one that was given it", scope=scope
            )

    @property
    def acts_as_admin(self) -> bool:
        """Whether this is an administrator with a credential that may administer."""
        return self.is_admin and "admin" in self.scopes

    def require_admin(self) -> None:
        """Return if the principal is an administrator acting as one, else raise Forbidden."""
        if not self.is_admin:
            raise Forbidden(f"{self.name!r} is not an administrator: ask one to do this")
        self.require("admin")


@dataclass(frozen=True, slots=True)
class TokenPair:
    """What a login or a refresh answers. Both tokens are secrets."""

    access_token: str
    expires_in_s: int
    refresh_token: str
    refresh_expires_in_s: int

    def __repr__(self) -> str:
        return f"TokenPair(<secret>, expires_in_s={self.expires_in_s})"


@dataclass(frozen=True, slots=True)
class UserInfo:
    """A user as others may see it; ``email`` is empty when there is none."""

    id: Id
    name: str
    email: str
    full_name: str
    is_admin: bool
    state: UserState
    created_us: int

    @property
    def first_name(self) -> str:
        """The full name up to its first space."""
        return self.full_name.partition(" ")[0]

    @property
    def last_name(self) -> str:
        """The full name after its first space, or nothing."""
        return self.full_name.partition(" ")[2]


@dataclass(frozen=True, slots=True)
class GroupInfo:
    """A named set of users."""

    id: Id
    name: str
    created_us: int


@dataclass(frozen=True, slots=True)
class MemberInfo:
    """One user's place in one group."""

    user_id: Id
    user_name: str
    role: Role


@dataclass(frozen=True, slots=True)
class GroupDetail:
    """A group and who is in it, sorted by user name."""

    group: GroupInfo
    members: tuple[MemberInfo, ...]


@dataclass(frozen=True, slots=True)
class AppPasswordInfo:
    """An app password without its secret."""

    id: Id
    name: str
    scopes: frozenset[str]
    created_us: int
    last_used_us: int | None
    expires_us: int | None


@dataclass(frozen=True, slots=True)
class CreatedAppPassword:
    """A new app password; ``secret`` is shown once and kept nowhere."""

    info: AppPasswordInfo
    secret: str

    def __repr__(self) -> str:
        return f"CreatedAppPassword({self.info!r}, <secret>)"


@dataclass(frozen=True, slots=True)
class SshKeyInfo:
    """A public key that may act for its user."""

    id: Id
    name: str
    kind: str
    """Its type in SSH's words: ``ssh-ed25519``."""
    fingerprint: str
    """As ``ssh-keygen -l`` shows it: ``SHA256:...``."""
    scopes: frozenset[str]
    created_us: int
    last_used_us: int | None


EVERY_SPACE: Id = bytes(16)
"""In an access key: not one space, but every space and share that its user sees."""


@dataclass(frozen=True, slots=True)
class AccessKeyInfo:
    """An access key without its secret. None: the user's own space; every bucket; every key; for ever."""

    id: Id
    access_key: str
    name: str
    space_id: Id | None
    scopes: frozenset[str]
    bucket: str | None
    prefix: str | None
    created_us: int
    last_used_us: int | None
    expires_us: int | None


@dataclass(frozen=True, slots=True)
class CreatedAccessKey:
    """A new access key; ``secret`` is shown once."""

    info: AccessKeyInfo
    secret: str

    def __repr__(self) -> str:
        return f"CreatedAccessKey({self.info!r}, <secret>)"


@dataclass(frozen=True, slots=True)
class InviteInfo:
    """An invite without its token."""

    id: Id
    created_by: Id
    group_id: Id | None
    is_admin: bool
    uses_left: int
    created_us: int
    expires_us: int


@dataclass(frozen=True, slots=True)
class CreatedInvite:
    """A new invite; ``token`` is shown once and kept nowhere."""

    info: InviteInfo
    token: str

    def __repr__(self) -> str:
        return f"CreatedInvite({self.info!r}, <secret>)"


@dataclass(frozen=True, slots=True)
class SessionInfo:
    """One login that is still good; ``is_current`` marks the one that asks."""

    id: Id
    agent: str
    scopes: frozenset[str]
    created_us: int
    last_used_us: int
    expires_us: int
    is_current: bool
