"""Reading S3's XML: what clients send, with or without its namespace, hardened against hostile documents."""

from __future__ import annotations

from collections.abc import Iterator

from lxml import etree

from skep.base.errors import MalformedRequest
from skep.frontends.common.xml import parse_xml
from skep.frontends.s3.errors import Refusal

DEPTH_MAX = 16
ELEMENTS_MAX = 60_000


def parse(data: bytes, root: str) -> etree._Element:
    """The root element of a document. Raises Refusal (MalformedXML)."""
    try:
        found = parse_xml(data, depth_max=DEPTH_MAX, elements_max=ELEMENTS_MAX)
    except MalformedRequest:
        raise malformed() from None
    if local(found) != root:
        raise malformed()
    return found


def malformed() -> Refusal:
    """The refusal of a document that is not what it should be."""
    return Refusal("MalformedXML", "The XML you provided was not well-formed or did not validate against the schema.")


def local(node: etree._Element) -> str:
    """The name of an element without its namespace."""
    return etree.QName(node).localname if isinstance(node.tag, str) else ""


def children(node: etree._Element, name: str) -> Iterator[etree._Element]:
    """The elements of that name directly below."""
    return (child for child in node if local(child) == name)


def text(node: etree._Element, name: str) -> str | None:
    """The text of the first element of that name directly below; None: there is none."""
    for child in children(node, name):
        return "".join(str(part) for part in child.itertext())
    return None
