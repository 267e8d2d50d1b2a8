"""The error tree: every failure that Skep reports on purpose.

    SkepError
    ├── BadInput (can never succeed as it stands): InvalidName, InvalidPath, InvalidId, InvalidScheme, InvalidSize,
    │   InvalidRange, InvalidCursor, InvalidSetting, InvalidStoreUrl, MalformedRequest, LengthMismatch,
    │   ChecksumMismatch, UntrustedCertificate, InvalidStack
    ├── Denied: Unauthenticated → BadCredentials, InvalidToken, TokenExpired, SecondFactorNeeded, BadSignature;
    │   Forbidden → PromoRefused
    ├── NotFound: NodeNotFound, VersionNotFound, ChunkNotFound, SpaceNotFound, UserNotFound, GroupNotFound,
    │   ShareNotFound, StoreNotFound, ObjectNotFound, UploadNotFound → UploadExpired, BucketNotFound, AgentNotFound,
    │   JobNotFound, ImageNotFound, MachineNotFound, TransferNotFound, PlanNotFound
    ├── Conflict: NameClash, PreconditionFailed, AlreadyExists, InUse, IdentityInUse, CursorTooOld, ContentsChanged,
    │   OffsetMismatch, UploadLocked, UploadFinished, UploadUnfinished, Locked, JobDiffers, JobNotRunning, PortInUse,
    │   TooFewMembers, UnsafeLayout, KeyReused
    ├── LimitReached: QuotaExceeded, BodyTooLarge, RateLimited, StoreFull, DatabaseFull, TooManyUploads, GridFull,
    │   CreditExhausted, TrafficExceeded
    ├── Integrity: CorruptShard, CorruptPack, CorruptChunk, CorruptRecord, CorruptDatabase, DataLost
    ├── Unavailable (retrying can help): StoreUnavailable → StoreRefused (it cannot), StoreOffline; StoreReadOnly,
    │   QuorumNotReached, DatabaseBusy, HostUnavailable, EngineUnavailable, MachinesUnavailable, ShuttingDown, TimedOut,
    │   ClientGone
    ├── Unsuccessful: CommandFailed, BuildFailed, JobFailed, CertificateRefused, MachineRefused
    ├── LocalFailure (a file on the user's own machine)
    └── Misconfigured: KeyMissing, KeyWrong, DatabaseTooNew, DatabaseTooOld, DatabaseUnusable, DatabaseInUse,
        DataDirectoryInUse

Each class has a stable ``code`` (it is in the API's problem details and in the docs) and
knows whether retrying the same call can help. A message says what happened, to which thing,
and what the reader can do. Each door maps classes to its own wire codes in one table.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar


class SkepError(Exception):
    """Base of all deliberate errors.

    ``details`` holds machine-readable facts (names, sizes in bytes, ids as text), never secrets.
    """

    code: ClassVar[str] = "error"
    retryable: ClassVar[bool] = False

    def __init__(self, message: str, **details: object) -> None:
        super().__init__(message)
        self.message = message
        self.details: Mapping[str, object] = details


class BadInput(SkepError):
    """The request can never succeed as it stands."""

    code = "bad-input"


class InvalidName(BadInput):
    """A file, directory, user, group, store or tag name breaks its rules."""

    code = "invalid-name"


class InvalidPath(BadInput):
    """A path is not absolute, or escapes, or has a bad segment."""

    code = "invalid-path"


class InvalidId(BadInput):
    """An identifier does not parse."""

    code = "invalid-id"


class InvalidScheme(BadInput):
    """A durability scheme is unknown or makes no sense."""

    code = "invalid-scheme"


class InvalidSize(BadInput):
    """A byte count is negative, fractional, textual or out of range."""

    code = "invalid-size"


class InvalidRange(BadInput):
    """No requested byte range overlaps the content."""

    code = "invalid-range"


class InvalidCursor(BadInput):
    """A cursor was not given out by this hive."""

    code = "invalid-cursor"


class InvalidSetting(BadInput):
    """A setting is unknown or has a value that it cannot take."""

    code = "invalid-setting"


class InvalidStoreUrl(BadInput):
    """A store URL has an unknown scheme, an unknown option, or a secret in it."""

    code = "invalid-store-url"


class MalformedRequest(BadInput):
    """A request body or header does not parse."""

    code = "malformed-request"


class LengthMismatch(BadInput):
    """A body was shorter or longer than declared."""

    code = "length-mismatch"


class UntrustedCertificate(BadInput):
    """A hive's TLS certificate is not trusted here: nobody known vouches for it, or it is not the one pinned."""

    code = "untrusted-certificate"


