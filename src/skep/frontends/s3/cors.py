"""Get-, Put- and DeleteBucketCors, preflights, and the headers that answers to other sites carry.

https://docs.aws.amazon.com/AmazonS3/latest/userguide/cors.html. A preflight has no signature: it is answered from what
any bucket of that name allows, which says nothing else of it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from lxml import etree

from skep.frontends.s3 import xmlin
from skep.frontends.s3.call import Call
from skep.frontends.s3.errors import Refusal
from skep.frontends.s3.xmltext import element

RULES_MAX = 100
BUCKETS_MAX = 32
METHODS = frozenset({"GET", "PUT", "HEAD", "POST", "DELETE"})
_LISTS = {"origins": "AllowedOrigin", "methods": "AllowedMethod", "headers": "AllowedHeader", "exposed": "ExposeHeader"}
Rule = Mapping[str, Any]


async def get_bucket_cors(call: Call) -> None:
    """The rules of a bucket."""
    bucket = await call.filesystem.bucket(call.principal, *call.place)
    rules = bucket.document.get("cors")
    if not rules:
        raise Refusal("NoSuchCORSConfiguration", "The CORS configuration does not exist", BucketName=bucket.name)
    await call.xml("CORSConfiguration", "".join(_rule_xml(rule) for rule in rules))


async def put_bucket_cors(call: Call) -> None:
    """Make these the rules of a bucket."""
    root = xmlin.parse(await call.read_xml(), "CORSConfiguration")
    rules = [_rule(node) for node in xmlin.children(root, "CORSRule")]
    if not 1 <= len(rules) <= RULES_MAX:
        raise xmlin.malformed()
    call.check_whole_bucket()
    await call.filesystem.set_bucket(call.principal, *call.place, {"cors": rules})
    await call.answer(200)


async def delete_bucket_cors(call: Call) -> None:
    """Take all rules away."""
    call.check_whole_bucket()
    await call.filesystem.set_bucket(call.principal, *call.place, {"cors": None})
    await call.answer(204)


async def preflight(call: Call) -> None:
    """Answer a browser that asks before it sends."""
    origin, method = call.headers.get("origin"), call.headers.get("access-control-request-method")
    if not origin or not method or call.bucket_name is None:
        raise Refusal("InvalidRequest", "Insufficient information. Origin request header needed.")
    asked = [one.strip().lower() for one in (call.headers.get("access-control-request-headers") or "").split(",")]
    headers = [one for one in asked if one]
    for rule in await _rules(call):
        if _fits(rule, origin, method) and all(_allows_header(rule, one) for one in headers):
            found = _headers(rule, origin)
            found.append(("access-control-allow-methods", ", ".join(rule["methods"])))
            if headers:
                found.append(("access-control-allow-headers", ", ".join(headers)))
            if rule.get("max_age") is not None:
                found.append(("access-control-max-age", str(rule["max_age"])))
            await call.answer(200, found)
            return
    raise Refusal("CORSForbidden", "CORSResponse: This CORS request is not allowed.")


async def allow_origin(call: Call) -> None:
    """Let the answer to a page of another site be read by it, where a rule says so."""
    origin = call.headers.get("origin")
    if origin is None or call.bucket_name is None:
        return
    for rule in await _rules(call):
        if _fits(rule, origin, call.method):
            call.more_headers += _headers(rule, origin)
            return


async def _rules(call: Call) -> list[Rule]:
    assert call.bucket_name is not None
    documents = await call.filesystem.bucket_settings(call.bucket_name, BUCKETS_MAX)
    return [rule for document in documents for rule in document.get("cors") or ()]


def _headers(rule: Rule, origin: str) -> list[tuple[str, str]]:
    everyone = "*" in rule["origins"]
    found = [("access-control-allow-origin", "*" if everyone else origin), ("vary", "Origin")]
    if not everyone:
        found.append(("access-control-allow-credentials", "true"))
    if rule.get("exposed"):
        found.append(("access-control-expose-headers", ", ".join(rule["exposed"])))
    return found


def _fits(rule: Rule, origin: str, method: str) -> bool:
    return method in rule["methods"] and any(_matches(one, origin) for one in rule["origins"])


def _allows_header(rule: Rule, name: str) -> bool:
    return any(_matches(one.lower(), name) for one in rule.get("headers") or ())


def _matches(pattern: str, text: str) -> bool:
    """Whether text is a pattern's, which may have one ``*``."""
    before, star, after = pattern.partition("*")
    if not star:
        return pattern == text
    return len(text) >= len(before) + len(after) and text.startswith(before) and text.endswith(after)


def _rule(node: etree._Element) -> dict[str, Any]:
    found: dict[str, Any] = {
        name: [str(part.text or "").strip() for part in xmlin.children(node, tag)] for name, tag in _LISTS.items()
    }
    if not found["origins"] or not found["methods"]:
        raise xmlin.malformed()
    if not METHODS.issuperset(found["methods"]):
        raise Refusal("InvalidRequest", "Found unsupported HTTP method in CORS config.")
    values: Iterable[str] = [one for name in _LISTS for one in found[name]]
    if any(one.count("*") > 1 or not one or len(one) > 255 or not one.isprintable() for one in values):
        raise Refusal("InvalidRequest", "A value of a CORS rule has at most one *, and 1 to 255 characters.")
    age, rule_id = xmlin.text(node, "MaxAgeSeconds"), xmlin.text(node, "ID")
    if age is not None:
        if not age.isascii() or not age.isdecimal() or len(age) > 9:
            raise xmlin.malformed()
        found["max_age"] = int(age)
    if rule_id:
        found["id"] = rule_id[:255]
    return found


def _rule_xml(rule: Rule) -> str:
    parts = [element("ID", rule["id"])] if "id" in rule else []
    parts += [element(tag, one) for name, tag in _LISTS.items() for one in rule.get(name) or ()]
    if "max_age" in rule:
        parts.append(element("MaxAgeSeconds", rule["max_age"]))
    return f"<CORSRule>{''.join(parts)}</CORSRule>"
