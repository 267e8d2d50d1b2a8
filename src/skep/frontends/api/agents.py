"""Agents: computers that lend disk. Invite them, let them enrol, see, rename and revoke them.

Administrators see and change all; whoever owns an agent sees and changes their own. ``{agent}`` is a name or an id.
"""

from __future__ import annotations

import base64
import binascii
from typing import Annotated

import msgspec
from msgspec import Meta

from skep.base.errors import AgentNotFound, Forbidden, MalformedRequest, NotFound
from skep.base.ids import Id, id_text
from skep.durability.agents import AgentInfo, AgentInvite, NewAgent
from skep.frontends.api.auth_records import id_or_name
from skep.frontends.api.call import Call
from skep.frontends.api.operation import Operation
from skep.frontends.common.id_text import text_or_none

TAG = "agents"
Key = Annotated[str, Meta(max_length=128)]


class Agent(msgspec.Struct, frozen=True):
    """A computer that lends disk. ``trouble``: what somebody should look at; ``store``: the name of the store it is."""

    id: str
    name: str
    owner_id: str | None
    zone: str
    state: str
    """active, or leaving: it is being drained."""
    connected: bool
    store: str | None
    capacity_bytes: int | None
    used_bytes: int | None
    trouble: str | None
    created_us: int
    seen_us: int | None


class AgentList(msgspec.Struct, frozen=True):
    """Those that the caller may see, oldest first."""

    agents: list[Agent]


