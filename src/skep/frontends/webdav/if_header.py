"""The If header (RFC 4918 section 10.4): lists of conditions on state, and so the locks that a client says it holds.

    If: (<urn:uuid:...> ["etag"]) (Not <DAV:no-lock>)
    If: </dav/a.txt> (<urn:uuid:...>) </dav/b/> (["etag"])

The header holds if one of its lists does, a list if all its conditions do. Every token in it counts as submitted,
whatever the lists come to.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Collection, Sequence
from typing import NamedTuple, TypeAlias

from skep.base.errors import MalformedRequest
from skep.base.ids import Id
from skep.filesystem.conditions import bare_etag
from skep.frontends.webdav.request_headers import parse_token

CONDITIONS_MAX = 500
_PART = re.compile(
    r"""\s*(?:(?P<url><[^<>\s]*>)|(?P<open>\()|(?P<close>\))|\[(?P<etag>(?:W/)?"[^"]*")\]|(?P<negation>(?i:not)(?=[\s<\[])))"""
)


class Condition(NamedTuple):
    """A state token or an entity tag, maybe negated."""

    is_negated: bool
    token: str | None
    etag: str | None


class Clause(NamedTuple):
    """One list; ``resource`` None: about what the request is for."""

    resource: str | None
    conditions: tuple[Condition, ...]


State: TypeAlias = tuple[str | None, Collection[Id]]
"""The ETag of a resource, None where nothing is, and the tokens of the locks that cover it."""


def parse_if(text: str) -> tuple[Clause, ...]:
    """The lists of a header. Raises MalformedRequest."""
    clauses: list[Clause] = []
    resource: str | None = None
    inside: list[Condition] | None = None
    negated = tagged = False
    position = count = 0
    text = text.rstrip()
    while position < len(text):
        match = _PART.match(text, position)
        count += 1
        if match is None or count > 4 * CONDITIONS_MAX:
            raise _malformed(text)
        position = match.end()
        match match.lastgroup:
            case "open" if inside is None:
                inside = []
            case "close" if inside and not negated:
                clauses.append(Clause(resource, tuple(inside)))
                inside, tagged = None, False
            case "url" if inside is None and not tagged and (resource is not None or not clauses):
                resource, tagged = match["url"][1:-1], True
            case "negation" if inside is not None and not negated:
                negated = True
            case "url" | "etag" if inside is not None:
                token = match["url"]
                inside.append(Condition(negated, None if token is None else token[1:-1], match["etag"]))
                negated = False
            case _:
                raise _malformed(text)
    if inside is not None or tagged or not clauses:
        raise _malformed(text)
    return tuple(clauses)


def _malformed(text: str) -> MalformedRequest:
    return MalformedRequest(f"The header If does not parse (RFC 4918 section 10.4): {text[:80]!r}.")


def submitted(clauses: Sequence[Clause]) -> frozenset[Id]:
    """The tokens of all conditions that could be locks of ours."""
    named = [one.token for clause in clauses for one in clause.conditions if one.token is not None]
    return frozenset(token for text in named if (token := parse_token(text)) is not None)


async def holds(clauses: Sequence[Clause], state_of: Callable[[str | None], Awaitable[State]]) -> bool:
    """Whether one of the lists holds; ``state_of`` looks at a resource, None being that of the request."""
    known: dict[str | None, State] = {}
    for clause in clauses:
        if clause.resource not in known:
            known[clause.resource] = await state_of(clause.resource)
        if all(_is_met(one, known[clause.resource]) for one in clause.conditions):
            return True
    return False


def _is_met(condition: Condition, state: State) -> bool:
    etag, tokens = state
    if condition.token is not None:
        is_so = parse_token(condition.token) in tokens
    else:
        is_so = etag is not None and bare_etag(condition.etag or "") == etag
    return is_so != condition.is_negated


def required_etag(clauses: Sequence[Clause]) -> str | None:
    """The ETag that the resource must have whatever else is so: such a condition is checked again at the commit."""
    if len(clauses) != 1 or clauses[0].resource is not None:
        return None
    tags = [one.etag for one in clauses[0].conditions if one.etag is not None and not one.is_negated]
    return bare_etag(tags[0]) if tags else None
