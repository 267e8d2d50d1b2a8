"""What strangers write in WebDAV's headers and bodies: parsed, or refused in one way, whatever it is."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from skep.base.errors import BadInput
from skep.base.ids import id_text
from skep.frontends.common.headers import Headers
from skep.frontends.common.xml import parse_xml
from skep.frontends.webdav import if_header, lock, propfind, proppatch, report, request_headers
from skep.frontends.webdav.refusals import Refusal
from skep.frontends.webdav.roots import Place, Root, encoded, parse_url_path

NAMES = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="/\0"), min_size=1, max_size=20).filter(
    lambda name: name not in (".", "..")
)
SHARP = st.text(alphabet='<>()[]"W/ Notd:a-1,', max_size=60)
IDS = st.binary(min_size=16, max_size=16)


def headers(**values: str) -> Headers:
    return Headers(
        [(name.replace("_", "-").encode(), value.encode("latin-1", "replace")) for name, value in values.items()]
    )


@given(SHARP | st.text(max_size=60))
def test_any_if_header_is_parsed_or_refused(text):
    try:
        clauses = if_header.parse_if(text)
    except BadInput:
        return
    assert clauses
    assert all(clause.conditions for clause in clauses)
    if_header.submitted(clauses)
    if_header.required_etag(clauses)


LISTS = st.lists(
    st.tuples(st.booleans(), IDS | st.from_regex(r'"[a-z0-9-]{0,8}"', fullmatch=True)), min_size=1, max_size=4
)


@given(st.lists(LISTS, min_size=1, max_size=4), st.sampled_from(["", "/dav/a", "http://h/dav/b%20c"]))
def test_what_is_written_by_the_rules_is_read(lists, resource):
    def one(negated, what):
        text = f"<urn:uuid:{id_text(what)}>" if isinstance(what, bytes) else f"[{what}]"
        return f"Not {text}" if negated else text

    tag = f"<{resource}> " if resource else ""
    text = tag + " ".join("(" + " ".join(one(*each) for each in conditions) + ")" for conditions in lists)
    clauses = if_header.parse_if(text)
    assert [clause.resource for clause in clauses] == [resource or None] * len(lists)
    assert [[one.is_negated for one in clause.conditions] for clause in clauses] == [
        [n for n, _ in one] for one in lists
    ]
    wanted = {what for conditions in lists for _, what in conditions if isinstance(what, bytes)}
    assert if_header.submitted(clauses) == wanted


@given(LISTS, st.sets(IDS, max_size=2), st.none() | st.just("e"))
async def test_a_list_and_its_negation_never_both_hold(conditions, tokens, etag):
    async def state(resource):
        return etag, tokens

    def clause(flip):
        return if_header.Clause(
            None,
            tuple(
                if_header.Condition(negated != flip, f"urn:uuid:{id_text(what)}", None)
                if isinstance(what, bytes)
                else if_header.Condition(negated != flip, None, what)
                for negated, what in conditions[:1]
            ),
        )

    assert await if_header.holds([clause(False)], state) != await if_header.holds([clause(True)], state)


@given(st.text(alphabet="Second-Infinite, 0123456789", max_size=40))
def test_any_timeout_is_a_time_above_zero_or_the_default(text):
    assert request_headers.timeout_s(headers(timeout=text), 60.0) >= 0


@given(st.text(max_size=40) | st.text(alphabet="htp:/@.dav%2e-spc0?#[]", max_size=40))
def test_any_destination_is_read_or_refused(text):
    try:
        url = request_headers.destination(headers(destination=text.strip() or "x", host="h"))
    except (BadInput, Refusal):
        return
    assert all(part and "/" not in part and part not in (".", "..") for part in url.segments)


@given(st.binary(max_size=60))
def test_any_path_is_read_or_refused_and_never_escapes(raw):
    try:
        url = parse_url_path(b"/dav/" + raw)
    except BadInput:
        return
    assert all(part and "/" not in part and part not in (".", "..") for part in url.segments)


@given(st.lists(NAMES, max_size=4))
def test_urls_of_paths_lead_back(names):
    path = "/" + "/".join(names)
    href = Root(None, "/dav").href(path, is_directory=False)
    assert href.isascii()
    assert parse_url_path(href.encode()).segments == tuple(names)
    assert Place(Root(None, "/dav"), path).parent == "/" + "/".join(names[:-1])
    assert parse_url_path(f"/dav{encoded(path)}".encode()).segments == tuple(names)


WORDS = ["propfind", "prop", "allprop", "propertyupdate", "set", "remove", "lockinfo", "lockscope", "locktype"]
WORDS += ["exclusive", "shared", "write", "owner", "sync-collection", "sync-token", "sync-level", "limit", "nresults"]
TREES = st.recursive(
    st.sampled_from([*WORDS, "getetag", "x"]).map(lambda word: f"<{word}/>")
    | st.sampled_from(["1", "infinite", "a&lt;b"]),
    lambda inner: st.tuples(st.sampled_from(WORDS), st.lists(inner, max_size=4)).map(
        lambda pair: f"<{pair[0]}>{''.join(pair[1])}</{pair[0]}>"
    ),
    max_leaves=12,
)


@given(st.sampled_from(WORDS), st.lists(TREES, max_size=4))
def test_any_body_is_understood_or_refused(word, inner):
    root = parse_xml(f'<{word} xmlns="DAV:">{"".join(inner)}</{word}>'.encode())
    for reader in (propfind.wanted_of, proppatch.patch_of, lock.asked_of, report.asked_of):
        try:
            reader(root)
        except (BadInput, Refusal):
            pass


@given(st.text(alphabet="-+.0123456789e ", max_size=20))
def test_any_time_of_a_client_is_read_or_refused(text):
    try:
        value = request_headers.modified_us(headers(x_oc_mtime=text.strip() or "x"))
    except BadInput:
        return
    assert isinstance(value, int)
