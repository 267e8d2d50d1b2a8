"""What goes in and out of the file service. All frozen; ids are 16 bytes, times UTC microseconds, sizes bytes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal

import msgspec
from msgspec import UNSET, UnsetType

from skep.base.ids import Id

if TYPE_CHECKING:
    from skep.events import Change

NodeKind = Literal["directory", "file"]
SpaceKind = Literal["personal", "group", "share"]
Rights = Literal["read", "write", "upload"]
"""What a share allows: to look; to look and change; only to add files, without seeing any."""
ShareKind = Literal["user", "group"]
ShareState = Literal["pending", "accepted", "declined"]

DIRECTORY_MIME = "application/x-directory"


class Record(msgspec.Struct, frozen=True, gc=False):
    """Base of the plain records: no reference cycles, so the collector need not look at them."""


class SpaceInfo(Record, frozen=True):
    """One tree of files with one owner; or a part of one, seen through a share (``kind`` is ``share``)."""

    id: Id
    """Of a share: its own id, which stands wherever the id of a space may."""
    kind: SpaceKind
    owner_id: Id
    name: str
    root_id: Id
    quota_bytes: int | None
    """None: no limit. Of a share: None; its owner's space pays, and says so when it is full."""
    used_bytes: int
    """The bytes of all versions, the trash included; of a personal space also its owner's objects.

    Of a share: the current contents.
    """
    cursor: str
    """Where the journal stands: follow changes from here to see all that comes later."""
    created_us: int
    rights: Rights = "write"

    @property
    def free_bytes(self) -> int | None:
        """What still fits under the quota; None without one."""
        return None if self.quota_bytes is None else max(0, self.quota_bytes - self.used_bytes)


class NodeInfo(Record, frozen=True):
    """A directory or a file as it is now."""

    id: Id
    space_id: Id
    parent_id: Id | None
    name: str
    kind: NodeKind
    path: str
    size_bytes: int
    """Of a file: its content. Of a directory: the current contents of all files below it."""
    etag: str
    """Of a file: from its content, so it stays on rename and move. Of a directory: new with every change below."""
    mime: str
    version_number: int | None
    created_us: int
    modified_us: int
    tags: tuple[str, ...] = ()
    """The asking user's own."""
    attributes: Mapping[str, Any] = {}
    md5: bytes | None = None
    sha1: bytes | None = None
    sha256: bytes | None = None

    @property
    def is_directory(self) -> bool:
        """Whether it can hold others."""
        return self.kind == "directory"


class VersionInfo(Record, frozen=True):
    """One content that a file has or had."""

    id: Id
    node_id: Id
    number: int
    size_bytes: int
    etag: str
    mime: str
    created_us: int
    modified_us: int
    created_by: Id | None
    is_current: bool
    md5: bytes | None = None
    sha1: bytes | None = None
    sha256: bytes | None = None


class TrashInfo(Record, frozen=True):
    """A node in the trash, with all that was below it."""

    node_id: Id
    space_id: Id
    name: str
    kind: NodeKind
    path: str
    """Where it was."""
    size_bytes: int
    deleted_us: int
    deleted_by: Id | None


class DurabilityInfo(Record, frozen=True):
    """How the new packs of a space are coded."""

    space_id: Id
    scheme: str | None
    """What its owner chose; None: as the hive says."""
    allowed: tuple[str, ...]
    """What its owner may choose."""


class ShareInfo(Record, frozen=True):
    """Access that was given to a user or a group on a node, as those see it who may change it."""

    id: Id
    space_id: Id
    """The space, or the share that it was passed on from."""
    node_id: Id
    path: str | None
    """Where the node is; None: in the trash."""
    kind: ShareKind
    principal_id: Id
    principal_name: str
    rights: Rights
    may_share: bool
    """Whether its holder may pass it on."""
    state: ShareState | None
    """What the user made of it; None of a group, where each member decides."""
    created_by: Id
    created_us: int


class HeldShare(Record, frozen=True):
    """A share as its holder sees it."""

    id: Id
    """Stands wherever the id of a space may, once it is accepted."""
    name: str
    """The holder's own name for it; of a pending one the name it will get."""
    node_id: Id
    node_kind: NodeKind
    rights: Rights
    may_share: bool
    state: ShareState
    owner: str
    """The name of the space that it is in: its owner's."""
    given_by: Id
    group_id: Id | None
    """The holder's group that it was given to; None: to themself."""
    created_us: int


class LinkInfo(Record, frozen=True):
    """A share that whoever knows an address holds, as those see it who may change it."""

    id: Id
    space_id: Id
    """The space, or the share that it was passed on from."""
    node_id: Id
    path: str | None
    """Where the node is; None: in the trash."""
    name: str
    """What those who open it see."""
    rights: Rights
    """``read`` or ``upload``."""
    has_password: bool
    expires_us: int | None
    downloads_max: int | None
    downloads: int
    file_bytes_max: int | None
    """Of one file that is added."""
    bytes_max: int | None
    """Of all files that are added."""
    received_bytes: int
    """Of files that were added, and of uploads that were begun."""
    created_by: Id
    created_us: int
    last_used_us: int | None


