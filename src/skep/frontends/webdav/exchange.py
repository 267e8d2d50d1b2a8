"""One request and its answer, as the verbs see them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from contextlib import aclosing
from dataclasses import dataclass, field

from lxml import etree

from skep.frontends.common.answers import send_bytes, send_stream
from skep.frontends.common.request import Request
from skep.frontends.common.serving import closing_source
from skep.frontends.common.xml import parse_xml
from skep.frontends.webdav.roots import Url
from skep.frontends.webdav.services import DavServices

XML_TYPE = "application/xml; charset=utf-8"
"""As it stands: clients compare it letter by letter."""


@dataclass(slots=True, kw_only=True)
class Exchange(Request):
    """A request, what is needed to answer it, and the answer."""

    services: DavServices
    url: Url
    answer_headers: list[tuple[str, str]] = field(default_factory=list)

    @property
    def method(self) -> str:
        """The HTTP method."""
        method: str = self.scope["method"]
        return method

    @property
    def stall_timeout_s(self) -> float:
        """How long a reader of the answer may take nothing."""
        return self.services.idle_timeout_s

    async def answer(self, status: int, body: str = "", headers: Iterable[tuple[str, str]] = ()) -> None:
        """Answer with a status, and XML if there is some."""
        every = [*self.answer_headers, *headers]
        if body:
            every.append(("content-type", XML_TYPE))
        await send_bytes(self.send, status, body.encode(), every, head_only=self.head_only)

    async def stream(self, status: int, parts: AsyncIterator[bytes]) -> None:
        """Answer with XML that is written while it is sent."""
        headers = [*self.answer_headers, ("content-type", XML_TYPE)]
        async with aclosing(closing_source(parts)) as source:
            await send_stream(self.send, status, headers, source, stall_timeout_s=self.stall_timeout_s)

    async def xml(self) -> etree._Element | None:
        """The body as XML; None if there is no body. Raises MalformedRequest, BodyTooLarge."""
        raw = await self.body.read(self.services.xml_bytes)
        return parse_xml(raw) if raw.strip() else None
