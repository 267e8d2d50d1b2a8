"""What browsers on other sites may do here: everything, with a token of their own, and nothing with a remembered login.

The answers allow any origin and no credentials, so a page can only send what it knows itself: a bearer token.
"""

from __future__ import annotations

METHODS = "POST, PUT, HEAD, PATCH, DELETE, OPTIONS"
ALLOWED = ", ".join(
    (
        "Authorization", "Content-Type", "Content-Digest", "Repr-Digest", "If-Match", "If-None-Match",
        "X-HTTP-Method-Override", "X-Requested-With", "X-Request-ID", "Skep-Link", "Skep-Link-Pass",
        "Tus-Resumable", "Upload-Checksum",
        "Upload-Complete",
        "Upload-Concat", "Upload-Defer-Length", "Upload-Draft-Interop-Version", "Upload-Length", "Upload-Metadata",
        "Upload-Offset",
    )
)  # fmt: skip
EXPOSED = ", ".join(
    (
        "Content-Location", "ETag", "Location", "Retry-After", "Tus-Checksum-Algorithm", "Tus-Extension",
        "Tus-Max-Size",
        "Tus-Resumable", "Tus-Version", "Upload-Complete", "Upload-Concat", "Upload-Defer-Length", "Upload-Expires",
        "Upload-Length", "Upload-Limit", "Upload-Metadata", "Upload-Offset", "X-Request-Id",
    )
)  # fmt: skip
MAX_AGE_S = 86_400

PREFLIGHT = (
    ("access-control-allow-methods", METHODS),
    ("access-control-allow-headers", ALLOWED),
    ("access-control-max-age", str(MAX_AGE_S)),
)
