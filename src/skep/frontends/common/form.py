"""multipart/form-data (RFC 7578) as a stream of parts, never spooled.

``python-multipart``'s push parser finds the delimiters; this module turns its callbacks into
parts that are pulled one after the other, so that one chunk of the body is held at a time.

Tolerant reading (``tolerant=True``) is for the chunk door, whose first specification shows a
malformed form: parts without ``form-data;``, a boundary parameter that includes the dashes of
its delimiters, a data part without any header, no closing delimiter. All of these are taken.
"""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from skep.base.errors import BodyTooLarge, MalformedRequest

PARTS_MAX = 64
FIELD_LIMIT_BYTES = 64 * 1024
_HEADERS_MAX = 16
_HEADER_LIMIT_BYTES = 8 * 1024

_Event: TypeAlias = tuple[Literal["part", "data", "end"], bytes, "_Head | None"]


@dataclass(frozen=True, slots=True)
class _Head:
    headers: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Part:
    """The head of one part. ``name`` is empty where the form does not say it."""

    name: str
    filename: str | None
    content_type: str | None


class FormReader:
    """Pulls parts out of a multipart body.

    ``next_part`` gives the head of the next part (what is left of the one before is skipped);
    ``data`` iterates over the bytes of the current one. Raises MalformedRequest, BodyTooLarge,
    and whatever the body raises.
    """

    def __init__(self, content_type: str | None, body: AsyncIterator[bytes], *, tolerant: bool = False) -> None:
        self._boundary = _boundary(content_type)
        self._body = body
        self._tolerant = tolerant
        self._parser: MultipartParser | None = None
        self._events: deque[_Event] = deque()
        self._header_name = bytearray()
        self._header_value = bytearray()
        self._head = _Head()
        self._parts = 0
        self._in_part = False
        self._closed = False

    async def next_part(self) -> Part | None:
        """The next part's head, or None after the last."""
        while True:
            event = await self._next_event()
            if event is None:
                return None
            kind, _, head = event
            if kind == "part":
                assert head is not None
                return _part(head.headers)

    async def data(self) -> AsyncIterator[bytes]:
        """The bytes of the current part, in pieces."""
        while True:
            event = await self._next_event()
            if event is None or event[0] == "end":
                return
            yield event[1]

    async def text(self, limit_bytes: int = FIELD_LIMIT_BYTES) -> str:
        """The current part as a text field. Raises BodyTooLarge and MalformedRequest (not UTF-8)."""
        value = await self.value(limit_bytes)
        try:
            return value.decode("utf-8")
        except UnicodeDecodeError:
            raise MalformedRequest("A field of the form is not UTF-8 text.") from None

    async def value(self, limit_bytes: int) -> bytes:
        """The current part whole. Raises BodyTooLarge."""
        value = bytearray()
        async for piece in self.data():
            value += piece
            if len(value) > limit_bytes:
                raise BodyTooLarge(
                    f"A field of the form is over its {limit_bytes} bytes.", limit_bytes=limit_bytes, part="field"
                )
        return bytes(value)

    async def _next_event(self) -> _Event | None:
        while not self._events:
            if self._closed:
                return None
            chunk = await anext(self._body, None)
            if chunk is None:
                self._finish()
            else:
                self._feed(chunk)
        return self._events.popleft()

    def _feed(self, chunk: bytes) -> None:
        if self._parser is None:
            self._parser = self._open_parser(chunk)
        try:
            self._parser.write(chunk)
        except FormParserError as error:
            raise MalformedRequest(f"The form does not parse: {error}.") from None

    def _open_parser(self, first_chunk: bytes) -> MultipartParser:
        boundary = self._boundary
        doubled = first_chunk.lstrip(b"\r\n").startswith(b"--" + boundary)
        if self._tolerant and boundary.startswith(b"--") and not doubled:
            boundary = boundary[2:]
        return MultipartParser(
            boundary,
            {
                "on_part_begin": self._on_part_begin,
                "on_header_field": self._on_header_field,
                "on_header_value": self._on_header_value,
                "on_header_end": self._on_header_end,
                "on_headers_finished": self._on_headers_finished,
                "on_part_data": self._on_part_data,
                "on_part_end": self._on_part_end,
                "on_end": self._on_end,
            },
            max_header_count=_HEADERS_MAX,
            max_header_size=_HEADER_LIMIT_BYTES,
        )

    def _finish(self) -> None:
        """The body is over: the closing delimiter has been seen, or its absence is taken or refused."""
        closed, self._closed = self._closed, True
        if closed:
            return
        if not self._tolerant or self._parser is None:
            raise MalformedRequest("The form ends before its closing delimiter: nothing was stored.")
        if self._in_part:
            held = _held_back(self._parser)
            if held:
                self._events.append(("data", held, None))
            self._events.append(("end", b"", None))

    def _on_part_begin(self) -> None:
        self._parts += 1
        if self._parts > PARTS_MAX:
            raise BodyTooLarge(f"The form has more than {PARTS_MAX} parts.", part="form")
        self._head = _Head()

    def _on_header_field(self, data: bytes, start: int, stop: int) -> None:
        self._header_name += data[start:stop]

    def _on_header_value(self, data: bytes, start: int, stop: int) -> None:
        self._header_value += data[start:stop]

    def _on_header_end(self) -> None:
        name = self._header_name.decode("latin-1").lower()
        self._head.headers[name] = self._header_value.decode("latin-1")  # options are made UTF-8 again in _part
        self._header_name.clear()
        self._header_value.clear()

    def _on_headers_finished(self) -> None:
        self._in_part = True
        self._events.append(("part", b"", self._head))

    def _on_part_data(self, data: bytes, start: int, stop: int) -> None:
        self._events.append(("data", data if stop - start == len(data) else data[start:stop], None))

    def _on_part_end(self) -> None:
        self._in_part = False
        self._events.append(("end", b"", None))

    def _on_end(self) -> None:
        self._closed = True


def _boundary(content_type: str | None) -> bytes:
    kind, options = parse_options_header(content_type or "")
    boundary = options.get(b"boundary", b"")
    if kind != b"multipart/form-data" or not boundary:
        raise MalformedRequest("Send this as multipart/form-data with a boundary.")
    if len(boundary) > 256:
        raise MalformedRequest("The form's boundary is over 256 characters.")
    return bytes(boundary)


def _part(headers: dict[str, str]) -> Part:
    disposition = headers.get("content-disposition", "")
    kind = disposition.partition(";")[0]
    if "=" in kind:  # no `form-data;` in front
        disposition = f"form-data; {disposition}"
    _, options = parse_options_header(disposition)
    filename = options.get(b"filename")
    return Part(
        name=options.get(b"name", b"").decode("utf-8", "replace"),
        filename=None if filename is None else filename.decode("utf-8", "replace"),
        content_type=headers.get("content-type"),
    )


def _held_back(parser: MultipartParser) -> bytes:
    """Bytes of data that the parser keeps because they could be the start of a delimiter.

    A whole delimiter, without its line end, is what a form with no closing dashes ends with: no data.
    """
    held = parser.index
    return b"" if held >= len(parser.boundary) else bytes(parser.boundary[:held])
