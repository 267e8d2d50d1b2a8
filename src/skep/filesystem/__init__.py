"""Spaces, nodes, versions, trash and tags over the chunk service.

    filesystem = Filesystem(db, chunks, EventLog(hub), Journal(db, hub), clock, Limits(trash_days=30))
    written = await filesystem.write_file(principal, None, "/notes/a.txt", stream, parents=True)
    opened = await filesystem.open_file(principal, written.node.id)
    async for part in opened.read(offset=100):
        ...

Functions over a Transaction do the work, by subject: ``tree`` (finding), ``growth`` (adding), ``writing``, ``moves``,
``copies``, ``trash``, ``versions``, ``editing``, ``tags``, ``quota``, ``spaces``; the package ``uploads`` is what
arrives in pieces. ``service`` is the asynchronous face,
``retention`` and ``digests`` are workers, ``check`` is the metadata's part of fsck.
"""

from __future__ import annotations

from skep.filesystem.check import KeptManifest, check, manifests, repair
from skep.filesystem.content import FileContent
from skep.filesystem.digests import Digests
from skep.filesystem.entries import Entries, EntryRow, Wants, rows_of
from skep.filesystem.findings import Finding
from skep.filesystem.hooks import SpaceHooks
from skep.filesystem.names import check_name, split_path
from skep.filesystem.quota import PersonalSpaces, SpaceRooms
from skep.filesystem.records import (
    ALWAYS,
    BatchItem,
    ChangePage,
    Conditions,
    DurabilityInfo,
    HeldShare,
    Limits,
    LinkChange,
    LinkInfo,
    LinkRules,
    LockInfo,
    NodeInfo,
    OpenLink,
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
from skep.filesystem.uploads.expiry import UploadExpiry
from skep.filesystem.uploads.records import Appended, Draft, Expected, PartInfo, Upload

__all__ = [
    "ALWAYS",
    "Appended",
    "BatchItem",
    "ChangePage",
    "Conditions",
    "Digests",
    "Draft",
    "DurabilityInfo",
    "Entries",
    "EntryRow",
    "Expected",
    "FileContent",
    "Filesystem",
    "Finding",
    "HeldShare",
    "KeptManifest",
    "Limits",
    "LinkChange",
    "LinkInfo",
    "LinkRules",
    "LockInfo",
    "NodeInfo",
    "OpenLink",
    "PartInfo",
    "PersonalSpaces",
    "Retention",
    "Rights",
    "ShareInfo",
    "ShareKind",
    "SpaceHooks",
    "SpaceInfo",
    "SpaceRooms",
    "TrashInfo",
    "Upload",
    "UploadExpiry",
    "VersionInfo",
    "Wants",
    "WriteResult",
    "check",
    "check_name",
    "manifests",
    "repair",
    "rows_of",
    "split_path",
]
