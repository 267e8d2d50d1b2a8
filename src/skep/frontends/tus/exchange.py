"""One request of the door, and how it is answered."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import msgspec

from skep.base.errors import MalformedRequest, UploadNotFound
from skep.base.ids import Id
from skep.filesystem import Upload, WriteResult
from skep.frontends.common.answers import send_bytes
from skep.frontends.common.conditions import quoted
from skep.frontends.common.file_records import written_record
from skep.frontends.common.httpdate import http_date
from skep.frontends.common.links import Opened
from skep.frontends.common.request import Request
from skep.frontends.tus.cors import EXPOSED
from skep.frontends.tus.services import TusGround

DOOR = "tus"
"""The name of this door in the table of uploads."""
ROOT = "/tus/"
VERSION = "1.0.0"
EXTENSIONS = (
    "creation,creation-with-upload,creation-defer-length,expiration,checksum,termination,concatenation"  # one header
)
LENGTH_DIGITS_MAX = 18
_SECOND_US = 1_000_000
_encoder = msgspec.json.Encoder()
Pairs = list[tuple[str, str]]


@dataclass(slots=True, kw_only=True)
class Exchange(Request):
    """A request and what is needed to answer it."""

    ground: TusGround
    method: str
    """After X-HTTP-Method-Override."""
    opened: Opened | None = None
    """The link whose address the request shows; None: it is of somebody with an account."""

    @property
    def is_tus(self) -> bool:
        """Whether the client speaks tus, and not the draft."""
        return "tus-resumable" in self.headers

    @property
    def upload_id(self) -> Id:
        """The upload in the URL. Raises UploadNotFound for what cannot be one."""
        return parse_upload_id(self.scope["path"].removeprefix(ROOT))

    def length(self, name: str) -> int | None:
        """A header that is a number of bytes; None if it is not there. Raises MalformedRequest."""
        text = self.headers.get(name)
        if text is None:
            return None
        if not (text.isascii() and text.isdigit() and len(text) <= LENGTH_DIGITS_MAX):
            raise MalformedRequest(f"The header {name} is {text[:40]!r}, not a number of bytes.")
        return int(text)

    @property
    def kind(self) -> str:
        """The media type of the body, without its parameters."""
        return (self.headers.get("content-type") or "").partition(";")[0].strip().lower()

    def common_headers(self) -> Pairs:
        """What every answer carries."""
        pairs: Pairs = [
            ("access-control-allow-origin", "*"),
            ("access-control-expose-headers", EXPOSED),
            ("cache-control", "no-store"),
        ]
        if self.is_tus:
            pairs.append(("tus-resumable", VERSION))
        return pairs

    async def answer(self, status: int, headers: Iterable[tuple[str, str]] = (), body: bytes = b"") -> None:
        """The answer, whole."""
        pairs = [*self.common_headers(), *headers]
        await send_bytes(self.send, status, body, pairs, head_only=self.head_only)

    async def answer_written(self, status: int, result: WriteResult, headers: Iterable[tuple[str, str]] = ()) -> None:
        """The answer to a request that made a version: the same JSON as that of the API's uploads."""
        pairs = [("content-type", "application/json"), *written_headers(result), *headers]
        await self.answer(status, pairs, _encoder.encode(written_record(result)))

    def limits(self, upload: Upload | None = None) -> tuple[str, str]:
        """The header Upload-Limit of the draft (section 4.1.4)."""
        members = [f"max-size={self.ground.file_bytes}"]
        if upload is not None and upload.state == "open":
            left_us = max(0, upload.expires_us - self.ground.clock.now_us())
            members.append(f"max-age={left_us // _SECOND_US}")
        return "upload-limit", ", ".join(members)


def written_headers(result: WriteResult) -> Pairs:
    """Where the new version is."""
    return [
        ("etag", quoted(result.node.etag)),
        ("content-location", f"/api/filesystem/data/{written_record(result).node.id}"),
    ]


def expiry(upload: Upload) -> Pairs:
    """The header Upload-Expires of an unfinished upload (tus: expiration)."""
    return [("upload-expires", http_date(upload.expires_us))] if upload.state == "open" else []


def location_of(upload: Upload) -> str:
    """The URL of an upload, without scheme and host."""
    return ROOT + upload.id.hex()


def parse_upload_id(text: str) -> Id:
    """The id in the last part of an upload's URL. Raises UploadNotFound."""
    try:
        found = bytes.fromhex(text)
    except ValueError:
        found = b""
    if len(found) != 16 or text != found.hex():
        raise UploadNotFound("no such upload: its address is not complete")
    return found
