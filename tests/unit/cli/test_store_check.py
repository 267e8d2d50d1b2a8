"""``skep store check`` on places of this machine."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from skep.cli import exits
from skep.cli.main import run


def test_a_directory_behaves_as_a_store_must(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["store", "check", f"fs://{tmp_path}", "--json"]) == exits.DONE
    answer = json.loads(capsys.readouterr().out)
    assert answer["passed"]
    assert {result["outcome"] for result in answer["results"]} <= {"passed", "skipped"}


def test_a_url_that_is_wrong_is_usage(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["store", "check", "fz:///tmp"]) == exits.USAGE
    assert "fz" in capsys.readouterr().err
