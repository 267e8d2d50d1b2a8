"""PostObject: an upload from a browser's form.

https://docs.aws.amazon.com/AmazonS3/latest/API/RESTObjectPOST.html. The form is signed by its policy, not the request.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import quote, urlencode, urlsplit

from skep.base.errors import InvalidToken, MalformedRequest
from skep.filesystem.facts import Facts
from skep.filesystem.growth import Content
from skep.frontends.common.conditions import quoted
from skep.frontends.common.form import FormReader, Part
from skep.frontends.s3 import sigv4
from skep.frontends.s3.call import Call
from skep.frontends.s3.described import facts_of, from_headers, mime_of, modified_us, request_mapping
from skep.frontends.s3.errors import Refusal
from skep.frontends.s3.post_policy import Policy, denied, parse_policy
from skep.frontends.s3.put_object import etag_of
from skep.frontends.s3.signing import Signed
from skep.frontends.s3.versioning import is_enabled, version_header
from skep.frontends.s3.xmltext import XML_TYPE, document, element

FIELDS_MAX = 100
FIELD_BYTES_MAX = 20 << 10
_KEPT = ("cache-control", "content-disposition", "content-encoding", "content-language", "content-type", "expires")


def is_form(call: Call) -> bool:
    """Whether a request is a form's upload."""
    kind = (call.headers.get("content-type") or "").partition(";")[0].strip().lower()
    return call.method == "POST" and call.key_text is None and not call.query and kind == "multipart/form-data"


async def post_object(call: Call) -> None:
    """Take the file of a form whose policy allows it."""
    form = FormReader(call.headers.text("content-type"), call.body)
    try:
        fields, file = await _fields(form)
    except MalformedRequest as error:
        raise Refusal("MalformedPOSTRequest", error.message) from None
    call.signer, policy = await _allowed(call, fields)
    call.key_text = fields["key"].replace("${filename}", (file.filename or "").rpartition("/")[2])
    key = call.key
    bucket = await call.filesystem.bucket(call.principal, *call.place)
    said = from_headers(request_mapping(_headers(fields)))

    def describe(content: Content) -> Facts | None:
        policy.check_length(content.size_bytes)
        return facts_of(said)

    async with call.services.uploads.enter_as(call.principal.user_id):
        result = await call.filesystem.write_file(
            call.principal,
            call.space_id,
            "/" + "/".join(key.segments),
            _file(form, policy),
            mime=mime_of(fields.get("content-type") or file.content_type),
            modified_us=modified_us(said),
            parents=True,
            below=0 if key.is_rooted else 1,
            digests={"md5"},
            describe=describe,
        )
    headers = [("etag", quoted(etag_of(result))), *version_header(result.version.id, enabled=is_enabled(bucket))]
    await _answer(call, fields, etag_of(result), headers)


async def _fields(form: FormReader) -> tuple[dict[str, str], Part]:
    """The fields up to the file, names in lower case; what comes after the file does not count."""
    fields: dict[str, str] = {}
    while True:
        part = await form.next_part()
        if part is None:
            raise MalformedRequest("POST requires exactly one file upload per request.")
        name = part.name.lower()
        if name == "file":
            if "key" not in fields:
                raise MalformedRequest("The form has no field `key` before the file.")
            return fields, part
        if name in fields or len(fields) >= FIELDS_MAX:
            raise MalformedRequest(f"The form has the field {name[:64]!r} twice, or too many fields.")
        fields[name] = (await form.value(FIELD_BYTES_MAX)).decode("utf-8", "replace")


async def _allowed(call: Call, fields: dict[str, str]) -> tuple[Signed, Policy]:
    """Who signed the form's policy, and the policy, if it allows the form. Raises Refusal."""
    scope = sigv4.parse_scope(fields.get("x-amz-credential", ""))
    text, date = fields.get("policy"), fields.get("x-amz-date", "")
    if text is None or scope is None or fields.get("x-amz-algorithm") != sigv4.ALGORITHM or date[:8] != scope.date:
        raise Refusal("AccessDenied", "Access Denied: the form must carry a policy, signed with version 4.")
    try:
        grant = await call.services.auth.access_key(scope.access_key)
    except InvalidToken:
        raise Refusal("InvalidAccessKeyId", "The access key is not known here.") from None
    key = sigv4.signing_key(grant.secret, scope.date, scope.region)
    signature = sigv4.sign(key, text)
    if not sigv4.same(signature, fields.get("x-amz-signature", "")):
        raise Refusal("SignatureDoesNotMatch", "The signature of the form is not that of its policy with your secret.")
    assert call.bucket_name is not None
    policy = parse_policy(text)
    policy.check(fields, call.bucket_name, call.services.clock.now_us())
    if "key" not in policy.named:
        raise denied("the policy does not name the key.")
    return Signed(grant, sigv4.UNSIGNED, key, date, scope, signature), policy


async def _file(form: FormReader, policy: Policy) -> AsyncIterator[bytes]:
    """The file's bytes, no more than the policy allows. What comes behind it is read, and is nothing."""
    size_bytes = 0
    async for piece in form.data():
        size_bytes += len(piece)
        if policy.length is not None and size_bytes > policy.length[1]:
            policy.check_length(size_bytes)
        yield piece
    while await form.next_part() is not None:
        await form.value(FIELD_BYTES_MAX)


def _headers(fields: dict[str, str]) -> dict[str, str]:
    """Those fields that an upload would have in its head."""
    found = {name: value for name, value in fields.items() if name in _KEPT or name.startswith("x-amz-meta-")}
    if "acl" in fields:
        found["x-amz-acl"] = fields["acl"]
    if any("\r" in value or "\n" in value for value in found.values()):
        raise Refusal("MalformedPOSTRequest", "A field of the form has a line break in it.")
    return found


async def _answer(call: Call, fields: dict[str, str], tag: str, headers: list[tuple[str, str]]) -> None:
    assert call.key_text is not None
    place = f"/{quote(call.bucket)}/{quote(call.key_text)}"
    target = fields.get("success_action_redirect") or fields.get("redirect") or ""
    if urlsplit(target).scheme in ("http", "https") and target.isprintable() and target.isascii():
        query: dict[str, Any] = {"bucket": call.bucket, "key": call.key_text, "etag": quoted(tag)}
        joint = "&" if urlsplit(target).query else "?"
        await call.answer(303, [*headers, ("location", f"{target}{joint}{urlencode(query)}")])
        return
    status = fields.get("success_action_status", "")
    if status == "201":
        body = (
            element("Location", place)
            + element("Bucket", call.bucket)
            + element("Key", call.key_text)
            + element("ETag", quoted(tag))
        )
        all_headers = [*headers, ("location", place), ("content-type", XML_TYPE)]
        await call.answer(201, all_headers, document("PostResponse", body, namespace=False))
        return
    await call.answer(200 if status == "200" else 204, [*headers, ("location", place)])
