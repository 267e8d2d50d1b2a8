"""Access keys of S3 clients: ``/api/auth/access-keys``."""

from __future__ import annotations

import msgspec

from skep.auth import AccessKeyInfo
from skep.auth.records import EVERY_SPACE
from skep.frontends.api.call import Call
from skep.frontends.api.files_query import space_id
from skep.frontends.api.operation import Operation
from skep.frontends.common.id_text import text_or_none

TAG = "account"


class AccessKey(msgspec.Struct, frozen=True, omit_defaults=True):
    """``space``: unless it is one's own; ``bucket`` and ``prefix``: what it is bound to; ``secret``: of a new one."""

    access_key: str
    name: str
    scopes: list[str]
    created_us: int
    last_used_us: int | None = None
    expires_us: int | None = None
    space: str | None = None
    bucket: str | None = None
    prefix: str | None = None
    secret: str | None = None


class NewAccessKey(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``scopes``: files:read and files:write unless given; without ``space`` it is for one's own."""

    name: str
    scopes: tuple[str, ...] = ("files:read", "files:write")
    space: str | None = None
    bucket: str | None = None
    prefix: str | None = None
    expires_in_s: float | None = None


class AccessKeys(msgspec.Struct, frozen=True):
    """Oldest first."""

    access_keys: list[AccessKey]


async def list_access_keys(call: Call) -> AccessKeys:
    """List one's own access keys, without their secrets."""
    found = await call.services.auth.list_access_keys(call.principal)
    return AccessKeys([access_key_record(info) for info in found])


async def create_access_key(call: Call, body: NewAccessKey) -> AccessKey:
    """Make an access key for an S3 client; its secret is in this answer only.

    It may be bound to a group's space or a share, to one bucket, and to a prefix in that; ``space`` "all" is every
    space and share that one sees.
    """
    space = EVERY_SPACE if body.space == "all" else space_id(body.space)
    if space not in (None, EVERY_SPACE):
        await call.services.filesystem.space(call.principal, space)
    made = await call.services.auth.create_access_key(
        call.principal,
        body.name,
        scopes=body.scopes,
        space_id=space,
        bucket=body.bucket,
        prefix=body.prefix,
        expires_in_s=body.expires_in_s,
    )
    return access_key_record(made.info, made.secret)


async def revoke_access_key(call: Call) -> None:
    """Make an access key useless at once."""
    await call.services.auth.revoke_access_key(call.principal, call.path["access_key"])


def access_key_record(info: AccessKeyInfo, secret: str | None = None) -> AccessKey:
    """The JSON of an access key."""
    return AccessKey(
        access_key=info.access_key,
        name=info.name,
        scopes=sorted(info.scopes),
        created_us=info.created_us,
        last_used_us=info.last_used_us,
        expires_us=info.expires_us,
        space="all" if info.space_id == EVERY_SPACE else text_or_none(info.space_id),
        bucket=info.bucket,
        prefix=info.prefix,
        secret=secret,
    )


OPERATIONS = (
    Operation("GET", "/api/auth/access-keys", list_access_keys, "account", TAG),
    Operation("POST", "/api/auth/access-keys", create_access_key, "account", TAG, status=201),
    Operation("DELETE", "/api/auth/access-keys/{access_key}", revoke_access_key, "account", TAG, status=204),
)
