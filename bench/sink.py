"""An HTTP server like the hive's, with nothing behind it: takes bodies and drops them. Prints its URL."""

from __future__ import annotations

import asyncio
import socket

import uvloop

from skep.frontends.common.asgi import Receive, Scope, Send
from skep.server.engines import Listening, run_granian


async def sink(scope: Scope, receive: Receive, send: Send) -> None:
    """Read the body to its end and answer 204."""
    if scope["type"] != "http":
        return
    while (await receive()).get("more_body"):
        pass
    await send({"type": "http.response.start", "status": 204, "headers": []})
    await send({"type": "http.response.body", "body": b""})


def main() -> None:
    """Serve until the process is ended."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    url = f"http://127.0.0.1:{port}"
    serving = run_granian(sink, Listening("127.0.0.1", port), asyncio.Event(), lambda: print(url, flush=True))
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(serving)


if __name__ == "__main__":
    main()
