"""What a transfer of trees would do: from what is here and what is there to a plan. Pure.

A plan never guesses: a file that may differ is moved. It is left alone when its size is the same and
either its modification time is (to the microsecond, as the hive keeps it), or the journal of an
earlier run says that just this content went up and the hive still has it (by its ETag).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from skep.client.records import Node
from skep.client.scan import LocalDirectory, LocalFile

NAME_MAX_BYTES = 255
_BAD_NAME = "its name is not one that a file here can have"


@dataclass(frozen=True, slots=True)
class Sent:
    """A line of the journal: what the local file was when its content became ``etag`` on the hive."""

    size_bytes: int
    mtime_ns: int
    etag: str


@dataclass(frozen=True, slots=True)
class Clash:
    """Something that cannot be moved, and why."""

    path: str
    reason: str


@dataclass(slots=True)
class UploadPlan:
    """What to make and send. Sizes in bytes."""

    directories: list[str] = field(default_factory=list)
    """Empty ones; the others come with their files."""
    files: list[LocalFile] = field(default_factory=list)
    unchanged: list[LocalFile] = field(default_factory=list)
    clashes: list[Clash] = field(default_factory=list)

    @property
    def size_bytes(self) -> int:
        return sum(file.size_bytes for file in self.files)


def plan_upload(
    entries: Iterable[LocalFile | LocalDirectory],
    there: Mapping[str, Node],
    journal: Mapping[str, Sent],
    *,
    force: bool = False,
) -> UploadPlan:
    """Plan sending ``entries`` (directories before their content).

    ``there``: nodes of the hive by path, at least those of the entries' targets. ``force`` sends all files.
    """
    plan = UploadPlan()
    made: dict[str, None] = {}
    blocked: set[str] = set()
    for entry in entries:
        above = parent(entry.target)
        if above in blocked:
            blocked.add(entry.target)
            continue
        node = there.get(entry.target)
        if isinstance(entry, LocalDirectory):
            if node is not None and not node.is_directory:
                blocked.add(entry.target)
                plan.clashes.append(Clash(entry.local, f"{entry.target} is a file on the hive, not a directory"))
            elif node is None:
                made.pop(above, None)
                made[entry.target] = None
        elif node is not None and node.is_directory:
            plan.clashes.append(Clash(entry.local, f"{entry.target} is a directory on the hive, not a file"))
        elif not force and _is_there(entry, node, journal.get(entry.target)):
            plan.unchanged.append(entry)
        else:
            made.pop(above, None)
            plan.files.append(entry)
    plan.directories = list(made)
    return plan


def _is_there(file: LocalFile, node: Node | None, sent: Sent | None) -> bool:
    if node is None or node.size_bytes != file.size_bytes:
        return False
    if sent is not None and (sent.size_bytes, sent.mtime_ns) == (file.size_bytes, file.mtime_ns):
        return sent.etag == node.etag
    return node.modified_us == file.mtime_ns // 1000


def batches(files: Sequence[LocalFile], *, items_max: int, bytes_max: int) -> Iterator[list[LocalFile]]:
    """Group small files in their order; each group keeps both limits (a single file may be over the second)."""
    group: list[LocalFile] = []
    size_bytes = 0
    for file in files:
        if group and (len(group) >= items_max or size_bytes + file.size_bytes > bytes_max):
            yield group
            group, size_bytes = [], 0
        group.append(file)
        size_bytes += file.size_bytes
    if group:
        yield group


@dataclass(frozen=True, slots=True)
class LocalState:
    """What is at a local path now, links not followed."""

    is_directory: bool
    is_file: bool
    size_bytes: int
    mtime_ns: int


@dataclass(frozen=True, slots=True)
class Fetch:
    """A file to be fetched to ``local``, a path relative to the target's root ("" is the root itself)."""

    node: Node
    local: str


@dataclass(slots=True)
class DownloadPlan:
    """What to make and fetch below a local root."""

    directories: list[tuple[Node, str]] = field(default_factory=list)
    """All of them, those above first; their times are set at the end."""
    files: list[Fetch] = field(default_factory=list)
    unchanged: list[Fetch] = field(default_factory=list)
    clashes: list[Clash] = field(default_factory=list)

    @property
    def size_bytes(self) -> int:
        return sum(fetch.node.size_bytes for fetch in self.files)


def plan_download(
    root: str, nodes: Iterable[Node], here: Mapping[str, LocalState], *, force: bool = False
) -> DownloadPlan:
    """Plan fetching ``nodes``, all of them at or below the hive path ``root`` (directories before their content).

    ``here``: local state by relative path. A name that would leave its directory is a clash, and so is
    all below it: a hive is not trusted with where files go.
    """
    plan = DownloadPlan()
    blocked: set[str] = set()
    for node in nodes:
        if node.path != root and parent(node.path) in blocked:
            blocked.add(node.path)
            continue
        local = relative_path(root, node.path)
        reason = (
            "its name is not one that a file here can have" if local is None else _in_the_way(node, here.get(local))
        )
        if reason or local is None:
            blocked.add(node.path)
            plan.clashes.append(Clash(node.path, reason))
        elif node.is_directory:
            plan.directories.append((node, local))
        elif not force and _is_here(node, here.get(local)):
            plan.unchanged.append(Fetch(node, local))
        else:
            plan.files.append(Fetch(node, local))
    return plan


def relative_path(root: str, path: str) -> str | None:
    """The local relative path of a hive path at or below ``root``; None when it could lead elsewhere."""
    if path == root:
        return ""
    base = root.rstrip("/") + "/"
    if not path.startswith(base):
        return None
    names = path[len(base) :].split("/")
    return "/".join(names) if all(_is_plain(name) for name in names) else None


def _is_plain(name: str) -> bool:
    return name not in ("", ".", "..") and "\0" not in name and len(name.encode("utf-8", "replace")) <= NAME_MAX_BYTES


def _in_the_way(node: Node, state: LocalState | None) -> str:
    if state is None or (state.is_directory == node.is_directory and (state.is_directory or state.is_file)):
        return ""
    if node.is_directory:
        return "there is a local file (or link) of that name, not a directory"
    if state.is_directory:
        return "there is a local directory of that name, not a file"
    return ""  # a link or special file is replaced by the rename, never written through


def _is_here(node: Node, state: LocalState | None) -> bool:
    return (
        state is not None
        and state.is_file
        and state.size_bytes == node.size_bytes
        and state.mtime_ns // 1000 == node.modified_us
    )


def parent(path: str) -> str:
    """The path above; of a path in the root it is ``/``."""
    return path.rpartition("/")[0] or "/"


def join(directory: str, name: str) -> str:
    """The path of ``name`` in ``directory``."""
    return f"{directory.rstrip('/')}/{name}"
