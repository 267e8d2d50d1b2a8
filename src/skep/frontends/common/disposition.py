"""Content-Disposition (RFC 6266) for any file name, and content types that a browser may be shown."""

from __future__ import annotations

import re
from urllib.parse import quote

_PLAIN = re.compile(r"[A-Za-z0-9 !#$&+.^_`|~()\[\]{}@,=-]+\Z")
_TYPE = re.compile(r"[A-Za-z0-9!#$&^_.+-]{1,127}/[A-Za-z0-9!#$&^_.+-]{1,127}(?:\s*;\s*[\x20-\x7e]{1,200})?\Z")
_SAFE_INLINE = re.compile(
    r"(?:image/(?:png|jpeg|gif|webp|avif|bmp)|audio/|video/|text/plain\b|application/pdf\Z)", re.IGNORECASE
)
OCTETS = "application/octet-stream"


def content_disposition(name: str, *, attachment: bool) -> str:
    """The header that names a file. Line breaks, quotes and bytes outside ASCII cannot leave their place."""
    kind = "attachment" if attachment else "inline"
    if _PLAIN.match(name):
        return f'{kind}; filename="{name}"'
    plain = re.sub(r"[^A-Za-z0-9 ._()-]", "_", name)
    return f"{kind}; filename=\"{plain}\"; filename*=UTF-8''{quote(name, safe='')}"


def safe_content_type(mime: str | None) -> str:
    """The type to send: the stored one when it is well formed, else application/octet-stream."""
    return mime if mime and _TYPE.match(mime) else OCTETS


def may_show_inline(mime: str) -> bool:
    """Whether a browser may render this type from the hive's own origin: nothing that can run a script."""
    return bool(_SAFE_INLINE.match(mime))