class AgentChange(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``name``: another name; ``settled``: forget the trouble that was noted."""

    name: str | None = None
    settled: bool = False


class AgentInviteRecord(msgspec.Struct, frozen=True):
    """The right to enrol agents. ``token`` is only in the answer that made it."""

    id: str
    created_by: str
    owner_id: str | None
    name: str
    zone: str
    joins: bool
    uses_left: int
    created_us: int
    expires_us: int
    token: str | None = None


class AgentInvites(msgspec.Struct, frozen=True):
    """Those that can still be used, oldest first."""

    invites: list[AgentInviteRecord]


class NewAgentInvite(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``joins``: become a store at the first connection. ``mine``: the store is the caller's own, not the hive's."""

    name: str = ""
    zone: str = ""
    joins: bool = True
    mine: bool = False
    uses: int = 1
    expires_in_s: float | None = None


class Enrolment(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``public_key``: Ed25519, ``signature``: over the enrolment text (docs/formats/agent-link.md); both base64url."""

    token: Annotated[str, Meta(max_length=128)]
    public_key: Key
    signature: Key
    name: Annotated[str, Meta(max_length=64)]
    capacity_bytes: Annotated[int, Meta(ge=1, le=1 << 62)] | None = None


class Enrolled(msgspec.Struct, frozen=True):
    """What an agent remembers of the hive that took it in."""

    agent_id: str
    hive_id: str
    hive_key: str
    name: str


async def invite_agent(call: Call, body: NewAgentInvite) -> AgentInviteRecord:
    """Make an invitation for an agent; its token is in this answer only."""
    agents, who = call.services.agents, call.principal
    if not who.acts_as_admin and not agents.users_invite:
        raise Forbidden("Only administrators invite agents here: ask one, or have them set agents.users_invite.")
    made = await agents.book.invite(
        who.user_id,
        owner_id=who.user_id if body.mine or not who.acts_as_admin else None,
        name=body.name,
        zone=body.zone,
        joins=body.joins,
        uses=body.uses,
        expires_in_s=body.expires_in_s,
    )
    return _invite_record(made.info, made.token)


async def list_agent_invites(call: Call) -> AgentInvites:
    """List the invitations for agents that can still be used: all to administrators, else the caller's own."""
    found = await call.services.agents.book.invites()
    return AgentInvites([_invite_record(each) for each in found if _may_see(call, each.created_by)])


async def revoke_agent_invite(call: Call) -> None:
    """Make an invitation for agents useless."""
    invite_id = call.id("invite_id", NotFound)
    found = await call.services.agents.book.invites()
    if not any(each.id == invite_id and _may_see(call, each.created_by) for each in found):
        raise NotFound("There is no such invitation: it may have been used up or revoked.")
    await call.services.agents.book.revoke_invite(invite_id)


async def enrol_agent(call: Call, body: Enrolment) -> Enrolled:
    """Enrol an agent with the token of an invitation and the public key that it will prove itself by."""
    agents = call.services.agents
    new = NewAgent(body.token, _raw(body.public_key), _raw(body.signature), body.name, body.capacity_bytes)
    info = await agents.book.enrol(new)
    return Enrolled(
        agent_id=id_text(info.id),
        hive_id=id_text(agents.greeter.hive_id),
        hive_key=base64.urlsafe_b64encode(agents.greeter.public_key).rstrip(b"=").decode(),
        name=info.name,
    )


async def list_agents(call: Call) -> AgentList:
    """List agents: all to administrators, else the caller's own."""
    found = await call.services.agents.book.agents()
    return AgentList([_record(call, info) for info in found if _may_see(call, info.owner_id)])


async def get_agent(call: Call) -> Agent:
    """Show an agent."""
    return _record(call, await _find(call))


async def change_agent(call: Call, body: AgentChange) -> Agent:
    """Rename an agent, or say that its trouble is settled."""
    info = await _find(call)
    book = call.services.agents.book
    if body.name is not None:
        await book.rename(info.id, body.name)
    if body.settled:
        await book.set_trouble(info.id, None)
    return _record(call, await book.agent(info.id))


async def revoke_agent(call: Call) -> None:
    """Make an agent's key worthless and give up its store: the shards on it are rebuilt elsewhere."""
    await call.services.agents.revoke(await _find(call))


def _may_see(call: Call, owner_id: Id | None) -> bool:
    return call.principal.acts_as_admin or owner_id == call.principal.user_id


async def _find(call: Call) -> AgentInfo:
    text = call.path["agent"]
    wanted = id_or_name(text)
    book = call.services.agents.book
    info = await (book.agent(wanted) if isinstance(wanted, bytes) else book.named(wanted))
    if not _may_see(call, info.owner_id):
        raise AgentNotFound(f"no agent is named {text[:64]!r}: `skep agent ls` shows them all")
    return info


def _record(call: Call, info: AgentInfo) -> Agent:
    agents = call.services.agents
    member = agents.store_of(info)
    return Agent(
        id=id_text(info.id),
        name=info.name,
        owner_id=text_or_none(info.owner_id),
        zone=info.zone,
        state=info.state,
        connected=agents.connected(info.id),
        store=None if member is None else member.name,
        capacity_bytes=info.capacity_bytes,
        used_bytes=None if member is None else member.used_bytes,
        trouble=info.trouble,
        created_us=info.created_us,
        seen_us=info.seen_us,
    )


def _invite_record(info: AgentInvite, token: str | None = None) -> AgentInviteRecord:
    return AgentInviteRecord(
        id_text(info.id), id_text(info.created_by), text_or_none(info.owner_id), info.name, info.zone, info.joins,
        info.uses_left, info.created_us, info.expires_us, token,
    )  # fmt: skip


def _raw(text: str) -> bytes:
    try:
        return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
    except (binascii.Error, ValueError):
        raise MalformedRequest("A key or signature is not base64url.") from None


_AGENTS, _INVITES = "/api/agents", "/api/agents/invites"
OPERATIONS = (
    Operation("GET", _INVITES, list_agent_invites, "account", TAG),
    Operation("POST", _INVITES, invite_agent, "account", TAG, status=201),
    Operation("DELETE", f"{_INVITES}/{{invite_id}}", revoke_agent_invite, "account", TAG, status=204),
    Operation("POST", f"{_AGENTS}/enrol", enrol_agent, None, TAG, status=201),
    Operation("GET", _AGENTS, list_agents, "account", TAG),
    Operation("GET", f"{_AGENTS}/{{agent}}", get_agent, "account", TAG),
    Operation("PATCH", f"{_AGENTS}/{{agent}}", change_agent, "account", TAG),
    Operation("DELETE", f"{_AGENTS}/{{agent}}", revoke_agent, "account", TAG, status=204),
)
