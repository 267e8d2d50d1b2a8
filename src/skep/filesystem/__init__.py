"""Spaces, nodes, versions, trash and tags over the chunk service.

    filesystem = Filesystem(db, chunks, EventLog(hub), Journal(db, hub), clock, Limits(trash_days=30))
    written = await filesystem.write_file(principal, None, "/notes/a.txt", stream, parents=True)
    opened = await filesystem.open_file(principal, written.node.id)
    async for part in opened.read(offset=100):
        ...

Functions over a Transaction do the work, by subject: ``tree`` (finding), ``growth`` (adding), ``writing``, ``moves``,
``copies``, ``trash``, ``versions``, ``editing``, ``tags``, ``quota``, ``spaces``. ``service`` is the asynchronous face,
``retention`` and ``digests`` are workers, ``check`` is the metadata's part of fsck.
"""

from __future__ import annotations

from skep.filesystem.check import Finding, KeptManifest, check, manifests, repair
from skep.filesystem.content import FileContent
from skep.filesystem.digests import Digests
from skep.filesystem.hooks import SpaceHooks
from skep.filesystem.names import check_name, split_path
from skep.filesystem.quota import PersonalSpaces
from skep.filesystem.records import (
    ALWAYS,
    BatchItem,
    ChangePage,
    Conditions,
    HeldShare,
    Limits,
    NodeInfo,
    Rights,
    ShareInfo,
    ShareKind,
    SpaceInfo,
    TrashInfo,
    VersionInfo,
    WriteResult,
)
from skep.filesystem.retention import Retention
from skep.filesystem.service import Filesystem

__all__ = [
    "ALWAYS",
    "BatchItem",
    "ChangePage",
    "Conditions",
    "Digests",
    "FileContent",
    "Filesystem",
    "Finding",
    "HeldShare",
    "KeptManifest",
    "Limits",
    "NodeInfo",
    "PersonalSpaces",
    "Retention",
    "Rights",
    "ShareInfo",
    "ShareKind",
    "SpaceHooks",
    "SpaceInfo",
    "TrashInfo",
    "VersionInfo",
    "WriteResult",
    "check",
    "check_name",
    "manifests",
    "repair",
    "split_path",
]
