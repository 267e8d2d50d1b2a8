"""The JSON of users, groups and credentials."""

from __future__ import annotations

import msgspec

from skep.auth import AppPasswordInfo, GroupDetail, GroupInfo, InviteInfo, SessionInfo, SshKeyInfo, TokenPair, UserInfo
from skep.base.errors import SkepError
from skep.base.ids import Id, parse_id
from skep.frontends.common.id_text import text_of, text_or_none


class Tokens(msgspec.Struct, frozen=True):
    """What a login gives: a short-lived access token, and a refresh token that is used once."""

    access_token: str
    token_type: str
    expires_in_s: int
    refresh_token: str
    refresh_expires_in_s: int


class User(msgspec.Struct, frozen=True):
    """Somebody who may act."""

    id: str
    name: str
    email: str
    full_name: str
    first_name: str
    last_name: str
    is_admin: bool
    is_active: bool
    created_us: int


class Group(msgspec.Struct, frozen=True):
    """A named set of users."""

    id: str
    name: str
    created_us: int


class Member(msgspec.Struct, frozen=True):
    """One user's place in a group."""

    user_id: str
    name: str
    role: str
    """``member`` or ``manager``."""


class GroupWithMembers(msgspec.Struct, frozen=True):
    """A group and who is in it."""

    id: str
    name: str
    created_us: int
    members: list[Member]


class Session(msgspec.Struct, frozen=True):
    """A login that is still good."""

    id: str
    agent: str
    scopes: list[str]
    created_us: int
    last_used_us: int
    expires_us: int
    is_current: bool


class AppPassword(msgspec.Struct, frozen=True, omit_defaults=True):
    """A password of one program. ``secret`` is shown once, when it is made."""

    id: str
    name: str
    scopes: list[str]
    created_us: int
    last_used_us: int | None
    expires_us: int | None
    secret: str | None = None


class Invite(msgspec.Struct, frozen=True, omit_defaults=True):
    """A right to register. ``token`` is shown once, when it is made."""

    id: str
    created_by: str
    group_id: str | None
    is_admin: bool
    uses_left: int
    created_us: int
    expires_us: int
    token: str | None = None


def id_or_name(text: str) -> Id | str:
    """A user or group as a URL names it: by id, or by name."""
    try:
        return parse_id(text)
    except SkepError:
        return text


def tokens_record(pair: TokenPair) -> Tokens:
    """The JSON of a token pair."""
    return Tokens(pair.access_token, "Bearer", pair.expires_in_s, pair.refresh_token, pair.refresh_expires_in_s)


def user_record(user: UserInfo) -> User:
    """The JSON of a user."""
    return User(
        id=text_of(user.id),
        name=user.name,
        email=user.email,
        full_name=user.full_name,
        first_name=user.first_name,
        last_name=user.last_name,
        is_admin=user.is_admin,
        is_active=user.state == "active",
        created_us=user.created_us,
    )


def group_record(group: GroupInfo) -> Group:
    """The JSON of a group."""
    return Group(text_of(group.id), group.name, group.created_us)


def members_record(detail: GroupDetail) -> GroupWithMembers:
    """The JSON of a group with its members."""
    group = detail.group
    members = [Member(text_of(member.user_id), member.user_name, member.role) for member in detail.members]
    return GroupWithMembers(text_of(group.id), group.name, group.created_us, members)


def session_record(session: SessionInfo) -> Session:
    """The JSON of a session."""
    return Session(
        id=text_of(session.id),
        agent=session.agent,
        scopes=sorted(session.scopes),
        created_us=session.created_us,
        last_used_us=session.last_used_us,
        expires_us=session.expires_us,
        is_current=session.is_current,
    )


def app_password_record(info: AppPasswordInfo, secret: str | None = None) -> AppPassword:
    """The JSON of an app password."""
    return AppPassword(
        id=text_of(info.id),
        name=info.name,
        scopes=sorted(info.scopes),
        created_us=info.created_us,
        last_used_us=info.last_used_us,
        expires_us=info.expires_us,
        secret=secret,
    )


def invite_record(info: InviteInfo, token: str | None = None) -> Invite:
    """The JSON of an invite."""
    return Invite(
        id=text_of(info.id),
        created_by=text_of(info.created_by),
        group_id=text_or_none(info.group_id),
        is_admin=info.is_admin,
        uses_left=info.uses_left,
        created_us=info.created_us,
        expires_us=info.expires_us,
        token=token,
    )


class SshKey(msgspec.Struct, frozen=True):
    """A public key that may act for its user over SFTP."""

    id: str
    name: str
    kind: str
    fingerprint: str
    scopes: list[str]
    created_us: int
    last_used_us: int | None


def ssh_key_record(info: SshKeyInfo) -> SshKey:
    """An SSH key in JSON."""
    scopes = sorted(info.scopes)
    return SshKey(text_of(info.id), info.name, info.kind, info.fingerprint, scopes, info.created_us, info.last_used_us)
