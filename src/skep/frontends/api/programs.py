"""Programs to which the hive vouches for people (OAuth 2.0, OpenID Connect)."""

from __future__ import annotations

import msgspec

from skep.auth.clients import ClientInfo
from skep.frontends.api.call import Call
from skep.frontends.api.operation import Operation

TAG = "identity providers"


class Program(msgspec.Struct, frozen=True, omit_defaults=True):
    """A program; ``secret`` is told once, when it is registered."""

    id: str
    name: str
    is_public: bool
    redirect_uris: list[str]
    scopes: list[str]
    created_us: int
    secret: str | None = None


class Programs(msgspec.Struct, frozen=True):
    """By name."""

    programs: list[Program]


class NewProgram(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``is_public``: it cannot keep a secret. ``scopes``: the most that it may ask for."""

    name: str
    redirect_uris: list[str]
    scopes: tuple[str, ...] = ("openid", "profile", "email")
    is_public: bool = False


def program_record(info: ClientInfo, secret: str | None = None) -> Program:
    """The JSON of a program."""
    uris, scopes = list(info.redirect_uris), sorted(info.scopes)
    return Program(info.id, info.name, info.is_public, uris, scopes, info.created_us, secret)


async def list_programs(call: Call) -> Programs:
    """List the programs."""
    return Programs([program_record(info) for info in await call.services.auth.list_clients(call.principal)])


async def add_program(call: Call, body: NewProgram) -> Program:
    """Register a program."""
    info, secret = await call.services.auth.add_client(
        call.principal, body.name, body.redirect_uris, frozenset(body.scopes), public=body.is_public
    )
    return program_record(info, secret)


async def remove_program(call: Call) -> None:
    """Forget a program; its sessions end."""
    await call.services.auth.remove_client(call.principal, call.path["client_id"])


OPERATIONS = (
    Operation("GET", "/api/admin/programs", list_programs, "admin", TAG, admin=True),
    Operation("POST", "/api/admin/programs", add_program, "admin", TAG, admin=True, status=201),
    Operation("DELETE", "/api/admin/programs/{client_id}", remove_program, "admin", TAG, admin=True, status=204),
)
