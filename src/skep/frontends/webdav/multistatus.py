"""The multistatus answer (RFC 4918 section 13), written as text: building a tree for it takes ten times as long.

What clients count on: the resource that was asked for comes first; of its propstats the one with 200 comes first, and
there is one; an answer names what was asked for and nothing else.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TypeAlias

from skep.filesystem import NodeInfo
from skep.frontends.common.xml import escape
from skep.frontends.webdav.properties import ALWAYS, LIVE, Live, View, empty_element
from skep.frontends.webdav.refusals import Refusal, condition_element, status_line

BEGIN = '<?xml version="1.0" encoding="utf-8"?>\n<d:multistatus xmlns:d="DAV:">\n'
END = "</d:multistatus>\n"
_OK = f"</d:prop><d:status>{status_line(200)}</d:status></d:propstat>"
_NOT_FOUND = f"</d:prop><d:status>{status_line(404)}</d:status></d:propstat>"
_BEGIN_PROPSTAT = "<d:propstat><d:prop>"

Writer: TypeAlias = Callable[[NodeInfo, View], str]


def named(names: Sequence[str], *, brief: bool = False) -> Writer:
    """Writes responses with these properties; with ``brief``, what a node lacks is not said (RFC 8144 section 2.1)."""
    plan: list[tuple[str, Live | None, str]] = [(name, LIVE.get(name), empty_element(name)) for name in names]

    def write(node: NodeInfo, view: View) -> str:
        found: list[str] = []
        missing: list[str] = []
        dead = view.dead.get(node.id)
        for name, live, empty in plan:
            element = live(node, view) if live is not None else dead and dead.get(name)
            if element:
                found.append(element)
            elif not brief:
                missing.append(empty)
        return response(node, view, "".join(found), "".join(missing))

    return write


def every(extra: Sequence[str] = ()) -> Writer:
    """Writes responses with all properties that ``allprop`` shows, the dead ones, and ``extra`` (section 14.8)."""
    more = [name for name in dict.fromkeys(extra) if name not in ALWAYS]
    live = [*ALWAYS.values(), *(LIVE[name] for name in more if name in LIVE)]
    asked = [name for name in more if name not in LIVE]

    def write(node: NodeInfo, view: View) -> str:
        dead = view.dead.get(node.id, {})
        shown = [element for one in live if (element := one(node, view))]
        missing = "".join(empty_element(name) for name in asked if name not in dead)
        return response(node, view, "".join(shown) + "".join(dead.values()), missing)

    return write


def names_only() -> Writer:
    """Writes responses with the names of all properties (section 9.1.4)."""
    live = [(empty_element(name), one) for name, one in LIVE.items()]

    def write(node: NodeInfo, view: View) -> str:
        shown = "".join(empty for empty, one in live if one(node, view) is not None)
        return response(node, view, shown + "".join(map(empty_element, view.dead.get(node.id, {}))), "")

    return write


def response(node: NodeInfo, view: View, found: str, missing: str) -> str:
    """One node's response."""
    href = view.root.href(node.path, is_directory=node.kind == "directory")
    text = f"<d:response><d:href>{escape(href)}</d:href>"
    if found or not missing:
        text += _BEGIN_PROPSTAT + found + _OK
    if missing:
        text += _BEGIN_PROPSTAT + missing + _NOT_FOUND
    return text + "</d:response>\n"


def status_response(href: str, status: int, *, condition: str = "", about: Sequence[str] = (), why: str = "") -> str:
    """A response that is a status alone: a resource that failed, or is gone."""
    text = f"<d:response><d:href>{escape(href)}</d:href><d:status>{status_line(status)}</d:status>"
    if condition:
        text += f"<d:error>{condition_element(condition, about)}</d:error>"
    if why:
        text += f"<d:responsedescription>{escape(why)}</d:responsedescription>"
    return text + "</d:response>\n"


class MemberLocked(Refusal):
    """The refusal of a whole because of a lock on a member: a multistatus that names it."""

    def __init__(self, href: str, message: str) -> None:
        super().__init__(207, message, condition="lock-token-submitted", hrefs=[href], code="locked")

    def body(self) -> str:
        """One response, of the member."""
        (href,) = self.hrefs
        member = status_response(href, 423, condition=self.condition, about=[href], why=self.message)
        return BEGIN + member + END


def patched(href: str, outcomes: Mapping[int, Sequence[str]], *, condition: str = "", why: str = "") -> str:
    """The whole answer to a PROPPATCH: names of properties by status; ``condition`` goes with what is not 424."""
    parts = []
    for status in sorted(outcomes):
        names = "".join(map(empty_element, outcomes[status]))
        parts.append(f"{_BEGIN_PROPSTAT}{names}</d:prop><d:status>{status_line(status)}</d:status>")
        if status not in (200, 424) and condition:
            parts.append(f"<d:error>{condition_element(condition)}</d:error>")
        if status not in (200, 424) and why:
            parts.append(f"<d:responsedescription>{escape(why)}</d:responsedescription>")
        parts.append("</d:propstat>")
    return f"{BEGIN}<d:response><d:href>{escape(href)}</d:href>{''.join(parts)}</d:response>\n{END}"