class ChecksumMismatch(BadInput):
    """The bytes received do not have the digest that the sender declared."""

    code = "checksum-mismatch"


class InvalidStack(BadInput):
    """A stack file cannot be understood; ``details`` say the line and column of each thing that is wrong."""

    code = "invalid-stack"


class Denied(SkepError):
    """The principal may not do this."""

    code = "denied"


class Unauthenticated(Denied):
    """No usable credential was given."""

    code = "unauthenticated"


class BadCredentials(Unauthenticated):
    """The name and password pair is wrong (which of them is not said)."""

    code = "bad-credentials"


class InvalidToken(Unauthenticated):
    """A token is malformed, forged, revoked or not meant for this hive."""

    code = "invalid-token"


class TokenExpired(Unauthenticated):
    """A token was good and is not any more: refresh it or log in."""

    code = "token-expired"


class SecondFactorNeeded(Unauthenticated):
    """The password is right, and the account asks for a second factor besides."""

    code = "second-factor-needed"


class BadSignature(Unauthenticated):
    """A payment callback is not signed with the hive's secret, or was signed too long ago."""

    code = "bad-signature"


class Forbidden(Denied):
    """The principal is known and lacks the right (its existence is no secret)."""

    code = "forbidden"


class PromoRefused(Forbidden):
    """A promo code is unknown, over, used up, or was redeemed by this account before (which of them is not said)."""

    code = "promo-refused"


class NotFound(SkepError):
    """The thing does not exist, or its existence is private."""

    code = "not-found"


class NodeNotFound(NotFound):
    """No such file or directory."""

    code = "node-not-found"


class VersionNotFound(NotFound):
    """The file has no such version."""

    code = "version-not-found"


class ChunkNotFound(NotFound):
    """No such chunk."""

    code = "chunk-not-found"


class SpaceNotFound(NotFound):
    """No such space."""

    code = "space-not-found"


class UserNotFound(NotFound):
    """No such user."""

    code = "user-not-found"


class GroupNotFound(NotFound):
    """No such group."""

    code = "group-not-found"


class ShareNotFound(NotFound):
    """No such share: it was taken back, or it is somebody else's."""

    code = "share-not-found"


class StoreNotFound(NotFound):
    """No such store."""

    code = "store-not-found"


class ObjectNotFound(NotFound):
    """A store does not hold this key."""

    code = "object-not-found"


class UploadNotFound(NotFound):
    """No such upload, or it is another user's, or this part of it is not there."""

    code = "upload-not-found"


class UploadExpired(UploadNotFound):
    """The upload was left alone for too long, or was given up: what it held is gone."""

    code = "upload-expired"


class BucketNotFound(NotFound):
    """No such bucket."""

    code = "bucket-not-found"


class AgentNotFound(NotFound):
    """No such agent, or its key is not the one that was enrolled."""

    code = "agent-not-found"


class JobNotFound(NotFound):
    """No such job on that host, or in that stack."""

    code = "job-not-found"


class ImageNotFound(NotFound):
    """The image is neither on the host nor where it should be fetched from."""

    code = "image-not-found"


class MachineNotFound(NotFound):
    """There is no such machine in the fleet."""

    code = "machine-not-found"


class TransferNotFound(NotFound):
    """No such transfer of credit."""

    code = "transfer-not-found"


class PlanNotFound(NotFound):
    """No such plan, or not one that users may choose."""

    code = "plan-not-found"


