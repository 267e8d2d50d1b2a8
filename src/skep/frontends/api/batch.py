"""``POST /api/filesystem/batch``: thousands of small files in one request, one durable write, one transaction."""

from __future__ import annotations

from typing import Any

import msgspec

from skep.base.errors import MalformedRequest, SkepError
from skep.filesystem import BatchItem, Conditions, WriteResult
from skep.frontends.api.batch_frames import BATCH_TYPE, Frame, read_batch
from skep.frontends.api.call import Call
from skep.frontends.api.errors import problem_of
from skep.frontends.api.files_query import SpaceQuery, space_id
from skep.frontends.api.operation import Operation
from skep.frontends.common.file_records import Node, node_record
from skep.frontends.common.preconditions import DIGEST_BYTES, digest_of_text

TAG = "data"


class BatchResult(msgspec.Struct, frozen=True, omit_defaults=True):
    """What became of one file. ``status``: 201 new, 200 new version, else that of ``problem``."""

    path: str
    status: int
    node: Node | None = None
    problem: dict[str, Any] | None = None


class BatchResults(msgspec.Struct, frozen=True):
    """The results in the order of the files."""

    results: list[BatchResult]
    stored: int
    failed: int


async def post_batch(call: Call, query: SpaceQuery) -> None:
    """Write many small files at once.

    The body is framed as docs/formats/batch.md says. Files that break a rule of their own (a bad name,
    a condition) fail alone; a body that is torn or malformed stores nothing at all.
    """
    kind = (call.headers.get("content-type") or "").partition(";")[0].strip().lower()
    if kind != BATCH_TYPE:
        raise MalformedRequest(f"A batch is sent as {BATCH_TYPE}: see docs/formats/batch.md.")
    limits = call.services.limits
    space = space_id(query.space)
    limit_bytes = limits.batch_bytes + limits.batch_items * 1024
    call.body.limited(limit_bytes).check_declared()
    async with (
        call.services.uploads.enter_as(call.principal.user_id),
        call.services.batch_memory.hold(call.body.declared or limit_bytes),
    ):
        frames = read_batch(
            call.body,
            items_max=limits.batch_items,
            item_bytes_max=limits.batch_item_bytes,
            batch_bytes_max=limits.batch_bytes,
        )
        items = [_item(frame) async for frame in frames]
        outcomes = await call.services.filesystem.write_batch(call.principal, space, items)
    results = [_result(item, outcome) for item, outcome in zip(items, outcomes, strict=True)]
    failed = sum(result.problem is not None for result in results)
    await call.answer(BatchResults(results, len(results) - failed, failed))


def _item(frame: Frame) -> BatchItem:
    head = frame.head
    return BatchItem(
        path=head.path,
        body=frame.body,
        modified_us=head.modified_us,
        mime=head.mime,
        conditions=Conditions(if_match=head.if_match, if_none_match=head.if_none_match),
        expected_digests={
            name: digest_of_text(name, text) for name in DIGEST_BYTES if (text := getattr(head, name)) is not None
        },
    )


def _result(item: BatchItem, outcome: WriteResult | SkepError) -> BatchResult:
    if isinstance(outcome, SkepError):
        problem = problem_of(outcome)
        return BatchResult(item.path, problem.status, problem=problem.record())
    return BatchResult(item.path, 201 if outcome.created else 200, node=node_record(outcome.node))


OPERATIONS = (Operation("POST", "/api/filesystem/batch", post_batch, "files:write", TAG, takes=(BATCH_TYPE,)),)
