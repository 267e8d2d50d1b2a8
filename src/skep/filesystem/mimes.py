"""The media type of a file whose sender named none: from the end of its name."""

from __future__ import annotations

import mimetypes

UNKNOWN = "application/octet-stream"
MIME_LENGTH_MAX = 255

_types = mimetypes.MimeTypes(filenames=())  # the table that ships with Python: the same on every machine
_MORE = {
    ".7z": "application/x-7z-compressed",
    ".avif": "image/avif",
    ".flac": "audio/flac",
    ".heic": "image/heic",
    ".heif": "image/heif",
    ".jxl": "image/jxl",
    ".md": "text/markdown",
    ".mkv": "video/x-matroska",
    ".odp": "application/vnd.oasis.opendocument.presentation",
    ".ods": "application/vnd.oasis.opendocument.spreadsheet",
    ".odt": "application/vnd.oasis.opendocument.text",
    ".docx": "application/vnd.openxmlformats-officedocument.wordprocessingml.document",
    ".ogg": "audio/ogg",
    ".pptx": "application/vnd.openxmlformats-officedocument.presentationml.presentation",
    ".toml": "application/toml",
    ".webp": "image/webp",
    ".xlsx": "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
    ".yaml": "application/yaml",
    ".yml": "application/yaml",
    ".zst": "application/zstd",
}
_ENCODED = {"gzip": "application/gzip", "bzip2": "application/x-bzip2", "xz": "application/x-xz"}


def guess(name: str) -> str:
    """The media type for a file name; ``application/octet-stream`` when its end says nothing."""
    stem, dot, end = name.rpartition(".")
    if not stem or not dot:
        return UNKNOWN
    extra = _MORE.get("." + end.lower())
    if extra is not None:
        return extra
    kind, encoding = _types.guess_type("x." + ".".join(name.split(".")[-2:]))
    if encoding is not None:
        return _ENCODED.get(encoding, UNKNOWN)
    return kind or UNKNOWN


def given(mime: str | None, name: str) -> str:
    """What the sender said, if it can be kept and sent back in a header; else a guess."""
    if mime and len(mime) <= MIME_LENGTH_MAX and "/" in mime and mime.isascii() and mime.isprintable():
        return mime
    return guess(name)