class Conflict(SkepError):
    """The request contradicts the present state."""

    code = "conflict"


class NameClash(Conflict):
    """A node of that name is there, and of the other kind or not to be replaced."""

    code = "name-clash"


class PreconditionFailed(Conflict):
    """An If-Match or If-None-Match condition does not hold."""

    code = "precondition-failed"


class AlreadyExists(Conflict):
    """A user, group, store or invite of that name is there."""

    code = "already-exists"


class InUse(Conflict):
    """The thing cannot go while others need it."""

    code = "in-use"


class TooFewMembers(Conflict):
    """More replicas were asked for than there are stores to hold them."""

    code = "too-few-members"


class UnsafeLayout(Conflict):
    """So many shards of a pack would share an account, a household or a disk that losing it loses data."""

    code = "unsafe-layout"


class KeyReused(Conflict):
    """The key of this transfer belongs to another one: the same key must come with the same transfer."""

    code = "key-reused"


class IdentityInUse(Conflict):
    """Another computer is connected with the same agent's key: one of the two is a copy."""

    code = "identity-in-use"


class CursorTooOld(Conflict):
    """The journal no longer reaches back to this cursor: list anew."""

    code = "cursor-too-old"


class ContentsChanged(Conflict):
    """Files changed while their contents were written for another space."""

    code = "contents-changed"
    retryable = True


class OffsetMismatch(Conflict):
    """Bytes were sent for another place than where the upload stands; ``details['offset']`` says where that is."""

    code = "offset-mismatch"


class UploadLocked(Conflict):
    """Another request is sending to this upload at the moment."""

    code = "upload-locked"
    retryable = True


class UploadFinished(Conflict):
    """The upload is complete: it takes nothing more."""

    code = "upload-finished"


class UploadUnfinished(Conflict):
    """The upload does not have all its bytes yet."""

    code = "upload-unfinished"


class Locked(Conflict):
    """Somebody holds a lock on it: wait for them, or present the lock's token (``Lock-Token``)."""

    code = "locked"


class JobDiffers(Conflict):
    """A job of that id is there and is made of another spec: a changed job needs another id."""

    code = "job-differs"


class JobNotRunning(Conflict):
    """The job is there and does not run."""

    code = "job-not-running"


class PortInUse(Conflict):
    """A fixed port of a host is taken by another program."""

    code = "port-in-use"


class LimitReached(SkepError):
    """A limit says no."""

    code = "limit-reached"


class QuotaExceeded(LimitReached):
    """The space, or its owner, has no room for these bytes."""

    code = "quota-exceeded"


class CreditExhausted(LimitReached):
    """The account's credit does not suffice, and its plan does not let it owe more."""

    code = "credit-exhausted"


class TrafficExceeded(LimitReached):
    """The account has used the traffic of this month that its plan or limit allows."""

    code = "traffic-exceeded"


class BodyTooLarge(LimitReached):
    """A body, field or list is over its limit."""

    code = "body-too-large"


class RateLimited(LimitReached):
    """Too many attempts; ``details['retry_after_s']`` says how long to wait."""

    code = "rate-limited"
    retryable = True


class StoreFull(LimitReached):
    """A store, or all of them, has no room."""

    code = "store-full"


class GridFull(LimitReached):
    """No server of the fleet can take the job, and no other may be rented."""

    code = "grid-full"


class TooManyUploads(LimitReached):
    """The user has as many unfinished uploads as one may have."""

    code = "too-many-uploads"


class DatabaseFull(LimitReached):
    """The disk under the database has no room; nothing of the unit of work was kept."""

    code = "database-full"


class Integrity(SkepError):
    """Stored bytes are not what was written."""

    code = "integrity"


class CorruptShard(Integrity):
    """A shard's block does not have its keyed hash."""

    code = "corrupt-shard"


class CorruptPack(Integrity):
    """A pack's index cannot be opened or contradicts the pack."""

    code = "corrupt-pack"


