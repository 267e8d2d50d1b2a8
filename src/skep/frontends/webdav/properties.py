"""Live properties: what of nodes is shown under which name (RFC 4918 section 15, RFC 4331, RFC 6578).

A listing has tens of thousands of nodes, so properties are made by the column: of a run of nodes that are all files, or
all directories, each property is one shape for ``%`` and the values that go into it, or None where nodes of that kind
have no such property. No work that can be done once for the run belongs in what is done for each node.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import NamedTuple, TypeAlias

from skep.base.ids import Id, id_text
from skep.filesystem import LockInfo, SpaceInfo
from skep.frontends.common.httpdate import http_date
from skep.frontends.common.id_text import text_of
from skep.frontends.common.xml import escape, escaped
from skep.frontends.webdav.roots import Root
from skep.frontends.webdav.runs import Run

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


class Part(NamedTuple):
    """One property of all nodes of a run."""

    shape: str
    """Its element, as a format for ``%``."""
    values: Iterable[object] | None = None
    """What goes into the shape, for each node; None: the shape takes nothing."""
    may_lack: bool = False
    """Whether the values are whole elements, and empty where a node lacks the property."""


Live: TypeAlias = Callable[[Run, View], Part | None]


def constant(text: str) -> Part:
    """The same element for every node."""
    return Part(text.replace("%", "%%"))


@lru_cache(DATES_MAX)
def _iso_date_of_second(time_s: int) -> str:
    return (_EPOCH + timedelta(seconds=time_s)).strftime("%Y-%m-%dT%H:%M:%SZ")


def _creationdate(run: Run, view: View) -> Part:
    return Part(
        "<d:creationdate>%s</d:creationdate>", [_iso_date_of_second(us // SECOND_US) for us in run.created_us()]
    )


def _displayname(run: Run, view: View) -> Part:
    names = run.names()
    if run.is_root and view.space is not None:
        names = [name or view.space.name for name in names]
    return Part("<d:displayname>%s</d:displayname>", escaped(names))


def _getcontentlength(run: Run, view: View) -> Part | None:
    return None if run.is_directory else Part("<d:getcontentlength>%s</d:getcontentlength>", run.sizes_bytes())


def _getcontenttype(run: Run, view: View) -> Part | None:
    return None if run.is_directory else Part("<d:getcontenttype>%s</d:getcontenttype>", escaped(run.mimes()))


def _getetag(run: Run, view: View) -> Part:
    return Part('<d:getetag>"%s"</d:getetag>', run.etags())


def _getlastmodified(run: Run, view: View) -> Part:
    return Part("<d:getlastmodified>%s</d:getlastmodified>", map(http_date, run.modified_us()))


def _resourcetype(run: Run, view: View) -> Part:
    if run.is_directory:
        return Part("<d:resourcetype><d:collection/></d:resourcetype>")
    return Part("<d:resourcetype/>")


def _supportedlock(run: Run, view: View) -> Part:
    return Part(SUPPORTED_LOCK)


def _lockdiscovery(run: Run, view: View) -> Part:
    if not view.locks:
        return Part("<d:lockdiscovery/>")
    covering = ([lock for lock in view.locks if lock.covers(path)] for path in run.paths())
    return Part("%s", [lock_discovery(locks, view.root) for locks in covering])


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


def _quota_used(run: Run, view: View) -> Part | None:
    if not run.is_directory:
        return None
    used = [view.space.used_bytes] if view.space is not None and run.is_root else run.sizes_bytes()
    return Part("<d:quota-used-bytes>%s</d:quota-used-bytes>", used)


def _quota_available(run: Run, view: View) -> Part | None:
    if not run.is_directory or view.space is None:
        return None
    known = [free for free in (view.space.free_bytes, view.free_bytes) if free is not None]
    free = min(known, default=None)
    return None if free is None else Part(f"<d:quota-available-bytes>{free}</d:quota-available-bytes>")


def _sync_token(run: Run, view: View) -> Part | None:
    if not run.is_directory or view.space is None:
        return None
    return constant(f"<d:sync-token>{SYNC_PREFIX}{view.space.cursor}</d:sync-token>")


def _report_set(run: Run, view: View) -> Part | None:
    return Part(_REPORTS) if run.is_directory else None


def _checksums(run: Run, view: View) -> Part | None:
    return None if run.is_directory else Part("", list(map(_checksum, run.sha1s(), run.md5s())), may_lack=True)


def _checksum(sha1: bytes | None, md5: bytes | None) -> str:
    known = [f"{name}:{value.hex()}" for name, value in (("SHA1", sha1), ("MD5", md5)) if value]
    if not known:
        return ""
    return f'<o:checksums xmlns:o="http://owncloud.org/ns"><o:checksum>{" ".join(known)}</o:checksum></o:checksums>'


def _owncloud_id(run: Run, view: View) -> Part:
    return Part('<o:id xmlns:o="http://owncloud.org/ns">%s</o:id>', map(text_of, run.ids()))


def _owncloud_size(run: Run, view: View) -> Part:
    return Part('<o:size xmlns:o="http://owncloud.org/ns">%s</o:size>', run.sizes_bytes())


def _windows_modified(run: Run, view: View) -> Part:
    return Part(
        '<m:Win32LastModifiedTime xmlns:m="urn:schemas-microsoft-com:">%s</m:Win32LastModifiedTime>',
        map(http_date, run.modified_us()),
    )


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
