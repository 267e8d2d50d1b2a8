"""Live properties: what of a node is shown under which name (RFC 4918 section 15, RFC 4331, RFC 6578).

Each is a function from a node and the view of the request to a whole element, or None where a node has no such
property. They are run for every node of a listing: no work that can be done once belongs in them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import TypeAlias

from skep.base.ids import Id, id_text
from skep.filesystem import LockInfo, NodeInfo, SpaceInfo
from skep.frontends.common.httpdate import http_date
from skep.frontends.common.xml import escape
from skep.frontends.webdav.roots import Root

DAV = "{DAV:}"
OWNCLOUD = "{http://owncloud.org/ns}"
MICROSOFT = "{urn:schemas-microsoft-com:}"
SYNC_PREFIX = "urn:skep:sync:"
SECOND_US = 1_000_000
DATES_MAX = 8192
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

SUPPORTED_LOCK = (
    "<d:supportedlock>"
    "<d:lockentry><d:lockscope><d:exclusive/></d:lockscope><d:locktype><d:write/></d:locktype></d:lockentry>"
    "<d:lockentry><d:lockscope><d:shared/></d:lockscope><d:locktype><d:write/></d:locktype></d:lockentry>"
    "</d:supportedlock>"
)
_REPORTS = (
    "<d:supported-report-set><d:supported-report><d:report><d:sync-collection/></d:report></d:supported-report>"
    "</d:supported-report-set>"
)


@dataclass(slots=True)
class View:
    """What stays the same for all nodes of an answer. Only what is asked for is filled in."""

    root: Root
    space: SpaceInfo | None = None
    locks: Sequence[LockInfo] = ()
    """The locks of the space that are in force."""
    free_bytes: int | None = None
    """Room in the hive's stores, whatever the quota allows."""
    dead: Mapping[Id, Mapping[str, str]] = field(default_factory=dict)
    """Dead properties by node and name."""


Live: TypeAlias = Callable[[NodeInfo, View], str | None]


@lru_cache(DATES_MAX)
def _iso_date_of_second(time_s: int) -> str:
    return (_EPOCH + timedelta(seconds=time_s)).strftime("%Y-%m-%dT%H:%M:%SZ")


def _creationdate(node: NodeInfo, view: View) -> str:
    return f"<d:creationdate>{_iso_date_of_second(node.created_us // SECOND_US)}</d:creationdate>"


def _displayname(node: NodeInfo, view: View) -> str:
    name = node.name or (view.space.name if view.space is not None else "")
    return f"<d:displayname>{escape(name)}</d:displayname>"


def _getcontentlength(node: NodeInfo, view: View) -> str | None:
    return f"<d:getcontentlength>{node.size_bytes}</d:getcontentlength>" if node.kind == "file" else None


def _getcontenttype(node: NodeInfo, view: View) -> str | None:
    return f"<d:getcontenttype>{escape(node.mime)}</d:getcontenttype>" if node.kind == "file" else None


def _getetag(node: NodeInfo, view: View) -> str:
    return f'<d:getetag>"{node.etag}"</d:getetag>'


def _getlastmodified(node: NodeInfo, view: View) -> str:
    return f"<d:getlastmodified>{http_date(node.modified_us)}</d:getlastmodified>"


def _resourcetype(node: NodeInfo, view: View) -> str:
    if node.kind == "directory":
        return "<d:resourcetype><d:collection/></d:resourcetype>"
    return "<d:resourcetype/>"


def _supportedlock(node: NodeInfo, view: View) -> str:
    return SUPPORTED_LOCK


def _lockdiscovery(node: NodeInfo, view: View) -> str:
    if not view.locks:
        return "<d:lockdiscovery/>"
    return lock_discovery([lock for lock in view.locks if lock.covers(node.path)], view.root)


def lock_discovery(locks: Sequence[LockInfo], root: Root) -> str:
    """The lockdiscovery element of these locks (RFC 4918 section 15.8)."""
    return f"<d:lockdiscovery>{''.join(_active(lock, root) for lock in locks)}</d:lockdiscovery>"


def _active(lock: LockInfo, root: Root) -> str:
    scope = "shared" if lock.is_shared else "exclusive"
    return (
        f"<d:activelock><d:locktype><d:write/></d:locktype><d:lockscope><d:{scope}/></d:lockscope>"
        f"<d:depth>{'infinity' if lock.is_deep else '0'}</d:depth>{lock.owner}"
        f"<d:timeout>Second-{int(lock.seconds_left)}</d:timeout>"
        f"<d:locktoken><d:href>{token_text(lock.token)}</d:href></d:locktoken>"
        f"<d:lockroot><d:href>{escape(root.href(lock.path, is_directory=lock.is_directory))}</d:href></d:lockroot>"
        "</d:activelock>"
    )


