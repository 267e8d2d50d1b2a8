"""What the API tells, as frozen records; unknown members are ignored, so that a newer hive can say more."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

Kind = Literal["file", "directory"]


@dataclass(frozen=True, slots=True)
class Node:
    """A file or directory of a hive."""

    id: str
    name: str
    path: str
    kind: Kind
    size_bytes: int
    etag: str
    modified_us: int
    version_number: int | None
    mime: str | None
    raw: Mapping[str, Any]
    """All that the hive said of it."""

    @property
    def is_directory(self) -> bool:
        return self.kind == "directory"


def read_node(raw: Mapping[str, Any]) -> Node:
    """A node out of its JSON object."""
    return Node(
        id=raw["id"],
        name=raw["name"],
        path=raw["path"],
        kind=raw["kind"],
        size_bytes=raw.get("size_bytes") or 0,
        etag=raw.get("etag") or "",
        modified_us=raw.get("modified_us") or 0,
        version_number=raw.get("version_number"),
        mime=raw.get("mime"),
        raw=raw,
    )
