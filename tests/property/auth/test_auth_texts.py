from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st
from joserfc.jwk import OKPKey

from skep.auth.names import email_address, full_name, group_name, key_of, user_name
from skep.auth.opaque_tokens import (
    app_password_hash,
    is_refresh_token,
    new_app_password,
    new_refresh_token,
    next_refresh_token,
    secret_hash,
)
from skep.auth.password_rules import check_password
from skep.auth.scopes import ALL_SCOPES, effective_scopes, scopes_from_text, scopes_text
from skep.auth.tokens import Claims, sign_token, token_key_id, verify_token
from skep.base.errors import BadInput, InvalidName, InvalidToken

KEY = OKPKey.generate_key("Ed25519", {"kid": "k"})
IDS = st.binary(min_size=16, max_size=16)
SCOPES = st.frozensets(st.sampled_from(sorted(ALL_SCOPES)))
SECONDS = st.integers(0, 2**40)


@given(st.text())
def test_what_a_name_is_made_of_stays_as_it_is(text):
    for clean in (user_name, group_name, email_address, full_name):
        with contextlib.suppress(InvalidName):
            once = clean(text)
            assert clean(once) == once
            assert len(key_of(once)) <= 4 * 254
            once.encode()


@given(st.text())
def test_a_user_name_is_never_an_address(text):
    with contextlib.suppress(InvalidName):
        assert not {"@", ":", "/", "\0", " "} & set(user_name(text))


@given(st.text())
def test_any_text_is_a_password_or_refused_for_a_reason(text):
    with contextlib.suppress(BadInput):
        plain = check_password(text, min_length=8, name="ada")
        assert check_password(plain, min_length=8, name="ada") == plain


@given(IDS, IDS, SCOPES, st.integers(0, 2**60), SECONDS, st.integers(1, 10**6))
def test_claims_survive_the_journey(user_id, session_id, scopes, epoch, issued_s, lasts_s):
    claims = Claims(user_id, session_id, scopes, epoch, issued_s, issued_s + lasts_s)
    token = sign_token(KEY, claims, issuer="i", audience="a")
    assert token_key_id(token) == "k"
    assert verify_token(token, KEY, issuer="i", audience="a", now_s=issued_s, leeway_s=0) == claims


@given(st.text(max_size=300))
def test_any_text_is_refused_as_a_token(text):
    with pytest.raises(InvalidToken):
        token_key_id(text)


@given(SCOPES, st.booleans())
def test_scopes_survive_text_and_only_shrink(scopes, is_admin):
    assert scopes_from_text(scopes_text(scopes)) == scopes
    effective = effective_scopes(scopes, is_admin=is_admin)
    assert effective <= scopes
    assert is_admin or "admin" not in effective


@given(st.binary(min_size=32, max_size=32))
def test_successors_depend_on_the_key_and_the_token(key):
    first, second = new_refresh_token(), new_refresh_token()
    assert next_refresh_token(key, first) == next_refresh_token(key, first)
    assert is_refresh_token(next_refresh_token(key, first))
    assert len({secret_hash(next_refresh_token(key, token)) for token in (first, second)} | {secret_hash(first)}) == 3


@given(st.data())
def test_an_app_password_may_be_typed_in_any_grouping_and_case(data):
    secret = new_app_password()
    typed = "".join(
        data.draw(st.sampled_from([sign, sign.upper(), sign + " ", sign + "-"])) for sign in secret.replace("-", "")
    )
    assert app_password_hash(typed) == app_password_hash(secret)
    assert app_password_hash(secret[:-1]) != app_password_hash(secret)
