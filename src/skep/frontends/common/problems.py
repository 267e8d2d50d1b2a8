"""Problem details (RFC 9457): how every door that speaks JSON says that something failed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import msgspec

PROBLEM_TYPE = "application/problem+json"
_encoder = msgspec.json.Encoder(enc_hook=str)


@dataclass(frozen=True, slots=True)
class Problem:
    """One failure as a client sees it.

    ``code`` is stable and documented; ``title`` is the kind in a few words; ``detail`` says what
    happened to which thing; ``details`` are machine-readable facts, never secrets.
    """

    status: int
    code: str
    title: str
    detail: str
    retryable: bool = False
    details: Mapping[str, object] = field(default_factory=dict)
    headers: tuple[tuple[str, str], ...] = ()
    type: str | None = None
    """The URI of a type that others have registered; None: ours."""
    members: Mapping[str, object] = field(default_factory=dict)
    """Members that such a type has besides."""

    def record(self, request_id: str | None = None) -> dict[str, object]:
        """The members of the JSON object, in the order that people read them."""
        members: dict[str, object] = {
            "type": self.type or f"urn:skep:problem:{self.code}",
            "title": self.title,
            "status": self.status,
            "detail": self.detail,
            "code": self.code,
            "retryable": self.retryable,
        }
        members.update(self.members)
        if self.details:
            members["details"] = dict(self.details)
        if request_id:
            members["request_id"] = request_id
        return members

    def encode(self, request_id: str | None = None) -> bytes:
        """The JSON text."""
        return _encoder.encode(self.record(request_id))
