"""The file of logins."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from skep.base.errors import BadInput, Misconfigured, Unauthenticated
from skep.cli.credentials import CredentialFile, FileKeeper, Login, credentials_path
from skep.client.sessions import Tokens

TOKENS = Tokens("access", 1.5, "refresh", 2.5)


def credential_file(tmp_path: Path) -> CredentialFile:
    return CredentialFile(tmp_path / "skep" / "credentials.json")


def test_logins_are_kept_and_private(tmp_path: Path) -> None:
    file = credential_file(tmp_path)
    file.put(Login("http://a:1", "ann", TOKENS))
    assert file.chosen() == Login("http://a:1", "ann", TOKENS)
    assert stat.S_IMODE(file.path.stat().st_mode) == 0o600
    assert sorted(path.name for path in file.path.parent.iterdir()) == ["credentials.json", "credentials.lock"]


def test_the_newest_login_is_the_default_and_others_are_found_by_name(tmp_path: Path) -> None:
    file = credential_file(tmp_path)
    file.put(Login("http://alpha:1", "ann", TOKENS))
    file.put(Login("http://beta:1", "bob", TOKENS))
    assert file.chosen().user == "bob"
    assert file.chosen("alpha").user == "ann"
    assert file.chosen("http://alpha:1/").user == "ann"
    with pytest.raises(BadInput, match="several"):
        file.chosen("http://")
    with pytest.raises(Unauthenticated, match="gamma"):
        file.chosen("gamma")


def test_after_logging_out_another_login_is_the_default(tmp_path: Path) -> None:
    file = credential_file(tmp_path)
    file.put(Login("http://alpha:1", "ann", TOKENS))
    file.put(Login("http://beta:1", "bob", TOKENS))
    file.remove("http://beta:1")
    assert file.chosen().user == "ann"
    file.remove("http://alpha:1")
    with pytest.raises(Unauthenticated):
        file.chosen()


def test_refreshed_tokens_are_kept(tmp_path: Path) -> None:
    file = credential_file(tmp_path)
    file.put(Login("http://a:1", "ann", TOKENS))
    keeper = FileKeeper(file, "http://a:1")
    fresh = Tokens("access2", 9.0, "refresh2", 9.5)
    with keeper.exclusive():
        keeper.save(fresh)
    assert keeper.load() == fresh
    assert file.chosen().user == "ann"


def test_tokens_of_a_hive_that_was_left_meanwhile_are_not_kept(tmp_path: Path) -> None:
    file = credential_file(tmp_path)
    keeper = FileKeeper(file, "http://a:1")
    with keeper.exclusive():
        keeper.save(TOKENS)
    assert keeper.load() is None


@pytest.mark.parametrize("text", ["", "{", "[]", '{"version": 1}', '{"version": 1, "hives": {"x": {}}}'])
def test_a_damaged_file_is_named(tmp_path: Path, text: str) -> None:
    file = credential_file(tmp_path)
    file.path.parent.mkdir()
    file.path.write_text(text)
    with pytest.raises(Misconfigured, match=r"credentials\.json"):
        file.read()


def test_where_it_is() -> None:
    assert credentials_path({"HOME": "/h"}) == Path("/h/.config/skep/credentials.json")
    assert credentials_path({"HOME": "/h", "XDG_CONFIG_HOME": "/x"}) == Path("/x/skep/credentials.json")
