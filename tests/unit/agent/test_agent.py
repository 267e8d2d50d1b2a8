"""What an agent's user decides, its directory, its hours."""

from __future__ import annotations

from pathlib import Path

import pytest

from skep.agent.config import AgentConfig, load_config
from skep.agent.home import AgentHome, HiveLink
from skep.agent.schedule import parse_schedule
from skep.base.errors import Conflict, CorruptRecord, DataDirectoryInUse, InvalidSetting, LocalFailure
from skep.crypto.signatures import SigningKey

LINK = HiveLink(
    url="https://my.hive",
    hive_id="0197c9f2-8a3b-7c1d-9e4f-5a6b7c8d9e0f",
    hive_key="A" * 43,
    agent_id="0197c9f3-0000-7000-8000-000000000001",
    name="desk",
    share_bytes=1 << 30,
)


def config(tmp_path: Path, text: str = "", given: dict[str, str | None] | None = None, **variables: str) -> AgentConfig:
    file = tmp_path / "agent.toml"
    file.write_text(text)
    environment = {"HOME": str(tmp_path), "SKEP_AGENT_CONFIG": str(file), **variables}
    return load_config(given or {}, environment)


def test_the_command_line_wins_over_the_variable_and_that_over_the_file(tmp_path: Path) -> None:
    text = 'share = "1GB"\nup = "1MB"\ndown = 65536\nhive = "https://file.hive/"'
    assert config(tmp_path, text).share_bytes == 1 << 30
    assert config(tmp_path, text).hive == "https://file.hive"
    assert (config(tmp_path, text).up, config(tmp_path, text).down) == (1 << 20, 65536)
    assert config(tmp_path, text, SKEP_AGENT_SHARE="2GB").share_bytes == 2 << 30
    chosen = config(tmp_path, text, {"share": "4.5GB", "up": None}, SKEP_AGENT_SHARE="2GB", SKEP_AGENT_UP="2MB/s")
    assert (chosen.share_bytes, chosen.up) == (4831838208, 2 << 20)


def test_defaults(tmp_path: Path) -> None:
    found = config(tmp_path)
    assert (found.space, found.share_bytes, found.share_given) == (tmp_path / "skep-space", 10 << 30, False)
    assert (found.up, found.down, found.hive, found.schedule.spans) == (None, None, "", ())
    assert config(tmp_path, given={"share": "all"}).share_bytes is None


@pytest.mark.parametrize(
    ("path", "wanted"), [("$HOME/a", "{home}/a"), ("${PLACE}/b", "/mnt/b"), ("~/c", "{home}/c"), ("/x/../d", "/d")]
)
def test_variables_in_the_path_are_expanded(tmp_path: Path, path: str, wanted: str) -> None:
    found = config(tmp_path, given={"path": path}, PLACE="/mnt")
    assert str(found.space) == wanted.format(home=tmp_path)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("share", "lots"), ("share", "1MB"), ("share", "-1"), ("up", "1B"), ("down", "fast"), ("hive", "my.hive"),
        ("hive", "ftp://my.hive"), ("hive", "https://user:pw@my.hive"), ("schedule", "22-6"), ("path", "$NOWHERE/a"),
    ],
)  # fmt: skip
def test_what_cannot_be_meant_is_refused(tmp_path: Path, name: str, text: str) -> None:
    with pytest.raises(InvalidSetting):
        config(tmp_path, given={name: text})


@pytest.mark.parametrize("text", ["shares = 1", "share = [1]", "share = "])
def test_a_file_with_mistakes_is_refused(tmp_path: Path, text: str) -> None:
    with pytest.raises(InvalidSetting, match=r"agent\.toml"):
        config(tmp_path, text)


def at(text: str) -> tuple[int, int]:
    """``mo 22:00`` as weekday and minute."""
    day, clock = text.split()
    hour, minute = clock.split(":")
    return ("mo", "tu", "we", "th", "fr", "sa", "su").index(day), int(hour) * 60 + int(minute)