class LinkRules(Record, frozen=True):
    """What a new link asks for and how much passes through it; None: no limit."""

    name: str | None = None
    """What those who open it see; None: the node's name."""
    password_hash: str | None = None
    expires_us: int | None = None
    downloads_max: int | None = None
    file_bytes_max: int | None = None
    bytes_max: int | None = None


class LinkChange(Record, frozen=True):
    """What is to change of a link; what is not given stays."""

    name: str | UnsetType = UNSET
    password_hash: str | UnsetType | None = UNSET
    expires_us: int | UnsetType | None = UNSET
    downloads_max: int | UnsetType | None = UNSET
    file_bytes_max: int | UnsetType | None = UNSET
    bytes_max: int | UnsetType | None = UNSET

    def given(self) -> dict[str, Any]:
        """What was given, by the name of the field."""
        pairs = ((name, getattr(self, name)) for name in self.__struct_fields__)
        return {name: value for name, value in pairs if value is not UNSET}


class OpenLink(Record, frozen=True):
    """A link that was opened by its address."""

    id: Id
    """Also that of its holder and of the share."""
    name: str
    rights: Rights
    password_hash: str | None
    expires_us: int | None
    downloads_left: int | None
    file_bytes_max: int | None
    bytes_left: int | None


class LockInfo(Record, frozen=True):
    """A write lock that is in force."""

    token: Id
    path: str
    """Of the locked node."""
    is_directory: bool
    is_shared: bool
    is_deep: bool
    """Whether it holds for all that is below, too."""
    owner: str
    """What its client wants others to see: an XML element."""
    user_id: Id
    seconds_left: float

    def covers(self, path: str) -> bool:
        """Whether it holds for the node at a path."""
        return path == self.path or (self.is_deep and path.startswith(self.path.rstrip("/") + "/"))


class Conditions(Record, frozen=True):
    """What must hold of a node for a change to be made (RFC 9110 section 13).

    ETags may come bare or quoted; ``*`` stands for any existing node.
    """

    if_match: tuple[str, ...] | None = None
    if_none_match: tuple[str, ...] | None = None
    if_unmodified_since_us: int | None = None
    node_id: Id | None = None
    """Of a write: the file that must be at the path, for those who named it by its id."""
    replaces: bool = False
    """Of a write: what was there goes for good with it, instead of staying as an older version."""
    spare_bytes: int = 0
    """Of a write that replaces: over quota it is made all the same if the size changes by less than this."""


ALWAYS = Conditions()
"""No condition."""


class BatchItem(Record, frozen=True):
    """One small file of a batch."""

    path: str
    body: bytes
    modified_us: int | None = None
    mime: str | None = None
    conditions: Conditions = ALWAYS
    expected_digests: Mapping[str, bytes] = {}


class WriteResult(Record, frozen=True):
    """What a write made."""

    node: NodeInfo
    version: VersionInfo
    created: bool
    """Whether the file is new, rather than a new version of one."""


class ChangePage(Record, frozen=True):
    """A run of a space's journal."""

    changes: tuple[Change, ...]
    cursor: str
    """Ask on from here."""
    more: bool
    """Whether there is more already."""


class Limits(Record, frozen=True):
    """The settings of the file service."""

    quota_bytes: int | None = None
    """Given to new spaces; None: no limit."""
    file_bytes_max: int = 1 << 46
    batch_items_max: int = 10_000
    batch_bytes_max: int = 64 << 20
    page_max: int = 20_000
    """Entries in one answer of a listing."""
    tree_max: int = 100_000
    """Nodes that one copy, or one move to another space, takes along."""
    path_bytes_max: int = 4096
    depth_max: int = 128
    attributes_bytes_max: int = 64 << 10
    properties_max: int = 1_000
    """Dead properties on one node."""
    properties_bytes_max: int = 256 << 10
    """All of them together."""
    lock_max_s: float = 86_400.0
    """The longest time that a lock is given, or given again."""
    tags_max: int = 64
    """Tags of one user on one node."""
    versions_max: int = 100
    """Versions kept of a file; 0: all."""
    versions_days: int = 365
    """Days after which a replaced version goes; 0: never."""
    trash_days: int = 30
    """Days after which a trashed node goes; 0: never."""
    trash_max: int = 100_000
    """Entries kept in the trash of a space: the oldest go first; 0: all."""
    journal_days: int = 90
    """Days that the journal reaches back; 0: for ever."""
    digest_bytes_max: int = 1 << 20
    """Bodies up to this size get all digests while they are written."""
    schemes: tuple[str, ...] = ()
    """Durability schemes that a space's owner may choose for it, besides the hive's."""
    shares_of_node_max: int = 1_000
    shares_of_space_max: int = 10_000
    shares_of_one_max: int = 1_000
    """Shares given to one user or group."""
    links: bool = True
    """Whether links may be made and opened."""
    links_of_one_max: int = 1_000
    """Links that one user made."""
    links_metered: bool = True
    """Whether what flows through links is traffic of the owner of what they are on."""
    uploads_max: int = 1_000
    """Unfinished uploads of one user."""
    upload_kept_us: int = 7 * 86_400 * 1_000_000
    """How long an upload stays after its last bytes, and is remembered after its end."""
    step_bytes: int = 32 << 20
    """An upload in a row is committed about so often while its bytes come."""
    wait_s_max: float = 300.0
    """Longest wait for changes."""
