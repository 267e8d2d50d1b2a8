"""The XML parser against what hostile clients send, and escaping against every character."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from lxml import etree

from skep.base.errors import MalformedRequest
from skep.frontends.common.xml import escape, parse_xml

LAUGHS = b"""<!DOCTYPE a [<!ENTITY b "ha">%s]><a>&c9;</a>""" % b"".join(
    b'<!ENTITY c%d "%s">' % (n, (b"&c%d;" % (n - 1) if n else b"&b;") * 10) for n in range(10)
)


def test_a_body_is_read_with_its_namespaces():
    root = parse_xml(b'<?xml version="1.0"?><!-- hello --><D:propfind xmlns:D="DAV:"><?pi x?><D:prop/></D:propfind>')
    assert root.tag == "{DAV:}propfind"
    assert [child.tag for child in root] == ["{DAV:}prop"]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "iso-8859-1"])
def test_encodings_that_the_standard_knows(encoding):
    named = encoding.removesuffix("-sig")
    assert parse_xml(f'<?xml version="1.0" encoding="{named}"?><a>é</a>'.encode(encoding)).text == "é"


@pytest.mark.parametrize(
    "body",
    [
        LAUGHS,
        LAUGHS.decode().encode("utf-16"),
        b"<!-- first -->" + LAUGHS,
        b'<!DOCTYPE a [<!ENTITY x SYSTEM "file:///etc/passwd">]><a>&x;</a>',
        b'<!DOCTYPE a SYSTEM "http://127.0.0.1:1/a.dtd"><a/>',
        b'<!DOCTYPE a [<!ENTITY % x SYSTEM "http://127.0.0.1:1/"> %x;]><a/>',
        b'<!DOCTYPE a [<!ENTITY b "%s"><!ATTLIST a x CDATA "%s">]><a/>' % (b"b" * 10_000, b"&b;" * 10_000),
        b"<!DOCTYPE a><a/>",
        b"<a>&b;</a>",
        b"<a",
        b"",
        b"\0",
        b"<a></b>",
        b"<a/><b/>",
        b"<x:a/>",
        b"\xff\xfe<",
        b'<?xml version="1.0" encoding="no-such"?><a/>',
        b"<a>" * 100_000,
        b"<a>" * 100 + b"</a>" * 100,
        b"<a>" + b"<b/>" * 40_000 + b"</a>",
        b"<a>\x01</a>",
        b"<a>\xff</a>",
    ],
)
def test_hostile_and_broken_bodies_are_refused(body):
    with pytest.raises(MalformedRequest):
        parse_xml(body)


def test_limits_are_the_callers():
    parse_xml(b"<a><b><c/></b></a>", depth_max=3, elements_max=3)
    with pytest.raises(MalformedRequest, match="2 deep"):
        parse_xml(b"<a><b><c/></b></a>", depth_max=2)
    with pytest.raises(MalformedRequest, match="2 elements"):
        parse_xml(b"<a><b><c/></b></a>", elements_max=2)


@given(st.binary(max_size=300) | st.text(alphabet='<>/&;"=!?[]ab:x %', max_size=100).map(str.encode))
def test_nothing_but_a_refusal_is_raised(body):
    try:
        parse_xml(body)
    except MalformedRequest:
        pass


@given(st.text(alphabet=st.characters(exclude_categories=())))
def test_escaped_text_comes_back_or_is_replaced(text):
    document = f'<a b="{escape(text)}">{escape(text)}</a>'
    root = etree.fromstring(document.encode())
    wanted = "".join(c if _fits(c) else "\ufffd" for c in text)
    assert (root.text or "") == wanted
    assert root.get("b") == wanted.replace("\n", " ").replace("\t", " ")


def _fits(character: str) -> bool:
    code = ord(character)
    return code in (9, 10, 13) or 0x20 <= code < 0xD800 or 0xE000 <= code < 0xFFFE or code > 0xFFFF
