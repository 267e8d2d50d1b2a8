"""Settings: sources in order, errors that help, secrets that stay hidden."""

from __future__ import annotations

from pathlib import Path

import pytest

from skep.base.errors import InvalidSetting
from skep.base.setting_values import SettingSpec, convert_value, default_file_text
from skep.base.settings import Settings, explain, load_settings, setting_specs


def load(*files: Path, flags: dict[str, object] | None = None, **variables: str) -> Settings:
    return load_settings(flags, files=files, environ=variables)


def written(tmp_path: Path, text: str, name: str = "skep.toml") -> Path:
    path = tmp_path / name
    path.write_text(text)
    return path


def test_defaults_come_from_the_annotated_file() -> None:
    settings = load()
    assert settings.server.port == 8080
    assert settings.storage.pack_bytes == 16 * 2**20
    assert settings.storage.grace_s == 86_400.0
    assert settings.data_path().is_absolute()
    assert settings.database_url() == f"sqlite:///{settings.data_path()}/skep.db"
    assert settings.master_key_path() == settings.data_path() / "master.key"


def test_the_annotated_file_is_itself_a_valid_settings_file(tmp_path: Path) -> None:
    assert load(written(tmp_path, default_file_text())) == load()


def test_every_setting_has_a_meaning_in_sentences() -> None:
    for key, spec in setting_specs().items():
        assert spec.meaning.endswith("."), key
        assert len(spec.meaning) > 20, key


def test_later_sources_win(tmp_path: Path) -> None:
    first = written(tmp_path, "[server]\nport = 1\nhost = 'a'\n[log]\nlevel = 'debug'\n", "first.toml")
    second = written(tmp_path, "[server]\nport = 2\n", "second.toml")
    assert load(first, second).server.port == 2
    assert load(first, second).server.host == "a"
    assert load(first, second, SKEP_SERVER_PORT="3").server.port == 3
    assert load(first, second, SKEP_SERVER__PORT="4").server.port == 4
    assert load(first, flags={"server.port": 5, "server.host": None}, SKEP_SERVER_PORT="3").server.port == 5
    third = written(tmp_path, "[server]\nport = 6\n", "third.toml")
    assert load(first, second, SKEP_CONFIG=str(third)).server.port == 6


def test_standard_files_are_found_in_home_and_working_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = tmp_path / "home"
    (home / ".config" / "skep").mkdir(parents=True)
    written(home / ".config" / "skep", "[server]\nport = 7\nhost = 'h'\n")
    monkeypatch.chdir(tmp_path)
    written(tmp_path, "[server]\nport = 8\n")
    settings = load_settings(environ={"HOME": str(home)})
    assert (settings.server.port, settings.server.host) == (8, "h")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[server]\n\nprot = 1\n", ["skep.toml:3", "server.prot", "did you mean server.port"]),
        ("[sever]\nport = 1\n", ["skep.toml:2", "sever.port", "did you mean server.port"]),
        ("port = 1\n", ["skep.toml:1", "did you mean server.port"]),
        ("[server]\nport = 'many'\n", ["skep.toml:2", "server.port", "'many'", "from 0 to 65535"]),
        ("[server]\nport = 70000\n", ["70000", "from 0 to 65535"]),
        ("[server]\nport = true\n", ["whole number"]),
        ("[server]\nengine = 'apache'\n", ['one of "granian", "uvicorn"']),
        ("[storage]\npack_bytes = '16 MiBB'\n", ["size in bytes"]),
        ("[storage]\npack_bytes = 1.5\n", ["size in bytes"]),
        ("[storage]\ngrace_s = 'soon'\n", ["duration"]),
        ("[server]\nhost = 1\n", ["takes text"]),
        ("[server]\ntrusted_proxies = [1]\n", ["list of texts"]),
        ("[server\n", ["skep.toml", "not TOML"]),
        ("server = 3\n", ["no setting server"]),
        ("[keys]\nmaster_key = 'x'\n", ["SKEP_KEYS_MASTER_KEY"]),
    ],
)
def test_bad_files_say_where_and_what_would_be_right(tmp_path: Path, text: str, said: list[str]) -> None:
    with pytest.raises(InvalidSetting) as caught:
        load(written(tmp_path, text))
    for part in said:
        assert part in caught.value.message


def test_variables_are_converted_and_checked() -> None:
    settings = load(
        SKEP_STORAGE_PACK_BYTES="8 MiB",
        SKEP_STORAGE_GRACE_S="1h30m",
        SKEP_SERVER_TRUSTED_PROXIES="10.0.0.0/8, ::1",
        SKEP_KEYS_MASTER_KEY="k",
        SKEP_WORKERS_TRANQUILITY="0.5",
    )
    assert settings.storage.pack_bytes == 8 * 2**20
    assert settings.storage.grace_s == 5400
    assert settings.server.trusted_proxies == ("10.0.0.0/8", "::1")
    assert settings.keys.master_key == "k"
    assert settings.workers.tranquility == 0.5


@pytest.mark.parametrize("name", ["SKEP_SERVER_PRT", "SKEP_SEVER_PORT", "SKEP_SERVER__PROT", "SKEP_DATADIR"])
def test_a_misspelt_variable_is_noticed(name: str) -> None:
    with pytest.raises(InvalidSetting, match="did you mean SKEP_"):
        load(**{name: "1"})


def test_variables_of_others_are_left_alone() -> None:
    assert load(SKEP_CI="1", SKEP_TEST_DATABASE="x", SKEP_PASSWORD="y", SKEP_TOKEN="z", PATH="/bin") == load()


def test_a_named_file_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(InvalidSetting, match="cannot be read"):
        load(SKEP_CONFIG=str(tmp_path / "gone.toml"))
    assert load(tmp_path / "gone.toml") == load()


def test_explain_names_each_source_and_hides_secrets(tmp_path: Path) -> None:
    path = written(tmp_path, "[server]\nport = 1\n[database]\nurl = 'postgresql://u:geheim@h/d'\n")
    rows = explain({"log.level": "debug"}, files=[path], environ={"SKEP_KEYS_PASSPHRASE": "geheim"})
    by_key = {row.key: row for row in rows}
    assert list(by_key) == list(setting_specs())
    assert (by_key["server.port"].value, by_key["server.port"].source) == (1, f"{path}:2")
    assert by_key["log.level"].source == "flag --level"
    assert by_key["keys.passphrase"].source == "variable SKEP_KEYS_PASSPHRASE"
    assert by_key["server.host"].source == "default"
    assert "geheim" not in repr(rows)


def test_an_error_about_a_secret_does_not_show_it() -> None:
    with pytest.raises(InvalidSetting) as caught:
        load(flags={"keys.master_key": 1234567})
    assert "1234567" not in caught.value.message


@pytest.mark.parametrize(
    ("raw", "value"), [(True, True), ("no", False), ("ON", True), (" 0 ", False), ("maybe", None), (1, None)]
)
def test_flags(raw: object, value: bool | None) -> None:
    spec = SettingSpec("a", "b", "flag", default=False, meaning="")
    if value is None:
        with pytest.raises(InvalidSetting, match="true or false"):
            convert_value(spec, raw, "here")
    else:
        assert convert_value(spec, raw, "here") is value
