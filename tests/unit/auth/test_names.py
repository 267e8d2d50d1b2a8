from __future__ import annotations

import unicodedata

import pytest

from skep.auth.names import email_address, full_name, group_name, key_of, user_name
from skep.base.errors import InvalidName


@pytest.mark.parametrize("text", ["a", "ada", "Ada.Lovelace", "a-b_c", "7of9", "żółw", "山田", "x" * 64])
def test_user_names_that_are_fine(text):
    assert user_name(text) == text


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "a b",
        "a:b",
        "a/b",
        "a@b",
        ".a",
        "a.",
        "-a",
        "_a",
        "x" * 65,
        "a\0b",
        "a\nb",
        "\ud800",
        "\ufb01",
        "\uff21da",
        "a\u200b",
    ],
)
def test_user_names_that_are_not(text):
    with pytest.raises(InvalidName):
        user_name(text)


def test_groups_may_have_spaces_inside():
    assert group_name("Board of Directors") == "Board of Directors"
    for text in (" x", "x ", "a\tb"):
        with pytest.raises(InvalidName):
            group_name(text)


def test_keys_meet_whatever_the_case_and_the_normal_form():
    composed = "Zoë"
    assert key_of(composed) == key_of(unicodedata.normalize("NFD", composed).upper())
    assert user_name(unicodedata.normalize("NFD", composed)) == composed


@pytest.mark.parametrize("text", ["a@b.org", "Ada+x@Mail.Example.org", "root@localhost", "ü@exämple.org", "  a@b.org "])
def test_addresses_that_are_fine(text):
    assert email_address(text) == text.strip()


@pytest.mark.parametrize(
    "text",
    [
        "a",
        "@b.org",
        "a@",
        "a b@c.org",
        "a@b..org",
        "a@-b.org",
        "a@b@c.org",
        "x" * 65 + "@b.org",
        "a@" + "b." * 140 + "c",
    ],
)
def test_addresses_that_are_not(text):
    with pytest.raises(InvalidName):
        email_address(text)


def test_no_address_is_fine():
    assert email_address("  ") == ""


@pytest.mark.parametrize(
    ("typed", "kept"),
    [
        ("ada lovelace", "Ada Lovelace"),
        ("JEAN-LUC  PICARD", "Jean-Luc Picard"),
        ("Ludwig van Beethoven", "Ludwig van Beethoven"),
        ("Mary McDonald", "Mary McDonald"),
        ("  ", ""),
    ],
)
def test_full_names_are_capitalised_where_typed_without_care(typed, kept):
    assert full_name(typed) == kept


def test_full_names_have_bounds():
    for text in ("x" * 201, "a\0b"):
        with pytest.raises(InvalidName):
            full_name(text)
