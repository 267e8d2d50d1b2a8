"""Files of a hive: spaces, nodes, content, versions, trash, tags, changes.

Paths are absolute in a space. ``space`` is the id of one; None is the user's own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from skep.base.errors import NotFound, SkepError, Unavailable
from skep.client.calls import Caller, read_json
from skep.client.framing import BATCH_TYPE, encode_batch
from skep.client.problems import from_problem
from skep.client.records import Node, read_node
from skep.client.resumable import Resumable
from skep.client.transport import Body, Response

INFO = "/api/filesystem/info"
PAGE_ITEMS = 5000
PAGES_MAX = 100_000
DEPTH_MAX = 64


@dataclass(frozen=True, slots=True)
class BatchItem:
    """A small file of a batch call."""

    path: str
    body: bytes
    modified_us: int


class Files:
    """What one user can do with files. Raises what the hive answers, as its SkepError class."""

    def __init__(self, caller: Caller) -> None:
        self._caller = caller
        self.resumable = Resumable(caller)

    def spaces(self) -> list[dict[str, Any]]:
        """The spaces that the user may use, the own one first."""
        found: list[dict[str, Any]] = self._caller.json("GET", "/api/filesystem/spaces")["spaces"]
        return found

    def info(self, path: str, *, space: str | None = None) -> Node:
        """The node at a path. Raises NodeNotFound."""
        return read_node(self.details(path, space=space)["info"])

    def details(self, path: str, *, space: str | None = None) -> dict[str, Any]:
        """All that the hive tells of a path: the node; of a file its versions and where its chunks lie."""
        found: dict[str, Any] = self._caller.json("GET", INFO, {"path": path, "depth": 0, "space": space})
        return found

    def find(self, path: str, *, space: str | None = None) -> Node | None:
        """The node at a path, None if there is none."""
        try:
            return self.info(path, space=space)
        except NotFound:
            return None

    def children(self, path: str, *, space: str | None = None) -> Iterator[Node]:
        """What is in a directory, in order of names. Raises NodeNotFound."""
        return self._listing(path, space, 1)

    def below(self, path: str, *, space: str | None = None) -> Iterator[Node]:
        """All that is below a directory, directories before their content."""
        levels = path.rstrip("/").count("/") + DEPTH_MAX
        for node in self._listing(path, space, DEPTH_MAX):
            yield node
            if node.is_directory and node.path.count("/") == levels:
                yield from self.below(node.path, space=space)

    def _listing(self, path: str, space: str | None, depth: int) -> Iterator[Node]:
        after: str | None = None
        for _ in range(PAGES_MAX):
            query = {"path": path, "depth": depth, "space": space, "limit": PAGE_ITEMS, "after": after}
            page = self._caller.json("GET", INFO, query)
            yield from sorted(map(read_node, [*page["dirs"], *page["files"]]), key=lambda node: node.path)
            after = page.get("next")
            if not after:
                return
        raise Unavailable(f"the listing of {path} does not end")

    def make_directory(self, path: str, *, space: str | None = None, exist_ok: bool = True) -> Node:
        """Make a directory and those above it. Raises NameClash, AlreadyExists."""
        send = {"path": path, "space": space, "parents": True, "exist_ok": exist_ok}
        return read_node(self._caller.json("POST", "/api/filesystem/mkdir", send=send, repeatable=exist_ok))

    def write_file(
        self,
        path: str,
        body: Body,
        *,
        space: str | None = None,
        modified_us: int | None = None,
        before_try: Callable[[], None] | None = None,
    ) -> Node:
        """Write a file, as a new version if it is there; directories above it are made."""
        query = {"path": path, "space": space, "modified_us": modified_us}
        response = self._caller.open("PUT", "/api/filesystem/data", query, body=body, before_try=before_try)
        return read_node(read_json(response)["node"])

    def write_batch(self, items: Sequence[BatchItem], *, space: str | None = None) -> list[Node | SkepError]:
        """Write small files in one call, each a node or the error that it met."""
        body = encode_batch((item.path, item.body, item.modified_us) for item in items)
        response = self._caller.open(
            "POST",
            "/api/filesystem/batch",
            {"space": space},
            headers={"Content-Type": BATCH_TYPE},
            body=body,
            repeatable=True,
        )
        results = read_json(response)["results"]
        if len(results) != len(items):
            raise Unavailable(f"the hive answered {len(results)} of {len(items)} files of a batch: put them again")
        return [_batch_result(result) for result in results]

    def read(
        self,
        node_id: str,
        *,
        version: int | None = None,
        etag: str | None = None,
        offset: int = 0,
        length: int | None = None,
    ) -> Response:
        """A file's content from ``offset`` on, if it still has that ETag. Raises PreconditionFailed."""
        headers = {"If-Match": f'"{etag}"'} if etag else {}
        if offset or length is not None:
            last = "" if length is None else str(offset + length - 1)
            headers["Range"] = f"bytes={offset}-{last}"
        target = f"/api/filesystem/data/{node_id}" + ("" if version is None else f"/{version}")
        return self._caller.open("GET", target, headers=headers)

    def delete(self, path: str, *, space: str | None = None, permanently: bool = False) -> None:
        """Move a node with all below it to the trash, or past it."""
        self._caller.json("DELETE", INFO, {"path": path, "space": space, "permanently": permanently or None})

    def move(self, path: str, to_path: str, *, space: str | None = None, overwrite: bool = False) -> Node:
        """Move a node; ``to_path`` is its whole new path."""
        return self._relocate("move", path, to_path, space, overwrite)

    def copy(self, path: str, to_path: str, *, space: str | None = None, overwrite: bool = False) -> Node:
        """Copy a node with all below it; ``to_path`` is the copy's whole path."""
        return self._relocate("copy", path, to_path, space, overwrite)

    def _relocate(self, verb: str, path: str, to_path: str, space: str | None, overwrite: bool) -> Node:
        send = {"path": path, "space": space, "to_path": to_path, "to_space": space, "overwrite": overwrite}
        return read_node(self._caller.json("POST", f"/api/filesystem/{verb}", send=send))

    def versions(self, node_id: str) -> list[dict[str, Any]]:
        """The versions of a file, newest first."""
        found: list[dict[str, Any]] = self._caller.json("GET", f"/api/filesystem/versions/{node_id}")["versions"]
        return found

    def restore_version(self, node_id: str, number: int) -> Node:
        """Make an old version current again, as a new version."""
        return read_node(self._caller.json("POST", f"/api/filesystem/versions/{node_id}/{number}/restore"))

    def trash(self, *, space: str | None = None) -> Iterator[Mapping[str, Any]]:
        """What is in the trash, newest first."""
        return self._caller.pages("/api/filesystem/trash", {"space": space}, "items")

    def restore_from_trash(self, node_id: str, path: str | None = None) -> Node:
        """Bring back an entry of the trash: to where it was, or to ``path``."""
        send = {} if path is None else {"path": path}
        return read_node(self._caller.json("POST", f"/api/filesystem/trash/{node_id}/restore", send=send))

    def purge(self, node_id: str) -> None:
        """Delete one entry of the trash for good."""
        self._caller.json("DELETE", f"/api/filesystem/trash/{node_id}")

    def empty_trash(self, *, space: str | None = None) -> int:
        """Delete everything in the trash for good; how many entries that were."""
        purged: int = self._caller.json("DELETE", "/api/filesystem/trash", {"space": space})["purged"]
        return purged

    def tags(self) -> list[dict[str, Any]]:
        """The user's tags and how many nodes have each."""
        found: list[dict[str, Any]] = self._caller.json("GET", "/api/filesystem/tags")["tags"]
        return found

    def tagged(self, name: str) -> list[Node]:
        """The nodes that have a tag."""
        target = f"/api/filesystem/tags/{quote(name, safe='')}"
        return [read_node(raw) for raw in self._caller.json("GET", target)["nodes"]]

    def options(self, *, space: str | None = None) -> dict[str, Any]:
        """How new content of a space is kept, and what may be chosen."""
        found: dict[str, Any] = self._caller.json("GET", _options(space))
        return found

    def set_scheme(self, scheme: str | None, *, space: str | None = None) -> dict[str, Any]:
        """Choose how new content of a space is kept; None: as the hive says. Raises Forbidden, InvalidScheme."""
        changed: dict[str, Any] = self._caller.json("POST", _options(space), send={"scheme": scheme}, repeatable=True)
        return changed

    def rename_tag(self, name: str, new_name: str, *, merge: bool = False) -> int:
        """Give a tag another name on all nodes; on how many. Raises NameClash."""
        target, send = f"/api/filesystem/tags/{quote(name, safe='')}", {"name": new_name, "merge": merge}
        renamed: int = self._caller.json("PUT", target, send=send, repeatable=False)["renamed"]
        return renamed

    def set_tags(self, node_id: str, tags: Sequence[str]) -> Node:
        """Replace the user's tags on a node."""
        return read_node(self._caller.json("PUT", f"{INFO}/{node_id}/tags", send={"tags": list(tags)}))

    def changes(
        self, cursor: str | None = None, *, space: str | None = None, limit: int = 1000, timeout_s: float = 0.0
    ) -> dict[str, Any]:
        """A run of the journal after ``cursor``; waits up to ``timeout_s`` for the first change."""
        query = {"cursor": cursor, "space": space, "limit": limit, "timeout_s": timeout_s}
        page: dict[str, Any] = self._caller.json("GET", "/api/filesystem/changes", query, timeout_s=timeout_s + 60)
        return page


def _options(space: str | None) -> str:
    return "/api/auth/me/options" if space is None else f"/api/filesystem/spaces/{space}/options"


def _batch_result(result: Mapping[str, Any]) -> Node | SkepError:
    problem = result.get("problem")
    if problem is not None:
        return from_problem(problem, result.get("status", 0))
    return read_node(result["node"])