@pytest.mark.parametrize(
    ("schedule", "open_at", "shut_at"),
    [
        ("", ["mo 00:00", "su 23:59"], []),
        ("22:00-06:00", ["mo 22:00", "tu 05:59", "su 23:59"], ["mo 06:00", "mo 21:59"]),
        ("09:00-17:30", ["we 09:00", "we 17:29"], ["we 08:59", "we 17:30"]),
        ("mo-fr 18:00-08:00, sa-su 00:00-24:00", ["mo 18:00", "sa 07:00", "sa 12:00"], ["fr 12:00", "mo 07:59"]),
        ("fr-mo 10:00-11:00", ["sa 10:30", "mo 10:00"], ["tu 10:30"]),
    ],
)
def test_hours(schedule: str, open_at: list[str], shut_at: list[str]) -> None:
    parsed = parse_schedule(schedule)
    assert [text for text in open_at if not parsed.open_at(*at(text))] == []
    assert [text for text in shut_at if parsed.open_at(*at(text))] == []


@pytest.mark.parametrize("text", ["22:00", "25:00-26:00", "10:00-10:00", "10:60-11:00", "xx 10:00-11:00", "1:2-3:4"])
def test_hours_that_are_none(text: str) -> None:
    with pytest.raises(InvalidSetting):
        parse_schedule(text)


def test_a_directory_must_exist_and_be_its_own(tmp_path: Path) -> None:
    with pytest.raises(LocalFailure, match="does not exist"):
        AgentHome(tmp_path / "nowhere").prepare()
    (tmp_path / "documents").mkdir()
    (tmp_path / "documents" / "letter.txt").write_text("mine")
    with pytest.raises(LocalFailure, match="not empty"):
        AgentHome(tmp_path / "documents").prepare()
    (tmp_path / "space").mkdir()
    AgentHome(tmp_path / "space").prepare()
    AgentHome(tmp_path / "space").prepare()


def prepared(tmp_path: Path) -> AgentHome:
    home = AgentHome(tmp_path / "space")
    home.space.mkdir()
    home.prepare()
    return home


def test_what_is_known_of_a_hive_survives_and_its_key_is_private(tmp_path: Path) -> None:
    home, key = prepared(tmp_path), SigningKey.generate()
    home.keep(LINK, key)
    assert home.links() == [LINK]
    assert home.link_to("https://my.hive") == LINK
    assert home.key_of(LINK).seed() == key.seed()
    assert home.store_url(LINK).endswith("/store?capacity=1073741824")
    path = next(home.space.glob("hives/*/key"))
    assert path.stat().st_mode & 0o777 == 0o600
    with pytest.raises(Conflict):
        home.keep(LINK, key)
    path.chmod(0o644)
    with pytest.raises(LocalFailure, match="read by others"):
        home.key_of(LINK)
    path.chmod(0o600)
    path.write_text("?")
    with pytest.raises(CorruptRecord):
        home.key_of(LINK)


def test_generations_are_kept_and_damage_is_seen(tmp_path: Path) -> None:
    home = prepared(tmp_path)
    home.keep(LINK, SigningKey.generate())
    assert home.generation(LINK) == 0
    home.set_generation(LINK, 7)
    assert home.generation(LINK) == 7
    next(home.space.glob("hives/*/store/skep-generation.json")).write_text("{")
    with pytest.raises(CorruptRecord):
        home.generation(LINK)


def test_an_enrolment_that_lost_its_answer_uses_the_same_key_again(tmp_path: Path) -> None:
    home = prepared(tmp_path)
    key = home.enrolling_key()
    assert home.enrolling_key().seed() == key.seed()
    home.keep(LINK, key)
    assert home.enrolling_key().seed() != key.seed()


def test_only_one_agent_runs_in_a_directory(tmp_path: Path) -> None:
    home = prepared(tmp_path)
    with home.locked(), pytest.raises(DataDirectoryInUse), home.locked():
        pass
    with home.locked():
        pass