class CorruptChunk(Integrity):
    """A sealed chunk does not open, or opens to other bytes."""

    code = "corrupt-chunk"


class CorruptRecord(Integrity):
    """A sealed or versioned record does not open."""

    code = "corrupt-record"


class CorruptDatabase(Integrity):
    """The database contradicts itself: restore it from a backup or a metadata snapshot."""

    code = "corrupt-database"


class DataLost(Integrity):
    """Fewer than k shards of a pack are readable anywhere."""

    code = "data-lost"


class Unavailable(SkepError):
    """Something needed does not answer; the same call may work later."""

    code = "unavailable"
    retryable = True


class StoreUnavailable(Unavailable):
    """A store does not answer or answers with its own failure."""

    code = "store-unavailable"


class StoreRefused(StoreUnavailable):
    """A store answers, and does not take the hive's credentials, or its bucket or account is gone."""

    code = "store-refused"
    retryable = False


class StoreOffline(StoreUnavailable):
    """The computer that lends this store is not connected: it may come back at any time."""

    code = "store-offline"


class StoreReadOnly(Unavailable):
    """A store takes no writes."""

    code = "store-read-only"


class QuorumNotReached(Unavailable):
    """Too few stores took their shard for the write to be acknowledged."""

    code = "quorum-not-reached"


class HostUnavailable(Unavailable):
    """A host cannot be reached, or does not let us in; whether a command ran there is not known."""

    code = "host-unavailable"


class EngineUnavailable(Unavailable):
    """What runs jobs on a host does not answer; whether it did what it was told is not known."""

    code = "engine-unavailable"


class MachinesUnavailable(Unavailable):
    """A provider of machines does not answer, or not in time; whether it did what it was asked is not known."""

    code = "machines-unavailable"


class DatabaseBusy(Unavailable):
    """The database is locked by another for longer than we wait, or does not answer."""

    code = "database-busy"


class ShuttingDown(Unavailable):
    """The hive is stopping and takes no new work."""

    code = "shutting-down"


class TimedOut(Unavailable):
    """A limit on time ran out."""

    code = "timed-out"


class ClientGone(Unavailable):
    """The client closed the connection before its request was whole."""

    code = "client-gone"


class Unsuccessful(SkepError):
    """A program that was run ended with a failure of its own."""

    code = "unsuccessful"


class CommandFailed(Unsuccessful):
    """A command on a host ended with another exit code than 0."""

    code = "command-failed"


class BuildFailed(Unsuccessful):
    """An image could not be made; ``details['last_lines']`` are the last that its build said."""

    code = "build-failed"


class JobFailed(Unsuccessful):
    """A job of a stack ended, or did not become well in time; the details have its last lines."""

    code = "job-failed"


class CertificateRefused(Unsuccessful):
    """A certificate authority does not give a certificate for these domains."""

    code = "certificate-refused"


class MachineRefused(Unsuccessful):
    """A machine cannot be had: the provider, or the owner's limits, say no."""

    code = "machine-refused"


class LocalFailure(SkepError):
    """A file on the user's own machine cannot be read or written, or changed meanwhile."""

    code = "local-failure"


class Misconfigured(SkepError):
    """The hive cannot start or go on as it is set up."""

    code = "misconfigured"


class KeyMissing(Misconfigured):
    """The master key is not where the settings say."""

    code = "key-missing"


class KeyWrong(Misconfigured):
    """The master key is not the one this hive was made with."""

    code = "key-wrong"


class DatabaseTooNew(Misconfigured):
    """A newer Skep has migrated this database."""

    code = "database-too-new"


class DatabaseTooOld(Misconfigured):
    """This database is not migrated to the schema of this Skep."""

    code = "database-too-old"


class DatabaseUnusable(Misconfigured):
    """What the database URL names is no database that Skep can use."""

    code = "database-unusable"


class DatabaseInUse(Misconfigured):
    """Another hive process serves this database."""

    code = "database-in-use"


class DataDirectoryInUse(Misconfigured):
    """Another hive process holds this data directory."""

    code = "data-directory-in-use"
