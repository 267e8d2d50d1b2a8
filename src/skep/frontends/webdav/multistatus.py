"""The multistatus answer (RFC 4918 section 13), written as text: building a tree for it takes ten times as long.

What clients count on: the resource that was asked for comes first; of its propstats the one with 200 comes first, and
there is one; an answer names what was asked for and nothing else.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import repeat
from typing import NamedTuple, TypeAlias

from skep.frontends.common.xml import escape
from skep.frontends.webdav.properties import ALWAYS, LIVE, Live, Part, View, empty_element
from skep.frontends.webdav.refusals import Refusal, condition_element, status_line
from skep.frontends.webdav.runs import Batch, Run

BEGIN = '<?xml version="1.0" encoding="utf-8"?>\n<d:multistatus xmlns:d="DAV:">\n'
END = "</d:multistatus>\n"
_OK = f"</d:prop><d:status>{status_line(200)}</d:status></d:propstat>"
_NOT_FOUND = f"</d:prop><d:status>{status_line(404)}</d:status></d:propstat>"
_BEGIN_PROPSTAT = "<d:propstat><d:prop>"

Writer: TypeAlias = Callable[[Run, View], Iterable[str]]
"""Makes the response of each node of a run."""


class _Asked(NamedTuple):
    """One property of an answer: None where no node of the run has it, and what is said where one lacks it."""

    part: Part | None
    missing: str


def named(names: Sequence[str], *, brief: bool = False) -> Writer:
    """Writes responses with these properties; with ``brief``, what a node lacks is not said (RFC 8144 section 2.1)."""
    plan = [(name, LIVE.get(name), "" if brief else empty_element(name)) for name in names]

    def write(run: Run, view: View) -> Iterable[str]:
        asked = [_Asked(live(run, view) if live is not None else _dead(run, name), empty) for name, live, empty in plan]
        return _responses(run, view, asked)

    return write


def every(extra: Sequence[str] = ()) -> Writer:
    """Writes responses with all properties that ``allprop`` shows, the dead ones, and ``extra`` (section 14.8)."""
    more = [name for name in dict.fromkeys(extra) if name not in ALWAYS]
    live: list[Live] = [*ALWAYS.values(), *(LIVE[name] for name in more if name in LIVE)]
    asked = [name for name in more if name not in LIVE]

    def write(run: Run, view: View) -> Iterable[str]:
        parts = [_Asked(one(run, view), "") for one in live]
        if run.dead:
            others = [{**run.dead.get(node_id, {}), **dict.fromkeys(asked, "")} for node_id in run.ids()]
            parts.append(_Asked(Part("", ["".join(dead.values()) for dead in others], may_lack=True), ""))
        return _responses(run, view, [*parts, *(_Asked(_dead(run, name), empty_element(name)) for name in asked)])

    return write


def names_only() -> Writer:
    """Writes responses with the names of all properties (section 9.1.4)."""
    live = [(empty_element(name), one) for name, one in LIVE.items()]

    def write(run: Run, view: View) -> Iterable[str]:
        asked = [_Asked(_name(one(run, view), empty), "") for empty, one in live]
        if run.dead:
            dead = ["".join(map(empty_element, run.dead.get(node_id, ()))) for node_id in run.ids()]
            asked.append(_Asked(Part("", dead, may_lack=True), ""))
        return _responses(run, view, asked)

    return write


def _dead(run: Run, name: str) -> Part | None:
    if not run.dead:
        return None
    return Part("", [run.dead.get(node_id, {}).get(name, "") for node_id in run.ids()], may_lack=True)


def _name(part: Part | None, empty: str) -> Part | None:
    if part is None:
        return None
    if part.may_lack and part.values is not None:
        return Part("", [empty if element else "" for element in part.values], may_lack=True)
    return Part(_literal(empty))


def written(batch: Batch, writer: Writer, view: View) -> str:
    """The responses of nodes, in their order."""
    marks, files, directories = batch.runs()
    if not directories.rows:
        return "".join(writer(files, view))
    of_directories = writer(directories, view)
    if not files.rows:
        return "".join(of_directories)
    texts = (iter(writer(files, view)), iter(of_directories))
    return "".join([next(texts[mark]) for mark in marks])


def _responses(run: Run, view: View, asked: Sequence[_Asked]) -> Iterable[str]:
    """The responses of a run, with what was asked for."""
    begin = (
        f"<d:response><d:href>{_literal(escape(run.url_base(view.root)))}%s{'/' if run.is_directory else ''}</d:href>"
    )
    tails = run.url_tails()
    if any(one.part is not None and one.part.may_lack for one in asked):
        return _uneven(begin, tails, asked)
    parts = [one.part for one in asked if one.part is not None]
    found = "".join(part.shape for part in parts)
    missing = _literal("".join(one.missing for one in asked if one.part is None))
    shape = begin + _propstats(found, missing)
    return map(shape.__mod__, zip(tails, *(part.values for part in parts if part.values is not None), strict=True))


def _uneven(begin: str, tails: Sequence[str], asked: Sequence[_Asked]) -> Iterable[str]:
    """The responses of nodes some of which may lack what others have."""
    empties = [one.missing for one in asked]
    columns = [_elements(one.part, len(tails)) for one in asked]
    for tail, *elements in zip(tails, *columns, strict=True):
        missing = "".join([empty for empty, element in zip(empties, elements, strict=True) if not element])
        yield begin % tail + _propstats("".join(elements), missing)


def _elements(part: Part | None, count: int) -> Iterable[str]:
    """The element of each node, empty where it has none."""
    if part is None:
        return repeat("", count)
    if part.values is None:
        return repeat(part.shape % (), count)
    return map(str, part.values) if part.may_lack else [part.shape % (value,) for value in part.values]


def _propstats(found: str, missing: str) -> str:
    """What comes after the URL of a response."""
    text = _BEGIN_PROPSTAT + found + _OK if found or not missing else ""
    if missing:
        text += _BEGIN_PROPSTAT + missing + _NOT_FOUND
    return text + "</d:response>\n"


def _literal(text: str) -> str:
    """Text that stays as it is when it is part of a shape."""
    return text.replace("%", "%%")


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
