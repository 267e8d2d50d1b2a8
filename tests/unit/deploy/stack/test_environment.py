"""Variables: in folders, sealed, and in the order that they win over each other."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from skep.base.errors import BadInput, CorruptRecord, KeyMissing
from skep.deploy.stack.environment import VALUE_MAX_BYTES, EnvFolder
from skep.deploy.stack.linking import Endpoint, job_variables, link_variables
from skep.deploy.stack.records import Job

KEY = bytes(range(32))


@pytest.mark.parametrize("key", [KEY, None])
@pytest.mark.parametrize("value", ["", "plain", "a=b=c", "line\n", "\n\n", " spaces ", "é", "'\"$"])
def test_what_was_set_comes_back(tmp_path: Path, key: bytes | None, value: str) -> None:
    folder = EnvFolder(tmp_path / "env", key, "global")
    folder.set("NAME", value)
    assert folder.get("NAME") == value
    assert folder.values() == {"NAME": value}
    assert (tmp_path / "env" / "NAME").stat().st_mode & 0o777 == 0o600
    assert folder.unset("NAME")
    assert not folder.unset("NAME")
    assert folder.values() == {}


def test_secrets_are_not_in_the_file(tmp_path: Path) -> None:
    EnvFolder(tmp_path, KEY, "global").set("PASSWORD", "hunter2hunter2")
    content = (tmp_path / "PASSWORD").read_bytes()
    assert b"hunter2" not in content
    with pytest.raises(KeyMissing):
        EnvFolder(tmp_path, None, "global").values()
    with pytest.raises(CorruptRecord):
        EnvFolder(tmp_path, bytes(32), "global").values()
    with pytest.raises(CorruptRecord):
        EnvFolder(tmp_path, KEY, "stack:shop").values()


def test_a_sealed_value_does_not_open_under_another_name(tmp_path: Path) -> None:
    folder = EnvFolder(tmp_path, KEY, "global")
    folder.set("PASSWORD", "x")
    os.rename(tmp_path / "PASSWORD", tmp_path / "BANNER")
    with pytest.raises(CorruptRecord):
        folder.get("BANNER")
    (tmp_path / "BANNER").write_bytes(b"skep-sealed:1:%%%")
    with pytest.raises(CorruptRecord, match="damaged"):
        folder.get("BANNER")


def test_files_by_hand_are_plain_text_and_others_are_passed_over(tmp_path: Path) -> None:
    (tmp_path / "BY_HAND").write_text("value\n")
    (tmp_path / "README.md").write_text("no variable")
    (tmp_path / ".hidden").write_text("no variable")
    (tmp_path / "DIRECTORY").mkdir()
    assert EnvFolder(tmp_path, KEY, "global").values() == {"BY_HAND": "value"}
    assert EnvFolder(tmp_path / "none", KEY, "global").values() == {}


@pytest.mark.parametrize(
    ("name", "value"),
    [("1A", "x"), ("A-B", "x"), ("", "x"), ("../A", "x"), ("A", "a\0b"), ("A", "x" * (VALUE_MAX_BYTES + 1))],
)
def test_what_can_be_no_variable_is_refused(tmp_path: Path, name: str, value: str) -> None:
    with pytest.raises(BadInput):
        EnvFolder(tmp_path / "env", KEY, "global").set(name, value)
    assert not (tmp_path / "env").exists()


def test_injecting_takes_lines_whole_and_all_or_nothing(tmp_path: Path) -> None:
    folder = EnvFolder(tmp_path, KEY, "stack:shop")
    folder.set("OLD", "1")
    assert folder.inject(["# comment", "", "URL=postgres://a?b=c&d=e", "EMPTY=\n"]) == ("URL", "EMPTY")
    assert folder.values() == {"OLD": "1", "URL": "postgres://a?b=c&d=e", "EMPTY": ""}
    with pytest.raises(BadInput):
        folder.inject(["NEW=1", "not a pair"])
    assert folder.get("NEW") is None
    folder.inject(["URL=x"], reset=True)
    assert folder.values() == {"URL": "x"}


@settings(max_examples=30, deadline=None)
@given(value=st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=300))
def test_every_text_comes_back(tmp_path_factory: pytest.TempPathFactory, value: str) -> None:
    folder = EnvFolder(tmp_path_factory.mktemp("env"), KEY, "global")
    folder.set("A", value)
    assert folder.get("A") == value


def test_link_variables_are_those_of_docker() -> None:
    endpoints = [Endpoint(number=27017, address="10.0.0.5", port=32768), Endpoint(number=28017, address="::1", port=9)]
    assert link_variables("my-mongo", endpoints) == {
        "MY_MONGO_PORT": "tcp://10.0.0.5:32768",
        "MY_MONGO_PORT_27017_TCP": "tcp://10.0.0.5:32768",
        "MY_MONGO_PORT_27017_TCP_PROTO": "tcp",
        "MY_MONGO_PORT_27017_TCP_ADDR": "10.0.0.5",
        "MY_MONGO_PORT_27017_TCP_PORT": "32768",
        "MY_MONGO_PORT_28017_TCP": "tcp://[::1]:9",
        "MY_MONGO_PORT_28017_TCP_PROTO": "tcp",
        "MY_MONGO_PORT_28017_TCP_ADDR": "::1",
        "MY_MONGO_PORT_28017_TCP_PORT": "9",
    }
    assert link_variables("none", []) == {}


def test_a_jobs_own_wins_over_the_stack_and_that_over_all_and_services_get_no_links() -> None:
    layers = {
        "links": dict.fromkeys("ABCD", "link"),
        "global_env": dict.fromkeys("BCD", "global"),
        "stack_env": dict.fromkeys("CD", "stack"),
    }
    web = Job(name="web", kind="web", env={"D": "own"})
    assert job_variables(web, **layers) == {"A": "link", "B": "global", "C": "stack", "D": "own"}
    service = Job(name="db", kind="service", env={"D": "own"})
    assert job_variables(service, **layers) == {"B": "global", "C": "stack", "D": "own"}
