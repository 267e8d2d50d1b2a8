"""An upload becomes a version, or a piece of one: in constant time, because its references become the version's.

What always holds: an upload becomes at most one version. Whoever ends it first has locked the row of the space; the
next one finds it done, and gets the same result.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from skep.base.errors import SkepError, UploadFinished, UploadNotFound, UploadUnfinished
from skep.base.ids import Id
from skep.chunks.manifest import Manifest, etag_of, join
from skep.db import Transaction
from skep.filesystem import info, quota, tags, tree, versions, views, writing
from skep.filesystem.books import Books
from skep.filesystem.growth import Content
from skep.filesystem.names import Segments, join_path
from skep.filesystem.records import Conditions, WriteResult
from skep.filesystem.spaces import Space
from skep.filesystem.uploads import growing, rows
from skep.filesystem.uploads.records import Choose
from skep.filesystem.uploads.rows import Part, Row

PARTS_PAGE = 500


class Ending(NamedTuple):
    """Where a complete upload goes."""

    segments: Segments
    mime: str | None
    modified_us: int | None
    conditions: Conditions
    parents: bool
    keep_until_us: int
    """How long the upload is remembered, so that who did not hear of its end can ask."""


def all_parts(tx: Transaction, upload_id: Id) -> list[Part]:
    """All parts with their manifests, in the order of their numbers."""
    found: list[Part] = []
    while page := rows.parts(tx, upload_id, found[-1].number if found else -1, PARTS_PAGE):
        found += page
    return found


def chosen(found: Sequence[Part], choose: Choose | None) -> tuple[list[Part], list[Part]]:
    """The parts that the whole is made of, and the rest."""
    if choose is None:
        return list(found), []
    by_number = {part.number: part for part in found}
    numbers = list(choose([rows.part_info(part) for part in found]))
    if numbers != sorted(set(numbers) & by_number.keys()):
        raise UploadNotFound("a part that the upload should be made of is not there, or is named twice: list its parts")
    wanted = set(numbers)
    return [by_number[number] for number in numbers], [part for part in found if part.number not in wanted]


def manifests(tx: Transaction, row: Row, choose: Choose | None) -> list[bytes]:
    """The stored manifests of the parts that the whole would be made of now."""
    return [part.manifest for part in chosen(all_parts(tx, row.id), choose)[0]]


def finish(
    tx: Transaction,
    books: Books,
    space: Space,
    row: Row,
    ending: Ending,
    *,
    choose: Choose | None = None,
    digests: Mapping[str, bytes] | None = None,
) -> WriteResult:
    """Make an open upload the current version at its path. The space is locked; raises what a write raises."""
    rows.require_open(row)
    used, rest = chosen(all_parts(tx, row.id), choose)
    growing.let_go(tx, books, space, row, rest)
    size_bytes = sum(part.size_bytes for part in used)
    if row.length_bytes is not None and row.length_bytes != size_bytes:
        raise UploadUnfinished(
            f"the upload has {size_bytes} of its {row.length_bytes} bytes: send the rest", offset=size_bytes
        )
    result = _write(tx, books, space, row.user_id, used, ending, digests or {})
    assert result.version.number is not None
    became = (result.node.id, result.version.number)
    rows.delete_parts(tx, row.id)
    rows.set_done(tx, row.id, size_bytes, ending.keep_until_us, became=became, joined=None)
    return result


def _write(
    tx: Transaction,
    books: Books,
    space: Space,
    actor_id: Id,
    used: Sequence[Part],
    ending: Ending,
    digests: Mapping[str, bytes],
) -> WriteResult:
    """A version out of parts whose bytes are charged and whose chunks are referenced already."""
    size_bytes = sum(part.size_bytes for part in used)
    quota.give_back(tx, space.id, size_bytes)  # the version is charged anew, in the same transaction
    encoded = join([part.manifest for part in used]) if used else Manifest.of([]).encode()
    content = Content(
        None, encoded, size_bytes, etag_of(encoded), digests.get("md5"), digests.get("sha1"), digests.get("sha256")
    )
    item = writing.Incoming(ending.segments, content, ending.mime, ending.modified_us, ending.conditions)
    return writing.put_file(tx, books, space, actor_id, item, parents=ending.parents)


def repeated(tx: Transaction, space: Space, row: Row) -> WriteResult | None:
    """What an upload that is done became, if that is still there."""
    if row.state != "done" or row.node_id is None:
        return None
    node = tree.node_by_id(tx, row.node_id)
    if node is None or row.version_number is None:
        return None
    try:
        version = versions.of_file(tx, node, row.version_number)
        above = views.above(tx, space, node.id)
    except SkepError:
        return None
    tagged = tags.of_node(tx, row.user_id, node.id)
    return WriteResult(
        node=info.seen(space, info.node_info(node, join_path(above.segments), tagged)),
        version=info.version_info(version, node.version_number),
        created=row.version_number == 1,
    )


def require_repeated(tx: Transaction, space: Space, row: Row) -> WriteResult:
    """``repeated``; raises UploadFinished if what it became is gone, or it became a piece of another upload."""
    result = repeated(tx, space, row)
    if result is None:
        raise UploadFinished("the upload was complete before, and what it became is not there any more")
    return result


def join_pieces(
    tx: Transaction, books: Books, space: Space, whole: Row, pieces: Sequence[Row], ending: Ending
) -> WriteResult:
    """Make full uploads, one after the other, the current version at a path; ``whole`` is a new row for it.

    Raises UploadUnfinished, UploadFinished (a piece belongs to another whole already).
    """
    used: list[Part] = []
    for piece in pieces:
        rows.require_open(piece)
        if piece.length_bytes is None or piece.held_bytes != piece.length_bytes:
            raise UploadUnfinished(
                f"one of the uploads has {piece.held_bytes} of its {piece.length_bytes} bytes: finish it first"
            )
        used += all_parts(tx, piece.id)
    size_bytes = sum(part.size_bytes for part in used)
    rows.insert(tx, whole._replace(length_bytes=size_bytes))
    result = _write(tx, books, space, whole.user_id, used, ending, {})
    for piece in pieces:
        rows.delete_parts(tx, piece.id)
        rows.set_done(tx, piece.id, piece.held_bytes, ending.keep_until_us, became=None, joined=whole.id)
    assert result.version.number is not None
    became = (result.node.id, result.version.number)
    rows.set_done(tx, whole.id, size_bytes, ending.keep_until_us, became=became, joined=None)
    return result
