"""LOCK (RFC 4918 section 9.10): take a write lock, or with no body and an If header let one last longer."""

from __future__ import annotations

from typing import NamedTuple

from lxml import etree

from skep.base.errors import Locked, MalformedRequest, NameClash, NodeNotFound
from skep.frontends.webdav import if_header, multistatus, request_headers
from skep.frontends.webdav.exchange import Exchange
from skep.frontends.webdav.properties import DAV, lock_discovery, token_text
from skep.frontends.webdav.refusals import Refusal
from skep.frontends.webdav.roots import Place, place_of

DEFAULT_S = 3600.0
OWNER_CHARACTERS_MAX = 8192
_BEGIN = '<?xml version="1.0" encoding="utf-8"?>\n<d:prop xmlns:d="DAV:">'


class Asked(NamedTuple):
    """A lockinfo element."""

    is_shared: bool
    owner: str


async def handle(exchange: Exchange) -> None:
    """Answer with the lock: 200, or 201 where an empty file was made to be locked."""
    body = await exchange.xml()
    if exchange.url.is_list_of_spaces:
        raise Refusal(403, "The list of spaces cannot be locked.")
    place = await place_of(exchange.url, exchange.services.filesystem, exchange.principal)
    timeout_s = request_headers.timeout_s(exchange.headers, DEFAULT_S)
    if body is None:
        await _refresh(exchange, place, timeout_s)
    else:
        await _take(exchange, place, asked_of(body), timeout_s)


async def _take(exchange: Exchange, place: Place, asked: Asked, timeout_s: float) -> None:
    is_deep = request_headers.depth(exchange.headers, "infinity", ("0", "infinity")) == "infinity"
    try:
        lock, _, created = await exchange.services.filesystem.lock(
            exchange.principal,
            place.root.space_id,
            place.path,
            is_shared=asked.is_shared,
            is_deep=is_deep,
            owner=asked.owner,
            timeout_s=timeout_s,
        )
    except NodeNotFound:
        raise Refusal(409, f"The collection {place.parent!r} does not exist: make it first.") from None
    except NameClash as clash:
        raise Refusal(409, clash.message, code=clash.code) from None
    except Locked as locked:
        await _conflict(exchange, place, locked)
        return
    headers = [("lock-token", f"<{token_text(lock.token)}>")]
    body = f"{_BEGIN}{lock_discovery([lock], place.root)}</d:prop>\n"
    await exchange.answer(201 if created else 200, body, headers)


async def _conflict(exchange: Exchange, place: Place, locked: Locked) -> None:
    """Say whose lock is in the way: of a member below as section 9.10.9 shows it."""
    path = str(locked.details.get("path", place.path))
    own = place.root.href(place.path, is_directory=exchange.url.is_collection)
    other = place.root.href(path, is_directory=False)
    if path != place.path and path.startswith(place.path.rstrip("/") + "/"):
        member = multistatus.status_response(other, 423, condition="no-conflicting-lock", about=[other])
        body = multistatus.BEGIN + member + multistatus.status_response(own, 424) + multistatus.END
        await exchange.answer(207, body)
        return
    raise Refusal(423, locked.message, condition="no-conflicting-lock", hrefs=[other], code=locked.code)


async def _refresh(exchange: Exchange, place: Place, timeout_s: float) -> None:
    text = exchange.headers.get("if")
    tokens = if_header.submitted(if_header.parse_if(text)) if text is not None else frozenset()
    if len(tokens) != 1:
        raise MalformedRequest("To refresh a lock, name it alone in the header If; to take one, send a lockinfo.")
    (token,) = tokens
    lock = await exchange.services.filesystem.refresh_lock(
        exchange.principal, place.root.space_id, place.path, token, timeout_s
    )
    await exchange.answer(200, f"{_BEGIN}{lock_discovery([lock], place.root)}</d:prop>\n")


def asked_of(root: etree._Element) -> Asked:
    """What a lockinfo element asks for. Raises MalformedRequest; Refusal 422 for a kind of lock that is not there."""
    if root.tag != f"{DAV}lockinfo":
        raise MalformedRequest("The body of a LOCK is a lockinfo element of DAV:.")
    scope, kind = root.find(f"{DAV}lockscope"), root.find(f"{DAV}locktype")
    if scope is None or kind is None:
        raise MalformedRequest("A lockinfo element has a lockscope and a locktype.")
    scopes = [child.tag for child in scope]
    if scopes not in ([f"{DAV}exclusive"], [f"{DAV}shared"]) or [child.tag for child in kind] != [f"{DAV}write"]:
        raise Refusal(422, "There are exclusive and shared write locks, and no others.")
    return Asked(scopes == [f"{DAV}shared"], _owner(root.find(f"{DAV}owner")))


def _owner(element: etree._Element | None) -> str:
    """How the client calls itself, to be shown again as it came, under our prefix."""
    if element is None:
        return ""
    text = str(etree.tostring(element, encoding="unicode", with_tail=False))
    if len(text) > OWNER_CHARACTERS_MAX:
        raise MalformedRequest(f"The owner of a lock has at most {OWNER_CHARACTERS_MAX} characters.")
    return text
