"""``skep stack check``, ``example`` and ``import``, as they are typed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from skep.cli.main import run


def test_an_example_is_a_stack_that_checks(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["stack", "example"]) == 0
    (tmp_path / "quarry.yml").write_text(capsys.readouterr().out)
    assert run(["stack", "check", str(tmp_path), "--name", "shop"]) == 0
    assert "hello.example.com" in capsys.readouterr().out
    assert run(["stack", "check", str(tmp_path), "--name", "shop", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["jobs"] == [{"name": "web", "type": "web", "scale": 1, "line": 2}]


def test_problems_are_told_with_their_places_and_fail(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "quarry.yml").write_text("web:\n  type: web\n  run: x\n  domain: a.b\n")
    assert run(["stack", "check", str(tmp_path), "--name", "shop"]) == 1
    assert "quarry.yml:4:3: web has no key 'domain'; did you mean 'domains'?" in capsys.readouterr().out
    assert run(["stack", "check", str(tmp_path), "--name", "shop", "--json"]) == 1
    (problem,) = json.loads(capsys.readouterr().out)["problems"]
    assert (problem["line"], problem["column"]) == (4, 3)


def test_files_that_the_stack_names_must_be_there(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "quarry.yml").write_text("site:\n  type: static\n  document_root: www\n")
    assert run(["stack", "check", str(tmp_path), "--name", "shop"]) == 1
    assert "there is no such directory" in capsys.readouterr().out
    (tmp_path / "www").mkdir()
    assert run(["stack", "check", str(tmp_path), "--name", "shop"]) == 0


def test_a_procfile_is_imported_and_the_result_checks(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "Procfile").write_text("web: ./serve\n")
    assert run(["stack", "import", str(tmp_path / "Procfile")]) == 0
    said = capsys.readouterr()
    assert "domains" in said.err
    (tmp_path / "quarry.yml").write_text(said.out)
    assert run(["stack", "check", str(tmp_path), "--name", "shop"]) == 0
    assert run(["stack", "import", str(tmp_path / "none")]) != 0
