"""PROPPATCH (RFC 4918 section 9.2): set and remove properties, in order, all or none of them.

Dead properties are kept as the XML that they came as. Of live ones only times can be set, under the names that clients
use for it: getlastmodified (RFC 1123), ownCloud's lastmodified (seconds since 1970), Windows' Win32LastModifiedTime.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import NamedTuple

from lxml import etree

from skep.base.errors import InvalidName, LimitReached, MalformedRequest
from skep.frontends.common.httpdate import parse_http_date
from skep.frontends.webdav import conditions, multistatus
from skep.frontends.webdav.exchange import Exchange
from skep.frontends.webdav.properties import DAV, LIVE, MICROSOFT, OWNCLOUD
from skep.frontends.webdav.refusals import Refusal
from skep.frontends.webdav.roots import place_of

CHANGES_MAX = 20_000
_LANGUAGE = "{http://www.w3.org/XML/1998/namespace}lang"
_SECONDS = re.compile(r"-?\d{1,12}\Z", re.ASCII)


def _seconds_us(text: str) -> int | None:
    return int(text) * 1_000_000 if _SECONDS.match(text) else None


SETTABLE: Mapping[str, Callable[[str], int | None]] = {
    f"{DAV}getlastmodified": parse_http_date,
    f"{DAV}lastmodified": _seconds_us,
    f"{MICROSOFT}Win32LastModifiedTime": parse_http_date,
}
"""Live properties that can be set, and how their text becomes a time in microseconds."""


COMPUTED = frozenset({f"{OWNCLOUD}checksums"})
"""Live properties that clients set beside a time, and that are known here better: taken, and not believed."""


class Patch(NamedTuple):
    """A whole propertyupdate."""

    names: list[str]
    """Of all properties that it names, in order, each once."""
    changes: list[tuple[str, str | None]]
    modified_us: int | None
    refused: dict[str, tuple[int, str, str]]
    """Status, condition and reason by name, of what cannot be done."""


async def handle(exchange: Exchange) -> None:
    """Answer with a multistatus of one response."""
    body = await exchange.xml()
    if body is None or body.tag != f"{DAV}propertyupdate":
        raise MalformedRequest("The body of a PROPPATCH is a propertyupdate element of DAV:.")
    if exchange.url.is_list_of_spaces:
        raise Refusal(403, "The list of spaces has no properties of its own.")
    filesystem, principal = exchange.services.filesystem, exchange.principal
    place = await place_of(exchange.url, filesystem, principal)
    node = await filesystem.by_path(principal, place.root.space_id, place.path)
    patch = patch_of(body)
    href = place.root.href(place.path, is_directory=node.is_directory)
    if patch.refused:
        await exchange.answer(207, _refused(href, patch))
        return
    try:
        await filesystem.patch_properties(
            principal, node.id, patch.changes, modified_us=patch.modified_us, conditions=conditions.at_commit(exchange)
        )
    except (LimitReached, InvalidName) as error:
        status = 403 if isinstance(error, InvalidName) else 507
        await exchange.answer(207, multistatus.patched(href, {status: patch.names}, why=error.message))
        return
    await exchange.answer(207, multistatus.patched(href, {200: patch.names}))


def _refused(href: str, patch: Patch) -> str:
    outcomes: dict[int, list[str]] = {}
    for name in patch.names:
        status = patch.refused[name][0] if name in patch.refused else 424
        outcomes.setdefault(status, []).append(name)
    _, condition, why = next(iter(patch.refused.values()))
    return multistatus.patched(href, outcomes, condition=condition, why=why)


def patch_of(root: etree._Element) -> Patch:
    """What a propertyupdate asks for. Raises MalformedRequest."""
    patch = Patch([], [], None, {})
    for step in root:
        if step.tag not in (f"{DAV}set", f"{DAV}remove"):
            continue  # section 17: what is not known is passed over
        for holder in step:
            if holder.tag != f"{DAV}prop":
                continue
            for element in holder:
                patch = _with(patch, element, is_set=step.tag == f"{DAV}set")
    if not patch.names:
        raise MalformedRequest("The propertyupdate names no property.")
    if len(patch.changes) > CHANGES_MAX:
        raise MalformedRequest(f"{len(patch.changes)} properties are too many for one request.")
    return patch._replace(names=list(dict.fromkeys(patch.names)))


def _with(patch: Patch, element: etree._Element, *, is_set: bool) -> Patch:
    name = str(element.tag)
    patch.names.append(name)
    if name in SETTABLE and is_set:
        modified_us = SETTABLE[name]((element.text or "").strip())
        if modified_us is None:
            patch.refused[name] = (409, "", f"{(element.text or '')[:64]!r} is not a time as this property takes it.")
        return patch._replace(modified_us=modified_us)
    if name in COMPUTED and is_set:
        return patch
    if name in LIVE or name in SETTABLE:
        patch.refused[name] = (403, "cannot-modify-protected-property", "This property is the server's own.")
    else:
        patch.changes.append((name, _kept(element) if is_set else None))
    return patch


def _kept(element: etree._Element) -> str:
    """The element as it is kept: whole, with the language that holds for it (section 4.3)."""
    language = next((above.get(_LANGUAGE) for above in element.iterancestors() if above.get(_LANGUAGE)), None)
    if language is not None and element.get(_LANGUAGE) is None:
        element.set(_LANGUAGE, language)
    return str(etree.tostring(element, encoding="unicode", with_tail=False))
