"""What people are shown."""

from __future__ import annotations

import pytest

from skep.cli.output import Output, human_duration, human_size, human_time, shown, table


@pytest.mark.parametrize(
    ("size_bytes", "text"),
    [(None, "-"), (0, "0 B"), (1023, "1023 B"), (1024, "1 KB"), (1536, "1.5 KB"), (1 << 20, "1 MB")],
)
def test_sizes(size_bytes: int | None, text: str) -> None:
    assert human_size(size_bytes) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (None, "-"),
        (0.0012, "1.2 ms"),
        (0.085, "85 ms"),
        (4.21, "4.2 s"),
        (59, "59 s"),
        (180, "3 min"),
        (864_000, "10 d"),
    ],
)
def test_durations(seconds: float | None, text: str) -> None:
    assert human_duration(seconds) == text


def test_a_time_that_is_not_known() -> None:
    assert human_time(None) == "-"


def test_names_cannot_move_the_cursor() -> None:
    assert shown("a\x1b[2Jb\n\u202ec") == "a\\x1b[2Jb\\n\\u202ec"
    assert shown("Größe 東京.txt") == "Größe 東京.txt"


def test_tables_align_wide_names_and_numbers() -> None:
    text = table(["name", "size"], [["東京", "5 B"], ["a", "1.5 KiB"]], right=["size"])
    assert text.splitlines() == ["NAME     SIZE", "東京      5 B", "a     1.5 KiB"]
    assert table(["name"], []) == ""


def test_json_is_the_value_and_nothing_else(capsys: pytest.CaptureFixture[str]) -> None:
    output = Output(as_json=True)
    output.step("working")
    output.value({"name": "ü"}, "for people")
    assert capsys.readouterr().out == '{"name": "ü"}\n'


def test_quiet_says_nothing_in_passing(capsys: pytest.CaptureFixture[str]) -> None:
    Output(quiet=True).note("x")
    Output(quiet=True).step("x")
    assert capsys.readouterr() == ("", "")
