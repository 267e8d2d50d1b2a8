from __future__ import annotations

import pytest

from skep.base.errors import BodyTooLarge, MalformedRequest
from skep.frontends.common.disposition import content_disposition, may_show_inline, safe_content_type
from skep.frontends.common.headers import Headers, check_head, declared_length


def scope(*headers: tuple[str, str], path: str = "/") -> dict[str, object]:
    return {"path": path, "headers": [(n.encode(), v.encode("utf-8")) for n, v in headers]}


def test_length_and_transfer_encoding_together_are_refused() -> None:
    with pytest.raises(MalformedRequest):
        check_head(scope(("content-length", "5"), ("transfer-encoding", "chunked")), 1000)


@pytest.mark.parametrize("value", ["-1", "+5", "5.0", "0x5", "5, 5", "", "1" * 19, "\u0665"])
def test_a_length_is_digits_alone(value: str) -> None:
    with pytest.raises(MalformedRequest):
        check_head(scope(("Content-Length", value)), 1000)


def test_two_different_lengths_are_refused_and_two_equal_ones_are_one() -> None:
    with pytest.raises(MalformedRequest):
        check_head(scope(("content-length", "5"), ("content-length", "6")), 1000)
    assert declared_length(check_head(scope(("content-length", "5"), ("content-length", "5")), 1000)) == 5


def test_a_head_over_its_limit_is_refused() -> None:
    with pytest.raises(BodyTooLarge) as caught:
        check_head(scope(("x", "y" * 1000)), 1000)
    assert caught.value.details["part"] == "head"


def test_list_headers_are_joined() -> None:
    assert Headers([(b"If-Match", b'"a"'), (b"if-match", b'"b"')]).get("if-match") == '"a", "b"'


def test_text_headers_may_be_utf8_or_latin1() -> None:
    assert Headers([(b"x", "naïve".encode())]).text("x") == "naïve"
    assert Headers([(b"x", "naïve".encode("latin-1"))]).text("x") == "naïve"


def test_plain_names_stay_plain() -> None:
    assert content_disposition("a b.txt", attachment=False) == 'inline; filename="a b.txt"'


@pytest.mark.parametrize("name", ['a"b\r\nSet-Cookie: x.txt', "naïve.txt", "日本.txt", "a;b\\c", "\x7f", "a\nb"])
def test_no_name_can_leave_its_header(name: str) -> None:
    value = content_disposition(name, attachment=True)
    assert value.startswith('attachment; filename="')
    assert value.isascii()
    assert value.isprintable()
    assert value.count('"') == 2


@pytest.mark.parametrize("mime", [None, "", "text", "text/html\r\nx: y", "a/b; c=d\n", "é/x"])
def test_ill_formed_types_become_octets(mime: str | None) -> None:
    assert safe_content_type(mime) == "application/octet-stream"


def test_what_runs_scripts_is_not_shown_inline() -> None:
    assert may_show_inline("image/png")
    assert may_show_inline("text/plain; charset=utf-8")
    assert not any(may_show_inline(m) for m in ("text/html", "image/svg+xml", "application/xhtml+xml", "text/xml"))