def token_text(token: Id) -> str:
    """A lock token as it is written: a URN of a UUID (RFC 4122)."""
    return f"urn:uuid:{id_text(token)}"


def _quota_used(node: NodeInfo, view: View) -> str | None:
    if node.kind != "directory":
        return None
    used = view.space.used_bytes if view.space is not None and node.parent_id is None else node.size_bytes
    return f"<d:quota-used-bytes>{used}</d:quota-used-bytes>"


def _quota_available(node: NodeInfo, view: View) -> str | None:
    if node.kind != "directory" or view.space is None:
        return None
    known = [free for free in (view.space.free_bytes, view.free_bytes) if free is not None]
    free = min(known, default=None)
    return None if free is None else f"<d:quota-available-bytes>{free}</d:quota-available-bytes>"


def _sync_token(node: NodeInfo, view: View) -> str | None:
    if node.kind != "directory" or view.space is None:
        return None
    return f"<d:sync-token>{SYNC_PREFIX}{view.space.cursor}</d:sync-token>"


def _report_set(node: NodeInfo, view: View) -> str | None:
    return _REPORTS if node.kind == "directory" else None


def _checksums(node: NodeInfo, view: View) -> str | None:
    known = [f"{name}:{value.hex()}" for name, value in (("SHA1", node.sha1), ("MD5", node.md5)) if value]
    if not known:
        return None
    return f'<o:checksums xmlns:o="http://owncloud.org/ns"><o:checksum>{" ".join(known)}</o:checksum></o:checksums>'


def _owncloud_id(node: NodeInfo, view: View) -> str:
    return f'<o:id xmlns:o="http://owncloud.org/ns">{id_text(node.id)}</o:id>'


def _owncloud_size(node: NodeInfo, view: View) -> str:
    return f'<o:size xmlns:o="http://owncloud.org/ns">{node.size_bytes}</o:size>'


def _windows_modified(node: NodeInfo, view: View) -> str:
    text = http_date(node.modified_us)
    return f'<m:Win32LastModifiedTime xmlns:m="urn:schemas-microsoft-com:">{text}</m:Win32LastModifiedTime>'


ALWAYS: Mapping[str, Live] = {
    f"{DAV}creationdate": _creationdate,
    f"{DAV}displayname": _displayname,
    f"{DAV}getcontentlength": _getcontentlength,
    f"{DAV}getcontenttype": _getcontenttype,
    f"{DAV}getetag": _getetag,
    f"{DAV}getlastmodified": _getlastmodified,
    f"{DAV}resourcetype": _resourcetype,
    f"{DAV}supportedlock": _supportedlock,
    f"{DAV}lockdiscovery": _lockdiscovery,
}
"""What ``allprop`` shows."""

LIVE: Mapping[str, Live] = {
    **ALWAYS,
    f"{DAV}quota-used-bytes": _quota_used,
    f"{DAV}quota-available-bytes": _quota_available,
    f"{DAV}sync-token": _sync_token,
    f"{DAV}supported-report-set": _report_set,
    f"{OWNCLOUD}checksums": _checksums,
    f"{OWNCLOUD}id": _owncloud_id,
    f"{OWNCLOUD}size": _owncloud_size,
    f"{MICROSOFT}Win32LastModifiedTime": _windows_modified,
}
"""All live properties; those beyond ``ALWAYS`` are shown to who names them."""

NEED_SPACE = frozenset({f"{DAV}quota-used-bytes", f"{DAV}quota-available-bytes", f"{DAV}sync-token"})
NEED_LOCKS = frozenset({f"{DAV}lockdiscovery"})
NEED_DIGESTS = frozenset({f"{OWNCLOUD}checksums"})


def empty_element(name: str) -> str:
    """A property without a value, from its name as ``{namespace}local``."""
    namespace, _, local = name.rpartition("}")
    namespace = namespace[1:]
    if namespace == "DAV:":
        return f"<d:{local}/>"
    if not namespace:
        return f'<{local} xmlns=""/>'
    return f'<x:{local} xmlns:x="{escape(namespace)}"/>'
