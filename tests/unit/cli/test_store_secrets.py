"""Where the secret of a store comes from."""

from __future__ import annotations

import io

import pytest

from skep.base.errors import BadInput
from skep.cli.store_secrets import secret_of


@pytest.mark.parametrize(
    ("key_id", "environment", "stdin", "wanted"),
    [
        (None, None, None, None),
        (None, "s", None, "s"),
        (None, None, "line\nrest", "line"),
        ("K", "s", None, "K:s"),
        ("K", "ignored", "s\n", "K:s"),
    ],
)
def test_it_comes_from_one_place(
    monkeypatch: pytest.MonkeyPatch, key_id: str | None, environment: str | None, stdin: str | None, wanted: str | None
) -> None:
    monkeypatch.delenv("SKEP_STORE_SECRET", raising=False)
    if environment is not None:
        monkeypatch.setenv("SKEP_STORE_SECRET", environment)
    monkeypatch.setattr("sys.stdin", io.StringIO(stdin or ""))
    assert secret_of(key_id, stdin is not None) == wanted


def test_nobody_to_ask_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SKEP_STORE_SECRET", raising=False)
    monkeypatch.setattr("sys.stdin", io.StringIO(""))
    with pytest.raises(BadInput, match="SKEP_STORE_SECRET"):
        secret_of("K", False)
    with pytest.raises(BadInput, match="no secret"):
        secret_of("K", True)
