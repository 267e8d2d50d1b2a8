"""Parsers of the S3 door, for all inputs: they refuse or take, and never break."""

from __future__ import annotations

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from skep.frontends.common.headers import Headers
from skep.frontends.s3 import described, etags, sigv4
from skep.frontends.s3.chunked import ChunkedBody
from skep.frontends.s3.dates import iso_date, parse_amz_date, parse_iso_date
from skep.frontends.s3.errors import Refusal
from skep.frontends.s3.post_policy import parse_policy

KEY = sigv4.signing_key("secret", "20260101", "here")
SCOPE = sigv4.CredentialScope("key", "20260101", "here")


def _signer() -> sigv4.ChunkSigner:
    return sigv4.ChunkSigner(KEY, "20260101T000000Z", SCOPE, "0" * 64)


def _encoded(chunks: list[bytes]) -> bytes:
    signer, body = _signer(), b""
    for chunk in [*(one for one in chunks if one), b""]:
        signature = signer.chunk(hashlib.sha256(chunk).hexdigest())
        body += b"%x;chunk-signature=%s\r\n%s" % (len(chunk), signature.encode(), chunk + b"\r\n" if chunk else b"")
    return body + b"\r\n"


def _decoded(body: bytes, cuts: list[int]) -> bytes:
    chunked, data, position = ChunkedBody(_signer(), with_trailer=False), b"", 0
    for cut in [*sorted(cuts), len(body)]:
        data += b"".join(chunked.feed(body[position:cut]))
        position = max(position, cut)
    chunked.finish()
    return data


@given(st.lists(st.binary(max_size=200), max_size=5), st.lists(st.integers(0, 1000), max_size=8))
def test_chunks_come_out_as_they_went_in_however_they_are_cut(chunks, cuts):
    assert _decoded(_encoded(chunks), cuts) == b"".join(chunks)


@given(
    st.lists(st.binary(min_size=1, max_size=50), min_size=1, max_size=3), st.integers(0, 10_000), st.integers(1, 255)
)
def test_no_changed_byte_of_a_signed_body_goes_unnoticed(chunks, at, change):
    body = bytearray(_encoded(chunks))
    at %= len(body)
    old = body[at]
    body[at] ^= change
    if bytes([old]).lower() == bytes([body[at]]).lower():
        return  # a size may be written in capitals
    with pytest.raises(Refusal):
        _decoded(bytes(body), [])


@given(st.binary(max_size=300), st.booleans(), st.booleans())
def test_any_bytes_are_refused_or_taken(body, signed, trailer):
    chunked = ChunkedBody(_signer() if signed else None, with_trailer=trailer)
    try:
        size = sum(len(piece) for piece in chunked.feed(body))
        chunked.finish()
    except Refusal:
        return
    assert size <= len(body)


@given(st.text(max_size=200))
def test_texts_of_clients_are_taken_or_refused(text):
    assert sigv4.parse_authorization(text) is None or text.startswith("AWS4-HMAC-SHA256")
    sigv4.parse_authorization(f"AWS4-HMAC-SHA256 Credential={text}, SignedHeaders=host, Signature={'0' * 64}")
    assert sigv4.parse_scope(text) is None or text.count("/") >= 4
    parse_amz_date(text)
    parse_iso_date(text)
    for parse in (
        lambda: etags.matches(text, "tag"),
        lambda: described.parse_tagging(text),
        lambda: parse_policy(text),
    ):
        try:
            parse()
        except Refusal:
            continue


@given(st.binary(max_size=100))
def test_a_path_has_one_signed_form(raw):
    signed = sigv4.canonical_path(raw)
    assert signed.isascii()
    assert sigv4.canonical_path(signed.encode()) == signed


@given(st.lists(st.tuples(st.text(max_size=10), st.text(max_size=10)), max_size=5), st.randoms())
def test_the_order_of_a_query_does_not_matter(pairs, chance):
    mixed = list(pairs)
    chance.shuffle(mixed)
    assert sigv4.canonical_query(mixed) == sigv4.canonical_query(pairs)
    again = sigv4.parse_query(sigv4.canonical_query(pairs).encode("utf-8", "surrogateescape"))
    kept = [pair for pair in pairs if pair[0] != "X-Amz-Signature" and pair != ("", "")]
    assert sorted(pair for pair in again if pair != ("", "")) == sorted(kept)


@given(st.integers(-62_135_596_800_000_000, 253_402_300_799_999_999))
def test_dates_come_back(time_us):
    assert parse_iso_date(iso_date(time_us)) == time_us - time_us % 1000


@given(
    st.dictionaries(st.from_regex(r"[a-z]{1,8}", fullmatch=True), st.text(st.characters(codec="latin-1"), max_size=20))
)
def test_user_metadata_come_back(meta):
    clean = {name: "".join(sign for sign in value if sign.isprintable()).strip() for name, value in meta.items()}
    headers = Headers([(f"x-amz-meta-{name}".encode(), value.encode("latin-1")) for name, value in clean.items()])
    said = described.from_headers(headers)
    facts = described.facts_of(said)
    assert described.described(facts).meta == clean
