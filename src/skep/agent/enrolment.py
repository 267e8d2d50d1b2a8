"""How an agent becomes known to a hive: an invitation's token for a key pair that never leaves this computer."""

from __future__ import annotations

import base64
from urllib.parse import urlsplit

import httpx
import msgspec

from skep.agent.home import AgentHome, HiveLink
from skep.base.errors import SkepError, Unavailable
from skep.client.problems import from_response
from skep.crypto.hashing import digest
from skep.stores.link.handshake import enrolment_text

TIMEOUT_S = 30.0
_LOOPBACK = frozenset({"127.0.0.1", "localhost", "::1"})


class _Enrolled(msgspec.Struct, frozen=True):
    agent_id: str
    hive_id: str
    hive_key: str
    name: str


def enrol(home: AgentHome, url: str, token: str, name: str, share_bytes: int | None) -> HiveLink:
    """Enrol at a hive and remember it. Raises what the hive answers, and Unavailable when it does not."""
    key = home.enrolling_key()
    public = key.verify_key.raw
    signature = key.sign(enrolment_text(digest(token.encode()), public))
    send = {
        "token": token,
        "public_key": _text(public),
        "signature": _text(signature),
        "name": name,
        "capacity_bytes": share_bytes,
    }
    try:
        answer = httpx.post(f"{url}/api/agents/enrol", json=send, timeout=TIMEOUT_S)
    except httpx.HTTPError as error:
        raise Unavailable(f"{url} does not answer: {error}") from None
    if answer.status_code != 201:
        raise from_response(answer.status_code, answer.headers.get("content-type", ""), answer.content)
    try:
        told = msgspec.json.decode(answer.content, type=_Enrolled)
        link = HiveLink(
            url=url,
            hive_id=told.hive_id,
            hive_key=told.hive_key,
            agent_id=told.agent_id,
            name=told.name,
            share_bytes=share_bytes,
        )
        _ = link.hive, link.agent, link.hive_key_raw
    except (msgspec.DecodeError, SkepError, ValueError):
        raise Unavailable(f"{url} answers like no hive that takes agents") from None
    home.keep(link, key)
    return link


def is_plain(url: str) -> bool:
    """Whether what goes to this address can be read by others on the way."""
    parts = urlsplit(url)
    return parts.scheme == "http" and parts.hostname not in _LOOPBACK


def _text(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()
