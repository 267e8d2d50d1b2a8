"""HQ's folder and settings."""

from __future__ import annotations

import os
import socket
import tomllib
from pathlib import Path

import pytest

from skep.base.errors import AlreadyExists, DataDirectoryInUse, InvalidSetting, KeyMissing, Misconfigured
from skep.deploy.hq.folder import HqFolder, unix_address, unix_listener
from skep.deploy.hq.settings import annotated, read_settings


def test_a_folder_is_made_once_for_its_owner_alone(tmp_path: Path) -> None:
    folder = HqFolder(tmp_path / "hq")
    with pytest.raises(Misconfigured, match="skep hq init"):
        folder.check()
    folder.make()
    folder.check()
    assert (tmp_path / "hq").stat().st_mode & 0o777 == 0o700
    assert {path.name: path.stat().st_mode & 0o777 for path in folder.keys.iterdir()} == dict.fromkeys(
        ("seal", "host", "host.pub", "identity", "identity.pub"), 0o600
    )
    key = folder.seal_key()
    with pytest.raises(AlreadyExists):
        folder.make()
    assert folder.seal_key() == key
    (tmp_path / "hq").chmod(0o750)
    with pytest.raises(Misconfigured, match="open to others"):
        folder.check()


def test_a_missing_key_is_told(tmp_path: Path) -> None:
    folder = HqFolder(tmp_path / "hq")
    folder.make()
    (folder.keys / "seal").unlink()
    with pytest.raises(KeyMissing):
        folder.seal_key()


def test_a_folder_has_one_server(tmp_path: Path) -> None:
    folder = HqFolder(tmp_path / "hq")
    folder.make()
    held = folder.held()
    with pytest.raises(DataDirectoryInUse):
        folder.held()
    os.close(held)
    os.close(folder.held())


def test_what_init_writes_says_the_defaults_and_changes_none(tmp_path: Path) -> None:
    folder = HqFolder(tmp_path / "hq")
    folder.make()
    assert tomllib.loads(folder.settings.read_text()) == {section: {} for section in tomllib.loads(annotated())}
    assert read_settings(folder.settings) == read_settings()


def test_settings_of_a_file_and_of_a_call(tmp_path: Path) -> None:
    (tmp_path / "hq.toml").write_text('[git]\npack_max = "2MB"\n[ssh]\nlogin_timeout = "5s"\n')
    settings = read_settings(tmp_path / "hq.toml", ssh={"port": 0})
    assert settings.git.pack_max_bytes == 2 << 20
    assert (settings.ssh.login_timeout_s, settings.ssh.port) == (5.0, 0)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[ssh]\nprot = 1", "did you mean 'port'"),
        ("[shh]\nport = 1", "did you mean 'ssh'"),
        ("[ssh]\nport = 70000", "65535"),
        ("[ssh]\nport = 'x'", "port"),
        ("[git]\npack_max = 'much'", "pack_max"),
        ("[git]\nbranches = []", "branches"),
        ("[ssh\n", "no TOML"),
    ],
)
def test_a_wrong_setting_is_named(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "hq.toml").write_text(text)
    with pytest.raises(InvalidSetting, match=said):
        read_settings(tmp_path / "hq.toml")


def test_a_socket_may_lie_deep(tmp_path: Path) -> None:
    deep = tmp_path / ("d" * 100) / ("e" * 100)
    deep.mkdir(parents=True)
    (deep / "hq.sock").write_bytes(b"left by a dead process")
    listener = unix_listener(deep / "hq.sock")
    assert (deep / "hq.sock").stat().st_mode & 0o077 == 0
    name, descriptor = unix_address(deep / "hq.sock")
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(name)
    os.close(descriptor)
    listener.close()
