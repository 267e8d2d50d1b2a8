"""``GET /api/find/<hash>``: what is known of a published file, as MetaDisk's records say it (version 0.2)."""

from __future__ import annotations

from urllib.parse import urlsplit

from skep.frontends.metadisk.call import MetadiskCall

VERSION = "0.2"


async def find(call: MetadiskCall) -> None:
    """Tell name, size and time of a file, and where it can be downloaded."""
    found = await call.ground.publisher.get(call.content_hash)
    name = found.hash.hex()
    await call.answer(
        {
            "datetime": str(found.created_us // 1_000_000),
            "filehash": name,
            "filename": found.name,
            "filesize": found.size_bytes,
            "uploads": _places(call, name),
            "version": VERSION,
        }
    )


def _places(call: MetadiskCall, name: str) -> list[dict[str, str]]:
    url = call.ground.public_url.rstrip("/")
    return [{"host_name": urlsplit(url).hostname or "", "url": f"{url}/api/download/{name}"}] if url else []
