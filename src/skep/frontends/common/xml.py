"""XML in and out: a hardened parser for bodies that strangers send, and escaping for answers written as text.

    root = parse_xml(await body.read(limit_bytes))
    answer = f"<d:displayname>{escape(name)}</d:displayname>"

What always holds of a parsed body: no document type, so no entity of its own; nothing was fetched; no more
elements and no deeper nesting than allowed; comments and processing instructions are gone.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from lxml import etree

from skep.base.errors import MalformedRequest

DEPTH_MAX = 32
ELEMENTS_MAX = 30_000
_DOCTYPE = re.compile(rb"\A(?:\xef\xbb\xbf)?\s*(?:<\?xml[^>]{0,200}\?>)?\s*<!DOCTYPE", re.IGNORECASE)
_SPECIAL = re.compile('[&<>"\x00-\x08\x0b\x0c\x0e-\x1f\r\ud800-\udfff\ufffe\uffff]')
_ENTITIES = {"&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;", "\r": "&#13;"}


def parse_xml(body: bytes, *, depth_max: int = DEPTH_MAX, elements_max: int = ELEMENTS_MAX) -> etree._Element:
    """The root element of a document; limit its bytes before.

    Raises MalformedRequest for what is not well formed, has a document type, or is over a limit.
    """
    if _DOCTYPE.match(body):
        raise _document_type()
    parser = etree.XMLParser(
        resolve_entities=False,
        no_network=True,
        load_dtd=False,
        dtd_validation=False,
        attribute_defaults=False,
        huge_tree=False,
        remove_comments=True,
        remove_pis=True,
        collect_ids=False,
    )
    try:
        root = etree.fromstring(body, parser)
    except (etree.XMLSyntaxError, ValueError, LookupError) as error:
        raise MalformedRequest(f"The XML body does not parse: {_plain(str(error))}.") from None
    if root.getroottree().docinfo.internalDTD is not None:
        raise _document_type()
    _check_limits(root, depth_max, elements_max)
    return root


def _document_type() -> MalformedRequest:
    return MalformedRequest("The XML body has a document type: leave it out, entities of one's own are not taken.")


def _check_limits(root: etree._Element, depth_max: int, elements_max: int) -> None:
    level, depth, elements = [root], 1, 1
    while level:
        if depth > depth_max:
            raise MalformedRequest(f"The XML body is nested more than {depth_max} deep.", limit=depth_max)
        level = [child for element in level for child in element]
        depth, elements = depth + 1, elements + len(level)
        if elements > elements_max:
            raise MalformedRequest(f"The XML body has more than {elements_max} elements.", limit=elements_max)


def _plain(text: str) -> str:
    return ascii(text[:200])[1:-1]


def escape(text: str) -> str:
    """Text for an element's content or a quoted attribute. What XML 1.0 cannot hold becomes U+FFFD."""
    return _SPECIAL.sub(_escaped, text) if _SPECIAL.search(text) else text


def escaped(texts: Sequence[str]) -> Sequence[str]:
    """``escape`` of many texts, which seldom need it: one look at all of them together."""
    return list(map(escape, texts)) if _SPECIAL.search(" ".join(texts)) else texts


def _escaped(match: re.Match[str]) -> str:
    return _ENTITIES.get(match[0], "\ufffd")
