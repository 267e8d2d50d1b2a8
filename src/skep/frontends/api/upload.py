"""Contents coming in: ``PUT`` by path or id, ``POST`` as a form. Streamed: one piece of the body is held here."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass, field

import msgspec

from skep.base.errors import MalformedRequest
from skep.base.ids import Id
from skep.filesystem import Conditions, WriteResult
from skep.frontends.api.call import Call
from skep.frontends.api.files_query import PathQuery, space_id
from skep.frontends.api.operation import Operation
from skep.frontends.common.conditions import quoted
from skep.frontends.common.disposition import safe_content_type
from skep.frontends.common.file_records import written_record
from skep.frontends.common.form import FormReader, Part
from skep.frontends.common.preconditions import DIGEST_BYTES, digest_of_text, expected_digests, write_conditions

TAG = "data"
_ANY = ("application/octet-stream", "*/*")
_NO_TYPE = frozenset({"", "application/octet-stream", "application/x-www-form-urlencoded"})
_NAMES = {"directory": "directory", "path": "directory", "name": "name", "file_name": "name", "filename": "name"}
_FIELDS = frozenset({*_NAMES, "space", "modified_us", "mime", "parents", *DIGEST_BYTES})


class PutPathQuery(PathQuery, frozen=True, kw_only=True):
    """Where the content goes; ``parents``: make missing directories; ``modified_us``: the file's own time."""

    parents: bool = True
    modified_us: int | None = None


class PutQuery(msgspec.Struct, frozen=True, kw_only=True):
    """``modified_us``: the file's own time."""

    modified_us: int | None = None


class FormQuery(msgspec.Struct, frozen=True, kw_only=True):
    """What may also be a field of the form, before the file."""

    directory: str | None = None
    name: str | None = None
    space: str | None = None
    modified_us: int | None = None
    parents: bool = True


@dataclass(slots=True)
class _Target:
    """Where a form's file goes, as far as its fields have said it."""

    directory: str | None
    name: str | None
    space: str | None
    modified_us: int | None
    parents: bool
    mime: str | None = None
    digests: dict[str, bytes] = field(default_factory=dict)

    def path(self, part: Part) -> str:
        name = self.name if self.name is not None else part.filename
        missing = [what for what, value in (("directory", self.directory), ("name", name)) if not value]
        if missing:
            raise MalformedRequest(
                f"The upload does not say its {' and '.join(missing)}: give them as fields before the file,"
                " or in the query.",
                missing=missing,
            )
        assert name is not None
        if "/" in name:
            raise MalformedRequest(f"The file name {name[:80]!r} has a slash: the path goes into `directory`.")
        return f"{(self.directory or '').rstrip('/')}/{name}"


async def put_by_path(call: Call, query: PutPathQuery) -> None:
    """Write a file at a path: a new file, or a new version of the one that is there.

    ``If-None-Match: *`` writes only a new file, ``If-Match`` only over that content. Content-MD5,
    Repr-Digest and Content-Digest are checked. 201 for a new file, 200 for a new version.
    """
    conditions = write_conditions(call.headers)
    await _put(call, space_id(query.space), query.path, query.modified_us, conditions, parents=query.parents)


async def put_by_id(call: Call, query: PutQuery) -> None:
    """Write a new version of a file."""
    node = await call.services.filesystem.by_id(call.principal, call.id("node_id"))
    conditions = msgspec.structs.replace(write_conditions(call.headers), node_id=node.id)
    await _put(call, node.space_id, node.path, query.modified_us, conditions, parents=False)


async def post_form(call: Call, query: FormQuery) -> None:
    """Upload a file as multipart/form-data.

    Required, as fields before the file or in the query: ``directory`` (its path) and ``name`` (left
    out, the file part's own file name counts). Also taken: space, modified_us, mime, md5, sha1, sha256.
    """
    form = FormReader(call.headers.text("content-type"), call.body)
    target = _Target(query.directory, query.name, query.space, query.modified_us, query.parents)
    part = await _read_fields(form, target)
    path = target.path(part)
    if target.mime is None and (part.content_type or "") not in _NO_TYPE:
        target.mime = safe_content_type(part.content_type)
    async with call.services.uploads.enter_as(call.principal.user_id):
        result = await call.services.filesystem.write_file(
            call.principal,
            space_id(target.space),
            path,
            _file_then_end(form),
            length=None,
            conditions=write_conditions(call.headers),
            mime=target.mime,
            modified_us=target.modified_us,
            expected_digests=target.digests,
            parents=target.parents,
        )
    await _answer(call, result)


async def _put(
    call: Call, space: Id | None, path: str, modified_us: int | None, conditions: Conditions, *, parents: bool
) -> None:
    kind = call.headers.get("content-type") or ""
    async with call.services.uploads.enter_as(call.principal.user_id):
        result = await call.services.filesystem.write_file(
            call.principal,
            space,
            path,
            call.body,
            length=call.body.declared,
            conditions=conditions,
            mime=None if kind in _NO_TYPE else safe_content_type(kind),
            modified_us=modified_us,
            expected_digests=expected_digests(call.headers),
            parents=parents,
        )
    await _answer(call, result)


async def _answer(call: Call, result: WriteResult) -> None:
    record = written_record(result)
    call.answer_headers.append(("etag", quoted(result.node.etag)))
    call.answer_headers.append(("location", f"/api/filesystem/info/{record.node.id}"))
    await call.answer(record, 201 if result.created else 200)


async def _read_fields(form: FormReader, target: _Target) -> Part:
    """Take the fields up to the file; returns the file's part."""
    while True:
        part = await form.next_part()
        if part is None:
            raise MalformedRequest("The form has no file: send it as the last part, with a file name.")
        if part.filename is not None or part.name not in _FIELDS:
            return part
        _set_field(target, part.name, await form.text())


def _set_field(target: _Target, name: str, value: str) -> None:
    if name in _NAMES:
        setattr(target, _NAMES[name], value)
    elif name == "modified_us":
        if not value.lstrip("-").isdecimal() or len(value) > 18:
            raise MalformedRequest(f"The field modified_us is {value[:40]!r}, not a number of microseconds.")
        target.modified_us = int(value)
    elif name in DIGEST_BYTES:
        target.digests[name] = digest_of_text(name, value)
    elif name == "parents":
        target.parents = value.lower() in ("1", "true", "yes", "on")
    elif name == "mime":
        target.mime = safe_content_type(value)
    else:
        target.space = value


async def _file_then_end(form: FormReader) -> AsyncIterator[bytes]:
    """The file's bytes. Ends only when the form's end was seen, so that a torn form writes nothing."""
    async for piece in form.data():
        yield piece
    while (part := await form.next_part()) is not None:
        if part.filename is not None:
            raise MalformedRequest("The form has more than one file: upload one at a time, or use the batch call.")
        await form.value(64 * 1024)


OPERATIONS = (
    Operation(
        "POST", "/api/filesystem/data", post_form, "files:write", TAG, takes=("multipart/form-data",), also=(201,)
    ),
    Operation("PUT", "/api/filesystem/data", put_by_path, "files:write", TAG, takes=_ANY, also=(201,)),
    Operation("PUT", "/api/filesystem/data/{node_id}", put_by_id, "files:write", TAG, takes=_ANY),
)
