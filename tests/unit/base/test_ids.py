"""Identifiers: UUIDv7, ordered, unique, readable."""

from __future__ import annotations

import threading
import time
import uuid

import pytest

from skep.base.errors import InvalidId
from skep.base.ids import id_text, new_id, parse_id


def test_ids_are_uuid_version_7_of_now() -> None:
    value = uuid.UUID(bytes=new_id())
    assert (value.version, value.variant) == (7, uuid.RFC_4122)
    assert abs((value.int >> 80) - time.time_ns() // 1_000_000) < 5_000


def test_ids_of_one_process_sort_in_the_order_they_were_made() -> None:
    made = [new_id() for _ in range(20_000)]
    assert made == sorted(made)
    assert len(set(made)) == len(made)


def test_threads_never_make_the_same_id() -> None:
    made: list[bytes] = []
    threads = [threading.Thread(target=lambda: made.extend([new_id() for _ in range(2_000)])) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(made)) == 8_000


def test_text_and_back() -> None:
    value = new_id()
    assert parse_id(id_text(value)) == value
    assert parse_id(value.hex()) == value
    assert parse_id(id_text(value).upper()) == value


@pytest.mark.parametrize("text", ["", "x" * 36, "0" * 31, "0" * 33, "{" + "0" * 34 + "}", "g" * 32, "0" * 100_000])
def test_other_texts_are_refused(text: str) -> None:
    with pytest.raises(InvalidId):
        parse_id(text)
