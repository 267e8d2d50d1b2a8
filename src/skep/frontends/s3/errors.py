"""What fails, in S3's words: one table from the error tree to codes, and the XML that says it.

Codes and statuses: https://docs.aws.amazon.com/AmazonS3/latest/API/ErrorResponses.html.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from skep.base import errors as e
from skep.frontends.s3.xmltext import document, element

STATUS: Mapping[str, int] = {
    "AccessControlListNotSupported": 400,
    "AccessDenied": 403,
    "AuthorizationHeaderMalformed": 400,
    "AuthorizationQueryParametersError": 400,
    "BadDigest": 400,
    "BucketAlreadyExists": 409,
    "BucketAlreadyOwnedByYou": 409,
    "BucketNotEmpty": 409,
    "ConditionalRequestConflict": 409,
    "CORSForbidden": 403,
    "EntityTooLarge": 400,
    "EntityTooSmall": 400,
    "IncompleteBody": 400,
    "InternalError": 500,
    "InvalidAccessKeyId": 403,
    "InvalidArgument": 400,
    "InvalidBucketName": 400,
    "InvalidDigest": 400,
    "InvalidObjectState": 403,
    "InvalidPart": 400,
    "InvalidPartOrder": 400,
    "InvalidPolicyDocument": 400,
    "InvalidRange": 416,
    "InvalidRequest": 400,
    "InvalidTag": 400,
    "InvalidToken": 400,
    "KeyTooLongError": 400,
    "MalformedPOSTRequest": 400,
    "MalformedXML": 400,
    "MaxMessageLengthExceeded": 400,
    "MetadataTooLarge": 400,
    "MethodNotAllowed": 405,
    "MissingContentLength": 411,
    "MissingSecurityHeader": 400,
    "NoSuchBucket": 404,
    "NoSuchBucketPolicy": 404,
    "NoSuchCORSConfiguration": 404,
    "NoSuchKey": 404,
    "NoSuchLifecycleConfiguration": 404,
    "NoSuchPublicAccessBlockConfiguration": 404,
    "NoSuchTagSet": 404,
    "NoSuchUpload": 404,
    "NoSuchVersion": 404,
    "NoSuchWebsiteConfiguration": 404,
    "NotImplemented": 501,
    "ObjectLockConfigurationNotFoundError": 404,
    "OwnershipControlsNotFoundError": 404,
    "PreconditionFailed": 412,
    "QuotaExceeded": 403,
    "ReplicationConfigurationNotFoundError": 404,
    "RequestHeaderSectionTooLarge": 400,
    "RequestTimeTooSkewed": 403,
    "RequestTimeout": 400,
    "ServerSideEncryptionConfigurationNotFoundError": 404,
    "ServiceUnavailable": 503,
    "SignatureDoesNotMatch": 403,
    "SlowDown": 503,
    "TooManyBuckets": 400,
    "XAmzContentSHA256Mismatch": 400,
    "XSkepKeyIsPrefix": 409,
    "XSkepKeyNotAPath": 400,
    "XSkepLocked": 423,
}
"""Every code that this door answers, with its status. Those with ``XSkep`` are not Amazon's."""

CODES: Mapping[type[e.SkepError], str] = {
    e.SkepError: "InternalError",
    e.BadInput: "InvalidArgument",
    e.InvalidName: "XSkepKeyNotAPath",
    e.InvalidPath: "XSkepKeyNotAPath",
    e.InvalidRange: "InvalidRange",
    e.MalformedRequest: "InvalidRequest",
    e.LengthMismatch: "IncompleteBody",
    e.ChecksumMismatch: "BadDigest",
    e.Denied: "AccessDenied",
    e.InvalidToken: "InvalidAccessKeyId",
    e.NotFound: "NoSuchKey",
    e.NodeNotFound: "NoSuchKey",
    e.VersionNotFound: "NoSuchVersion",
    e.SpaceNotFound: "AccessDenied",
    e.BucketNotFound: "NoSuchBucket",
    e.UploadNotFound: "NoSuchUpload",
    e.Conflict: "ConditionalRequestConflict",
    e.NameClash: "XSkepKeyIsPrefix",
    e.Locked: "XSkepLocked",
    e.PreconditionFailed: "PreconditionFailed",
    e.InUse: "BucketNotEmpty",
    e.LimitReached: "InvalidRequest",
    e.QuotaExceeded: "QuotaExceeded",
    e.StoreFull: "QuotaExceeded",
    e.DatabaseFull: "ServiceUnavailable",
    e.BodyTooLarge: "EntityTooLarge",
    e.RateLimited: "SlowDown",
    e.Integrity: "InternalError",
    e.Unavailable: "SlowDown",
    e.TimedOut: "RequestTimeout",
    e.ClientGone: "RequestTimeout",
    e.ShuttingDown: "ServiceUnavailable",
    e.Misconfigured: "InternalError",
}


@dataclass(frozen=True, slots=True)
class Failure:
    """One failure as the client sees it."""

    code: str
    message: str
    headers: tuple[tuple[str, str], ...] = ()
    details: Mapping[str, str] = field(default_factory=dict)

    @property
    def status(self) -> int:
        """The HTTP status of the code."""
        return STATUS[self.code]

    def xml(self, resource: str, request_id: str) -> bytes:
        """The body of the answer."""
        more = "".join(element(name, value) for name, value in self.details.items())
        return document(
            "Error",
            element("Code", self.code)
            + element("Message", self.message)
            + more
            + element("Resource", resource)
            + element("RequestId", request_id)
            + element("HostId", "skep"),
            namespace=False,
        )


class Refusal(e.SkepError):
    """What S3 itself forbids, by its own code; it never leaves this door."""

    code = "s3-refusal"

    def __init__(self, s3_code: str, message: str, headers: tuple[tuple[str, str], ...] = (), **details: str) -> None:
        super().__init__(message, **details)
        assert s3_code in STATUS
        self.failure = Failure(s3_code, message, headers, details)


def failure_of(error: e.SkepError) -> Failure:
    """The failure of an error of the tree: that of the nearest class above it in the table."""
    if isinstance(error, Refusal):
        return error.failure
    code = next(CODES[kind] for kind in type(error).__mro__ if kind in CODES)
    headers: tuple[tuple[str, str], ...] = ()
    if isinstance(error, e.ChecksumMismatch) and error.details.get("algorithm") == "sha256":
        code = "XAmzContentSHA256Mismatch"
    if isinstance(error, e.BodyTooLarge) and error.details.get("part") == "head":
        code = "RequestHeaderSectionTooLarge"
    if code == "InvalidRange" and "size_bytes" in error.details:
        headers = (("content-range", f"bytes */{error.details['size_bytes']}"),)
    return Failure(code, error.message, headers)


def failure_of_bug() -> Failure:
    """The answer to an exception that nobody meant."""
    return Failure("InternalError", "Something went wrong inside the hive. Its log has more under this request's id.")
