"""YAML with the line and column of everything, and problems that are collected instead of raised one by one.

Scalars stay the text that stands in the file: ``1.10`` is not ``1.1``, ``yes`` is no boolean until a key asks for one.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator

import msgspec
from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, StringMark, YAMLError
from ruamel.yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from skep.base.errors import InvalidStack, SkepError

FILE_MAX_BYTES = 1 << 20
_NULL = frozenset({"", "~", "null", "Null", "NULL"})


class Problem(msgspec.Struct, frozen=True, order=True):
    """One thing that is wrong in a file. Lines and columns count from 1."""

    line: int
    column: int
    message: str

    def __str__(self) -> str:
        return f"line {self.line}, column {self.column}: {self.message}"


class Problems:
    """What was found so far."""

    def __init__(self) -> None:
        self.found: list[Problem] = []

    def add(self, at: Located, message: str) -> None:
        """Note something about a place."""
        self.found.append(Problem(at.line, at.column, message))

    def raise_if_any(self, name: str) -> None:
        """Raise InvalidStack with everything, in the order of the file, if there is something."""
        if self.found:
            raise invalid(name, sorted(set(self.found)))


def invalid(name: str, problems: list[Problem]) -> InvalidStack:
    """The error that says all problems of a file."""
    shown = "\n".join(f"{name}:{p.line}:{p.column}: {p.message}" for p in problems)
    return InvalidStack(shown, problems=[msgspec.to_builtins(problem) for problem in problems])


class Located(msgspec.Struct, frozen=True, kw_only=True):
    """A value of the file and where it stands: text, a list or a map."""

    where: str
    """The keys that lead to it: ``web.health.port``."""
    line: int
    column: int
    text: str | None = None
    items: tuple[Located, ...] | None = None
    entries: tuple[tuple[Located, Located], ...] | None = None
    """Keys, which are texts, and values."""
    quoted: bool = False

    @property
    def is_null(self) -> bool:
        """Whether nothing stands there."""
        return self.text is not None and not self.quoted and self.text in _NULL

    @property
    def is_plain(self) -> bool:
        """Whether it is one text."""
        return self.text is not None

    def kind(self) -> str:
        """What it is, for messages."""
        if self.text is not None:
            return "nothing" if self.is_null else f"{self.text[:40]!r}"
        return "a list" if self.items is not None else "a map"

    def each(self) -> Iterator[Located]:
        """Its items, or itself alone when it is no list; nothing when nothing stands there."""
        if self.items is not None:
            yield from self.items
        elif not self.is_null:
            yield self


def read_yaml(text: str, name: str) -> Located | None:
    """The one document of a file; None when it is empty. ``name`` is the file's, for messages.

    Raises InvalidStack when it is no YAML, is too large, says a key twice, or nests deeper than any stack file does.
    """
    if len(text.encode()) > FILE_MAX_BYTES:
        raise invalid(name, [Problem(1, 1, f"the file has more than {FILE_MAX_BYTES} bytes")])
    try:
        node = YAML(typ="safe", pure=True).compose(text)
    except MarkedYAMLError as error:
        raise invalid(name, [_syntax(error, text)]) from None
    except (YAMLError, ValueError) as error:
        raise invalid(name, [Problem(1, 1, f"this is no YAML: {error}")]) from None
    if node is None:
        return None
    problems = Problems()
    located = _located(node, "", problems, 0)
    problems.raise_if_any(name)
    return located


_DEPTH_MAX = 8


def _located(node: Node, where: str, problems: Problems, depth: int) -> Located:
    line, column = node.start_mark.line + 1, node.start_mark.column + 1
    at = Located(where=where, line=line, column=column)
    if depth > _DEPTH_MAX:
        problems.add(at, "this nests deeper than anything in a stack file")
        return at
    if isinstance(node, ScalarNode):
        quoted = node.style is not None
        return Located(where=where, line=line, column=column, text=node.value, quoted=quoted)
    if isinstance(node, SequenceNode):
        items = tuple(_located(n, f"{where}[{i}]", problems, depth + 1) for i, n in enumerate(node.value))
        return Located(where=where, line=line, column=column, items=items)
    assert isinstance(node, MappingNode)
    return Located(where=where, line=line, column=column, entries=_entries(node, where, problems, depth))


def _entries(node: MappingNode, where: str, problems: Problems, depth: int) -> tuple[tuple[Located, Located], ...]:
    entries: list[tuple[Located, Located]] = []
    first: dict[str, int] = {}
    for key_node, value_node in node.value:
        key = _located(key_node, where, problems, depth + 1)
        if key.text is None:
            problems.add(key, "a key must be a text")
            continue
        if key.text in first:
            problems.add(key, f"{key.text!r} is said twice; the first time in line {first[key.text]}")
            continue
        first[key.text] = key.line
        entries.append((key, _located(value_node, f"{where}.{key.text}".lstrip("."), problems, depth + 1)))
    return tuple(entries)


def _syntax(error: MarkedYAMLError, text: str) -> Problem:
    mark = error.problem_mark or error.context_mark
    line, column = (mark.line, mark.column) if isinstance(mark, StringMark) or mark is not None else (0, 0)
    lines = text.split("\n")
    here = lines[line] if line < len(lines) else ""
    indentation = here[: len(here) - len(here.lstrip())]
    if "\t" in indentation or here[column : column + 1] == "\t":
        tab = here.index("\t")
        return Problem(line + 1, tab + 1, "there is a tab: YAML is indented with spaces only")
    said = (error.problem or error.context or "it cannot be understood").replace("\n", " ")
    return Problem(line + 1, column + 1, f"this is no YAML: {said}")


def nearest(word: str, words: Iterable[str]) -> str:
    """``; did you mean 'x'?`` for the nearest of some words, or nothing."""
    near = difflib.get_close_matches(word.lower(), sorted(words), n=1, cutoff=0.6)
    return f"; did you mean {near[0]!r}?" if near else ""


def attempt(problems: Problems, at: Located, error: SkepError) -> None:
    """Note an error of another parser at a place."""
    problems.add(at, error.message)
