"""Filters of SCIM (RFC 7644 section 3.4.2.2): text to a test of a resource.

Pure, and bounded: a filter has at most 1,000 characters, 100 tokens and 10 levels. Nothing of it becomes SQL or a
regular expression. Names are compared without regard to case, and so are texts, but for ids.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

LENGTH_MAX: Final = 1_000
TOKENS_MAX: Final = 100
DEPTH_MAX: Final = 10
Test = Callable[[Mapping[str, Any]], bool]

_TOKEN = re.compile(
    r"""\s*(?:(?P<text>"(?:[^"\\]|\\.){0,500}")|(?P<mark>[()\[\]])"""
    r"""|(?P<word>[A-Za-z$][\w.:$-]{0,200})|(?P<number>-?\d{1,18}(?:\.\d{1,18})?))"""
)
_COMPARISONS: Final = frozenset({"eq", "ne", "co", "sw", "ew", "gt", "ge", "lt", "le"})
_EXACT: Final = frozenset({"id", "externalid", "value"})
_SCHEMA = re.compile(r"urn:ietf:params:scim:schemas:core:2\.0:(?:User|Group):", re.IGNORECASE)


class BadFilter(Exception):
    """The filter does not parse, or is too much."""


@dataclass(slots=True)
class _Reader:
    tokens: list[tuple[str, str]]
    at: int = 0
    depth: int = 0

    def peek(self) -> tuple[str, str]:
        return self.tokens[self.at] if self.at < len(self.tokens) else ("", "")

    def take(self, kind: str = "", text: str = "") -> str:
        found = self.peek()
        if not found[0] or (kind and found[0] != kind) or (text and found[1].lower() != text):
            raise BadFilter(f"expected {text or kind or 'more'} after token {self.at}")
        self.at += 1
        return found[1]

    def takes_word(self, word: str) -> bool:
        kind, text = self.peek()
        if kind == "word" and text.lower() == word:
            self.at += 1
            return True
        return False


def parse_filter(text: str) -> Test:
    """The test that a filter means. Raises BadFilter."""
    reader = _Reader(_tokens(text))
    test = _either(reader)
    if reader.at != len(reader.tokens):
        raise BadFilter(f"there is more after token {reader.at}")
    return test


def _tokens(text: str) -> list[tuple[str, str]]:
    if len(text) > LENGTH_MAX:
        raise BadFilter(f"a filter has at most {LENGTH_MAX} characters")
    found: list[tuple[str, str]] = []
    at, end = 0, len(text.rstrip())
    while at < end:
        match = _TOKEN.match(text, at)
        if match is None or len(found) >= TOKENS_MAX:
            raise BadFilter(f"the filter does not parse at character {at}, or has more than {TOKENS_MAX} tokens")
        found.append((str(match.lastgroup), str(match.group(str(match.lastgroup)))))
        at = match.end()
    return found


def _either(reader: _Reader) -> Test:
    reader.depth += 1
    if reader.depth > DEPTH_MAX:
        raise BadFilter(f"a filter has at most {DEPTH_MAX} levels")
    tests = [_both(reader)]
    while reader.takes_word("or"):
        tests.append(_both(reader))
    reader.depth -= 1
    return lambda resource: any(test(resource) for test in tests)


def _both(reader: _Reader) -> Test:
    tests = [_one(reader)]
    while reader.takes_word("and"):
        tests.append(_one(reader))
    return lambda resource: all(test(resource) for test in tests)


def _one(reader: _Reader) -> Test:
    if reader.takes_word("not"):
        inner = _group(reader)
        return lambda resource: not inner(resource)
    if reader.peek() == ("mark", "("):
        return _group(reader)
    path = _SCHEMA.sub("", reader.take("word"))
    if reader.peek() == ("mark", "["):
        reader.take("mark")
        inner = _either(reader)
        reader.take("mark", "]")
        return lambda resource: any(inner(one) for one in values_at(resource, path) if isinstance(one, Mapping))
    return _comparison(reader, path)


def _group(reader: _Reader) -> Test:
    reader.take("mark", "(")
    inner = _either(reader)
    reader.take("mark", ")")
    return inner


def _comparison(reader: _Reader, path: str) -> Test:
    verb = reader.take("word").lower()
    if verb == "pr":
        return lambda resource: any(one not in (None, "", []) for one in values_at(resource, path))
    if verb not in _COMPARISONS:
        raise BadFilter(f"{verb[:20]!r} is no operator")
    wanted = _literal(reader)
    exact = path.rpartition(".")[2].lower() in _EXACT
    if verb == "ne":
        return lambda resource: not any(_holds("eq", one, wanted, exact) for one in values_at(resource, path))
    return lambda resource: any(_holds(verb, one, wanted, exact) for one in values_at(resource, path))


def _literal(reader: _Reader) -> Any:
    kind, text = reader.peek()
    reader.at += 1
    if kind == "text" or kind == "number":
        try:
            return json.loads(text)
        except ValueError:
            raise BadFilter("a text does not parse") from None
    if kind == "word" and text.lower() in ("true", "false", "null"):
        return {"true": True, "false": False, "null": None}[text.lower()]
    raise BadFilter(f"expected a value as token {reader.at}")


def _holds(verb: str, found: Any, wanted: Any, exact: bool) -> bool:
    if isinstance(found, Mapping):
        found = found.get("value")
    if isinstance(found, str) and isinstance(wanted, str):
        return _compare(verb, found, wanted) if exact else _compare(verb, found.casefold(), wanted.casefold())
    if type(found) is type(wanted) or (_is_number(found) and _is_number(wanted)):
        return _compare(verb, found, wanted)
    return False


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _compare(verb: str, found: Any, wanted: Any) -> bool:
    texts = isinstance(found, str)
    orders = texts or _is_number(found)
    match verb:
        case "eq":
            return bool(found == wanted)
        case "co":
            return texts and wanted in found
        case "sw":
            return texts and bool(found.startswith(wanted))
        case "ew":
            return texts and bool(found.endswith(wanted))
        case "gt":
            return orders and bool(found > wanted)
        case "ge":
            return orders and bool(found >= wanted)
        case "lt":
            return orders and bool(found < wanted)
        case _:
            return orders and bool(found <= wanted)


def values_at(resource: Mapping[str, Any], path: str) -> list[Any]:
    """What a path such as ``emails.value`` names in a resource; lists are gone through."""
    found: list[Any] = [resource]
    for part in path.split("."):
        key = part.lower()
        inner = [
            value for one in found if isinstance(one, Mapping) for name, value in one.items() if name.lower() == key
        ]
        found = [item for value in inner for item in (value if isinstance(value, list) else [value])]
    return found
