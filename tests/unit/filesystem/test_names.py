from __future__ import annotations

import pytest

from skep.base.errors import InvalidName, InvalidPath, PreconditionFailed
from skep.filesystem import Conditions, check_name, split_path
from skep.filesystem.conditions import require
from skep.filesystem.mimes import given, guess
from skep.filesystem.names import child_path, join_path, numbered_name


@pytest.mark.parametrize(
    "name",
    ["a", " ", "...", ".x", "a\\b", "\n", "\u202e", "é", "e\u0301", "日本", "🐝" * 63, "x" * 255, "a:b*?"],
)
def test_any_utf8_up_to_255_bytes_is_a_name(name):
    assert check_name(name) == name


@pytest.mark.parametrize("name", ["", ".", "..", "/", "a/b", "a\0b", "x" * 256, "🐝" * 64, "\ud800", "a\udfff/b"])
def test_what_is_not_a_name_says_why(name):
    with pytest.raises(InvalidName) as raised:
        check_name(name)
    raised.value.message.encode()  # the message can be sent
    str(raised.value.details).encode()


@pytest.mark.parametrize(
    ("path", "segments"),
    [("/", ()), ("/a", ("a",)), ("/a/", ("a",)), ("//a///b//", ("a", "b")), ("/e\u0301/é", ("e\u0301", "é"))],
)
def test_paths_are_split(path, segments):
    assert split_path(path) == segments
    assert split_path(join_path(segments)) == segments


@pytest.mark.parametrize("path", ["", "a", "a/b", "/a/../b", "/./a", "/a\0", "/" + "a/" * 129, "/" + "é" * 2048 + "/é"])
def test_what_is_not_a_path(path):
    with pytest.raises((InvalidPath, InvalidName)):
        split_path(path)


def test_children_of_the_root():
    assert (child_path("/", "a"), child_path("/a", "b")) == ("/a", "/a/b")


@pytest.mark.parametrize("name", ["a", "a.txt", ".hidden", "x" * 255, "日" * 85, "x" * 250 + ".jpeg", "a." + "x" * 200])
def test_other_names_for_a_taken_one_are_names_that_differ(name):
    made = [numbered_name(name, attempt) for attempt in (1, 2, 999)]
    assert len({name, *made}) == 4
    for one in made:
        check_name(one)


def test_numbered_names_keep_the_extension():
    assert numbered_name("a.txt", 1) == "a (restored).txt"
    assert numbered_name("a.txt", 12) == "a (restored 12).txt"
    assert numbered_name(".profile", 1) == ".profile (restored)"


@pytest.mark.parametrize(
    ("conditions", "etag", "holds"),
    [
        (Conditions(), None, True),
        (Conditions(if_match=("*",)), "a", True),
        (Conditions(if_match=("*",)), None, False),
        (Conditions(if_match=()), "a", False),
        (Conditions(if_match=('"b"', 'W/"a"')), "a", True),
        (Conditions(if_match=('"a-gzip"',)), "a", True),
        (Conditions(if_match=("b",)), "a", False),
        (Conditions(if_none_match=("*",)), None, True),
        (Conditions(if_none_match=("*",)), "a", False),
        (Conditions(if_none_match=("b",)), "a", True),
        (Conditions(if_none_match=("b", "a")), "a", False),
        (Conditions(if_unmodified_since_us=1_000_000), "a", True),
        (Conditions(if_unmodified_since_us=999_999), "a", False),
        (Conditions(if_unmodified_since_us=0, if_match=("a",)), "a", True),
        (Conditions(if_unmodified_since_us=9_000_000), None, False),
    ],
)
def test_conditions(conditions, etag, holds):
    if holds:
        require(conditions, etag, 1_999_999, "/f")
    else:
        with pytest.raises(PreconditionFailed):
            require(conditions, etag, 1_999_999, "/f")


@pytest.mark.parametrize(
    ("name", "mime"),
    [
        ("a.txt", "text/plain"),
        ("a.JPG", "image/jpeg"),
        ("a.webp", "image/webp"),
        ("a.tar.gz", "application/gzip"),
        ("README", "application/octet-stream"),
        (".bashrc", "application/octet-stream"),
        ("a.", "application/octet-stream"),
        ("日本.pdf", "application/pdf"),
    ],
)
def test_media_types_come_from_names(name, mime):
    assert guess(name) == mime


def test_a_media_type_that_cannot_be_sent_back_is_replaced():
    assert given("text/x-mine; charset=utf-8", "a.txt") == "text/x-mine; charset=utf-8"
    for bad in ("", "text", "a/b\r\nX: y", "a/" + "b" * 300, "a/ü"):
        assert given(bad, "a.txt") == "text/plain"
