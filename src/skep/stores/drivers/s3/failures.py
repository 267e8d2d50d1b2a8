"""What an S3 server's error means: the one table from its codes to our errors.

Codes: Amazon S3 API Reference, "Error responses". The library gives them only inside its message, hence the patterns.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import NamedTuple

from obstore.exceptions import BaseError

from skep.base.errors import (
    BodyTooLarge,
    ObjectNotFound,
    SkepError,
    StoreFull,
    StoreReadOnly,
    StoreRefused,
    StoreUnavailable,
)

_STATUS = re.compile(r"non-2xx status code: (\d{3})")
_CODE = re.compile(r"<Code>([A-Za-z0-9]{1,80})</Code>")
SLOW_DOWN_S = 1.0
"""S3 says that one should slow down, and not for how long."""

_REFUSED: Mapping[str, str] = {
    "AccessDenied": "the key may not do this: give it the right to list, read, write and delete below the prefix",
    "AccountProblem": "there is a problem with the account: ask the provider",
    "AllAccessDisabled": "the provider has disabled all access: ask the provider",
    "AuthorizationHeaderMalformed": "the region is wrong: give the bucket's as option region",
    "ExpiredToken": "the session token has expired: add the store again with new keys",
    "InvalidAccessKeyId": "the key id is unknown: check it",
    "InvalidToken": "the session token is not valid: check it",
    "NoSuchBucket": "there is no such bucket: make it first, or check the name",
    "PermanentRedirect": "the bucket is elsewhere: give its region and endpoint as options",
    "RequestTimeTooSkewed": "the clocks differ: set this machine's clock",
    "SignatureDoesNotMatch": "the secret key is wrong: check it",
}
_SLOW = frozenset(
    {"SlowDown", "SlowDownRead", "SlowDownWrite", "TooManyRequests", "RequestLimitExceeded", "Throttling"}
)
_FULL = frozenset(
    {"InsufficientStorage", "XMinioStorageFull", "QuotaExceeded", "XMinioAdminBucketQuotaExceeded",
     "StorageQuotaExceeded", "ServiceQuotaExceeded", "StorageCapReached"}
)  # fmt: skip


class Answer(NamedTuple):
    """What the server said, as far as the message shows it."""

    status: int | None
    code: str


def answer_of(error: Exception) -> Answer:
    """The status and code inside the library's message."""
    text = str(error)
    status, code = _STATUS.search(text), _CODE.search(text)
    return Answer(int(status[1]) if status else None, code[1] if code else "")


def is_range_past_end(error: Exception) -> bool:
    """Whether a range began at or after the object's end."""
    answer = answer_of(error)
    return answer.status == 416 or answer.code == "InvalidRange"


def store_error(error: Exception, place: str, key: str, *, writing: bool) -> SkepError:
    """Our error for one of the library's. Its message has codes alone: a server may repeat keys and signatures."""
    status, code = answer_of(error)
    if code in _REFUSED:
        if code == "AccessDenied" and writing:
            return StoreReadOnly(f"{place} takes no writes from this key ({code}): give it the right to put and delete")
        return StoreRefused(f"{place} refuses: {_REFUSED[code]} ({code})")
    if isinstance(error, FileNotFoundError):
        return ObjectNotFound(f"there is no object {key}")
    if status in (401, 403):
        return StoreRefused(f"{place} refuses (status {status} {code}): check the key, its rights and the region")
    if status in (301, 307, 308):
        return StoreRefused(f"{place} refuses: {_REFUSED['PermanentRedirect']} (status {status} {code})")
    if code in _FULL or status == 507:
        return StoreFull(f"{place} has no room left ({code or status}): free some, or add a store")
    if code == "EntityTooLarge" or status == 413:
        return BodyTooLarge(f"{place} does not take objects as large as {key} ({code or status})")
    if code in _SLOW or status == 429:
        return StoreUnavailable(f"{place} asks to slow down ({code or status})", retry_after_s=SLOW_DOWN_S)
    return StoreUnavailable(f"{place} {_how(error, status, code)}: it is tried again")


def _how(error: Exception, status: int | None, code: str) -> str:
    if status is not None:
        return f"failed (status {status} {code})".replace(" )", ")")
    text = str(error)
    for sign, what in (("kind: Timeout", "did not answer in time"), ("kind: Connect", "cannot be reached")):
        if sign in text:
            return what
    return "broke off or answered something that is not S3" if isinstance(error, BaseError) else "cannot be spoken to"
