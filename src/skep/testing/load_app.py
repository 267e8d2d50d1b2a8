"""An app that is loaded while it is replaced: standard library only, runs on any Python from 3.8 on.

    START_S=0.3 VERSION=7 PORT=8000 python load_app.py

``GET /fast`` answers at once, ``GET /slow?s=2`` for that many seconds piece by piece, ``POST /upload`` tells what
came, ``/socket`` is a WebSocket that echoes. SIGTERM ends it at once, as most programs do: whoever ends it must have
seen to it that nothing is under way.
"""

import asyncio
import base64
import hashlib
import os

GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
VERSION = os.environ.get("VERSION", "0")


async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Serve one connection."""
    try:
        while True:
            head = await reader.readuntil(b"\r\n\r\n")
            lines = head.decode("latin-1").split("\r\n")
            path = lines[0].split(" ")[1]
            headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines[1:])}
            if path == "/socket":
                await socket(reader, writer, headers["sec-websocket-key"])
                return
            if path.startswith("/slow"):
                await slow(writer, float(path.partition("s=")[2] or "1"))
            elif path == "/upload":
                body = await reader.readexactly(int(headers["content-length"]))
                reply(writer, f"{len(body)} {hashlib.sha256(body).hexdigest()}")
            else:
                reply(writer, f"fast {VERSION}")
            await writer.drain()
    except (asyncio.IncompleteReadError, ConnectionError):
        pass
    finally:
        writer.close()


def reply(writer: asyncio.StreamWriter, text: str) -> None:
    """One whole answer."""
    body = text.encode()
    writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ncontent-length: %d\r\n\r\n%s" % (len(body), body))


async def slow(writer: asyncio.StreamWriter, seconds: float) -> None:
    """An answer in pieces of a known length."""
    pieces = max(1, int(seconds * 5))
    writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ncontent-length: %d\r\n\r\n" % (8 * pieces))
    for number in range(pieces):
        await asyncio.sleep(seconds / pieces)
        writer.write(b"%07d\n" % number)
        await writer.drain()


async def socket(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, key: str) -> None:
    """RFC 6455: short text frames come back as they are."""
    accept = base64.b64encode(hashlib.sha1(key.encode() + GUID).digest())  # noqa: S324
    writer.write(
        b"HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: Upgrade\r\n"
        b"sec-websocket-accept: %s\r\n\r\n" % accept
    )
    while True:
        first, second = await reader.readexactly(2)
        mask = await reader.readexactly(4)
        masked = await reader.readexactly(second & 0x7F)
        payload = bytes(byte ^ mask[at % 4] for at, byte in enumerate(masked))
        writer.write(bytes([first, len(payload)]) + payload)
        await writer.drain()
        if first & 0x0F == 8:
            return


async def main() -> None:
    """Listen after START_S."""
    await asyncio.sleep(float(os.environ.get("START_S", "0")))  # what an app's imports take
    server = await asyncio.start_server(answer, "0.0.0.0", int(os.environ["PORT"]))  # noqa: S104
    async with server:
        await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main())
