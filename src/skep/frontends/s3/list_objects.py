"""ListObjects and ListObjectsV2.

https://docs.aws.amazon.com/AmazonS3/latest/API/API_ListObjectsV2.html. Keys come in the order of their UTF-8 bytes. The
delimiter ``/`` is what the tree is made of and costs nothing; any other rolls up a walk over all keys.
"""

from __future__ import annotations

import base64
import binascii
from typing import NamedTuple

from skep.filesystem.flat import Entry
from skep.frontends.common.xml import escape
from skep.frontends.s3 import etags
from skep.frontends.s3.buckets import owner
from skep.frontends.s3.call import Call
from skep.frontends.s3.dates import iso_date
from skep.frontends.s3.errors import Refusal
from skep.frontends.s3.xmltext import element, flag, url_encoded

KEYS_MAX = 1000
WALKED_MAX = 100
"""Pages that one answer with an unusual delimiter reads at most; then it is cut short and says so."""
LAST = "\U0010ffff"


class Page(NamedTuple):
    """A run of keys and rolled-up prefixes, in order; where it ended if there is more."""

    found: list[Entry | str]
    last: str | None


async def list_objects(call: Call) -> None:
    """The first version: pages go on after a marker."""
    asked = _Asked(call)
    marker = call.query.get("marker", "")
    page = await asked.page(marker)
    body = [
        element("Name", call.bucket),
        element("Prefix", asked.shown(asked.prefix)),
        element("Marker", asked.shown(marker)),
        element("MaxKeys", asked.count),
        asked.echo(),
        flag("IsTruncated", page.last is not None),
    ]
    if page.last is not None and (asked.delimiter or page.found):
        body.append(element("NextMarker", asked.shown(page.last)))
    body.append(asked.entries(page, with_owner=True))
    await call.xml("ListBucketResult", "".join(body))


async def list_objects_v2(call: Call) -> None:
    """The second version: pages go on with a token."""
    asked = _Asked(call)
    token, start_after = call.query.get("continuation-token"), call.query.get("start-after", "")
    page = await asked.page(_after(token) if token is not None else start_after)
    body = [
        element("Name", call.bucket),
        element("Prefix", asked.shown(asked.prefix)),
        element("MaxKeys", asked.count),
        asked.echo(),
        element("KeyCount", len(page.found)),
        flag("IsTruncated", page.last is not None),
    ]
    if token is not None:
        body.append(element("ContinuationToken", token))
    if start_after:
        body.append(element("StartAfter", asked.shown(start_after)))
    if page.last is not None:
        body.append(element("NextContinuationToken", _token(page.last)))
    body.append(asked.entries(page, with_owner=call.query.get("fetch-owner") == "true"))
    await call.xml("ListBucketResult", "".join(body))


class _Asked:
    """What both versions ask for."""

    def __init__(self, call: Call) -> None:
        self.call = call
        self.prefix = call.query.get("prefix", "")
        self.delimiter = call.query.get("delimiter", "")
        self.count = call.whole_number("max-keys", KEYS_MAX, KEYS_MAX)
        encoding = call.query.get("encoding-type")
        if encoding not in (None, "", "url"):
            raise Refusal("InvalidArgument", "Invalid Encoding Method specified in Request")
        self.encoded = encoding == "url"
        bound = call.signed.grant.info.prefix
        if bound is not None and not self.prefix.startswith(bound):
            raise Refusal("AccessDenied", "Access Denied: this access key lists its own prefix.")

    def shown(self, key: str) -> str:
        """A key as it is written into the answer, before XML."""
        return url_encoded(key) if self.encoded else key

    def echo(self) -> str:
        """Delimiter and encoding, as they were asked for."""
        found = element("Delimiter", self.shown(self.delimiter)) if self.delimiter else ""
        return found + (element("EncodingType", "url") if self.encoded else "")

    async def page(self, after: str) -> Page:
        """The next run of keys. Raises BucketNotFound."""
        if self.count == 0:
            await self.call.filesystem.bucket(self.call.principal, *self.call.place)
            return Page([], None)
        if self.delimiter in ("", "/"):
            found = await self._keys(after, self.count + 1, rolled=self.delimiter == "/")
            cut = found[: self.count]
            return Page(cut, _name(cut[-1]) if len(found) > self.count else None)
        return await self._rolled(after)

    async def _keys(self, after: str, count: int, *, rolled: bool) -> list[Entry | str]:
        call = self.call
        return await call.filesystem.keys(
            call.principal, *call.place, prefix=self.prefix, after=after, rolled=rolled, count=count
        )

    async def _rolled(self, after: str) -> Page:
        """Keys rolled up at any delimiter: each prefix that was seen is jumped over."""
        found: list[Entry | str] = []
        if self.delimiter in after[len(self.prefix) :]:
            end = after.index(self.delimiter, len(self.prefix)) + len(self.delimiter)
            after = after[:end] + LAST if len(after) == end else after
        for _ in range(WALKED_MAX):
            run = await self._keys(after, KEYS_MAX, rolled=False)
            for entry in run:
                assert isinstance(entry, Entry)
                end = entry.key.find(self.delimiter, len(self.prefix))
                one: Entry | str = entry if end < 0 else entry.key[: end + len(self.delimiter)]
                if found and found[-1] == one:
                    continue
                if len(found) == self.count:
                    return Page(found, _name(found[-1]))
                found.append(one)
            if len(run) < KEYS_MAX:
                return Page(found, None)
            last = found[-1]
            after = last + LAST if isinstance(last, str) else last.key
        return Page(found, _name(found[-1]) if found else after)

    def entries(self, page: Page, *, with_owner: bool) -> str:
        """Contents and CommonPrefixes."""
        owned = owner(self.call) if with_owner else ""
        shown = self.shown
        contents = [
            f"<Contents><Key>{escape(shown(one.key))}</Key><LastModified>{iso_date(one.created_us)}</LastModified>"
            f"<ETag>&quot;{etags.of_entry(one)}&quot;</ETag><Size>{one.size_bytes}</Size>{owned}"
            "<StorageClass>STANDARD</StorageClass></Contents>"
            for one in page.found
            if isinstance(one, Entry)
        ]
        prefixes = [
            f"<CommonPrefixes><Prefix>{escape(shown(one))}</Prefix></CommonPrefixes>"
            for one in page.found
            if isinstance(one, str)
        ]
        return "".join(contents) + "".join(prefixes)


def _name(one: Entry | str) -> str:
    return one if isinstance(one, str) else one.key


def _token(last: str) -> str:
    return base64.urlsafe_b64encode(last.encode()).decode()


def _after(token: str) -> str:
    try:
        return base64.b64decode(token.encode(), altchars=b"-_", validate=True).decode()
    except (binascii.Error, ValueError):
        raise Refusal("InvalidArgument", "The continuation token provided is incorrect") from None
