"""Large files that go on where they were cut off, by the IETF's draft of resumable uploads (docs/uploads.md).

url = resumable.open("/film.mp4", size_bytes)
node = resumable.append(url, 0, FileBody(file, size_bytes))       # breaks off
state = resumable.state(url)                                      # state.offset is what the hive has
node = resumable.append(url, state.offset, FileBody(file, size_bytes - state.offset, state.offset))
"""

from __future__ import annotations

import contextlib
import random
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from skep.base.errors import OffsetMismatch, SkepError, Unavailable, UploadFinished, UploadLocked, UploadNotFound
from skep.client.calls import Caller, read_json
from skep.client.records import Node, read_node
from skep.client.transport import Body

PARTIAL_TYPE = "application/partial-upload"
SETTLED = (OffsetMismatch, UploadFinished, UploadLocked)
"""Refusals after which it is enough to ask where the upload stands."""


@dataclass(frozen=True, slots=True)
class UploadState:
    """Where an upload stands."""

    offset: int
    """Bytes that the hive has for good."""
    node: str | None
    """Once it is complete: where its file is told of."""


class Resumable:
    """What one user can do with uploads. Raises what the hive answers, as its SkepError class."""

    def __init__(self, caller: Caller) -> None:
        self._caller = caller

    def open(self, path: str, size_bytes: int, *, space: str | None = None, modified_us: int | None = None) -> str:
        """Open an upload of a file of so many bytes; its address on the hive. Directories are made at its end."""
        query = {"path": path, "space": space, "modified_us": modified_us}
        headers = {"Upload-Complete": "?0", "Upload-Length": str(size_bytes)}
        response = self._caller.open("POST", "/tus/", query, headers=headers)
        response.read()
        location = response.headers.get("location", "")
        if not location.startswith("/tus/"):
            raise Unavailable("the hive opened an upload and did not say where: is something else in between?")
        return location

    def state(self, url: str) -> UploadState:
        """Where an upload stands. Raises UploadNotFound, UploadExpired."""
        response = self._caller.open("HEAD", url)
        response.read()
        headers = response.headers
        offset = headers.get("upload-offset", "")
        if not offset.isdigit():
            raise Unavailable("the hive did not say where the upload stands: is something else in between?")
        done = headers.get("upload-complete") == "?1"
        return UploadState(int(offset), headers.get("content-location", "") if done else None)

    def append(self, url: str, offset: int, body: Body, *, before_try: Callable[[], None] | None = None) -> Node:
        """Send the rest of the file from ``offset`` on; the file that it made."""
        headers = {"Upload-Complete": "?1", "Upload-Offset": str(offset), "Content-Type": PARTIAL_TYPE}
        response = self._caller.open("PATCH", url, headers=headers, body=body, repeatable=False, before_try=before_try)
        return read_node(read_json(response)["node"])

    def result(self, state: UploadState) -> Node:
        """The file that a complete upload became. Raises NodeNotFound."""
        node_id = (state.node or "").rpartition("/")[2]
        return read_node(self._caller.json("GET", f"/api/filesystem/info/{node_id}", {"depth": 0})["info"])

    def cancel(self, url: str) -> None:
        """Give an upload up; whatever fails, it will expire by itself."""
        with contextlib.suppress(SkepError):
            self._caller.open("DELETE", url).read()

    def send(
        self,
        url: str,
        offset: int,
        body_from: Callable[[int], Body],
        *,
        at: Callable[[int], None],
    ) -> Node:
        """Send a file from ``offset`` on, and go on as often as it breaks off and something of it arrived.

        ``body_from`` gives the rest of the file from an offset; ``at`` is told where the upload stands before each
        try. Raises UploadNotFound when the upload is gone: open another.
        """
        policy = self._caller.policy
        attempt = 1
        while True:
            at(offset)
            try:
                return self.append(url, offset, body_from(offset), before_try=partial(at, offset))
            except UploadNotFound:
                raise
            except SkepError as error:
                pause_s = policy.first_pause_s if isinstance(error, SETTLED) else None
                if attempt < policy.attempts and pause_s is None:
                    pause_s = policy.pause_s(attempt, error, random.random())  # noqa: S311 - spreads load only
                if pause_s is None or attempt >= policy.attempts:
                    raise
            self._caller.cancel.pause(pause_s)
            state = self.state(url)
            if state.node is not None:
                return self.result(state)
            attempt = 1 if state.offset > offset else attempt + 1
            offset = state.offset
